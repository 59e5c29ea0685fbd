package resource

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/deploy/plan"
)

const defaultExec = 5 * time.Minute

// execHandler runs commands until what they make is there. `unless` is also run to compare; it must not write.
type execHandler struct{ host *Host }

func (h execHandler) Diff(ctx context.Context, w Want) (Diff, error) {
	attrs, err := decode[plan.Exec](w)
	if err != nil {
		return Diff{}, err
	}
	var d Diff
	if attrs.Creates != "" {
		rel, err := h.host.root.rel(attrs.Creates)
		if err != nil {
			return d, err
		}
		if _, err := h.host.root.os.Lstat(rel); gone(err) {
			d.Absent = true
			d.change("creates", "absent", attrs.Creates)
		} else if err != nil {
			return d, h.host.root.say(err, "look at", attrs.Creates)
		}
		return d, nil
	}
	out, err := h.host.run(ctx, attrs.Unless, timeoutOf(attrs))
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		d.Absent = true
		d.change("unless", exit.String(), "exit status 0")
		return d, nil
	case err != nil:
		return d, slipway.Errorf(slipway.Internal, "unless: %w%s", err, said(out))
	}
	return d, nil
}

func (h execHandler) Apply(ctx context.Context, w Want) error {
	attrs, err := decode[plan.Exec](w)
	if err != nil {
		return err
	}
	if out, err := h.host.run(ctx, attrs.Command, timeoutOf(attrs)); err != nil {
		return slipway.Errorf(slipway.Internal, "%v%s", err, said(out))
	}
	after, err := h.Diff(ctx, w)
	if err == nil && !after.Clean() {
		what := attrs.Creates + " is not there"
		if attrs.Creates == "" {
			what = "unless still fails"
		}
		return slipway.Errorf(slipway.Invalid, "the command succeeded, but %s", what).At(w.Position)
	}
	return err
}

// Purge leaves what the command did.
func (h execHandler) Purge(context.Context, Want) error { return nil }

func timeoutOf(attrs plan.Exec) time.Duration {
	if attrs.Timeout > 0 {
		return time.Duration(attrs.Timeout) * time.Second
	}
	return defaultExec
}

// run runs a command to its end, or kills its whole process group when the time is over, and returns the end of its output.
func (h *Host) run(ctx context.Context, argv []string, within time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	argv = h.command(argv)
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var out tailBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Env, cmd.Dir = h.environment(nil), h.root.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second // a child that left the group may hold the output open
	err := cmd.Run()
	if ctxErr := ctx.Err(); ctxErr != nil && err != nil {
		if errors.Is(ctxErr, context.DeadlineExceeded) {
			return out.String(), fmt.Errorf("not done after %s", within)
		}
		return out.String(), ctxErr
	}
	return out.String(), err
}

// said quotes output for a reason.
func said(out string) string {
	if out = strings.TrimSpace(out); out == "" {
		return ""
	}
	return fmt.Sprintf("; it said %q", out)
}

// tailBuffer keeps the last bytes written to it.
type tailBuffer struct{ buf bytes.Buffer }

func (t *tailBuffer) Write(p []byte) (int, error) {
	t.buf.Write(p)
	if extra := t.buf.Len() - 2000; extra > 0 {
		t.buf.Next(extra)
	}
	return len(p), nil
}

func (t *tailBuffer) String() string { return strings.ToValidUTF8(t.buf.String(), "") }
