package executor

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"slipway.dev/slipway/internal/slipway"
)

// process is one run of a step's script: its own process group, its output straight into the log file, so that it is
// there also when the agent dies.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	exit int           // valid then; -1: a signal ended it
}

// startProcess runs script with `sh -eu` in dir.
func startProcess(script, dir, logFile string, env []string) (*process, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, slipway.Errorf(slipway.Unavailable, "open the step's log: %w", err)
	}
	defer log.Close()
	cmd := exec.Command("/bin/sh", "-eu", "-c", script)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, env, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, slipway.Errorf(slipway.Unavailable, "start the step: %w", err)
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // the state says it all
		p.exit = cmd.ProcessState.ExitCode()
		close(p.done)
	}()
	return p, nil
}

// kill ends the whole process group at once, and waits for its leader.
func (p *process) kill() {
	killGroup(p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
	killGroup(p.cmd.Process.Pid, syscall.SIGKILL) // what the leader began in its last moment
}

// stop asks the process group to end, and kills what is left after grace.
func (p *process) stop(grace time.Duration) {
	killGroup(p.cmd.Process.Pid, syscall.SIGTERM)
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case <-p.done:
	case <-t.C:
	}
	p.kill()
}

func killGroup(pid int, sig syscall.Signal) {
	_ = syscall.Kill(-pid, sig) // gone already is what is wanted
}

// markVariable is set in every step's environment, so that processes which left their group are found too.
const markVariable = "SLIPWAY_ASSIGNMENT"

// sweep kills every process that has the mark in its environment, until there is none or ctx ends. It cannot see processes
// of other users unless it is root.
func sweep(ctx context.Context, mark string) error {
	want := []byte(markVariable + "=" + mark)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		left := marked(want)
		if len(left) == 0 {
			return nil
		}
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		select {
		case <-ctx.Done():
			return slipway.Errorf(slipway.Unavailable, "%d processes of the experiment do not end", len(left))
		case <-tick.C:
		}
	}
}

// marked lists the live processes whose environment has want.
func marked(want []byte) []int {
	names, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return nil
	}
	var out []int
	for _, name := range names {
		env, err := os.ReadFile(name)
		if err != nil {
			continue // ended meanwhile, or somebody else's
		}
		for v := range bytes.SplitSeq(env, []byte{0}) {
			if !bytes.Equal(v, want) {
				continue
			}
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil && pid != os.Getpid() {
				out = append(out, pid)
			}
			break
		}
	}
	return out
}

// tail returns the end of a file, at most n bytes, from the beginning of a line when it can.
func tail(file string, n int64) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return ""
	}
	from := max(info.Size()-n, 0)
	buf := make([]byte, info.Size()-from)
	read, err := f.ReadAt(buf, from)
	if err != nil && !errors.Is(err, io.EOF) {
		return ""
	}
	buf = buf[:read]
	if from > 0 {
		if i := bytes.IndexByte(buf, '\n'); i >= 0 && i < len(buf)-1 {
			buf = buf[i+1:]
		}
	}
	return string(bytes.ToValidUTF8(buf, []byte("?")))
}
