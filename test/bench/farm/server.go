package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/cli"
)

// server is a running 'slipway up'.
type server struct {
	*client.Client
	data string
	pid  int
	env  []string
	stop func() error
}

// up starts a server on dir/data and waits until it is ready. With inside it runs in this process.
func up(ctx context.Context, program, dir string, slots int, inside bool) (*server, error) {
	data := filepath.Join(dir, "data")
	self := program
	if inside {
		var err error
		if self, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	s := &server{data: data, env: append(os.Environ(),
		"SLIPWAY_DATA="+data, "XDG_CONFIG_HOME="+filepath.Join(dir, "config"), "SLIPWAY_SERVER=", "SLIPWAY_TOKEN=", "GIT_TERMINAL_PROMPT=0",
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=credential.helper", "GIT_CONFIG_VALUE_0=!'"+self+"' git-credential")}
	args := []string{"up", "--data", data, "--listen", "127.0.0.1:0", "--slots", strconv.Itoa(slots)}
	log, err := os.Create(filepath.Join(dir, "server.log"))
	if err != nil {
		return nil, err
	}
	var said io.Reader
	if inside {
		s.pid = os.Getpid()
		said = s.inside(ctx, args, log)
	} else if said, err = s.outside(program, args, log); err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(said)
	for s.Client == nil && lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), "Slipway serves "); ok {
			url, _, _ := strings.Cut(rest, " ")
			token, err := os.ReadFile(filepath.Join(data, "admin-token"))
			if err != nil {
				return nil, errors.Join(err, s.stop())
			}
			s.Client = client.New(url, strings.TrimSpace(string(token)))
		}
	}
	if s.Client == nil {
		return nil, errors.Join(fmt.Errorf("the server did not start; see %s", log.Name()), s.stop())
	}
	go io.Copy(io.Discard, said) //nolint:errcheck // nobody needs what else it says
	return s, nil
}

func (s *server) inside(ctx context.Context, args []string, log *os.File) io.Reader {
	ctx, cancel := context.WithCancel(ctx)
	read, write := io.Pipe()
	done := make(chan int)
	env := func(name string) string {
		for _, kv := range s.env {
			if v, ok := strings.CutPrefix(kv, name+"="); ok {
				return v
			}
		}
		return ""
	}
	go func() {
		status := cli.Main(ctx, args, strings.NewReader(""), write, log, env)
		write.Close()
		done <- status
	}()
	s.stop = func() error {
		cancel()
		<-done
		return log.Close()
	}
	return read
}

func (s *server) outside(program string, args []string, log *os.File) (io.Reader, error) {
	cmd := exec.Command(program, args...)
	cmd.Env, cmd.Stderr = s.env, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // the terminal's interrupt is for the benchmark, which stops it in order
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, err
	}
	s.pid = cmd.Process.Pid
	s.stop = func() error {
		err := cmd.Process.Signal(syscall.SIGTERM)
		killer := time.AfterFunc(30*time.Second, func() { cmd.Process.Kill() }) //nolint:errcheck // it may have ended
		defer killer.Stop()
		return errors.Join(err, cmd.Wait(), log.Close())
	}
	return out, nil
}

// push commits everything in dir and pushes it to main of the repository, which is made if the folder is no git repository yet.
func (s *server) push(ctx context.Context, dir, repo, message string) error {
	git := func(args ...string) error {
		cmd := exec.CommandContext(ctx, "git", args...)
		cmd.Dir = dir
		cmd.Env = append(s.env, "GIT_AUTHOR_NAME=bench", "GIT_AUTHOR_EMAIL=bench@example.org", "GIT_COMMITTER_NAME=bench", "GIT_COMMITTER_EMAIL=bench@example.org")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, out)
		}
		return nil
	}
	if _, err := os.Stat(filepath.Join(dir, ".git")); err != nil {
		if _, err := s.CreateRepo(ctx, repo, "", ""); err != nil {
			return err
		}
		if err := git("init", "-q", "-b", "main"); err != nil {
			return err
		}
	}
	for _, args := range [][]string{{"add", "-A"}, {"commit", "-q", "-m", message}, {"push", "-q", s.Server() + "/git/" + repo + ".git", "main"}} {
		if err := git(args...); err != nil {
			return err
		}
	}
	return nil
}

// wait asks again and again until is says so.
func wait(ctx context.Context, what string, is func() (bool, error)) error {
	every := time.NewTicker(50 * time.Millisecond)
	defer every.Stop()
	for {
		if ok, err := is(); ok || err != nil {
			return err
		}
		select {
		case <-every.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, context.Cause(ctx))
		}
	}
}
