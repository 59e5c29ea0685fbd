package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"slipway.dev/slipway/client"
)

// world is the server and the nodes as processes, and the developer's desk.
type world struct {
	program string // slipway
	from    string // the sources
	dir     string // everything that is written
	url     string
	client  *client.Client
	env     []string
	procs   []*process // in the order in which they were started
}

// process is a program that runs beside the demo; its output goes to NAME.log.
type process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

func newWorld(program, from, dir string) *world {
	w := &world{program: program, from: from, dir: dir}
	w.env = append(os.Environ(),
		"SLIPWAY_DATA="+w.path("data"), "XDG_CONFIG_HOME="+w.path("config"), "SLIPWAY_SERVER=", "SLIPWAY_TOKEN=",
		"GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=Ann Skipper", "GIT_AUTHOR_EMAIL=ann@example.org", "GIT_COMMITTER_NAME=Ann Skipper", "GIT_COMMITTER_EMAIL=ann@example.org",
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=credential.helper", "GIT_CONFIG_VALUE_0=!'"+program+"' git-credential")
	return w
}

func (w *world) path(elem ...string) string {
	return filepath.Join(append([]string{w.dir}, elem...)...)
}

// start runs a program until stop.
func (w *world) start(name string, pipe bool, args ...string) (io.Reader, error) {
	log, err := os.Create(w.path(name + ".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(w.program, args...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = w.env, w.dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // the terminal's interrupt is for the demo, which stops them in order
	var read *os.File
	if pipe {
		r, wr, err := os.Pipe()
		if err != nil {
			return nil, err
		}
		defer wr.Close()
		read, cmd.Stdout = r, wr
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{name: name, cmd: cmd, done: make(chan struct{})}
	go func() {
		cmd.Wait() //nolint:errcheck // how it ended is in its log
		close(p.done)
	}()
	w.procs = append(w.procs, p)
	return read, nil
}

// stop ends the processes, the newest first, the server last.
func (w *world) stop() {
	for i := len(w.procs) - 1; i > 0; i-- { // the agents together
		w.procs[i].cmd.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it may be gone
	}
	for i := len(w.procs) - 1; i >= 0; i-- {
		p := w.procs[i]
		p.cmd.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it may be gone
		select {
		case <-p.done:
		case <-time.After(20 * time.Second):
			fmt.Fprintf(os.Stderr, "demo: %s does not stop; killed\n", p.name)
			p.cmd.Process.Kill() //nolint:errcheck // it may be gone
			<-p.done
		}
	}
	w.procs = nil
	w.sweep()
}

// sweep ends what is in service on the nodes. An agent that stops leaves that running, as it must; but the machines of
// the demo end with it.
func (w *world) sweep() {
	names, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is good
	for _, name := range names {
		line, err := os.ReadFile(name)
		if err != nil || !strings.HasPrefix(string(line), w.path("nodes")+"/") {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil {
			syscall.Kill(pid, syscall.SIGTERM) //nolint:errcheck // it may be gone
		}
	}
}

// up starts the server and waits until it says where it is.
func (w *world) up() error {
	out, err := w.start("server", true, "up", "--data", w.path("data"), "--listen", "127.0.0.1:0")
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(out)
	for w.url == "" && lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), "Slipway serves "); ok {
			w.url, _, _ = strings.Cut(rest, " ")
		}
	}
	if w.url == "" {
		log, _ := os.ReadFile(w.path("server.log"))
		return fmt.Errorf("the server did not start: %s", bytes.TrimSpace(log))
	}
	go io.Copy(io.Discard, out) //nolint:errcheck // nothing is lost
	token, err := os.ReadFile(w.path("data", "admin-token"))
	if err != nil {
		return err
	}
	w.client = client.New(w.url, strings.TrimSpace(string(token)))
	return nil
}

// agent joins a node to the server and runs its agent.
func (w *world) agent(ctx context.Context, n node) error {
	var join struct{ Token string }
	if err := w.json(ctx, &join, "node", "join-token"); err != nil {
		return err
	}
	root := w.path("nodes", n.name)
	_, err := w.start(n.name, false, "agent", "run", "--server", w.url, "--token", join.Token, "--name", n.name,
		"--root", root, "--target", filepath.Join(root, "fs"), "--label", "site="+n.site,
		"--fact", "port="+n.port, // where the daemon in service listens
		"--fact", "address="+n.lab) // where what is under test listens
	return err
}

// slipway runs a command and returns what it prints.
func (w *world) slipway(ctx context.Context, args ...string) (string, error) {
	return w.run(ctx, w.dir, w.program, args...)
}

// json runs a slipway command and decodes what it prints.
func (w *world) json(ctx context.Context, into any, args ...string) error {
	out, err := w.slipway(ctx, append(args, "-o", "json")...)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(out), into)
}

// git runs git in a repository of the desk.
func (w *world) git(ctx context.Context, repo string, args ...string) error {
	_, err := w.run(ctx, w.path("desk", repo), "git", args...)
	return err
}

func (w *world) run(ctx context.Context, dir, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env, cmd.Dir = w.env, dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s %s: %w\n%s", filepath.Base(program), strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.String(), nil
}

// get reads a page as JSON.
func get(ctx context.Context, url string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// freeAddresses returns addresses of loopback that nobody listens on now.
func freeAddresses(n int) ([]string, error) {
	var all []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // all at once, so that none is given twice
		all = append(all, l.Addr().String())
	}
	return all, nil
}
