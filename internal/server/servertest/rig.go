// Package servertest runs real servers and agents as processes, for tests that kill them.
//
// The processes are the test binary itself, which becomes the slipway command when [Main] finds its variable in the
// environment. Everything is driven through public interfaces: git, the command line, REST.
package servertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/cli"
	"slipway.dev/slipway/internal/platform/auth"
)

// become is the variable that turns the test binary into the command.
const become = "SLIPWAY_TEST_BECOME_COMMAND"

// Main is what the TestMain of a package that uses the rig calls.
func Main(m *testing.M) {
	// git runs the server's hooks in an environment of its own.
	if os.Getenv(become) != "" || len(os.Args) > 1 && os.Args[1] == "git-hook" {
		os.Exit(cli.Main(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv))
	}
	os.Exit(m.Run())
}

// Rig is a server's folder and a place for everything around it.
type Rig struct {
	t    testing.TB
	Dir  string // everything; the server's folder is DATA in it
	Addr string // host:port of the server, the same at every start
	args []string

	mu    sync.Mutex
	procs map[string]*process
	log   *os.File
}

type process struct {
	cmd  *exec.Cmd
	done chan struct{}
}

// New makes a rig whose server is started by 'slipway up' with these further arguments, or by the verb that comes first
// among them. Whatever runs is killed with the test; if the test
// failed, the end of the processes' log is shown.
func New(t testing.TB, args ...string) *Rig {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	r := &Rig{t: t, Dir: t.TempDir(), Addr: addr, args: args, procs: map[string]*process{}}
	if r.log, err = os.Create(filepath.Join(r.Dir, "log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for name := range r.procs {
			r.Kill(name)
		}
		r.log.Close()
		if t.Failed() {
			data, _ := os.ReadFile(r.log.Name())
			if cut := len(data) - 20_000; cut > 0 {
				data = data[cut:]
			}
			t.Logf("the processes' log ends:\n%s", data)
		}
	})
	return r
}

// URL is the server's.
func (r *Rig) URL() string { return "http://" + r.Addr }

// Data is the server's folder.
func (r *Rig) Data() string { return filepath.Join(r.Dir, "data") }

// Env is the environment of every process of the rig.
func (r *Rig) Env() []string {
	return append(os.Environ(), become+"=1", "HOME="+r.Dir, "XDG_CONFIG_HOME="+filepath.Join(r.Dir, "config"), "SLIPWAY_DATA="+r.Data(), "SLIPWAY_SERVER="+r.URL(),
		"GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0", "GIT_AUTHOR_NAME=Ann", "GIT_AUTHOR_EMAIL=ann@example.org", "GIT_COMMITTER_NAME=Ann", "GIT_COMMITTER_EMAIL=ann@example.org")
}

// Start runs the command with args in the background, under a name.
func (r *Rig) Start(name string, args ...string) {
	r.t.Helper()
	self, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = r.Env(), r.log, r.log
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	p := &process{cmd, make(chan struct{})}
	go func() {
		cmd.Wait() //nolint:errcheck // it is killed
		close(p.done)
	}()
	r.mu.Lock()
	r.procs[name] = p
	r.mu.Unlock()
}

// Kill ends a process of the rig as a power cut would.
func (r *Rig) Kill(name string) {
	r.mu.Lock()
	p := r.procs[name]
	delete(r.procs, name)
	r.mu.Unlock()
	if p != nil {
		p.cmd.Process.Kill() //nolint:errcheck // it may have ended
		<-p.done
	}
}

// Signal sends a signal to a process of the rig.
func (r *Rig) Signal(name string, sig os.Signal) {
	r.mu.Lock()
	p := r.procs[name]
	r.mu.Unlock()
	if p != nil {
		p.cmd.Process.Signal(sig) //nolint:errcheck // it may have ended
	}
}

// Exited is closed when the process has ended by itself or was killed.
func (r *Rig) Exited(name string) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.procs[name]; p != nil {
		return p.done
	}
	closed := make(chan struct{})
	close(closed)
	return closed
}

// Up starts the server without waiting for it.
func (r *Rig) Up() {
	r.t.Helper()
	verb, args := "up", r.args
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		verb, args = args[0], args[1:]
	}
	r.Start("server", append([]string{verb, "--data", r.Data(), "--listen", r.Addr}, args...)...)
}

// Ready waits until the server answers.
func (r *Rig) Ready() {
	r.t.Helper()
	Eventually(r.t, time.Minute, "the server is ready", func() error {
		resp, err := http.Get(r.URL() + "/readyz")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			text, _ := io.ReadAll(resp.Body)
			return fmt.Errorf("%s: %s", resp.Status, text)
		}
		return nil
	})
}

// Client is a client of the server as its admin.
func (r *Rig) Client() *client.Client { return client.New(r.URL(), r.Token()) }

// Token is the admin's API token.
func (r *Rig) Token() string {
	token, err := os.ReadFile(filepath.Join(r.Data(), auth.AdminTokenFile))
	if err != nil {
		r.t.Error(err)
	}
	return strings.TrimSpace(string(token))
}

// Run runs a command line and returns what it printed. The first word "slipway" is this program.
func (r *Rig) Run(dir string, words ...string) (string, error) {
	name := words[0]
	if name == "slipway" {
		self, err := os.Executable()
		if err != nil {
			return "", err
		}
		name = self
	}
	cmd := exec.Command(name, words[1:]...)
	cmd.Dir, cmd.Env = dir, r.Env()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w\n%s", strings.Join(words, " "), err, out.String())
	}
	return out.String(), nil
}

// Must runs a command line that has to succeed, again and again while the server is away.
func (r *Rig) Must(dir string, words ...string) (out string) {
	r.t.Helper()
	Eventually(r.t, 2*time.Minute, strings.Join(words, " "), func() (err error) {
		out, err = r.Run(dir, words...)
		return err
	})
	return out
}

// GitURL is where a repository is cloned from and pushed to.
func (r *Rig) GitURL(repo string) string {
	return "http://admin:" + r.Token() + "@" + r.Addr + "/git/" + repo + ".git"
}

// Write writes files below dir, making folders.
func (r *Rig) Write(dir string, files map[string]string) {
	r.t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			r.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			r.t.Fatal(err)
		}
	}
}

// Eventually tries until f succeeds, every 20 ms, and fails the test when that takes too long or it ends.
func Eventually(t testing.TB, within time.Duration, what string, f func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		if last = f(); last == nil {
			return
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				t.Fatalf("waited %s until %s: %v", within, what, last)
			}
			t.Fatalf("the test ended before %s: %v", what, last)
		case <-tick.C:
		}
	}
}
