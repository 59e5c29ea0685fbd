package githttp

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

// The environment by which a hook finds its server and its push.
const (
	envSocket  = "SLIPWAY_HOOK_SOCKET"
	envPush    = "SLIPWAY_HOOK_PUSH"
	envProgram = "SLIPWAY_HOOK_PROGRAM"
)

// quarantine are the variables by which git tells a hook where the pushed objects are until they are accepted.
var quarantine = []string{"GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_QUARANTINE_PATH"}

// question is what a hook asks the server, as one line of JSON.
type question struct {
	Push    string            `json:"push"`
	Hook    string            `json:"hook"`
	Refs    []move            `json:"refs"`
	Options []string          `json:"options,omitempty"`
	Env     map[string]string `json:"env,omitempty"`
}

type move struct {
	Old string `json:"old"`
	New string `json:"new"`
	Ref string `json:"ref"`
}

// verdict is the server's answer.
type verdict struct {
	Refused  bool     `json:"refused"`            // the whole push (pre-receive)
	Messages []string `json:"messages,omitempty"` // for the pusher
	Reports  []report `json:"reports,omitempty"`  // one for each ref (proc-receive)
}

type report struct {
	Ref    string `json:"ref"`
	Error  string `json:"error,omitempty"` // why it was not done; empty: done
	Became string `json:"became,omitempty"`
	New    string `json:"new,omitempty"`
}

// Hook runs one of git's hooks on behalf of the server that started git, and returns the exit status. It is what
// `slipway git-hook NAME` does.
func Hook(name string, in io.Reader, out, errs io.Writer) int {
	var err error
	switch name {
	case "pre-receive":
		err = preReceive(in, errs)
	case "proc-receive":
		err = procReceive(in, out, errs)
	default:
		err = fmt.Errorf("no hook is named %q", name)
	}
	if err == nil {
		return 0
	}
	if !errors.Is(err, errRefused) {
		fmt.Fprintf(errs, "slipway: %v\n", err)
	}
	return 1
}

var errRefused = errors.New("refused")

func preReceive(in io.Reader, errs io.Writer) error {
	q := question{Hook: "pre-receive", Env: map[string]string{}}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		m, err := parseMove(lines.Text())
		if err != nil {
			return err
		}
		q.Refs = append(q.Refs, m)
	}
	if err := lines.Err(); err != nil {
		return err
	}
	for _, name := range quarantine {
		if v := os.Getenv(name); v != "" {
			q.Env[name] = v
		}
	}
	v, err := ask(q)
	if err != nil {
		return err
	}
	say(errs, v.Messages)
	if v.Refused {
		return errRefused
	}
	return nil
}

// procReceive speaks the protocol of the hook as githooks(5) describes it.
func procReceive(in io.Reader, out, errs io.Writer) error {
	rd := bufio.NewReader(in)
	hello, err := readPackets(rd)
	if err != nil {
		return err
	}
	if len(hello) == 0 || !strings.HasPrefix(hello[0], "version=1") {
		return fmt.Errorf("git speaks an unknown version of the proc-receive protocol: %q", hello)
	}
	_, caps, _ := strings.Cut(hello[0], "\x00")
	options := strings.Contains(" "+caps+" ", " push-options ")
	answer := "version=1\n"
	if options {
		answer = "version=1\x00push-options\n"
	}
	if err := writePackets(out, answer); err != nil {
		return err
	}
	q := question{Hook: "proc-receive"}
	commands, err := readPackets(rd)
	if err != nil {
		return err
	}
	for _, c := range commands {
		m, err := parseMove(c)
		if err != nil {
			return err
		}
		q.Refs = append(q.Refs, m)
	}
	if options {
		if q.Options, err = readPackets(rd); err != nil {
			return err
		}
	}
	v, err := ask(q)
	if err != nil {
		return err
	}
	say(errs, v.Messages)
	var reply []string
	for _, r := range v.Reports {
		if r.Error != "" {
			reply = append(reply, "ng "+r.Ref+" "+r.Error)
			continue
		}
		reply = append(reply, "ok "+r.Ref)
		if r.Became != "" {
			reply = append(reply, "option refname "+r.Became, "option new-oid "+r.New)
		}
	}
	return writePackets(out, reply...)
}

func say(w io.Writer, lines []string) {
	for _, l := range lines {
		fmt.Fprintln(w, l)
	}
}

func parseMove(line string) (move, error) {
	f := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 3)
	if len(f) != 3 {
		return move{}, fmt.Errorf("git sent %q instead of a ref's move", line)
	}
	return move{Old: f[0], New: f[1], Ref: f[2]}, nil
}

// ask sends the question and reads the answer. A server that is gone is a refusal.
func ask(q question) (verdict, error) {
	var v verdict
	q.Push = os.Getenv(envPush)
	socket := os.Getenv(envSocket)
	if q.Push == "" || socket == "" {
		return v, errors.New("this hook is run by a Slipway server, not by hand")
	}
	conn, err := net.DialTimeout("unix", socket, 10*time.Second)
	if err != nil {
		return v, fmt.Errorf("the server is gone; push again when it is back: %w", err)
	}
	defer conn.Close()
	if err := json.NewEncoder(conn).Encode(q); err != nil {
		return v, fmt.Errorf("the server is gone; push again when it is back: %w", err)
	}
	if err := json.NewDecoder(conn).Decode(&v); err != nil {
		return v, fmt.Errorf("the server is gone; push again when it is back: %w", err)
	}
	return v, nil
}
