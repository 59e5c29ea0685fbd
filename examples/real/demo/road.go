package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
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
)

// road is a running server with its agents, seen from outside.
type road struct {
	slipway string // the program
	dir     string // everything that is written
	url     string
	env     []string
	ledger  *ledger
	procs   []*process
}

// process is a program that runs beside the demo.
type process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// newRoad starts a server in dir, which may already hold upstream's repositories.
func newRoad(ctx context.Context, slipway, dir string) (*road, error) {
	r := &road{slipway: slipway, dir: dir, ledger: newLedger(os.Stdout)}
	data := filepath.Join(dir, "data")
	r.env = append(os.Environ(),
		"SLIPWAY_DATA="+data, "XDG_CONFIG_HOME="+filepath.Join(dir, "config"), "SLIPWAY_SERVER=", "SLIPWAY_TOKEN=",
		"GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=credential.helper", "GIT_CONFIG_VALUE_0=!'"+slipway+"' git-credential")
	stdout, err := r.start(ctx, "server", slipway, "up", "--data", data, "--listen", "127.0.0.1:0")
	if err != nil {
		return r, err
	}
	lines := bufio.NewScanner(stdout)
	for r.url == "" && lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), "Slipway serves "); ok {
			r.url, _, _ = strings.Cut(rest, " ")
		}
	}
	if r.url == "" {
		return r, fmt.Errorf("the server did not start; see %s", filepath.Join(dir, "server.log"))
	}
	go io.Copy(io.Discard, stdout)
	stdout, err = r.start(ctx, "ledger", slipway, "events", "--follow", "--after", "0", "-o", "json")
	if err == nil {
		go r.ledger.follow(stdout)
	}
	return r, err
}

// start runs a program beside the demo; its standard error goes to NAME.log.
func (r *road) start(ctx context.Context, name, program string, args ...string) (io.Reader, error) {
	log, err := os.Create(filepath.Join(r.dir, name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(program, args...)
	cmd.Env, cmd.Stderr, cmd.Dir = r.env, log, r.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // the terminal's interrupt is for the demo, which stops them in order
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{name: name, cmd: cmd, done: make(chan struct{})}
	read, write := io.Pipe()
	go func() {
		_, err := io.Copy(write, stdout)
		write.CloseWithError(err)
		cmd.Wait()
		close(p.done)
	}()
	r.procs = append(r.procs, p)
	return read, nil
}

// stop ends what start started, the newest first, the server last.
func (r *road) stop() {
	for i := len(r.procs) - 1; i >= 0; i-- {
		p := r.procs[i]
		p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.done:
		case <-time.After(20 * time.Second):
			fmt.Fprintf(os.Stderr, "demo: %s does not stop; killed\n", p.name)
			p.cmd.Process.Kill()
			<-p.done
		}
	}
	r.sweep()
}

// sweep ends what is in service on the nodes. An agent that stops leaves that running, as it must; but the machines of
// the demo end with it.
func (r *road) sweep() {
	names, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is good
	for _, name := range names {
		line, err := os.ReadFile(name)
		if err != nil || !strings.HasPrefix(string(line), filepath.Join(r.dir, "nodes")+"/") {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil {
			syscall.Kill(pid, syscall.SIGTERM)
		}
	}
}

// agent joins a node and runs its agent.
func (r *road) agent(ctx context.Context, name string, labels, facts map[string]string) error {
	var join struct{ Token string }
	if err := r.json(ctx, &join, "node", "join-token"); err != nil {
		return err
	}
	args := []string{"agent", "run", "--server", r.url, "--token", join.Token, "--name", name,
		"--root", filepath.Join(r.dir, "nodes", name), "--target", filepath.Join(r.dir, "nodes", name, "fs")}
	for _, kv := range []struct {
		flag string
		set  map[string]string
	}{{"--label", labels}, {"--fact", facts}} {
		for k, v := range kv.set {
			args = append(args, kv.flag, k+"="+v)
		}
	}
	stdout, err := r.start(ctx, name, r.slipway, args...)
	if err != nil {
		return err
	}
	go io.Copy(io.Discard, stdout)
	_, err = r.ledger.wait(ctx, "node "+name, 0, func(e Event) bool {
		return (e.Type == "lab.node.joined" || e.Type == "lab.node.online") && e.Subject == "node/"+name
	})
	return err
}

// cli runs a slipway command and returns what it prints.
func (r *road) cli(ctx context.Context, args ...string) (string, error) {
	return r.run(ctx, r.dir, r.slipway, args...)
}

// show runs a slipway command and shows both to the person who watches.
func (r *road) show(ctx context.Context, args ...string) (string, error) {
	fmt.Printf("\n  $ slipway %s\n", quoted(args))
	out, err := r.cli(ctx, args...)
	for line := range strings.Lines(out) {
		fmt.Print("    ", line)
	}
	return out, err
}

// json runs a slipway command and decodes what it prints.
func (r *road) json(ctx context.Context, into any, args ...string) error {
	out, err := r.cli(ctx, append(args, "-o", "json")...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		return fmt.Errorf("slipway %s printed %q: %w", quoted(args), out, err)
	}
	return nil
}

// push pushes refs of an upstream repository to its repository on the server.
func (r *road) push(ctx context.Context, folder, repo string, refs ...string) error {
	fmt.Printf("\n  $ git push %s %s\n", repo, strings.Join(refs, " "))
	_, err := r.run(ctx, filepath.Join(r.dir, "upstream", folder), "git", append([]string{"push", "--quiet", r.url + "/git/" + repo + ".git"}, refs...)...)
	return err
}

func (r *road) run(ctx context.Context, dir, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env, cmd.Dir = r.env, dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s %s: %w: %s", filepath.Base(program), quoted(args), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.String(), nil
}

// get reads a page.
func get(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return string(body), err
}

// freePorts returns ports of loopback that nobody listens on now, for TCP and UDP.
func freePorts(n int) ([]string, error) {
	var ports []string
	var held []io.Closer
	defer func() {
		for _, c := range held {
			c.Close()
		}
	}()
	for tries := 0; len(ports) < n; tries++ {
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		held = append(held, tcp)
		port := strconv.Itoa(tcp.Addr().(*net.TCPAddr).Port)
		udp, err := net.ListenPacket("udp", "127.0.0.1:"+port)
		if err != nil {
			if tries > 100 {
				return nil, errors.Join(errors.New("no port is free for both TCP and UDP"), err)
			}
			continue
		}
		held = append(held, udp)
		ports = append(ports, port)
	}
	return ports, nil
}

func quoted(args []string) string {
	out := make([]string, len(args))
	for i, a := range args {
		if out[i] = a; strings.ContainsAny(a, " '\"$") {
			out[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
	}
	return strings.Join(out, " ")
}
