package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"slipway.dev/slipway/internal/slipway"
)

// Repo is a bare repository on disk. The zero value is not usable; get one from [Init] or [Open].
type Repo struct {
	dir     string
	env     []string
	held    *os.File
	readers *Readers
}

// Open returns the repository at dir without looking at it.
func Open(dir string) Repo { return Repo{dir: dir} }

// Dir returns where the repository is.
func (r Repo) Dir() string { return r.dir }

// WithEnv returns r with variables ("NAME=value") added to the environment of its git processes: a quarantine's
// GIT_OBJECT_DIRECTORY, for instance.
func (r Repo) WithEnv(env ...string) Repo {
	r.env = append(append([]string(nil), r.env...), env...)
	return r
}

// Holding returns r with f open in every git process that it starts. A lock (flock) on f is thus held for as long as
// any of these processes lives, even when the process that started them is gone.
func (r Repo) Holding(f *os.File) Repo { r.held = f; return r }

// Environ is the pinned environment of every git process: what the process itself needs from ours, nothing that
// changes git's behaviour. The settings are appended to the fixed ones, as "section.key=value".
func Environ(settings ...string) []string {
	env := []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=/nonexistent",
		"LC_ALL=C",
		"TZ=UTC",
		"GIT_CONFIG_NOSYSTEM=1",
		"GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_TERMINAL_PROMPT=0",
		"GIT_ASKPASS=/bin/false",
		"GIT_LITERAL_PATHSPECS=1",
		"GIT_NO_REPLACE_OBJECTS=1",
		"GIT_OPTIONAL_LOCKS=0",
		"GIT_ALLOW_PROTOCOL=http:https:git:ssh",
	}
	for _, name := range []string{"TMPDIR", "SSH_AUTH_SOCK", "SSL_CERT_FILE", "SSL_CERT_DIR", "http_proxy", "https_proxy", "no_proxy"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	all := append([]string{
		"safe.directory=*",
		"core.hooksPath=/dev/null",
		"core.fsync=committed",
		"core.attributesFile=/dev/null",
		"core.logAllRefUpdates=false",
		"core.protectHFS=true",
		"core.protectNTFS=true",
		"gc.auto=0",
		"maintenance.auto=false",
		"merge.conflictStyle=merge",
		"merge.renames=true",
		"merge.directoryRenames=false",
		"diff.renames=true",
		"i18n.commitEncoding=UTF-8",
		"user.useConfigOnly=true",
	}, settings...)
	env = append(env, "GIT_CONFIG_COUNT="+strconv.Itoa(len(all)))
	for i, s := range all {
		k, v, _ := strings.Cut(s, "=")
		env = append(env, fmt.Sprintf("GIT_CONFIG_KEY_%d=%s", i, k), fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", i, v))
	}
	return env
}

// Command prepares a git process in the repository. It is killed, with everything it started, when ctx ends.
func (r Repo) Command(ctx context.Context, env []string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = r.dir
	cmd.Env = append(append(env, "GIT_DIR="+r.dir), r.env...)
	if r.held != nil {
		cmd.ExtraFiles = []*os.File{r.held}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// exit is a git process that ended badly.
type exit struct {
	verb   string
	code   int
	stderr string
}

func (e *exit) Error() string {
	if e.stderr == "" {
		return fmt.Sprintf("git %s ended with status %d", e.verb, e.code)
	}
	return fmt.Sprintf("git %s: %s", e.verb, e.stderr)
}

// run starts git, feeds it stdin (may be nil) and returns its output. A bad exit comes back as *exit.
func (r Repo) run(ctx context.Context, stdin io.Reader, env []string, args ...string) ([]byte, error) {
	var out bytes.Buffer
	cmd := r.Command(ctx, append(Environ(), env...), args...)
	cmd.Stdin, cmd.Stdout = stdin, &out
	err := wait(ctx, cmd, args[0], cmd.Run)
	return out.Bytes(), err
}

// wait runs do, which runs cmd, and turns its end into an error that says what git said.
func wait(ctx context.Context, cmd *exec.Cmd, verb string, do func() error) error {
	var stderr bytes.Buffer
	if cmd.Stderr == nil {
		cmd.Stderr = &stderr
	}
	err := do()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("git %s: %w", verb, context.Cause(ctx))
	}
	var bad *exec.ExitError
	if errors.As(err, &bad) {
		text := strings.TrimSpace(stderr.String())
		text = strings.TrimPrefix(strings.TrimPrefix(text, "fatal: "), "error: ")
		return &exit{verb: verb, code: bad.ExitCode(), stderr: text}
	}
	return slipway.Errorf(slipway.Internal, "cannot run git: %w", err).Try("install git 2.38 or newer, and see that it is in PATH")
}

// code returns the exit status in err: 0 for nil, -1 when err is no bad exit.
func code(err error) int {
	var e *exit
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e):
		return e.code
	}
	return -1
}

// fail wraps an unexpected end of a git process.
func (r Repo) fail(err error, format string, args ...any) error {
	if code(err) < 0 {
		return err // cancelled, or git is missing: it says so already
	}
	return slipway.Errorf(slipway.Internal, format+": %w", append(args, err)...).At(r.dir)
}

// line runs git and returns its output without the line end.
func (r Repo) line(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	out, err := r.run(ctx, stdin, nil, args...)
	return strings.TrimSuffix(string(out), "\n"), err
}
