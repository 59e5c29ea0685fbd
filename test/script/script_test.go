// Package script runs the stories: txtar scripts in testdata that are tests and manual at once.
//
// Each story drives a real server through git and the command line only. Beside the commands of testscript there are:
//
//	server [ARG...]          start 'slipway up' on a folder of the story and wait until it is ready; $URL is its address
//	restart                  kill the server as a power cut would, start it again and wait
//	agent NAME [ARG...]      let a node of this name join, with a root of its own in $WORK/NAME, and run its agent; its
//	                         fact "port" is a free port, also in $PORT_NAME
//	repo NAME DIR            make the repository NAME and put the files of DIR into it as the first commit of main
//	postbox                  listen for webhooks at $HOOK and for mail at $SMTP; what comes is kept in the files hooks and mails
//	until REGEXP CMD ARG...  run the command again and again until it succeeds and its output matches, for a minute
package script

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"slipway.dev/slipway/internal/cli"
	"slipway.dev/slipway/internal/platform/transport"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"slipway": func() {
			os.Exit(cli.Main(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv))
		},
	})
}

func TestStories(t *testing.T) { stories(t, "testdata") }

func stories(t *testing.T, dir string) {
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		Setup:               setup,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"server": server, "restart": restart, "agent": agent, "repo": repo, "postbox": postbox, "until": until,
		},
	})
}

// setup gives the story a home in which git logs in with the server's token.
func setup(env *testscript.Env) error {
	home := filepath.Join(env.WorkDir, ".home")
	if err := os.MkdirAll(home, 0o755); err != nil {
		return err
	}
	env.Setenv("HOME", home)
	env.Setenv("SLIPWAY_DATA", filepath.Join(env.WorkDir, "data"))
	env.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	env.Setenv("GIT_TERMINAL_PROMPT", "0")
	config := "[user]\n\tname = Ann\n\temail = ann@example.org\n[init]\n\tdefaultBranch = main\n[credential]\n\thelper = !slipway git-credential\n[advice]\n\tdetachedHead = false\n"
	return os.WriteFile(filepath.Join(home, ".gitconfig"), []byte(config), 0o644)
}

// process is a server or an agent of a story.
type process struct {
	cmd *exec.Cmd
	log bytes.Buffer
}

func start(ts *testscript.TestScript, args ...string) *process {
	self, err := exec.LookPath("slipway") // testscript has put the command there
	ts.Check(err)
	p := &process{cmd: exec.Command(self, args...)}
	p.cmd.Dir = ts.Getenv("WORK")
	for _, name := range []string{"HOME", "PATH", "WORK", "SLIPWAY_DATA", "TMPDIR", "SLIPWAY_CA"} {
		p.cmd.Env = append(p.cmd.Env, name+"="+ts.Getenv(name))
	}
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	ts.Check(p.cmd.Start())
	ts.Defer(func() {
		p.kill()
		ts.Logf("%s said:\n%s", strings.Join(args, " "), p.log.String())
	})
	return p
}

func (p *process) kill() {
	p.cmd.Process.Kill() //nolint:errcheck // it may have ended
	p.cmd.Wait()         //nolint:errcheck // it was killed
}

func server(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("server: cannot be negated")
	}
	addr := freeAddr(ts)
	ts.Setenv("ADDR", addr)
	ts.Setenv("URL", "http://"+addr)
	if slices.Contains(args, "--tls-cert") {
		ts.Setenv("URL", "https://"+addr)
	}
	ts.Setenv("SERVER_ARGS", strings.Join(args, "\n"))
	up(ts)
}

func up(ts *testscript.TestScript) {
	args := []string{"up", "--data", ts.Getenv("SLIPWAY_DATA"), "--listen", ts.Getenv("ADDR")}
	if more := ts.Getenv("SERVER_ARGS"); more != "" {
		args = append(args, strings.Split(more, "\n")...)
	}
	p := start(ts, args...)
	ts.Setenv("SERVER_PID", fmt.Sprint(p.cmd.Process.Pid))
	secure, err := transport.Client(ts.Getenv("SLIPWAY_CA"))
	ts.Check(err)
	web := &http.Client{Transport: &http.Transport{TLSClientConfig: secure, DisableKeepAlives: true}}
	retry(ts, "the server to be ready", func() error {
		resp, err := web.Get(ts.Getenv("URL") + "/readyz")
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s", resp.Status)
		}
		return nil
	})
}

func restart(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: restart")
	}
	ts.Check(exec.Command("kill", "-9", ts.Getenv("SERVER_PID")).Run())
	retry(ts, "the server to be gone", func() error {
		if resp, err := http.Get(ts.Getenv("URL") + "/healthz"); err == nil {
			resp.Body.Close()
			return fmt.Errorf("it still answers")
		}
		return nil
	})
	up(ts)
}

func agent(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: agent NAME [ARG...]")
	}
	name := args[0]
	_, port, err := net.SplitHostPort(freeAddr(ts))
	ts.Check(err)
	ts.Setenv("PORT_"+name, port)
	token := strings.TrimSpace(output(ts, "slipway", "node", "join-token", "--name", name, "-o", "json"))
	secret := regexp.MustCompile(`"token": "([^"]+)"`).FindStringSubmatch(token)
	if secret == nil {
		ts.Fatalf("no token in %s", token)
	}
	start(ts, append([]string{"agent", "run", "--server", ts.Getenv("URL"), "--token", secret[1], "--name", name,
		"--root", filepath.Join(ts.Getenv("WORK"), name), "--fact", "port=" + port}, args[1:]...)...)
	retry(ts, "node "+name+" to be online", func() error {
		out, err := run(ts, "slipway", "node", "show", name, "-o", "json")
		if err == nil && !strings.Contains(out, `"state": "online"`) {
			err = fmt.Errorf("%s", out)
		}
		return err
	})
}

func repo(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: repo NAME DIR")
	}
	dir := ts.MkAbs(args[1])
	output(ts, "slipway", "repo", "create", args[0])
	for _, words := range [][]string{
		{"init", "-q", "-b", "main"}, {"remote", "add", "origin", ts.Getenv("URL") + "/git/" + args[0] + ".git"},
		{"add", "-A"}, {"commit", "-q", "-m", "chore: begin"}, {"push", "-q", "origin", "main"},
	} {
		output(ts, append([]string{"git", "-C", dir}, words...)...)
	}
}

func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until REGEXP CMD ARG...")
	}
	want, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	var out string
	retry(ts, fmt.Sprintf("%q in the output of %s", args[0], strings.Join(args[1:], " ")), func() (err error) {
		if out, err = run(ts, args[1:]...); err == nil && !want.MatchString(out) {
			err = fmt.Errorf("it says:\n%s", out)
		}
		return err
	})
	ts.Logf("%s", out)
}

// retry runs f every 50 ms until it succeeds, for a minute.
func retry(ts *testscript.TestScript, what string, f func() error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			ts.Fatalf("waited a minute for %s: %v", what, err)
		case <-tick.C:
		}
	}
}

func run(ts *testscript.TestScript, words ...string) (string, error) {
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"HOME", "PATH", "WORK", "URL", "ADDR", "TMPDIR", "SLIPWAY_DATA", "SLIPWAY_TOKEN", "GIT_CONFIG_NOSYSTEM", "GIT_TERMINAL_PROMPT"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s", strings.Join(words, " "), err, out)
	}
	return string(out), err
}

func output(ts *testscript.TestScript, words ...string) string {
	out, err := run(ts, words...)
	ts.Check(err)
	return out
}

func freeAddr(ts *testscript.TestScript) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	defer l.Close()
	return l.Addr().String()
}
