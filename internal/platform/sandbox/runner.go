package sandbox

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"slipway.dev/slipway/internal/slipway"
)

// Config is how a [Runner] finds its host.
type Config struct {
	Dir  string // a folder of the runner's own; made if missing
	Root bool   // whether this process may change user ids and mount; set by [New]
	UID  int    // the sandbox's user id on the host when Root; default the first one from 64200 that nobody has
}

// Runner runs commands in sandboxes. It may be used by several goroutines at once.
type Runner struct {
	cfg    Config
	etc    string
	groups *groups
}

// New prepares a runner with a folder of its own, and ends what a process that was killed left of its sandboxes.
func New(dir string) (*Runner, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("prepare the sandbox: %w", err)
	}
	r := &Runner{cfg: Config{Dir: abs, Root: os.Geteuid() == 0}, etc: filepath.Join(abs, "etc")}
	if r.cfg.Root {
		if r.cfg.UID, err = freeUID(); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(r.etc, 0o755); err != nil {
		return nil, fmt.Errorf("prepare the sandbox: %w", err)
	}
	if err := os.Chmod(r.etc, 0o755); err != nil {
		return nil, fmt.Errorf("prepare the sandbox: %w", err)
	}
	for name, text := range map[string]string{
		"passwd": "build:x:1000:1000:build:/tmp/home:/bin/sh\n",
		"group":  "build:x:1000:\n",
		"hosts":  "127.0.0.1 localhost\n::1 localhost\n",
		// without it the C library asks a name server before it reads hosts
		"nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
	} {
		file := filepath.Join(r.etc, name)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return nil, fmt.Errorf("prepare the sandbox: %w", err)
		}
		if err := os.Chmod(file, 0o644); err != nil {
			return nil, fmt.Errorf("prepare the sandbox: %w", err)
		}
	}
	r.groups = openGroups()
	endOrphans()
	return r, nil
}

// Bounds says how the limits of a run are kept here, for a person: for all its processes together, or for each by itself, and why.
func (r *Runner) Bounds() string { return r.groups.String() }

// freeUID returns a user id that no account has.
func freeUID() (int, error) {
	for uid := 64200; uid < 64300; uid++ {
		_, err := user.LookupId(strconv.Itoa(uid))
		var unknown user.UnknownUserIdError
		if errors.As(err, &unknown) {
			return uid, nil
		}
	}
	return 0, slipway.Errorf(slipway.Unavailable, "every user id from 64200 to 64299 has an account; the sandbox needs one that nobody has")
}

// Check runs nothing in a sandbox. Its error says why no sandbox can run here, and what to do about it.
func (r *Runner) Check(ctx context.Context) error {
	exit, err := r.Run(ctx, Spec{Argv: []string{"true"}, Dir: "/", Limits: Limits{Wall: time.Minute}})
	if err == nil && (exit.Status != Exited || exit.Code != 0) {
		err = slipway.Errorf(slipway.Unavailable, "an empty sandbox ended with: %s %d", exit.Status, exit.Code)
	}
	return err
}

// Run runs the command to its end. See the package comment.
func (r *Runner) Run(ctx context.Context, spec Spec) (Exit, error) {
	spec.Limits = spec.Limits.withDefaults()
	if err := ctx.Err(); err != nil {
		return Exit{Status: Cancelled}, nil
	}
	for _, m := range spec.Mounts {
		if !filepath.IsAbs(m.Source) || !strings.HasPrefix(m.Target+"/", "/build/") || filepath.Clean(m.Target) != m.Target {
			return Exit{}, slipway.Errorf(slipway.Internal, "a sandbox cannot mount %q at %q", m.Source, m.Target)
		}
		if m.Writable && r.cfg.Root && !spec.Unconfined {
			if err := handOver(m.Source, r.cfg.UID); err != nil {
				return Exit{}, err
			}
		}
	}
	group, err := r.groups.take(spec.Limits)
	if err != nil {
		return Exit{}, err
	}
	defer r.groups.giveBack(group)
	var argv []string
	var st *stage
	if spec.Unconfined {
		var clear func()
		argv, clear, err = r.unconfined(spec, group)
		defer clear()
	} else {
		argv, st, err = r.command(spec, group)
	}
	if err != nil {
		return Exit{}, err
	}
	run := &run{spec: spec, argv: argv, stage: st, group: group}
	return run.do(ctx)
}

// handOver makes the sandbox's user the owner of everything in dir.
func handOver(dir string, uid int) error {
	err := filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(p, uid, uid)
	})
	if err != nil {
		return slipway.Errorf(slipway.Unavailable, "cannot hand the folder over to the build user: %w", err)
	}
	return nil
}

// run is one sandbox from start to end.
type run struct {
	spec  Spec
	argv  []string
	stage *stage

	group *group
	kill  context.CancelCauseFunc
	tail  tail
}

// The reasons for stopping a run early.
var (
	errWall   = errors.New("wall clock")
	errLog    = errors.New("log")
	errOutput = errors.New("output")
	errCPU    = errors.New("cpu")
)

func (r *run) do(parent context.Context) (Exit, error) {
	ctx, kill := context.WithCancelCause(parent)
	defer kill(nil)
	r.kill = kill
	timer := time.AfterFunc(r.spec.Limits.Wall, func() { kill(errWall) })
	defer timer.Stop()

	logOut, logIn, err := os.Pipe()
	if err != nil {
		return Exit{}, infra(err, "")
	}
	defer logOut.Close()
	statusOut, statusIn, err := os.Pipe()
	if err != nil {
		logIn.Close()
		return Exit{}, infra(err, "")
	}
	defer statusOut.Close()

	gateOut, gate, err := os.Pipe()
	if err != nil {
		logIn.Close()
		statusIn.Close()
		return Exit{}, infra(err, "")
	}

	cmd := exec.CommandContext(ctx, r.argv[0], r.argv[1:]...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = logIn, logIn
	cmd.ExtraFiles = []*os.File{statusIn, gateOut}
	// Before bubblewrap has made its process namespace the processes are found by their group.
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	// Also before bubblewrap looks after it, a sandbox that is being made dies with this process.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Credential: r.stage.credential()}

	var work sync.WaitGroup
	work.Go(func() { r.copyLog(logOut) })
	end := ending{admit: r.admit}
	work.Go(func() {
		defer gate.Close()
		end.read(statusOut, gate)
	})
	stopWatch := make(chan struct{})
	work.Go(func() { r.watch(ctx, stopWatch) })

	begin := time.Now()
	waited := make(chan error, 1)
	var unstaged error
	ownThread(func() {
		if r.stage != nil {
			unstaged = r.stage.build()
		}
		err := unstaged
		if err == nil {
			err = cmd.Start()
		}
		logIn.Close()
		statusIn.Close()
		gateOut.Close()
		if err == nil {
			err = cmd.Wait()
		}
		waited <- err
	})
	err = <-waited
	close(stopWatch)
	if r.spec.Unconfined {
		defer r.endAll(cmd, logOut).Stop()
		end.exited(cmd.ProcessState)
	}
	work.Wait() // every process has closed its output
	gone := end.wait()
	exit := Exit{Wall: time.Since(begin)}

	cause := context.Cause(ctx)
	switch {
	case unstaged != nil:
		return exit, unstaged
	case end.refused != nil:
		return exit, slipway.Errorf(slipway.Unavailable, "the sandbox could not be bounded: %w", end.refused)
	case !gone:
		return exit, infra(errors.New("its processes did not end"), "")
	case errors.Is(cause, errWall):
		exit.Status = TimedOut
	case errors.Is(cause, errLog):
		exit.Status = LogTooLarge
	case errors.Is(cause, errOutput):
		exit.Status = OutputTooLarge
	case errors.Is(cause, errCPU):
		exit.Status, exit.Code, exit.Limit = Exited, 128+int(syscall.SIGXCPU), "processor time"
	case cause != nil:
		exit.Status = Cancelled
	case end.code == nil && strings.HasPrefix(r.tail.String(), "bwrap: execvp "):
		exit.Status, exit.Code = Exited, 127 // as a shell says it
	case end.code == nil:
		if err == nil {
			err = errors.New("bubblewrap did not say how the command ended")
		}
		return exit, infra(err, r.tail.String())
	default:
		exit.Status, exit.Code = Exited, *end.code
		if exit.Code != 0 {
			if err := r.full(); err != nil {
				return exit, err
			}
			exit.Limit = r.group.hit()
		}
	}
	return exit, nil
}

// almostFull is how few bytes a disk has left when a command may have failed for want of them.
const almostFull = 64 << 10

// full is the error of a command that failed while a disk that it may write to was full: that is not its fault.
func (r *run) full() error {
	for _, m := range r.spec.Mounts {
		var st unix.Statfs_t
		if m.Writable && unix.Statfs(m.Source, &st) == nil && (int64(st.Bavail)*st.Bsize < almostFull || st.Files > 0 && st.Ffree == 0) {
			return slipway.Errorf(slipway.Unavailable, "the disk is full").At(m.Source).Try("make room on the disk of this folder; then it is tried again")
		}
	}
	return nil
}

// copyLog moves the output to the log until all writers are gone; it keeps reading after the limit so that nobody hangs.
func (r *run) copyLog(from io.Reader) {
	left := r.spec.Limits.LogBytes
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			_, _ = r.tail.Write(buf[:n])
			if r.spec.Log != nil && left > 0 {
				if _, err := r.spec.Log.Write(buf[:min(int64(n), left)]); err != nil {
					r.kill(fmt.Errorf("write the log: %w", err))
				}
			}
			if left -= int64(n); left < 0 {
				r.kill(errLog)
			}
		}
		if err != nil {
			return
		}
	}
}

// watch stops the run when the writable mounts hold too much, or its processes took too much processor time.
func (r *run) watch(ctx context.Context, stop <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var used int64
		for _, m := range r.spec.Mounts {
			if m.Writable {
				used += diskUse(m.Source)
			}
		}
		if used > r.spec.Limits.OutputBytes {
			r.kill(errOutput)
			return
		}
		if r.group.cpu() > r.spec.Limits.CPU {
			r.kill(errCPU)
			return
		}
	}
}

// diskUse is how many bytes the files below dir take on the disk; what vanishes meanwhile counts as nothing.
func diskUse(dir string) (sum int64) {
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if fi, err := e.Info(); err == nil {
			if st, ok := fi.Sys().(*syscall.Stat_t); ok {
				sum += st.Blocks * 512
			}
		}
		return nil
	})
	return sum
}

// ending follows bubblewrap's status: the sandbox's first process, then the command's exit code.
type ending struct {
	admit   func(pid int) error
	pidfd   int
	code    *int
	refused error // why the sandbox was not let begin
}

// read follows what bubblewrap says. Its first process waits behind the gate until it is admitted.
func (e *ending) read(from io.Reader, gate io.Writer) {
	e.pidfd = -1
	d := json.NewDecoder(bufio.NewReader(from))
	for {
		var m struct {
			Child *int `json:"child-pid"`
			Code  *int `json:"exit-code"`
		}
		if d.Decode(&m) != nil {
			return
		}
		if m.Child != nil && e.pidfd < 0 {
			if fd, err := unix.PidfdOpen(*m.Child, 0); err == nil {
				e.pidfd = fd
			}
			if e.refused = e.admit(*m.Child); e.refused != nil {
				_ = syscall.Kill(*m.Child, syscall.SIGKILL) // before the gate is closed, which opens it too
				return
			}
			if _, err := gate.Write([]byte{1}); err != nil {
				return // it has died
			}
		}
		if m.Code != nil {
			e.code = m.Code
		}
	}
}

// exited takes the code from the process itself.
func (e *ending) exited(state *os.ProcessState) {
	if state == nil {
		return
	}
	code := state.ExitCode()
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		code = 128 + int(ws.Signal())
	}
	e.code = &code
}

// wait returns when the first process of the sandbox is gone, which the kernel lets happen only after all others.
func (e *ending) wait() bool {
	if e.pidfd < 0 {
		return true
	}
	defer unix.Close(e.pidfd)
	until := time.Now().Add(30 * time.Second)
	for {
		left := time.Until(until)
		if left <= 0 {
			return false
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(e.pidfd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if n > 0 && err == nil {
			return true
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return false
		}
	}
}

// tail keeps the last bytes of the output, to say why bubblewrap could not start.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if n := len(t.b) - 1000; n > 0 {
		t.b = append(t.b[:0], t.b[n:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return strings.TrimSpace(string(t.b)) }

// infra is the error of a sandbox that could not run.
func infra(err error, said string) error {
	e := slipway.Errorf(slipway.Unavailable, "the sandbox could not run: %w", err)
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return e.Try("apt-get install bubblewrap")
	case strings.Contains(said, "namespace"), strings.Contains(said, "Operation not permitted"), strings.Contains(said, "permission denied"):
		e = e.Try("allow user namespaces: sysctl -w user.max_user_namespaces=10000 kernel.unprivileged_userns_clone=1; in a container, run it with --privileged")
	}
	if said != "" {
		e.Message += " (" + said + ")"
	}
	return e
}
