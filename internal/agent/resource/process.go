package resource

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/deploy/plan"
)

const (
	defaultHealthy = 30 * time.Second       // in which a process must answer
	settle         = 300 * time.Millisecond // in which one without a health check must not end
	healthPause    = 50 * time.Millisecond  // between two questions while it starts
)

// processHandler keeps programs running. The supervisor holds them; this compares and starts and stops.
type processHandler struct{ host *Host }

func (h processHandler) Diff(ctx context.Context, w Want) (Diff, error) {
	attrs, err := decode[plan.Process](w)
	if err != nil {
		return Diff{}, err
	}
	var d Diff
	r, running, known := h.host.super.get(w.ID)
	switch {
	case !known:
		d.Absent = true
		d.change("state", "absent", "running")
		return d, nil
	case !running:
		d.change("state", r.Exit, "running")
		return d, nil
	}
	d.fact("pid", fmt.Sprint(r.Pid))
	d.fact("started", r.Started.Format(time.RFC3339))
	d.fact("exe", r.Exe)
	d.fact("exe_digest", r.ExeDigest)
	d.fact("log", h.host.super.LogFile(w.ID))
	if r.Hash != w.Hash {
		was, is := strings.Join(r.Command, " "), strings.Join(h.command(attrs), " ")
		if was == is {
			was, is = r.Hash, w.Hash
			d.change("definition", was, is)
		} else {
			d.change("command", was, is)
		}
	} else if r.Stamp != w.Stamp {
		d.change("requirements", "as when it was started", "changed since")
	}
	if attrs.Health != "" && d.Clean() {
		if err := h.healthy(ctx, attrs.Health); err != nil {
			d.change("health", err.Error(), "answers")
		}
	}
	return d, nil
}

func (h processHandler) Apply(ctx context.Context, w Want) error {
	attrs, err := decode[plan.Process](w)
	if err != nil {
		return err
	}
	super := h.host.super
	r, running, known := super.get(w.ID)
	if known && !running && r.Hash == w.Hash && r.Stamp == w.Stamp && time.Now().Before(r.due()) {
		return &Later{At: r.due(), Reason: fmt.Sprintf("%s, %d times in a row; it is started again at %s%s",
			r.Exit, r.Exits, r.due().Format(time.TimeOnly), h.tail(w.ID))}
	}
	if err := super.stop(ctx, w.ID); err != nil {
		return err
	}
	dir := h.host.root.dir
	if attrs.Cwd != "" {
		dir = h.host.root.real(attrs.Cwd)
	}
	command := h.command(attrs)
	if err := super.start(w.ID, start{hash: w.Hash, stamp: w.Stamp, command: command, env: h.host.environment(attrs.Env), dir: dir}); err != nil {
		return err
	}
	return h.await(ctx, w.ID, attrs)
}

// await returns when the process is healthy, or has settled when there is no way to ask.
func (h processHandler) await(ctx context.Context, id string, attrs plan.Process) error {
	within := defaultHealthy
	if attrs.Timeout > 0 {
		within = time.Duration(attrs.Timeout) * time.Second
	}
	if attrs.Health == "" {
		within = settle
	}
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	ask := time.NewTicker(healthPause)
	defer ask.Stop()
	done := h.host.super.done(id)
	var last error
	for {
		select {
		case <-done:
			r, _, _ := h.host.super.get(id)
			return slipway.Errorf(slipway.Internal, "%s%s", r.Exit, h.tail(id)).At(h.host.super.LogFile(id))
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C:
			if attrs.Health == "" {
				return nil
			}
			return slipway.Errorf(slipway.Internal, "not healthy after %s: %v%s", within, last, h.tail(id)).At(attrs.Health)
		case <-ask.C:
			if attrs.Health == "" {
				continue
			}
			if last = h.healthy(ctx, attrs.Health); last == nil {
				return nil
			}
		}
	}
}

func (h processHandler) healthy(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := h.host.cfg.Client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.CopyN(io.Discard, resp.Body, 64<<10); err != nil && err != io.EOF {
		return err
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("answers %s", resp.Status)
	}
	return nil
}

// Purge stops the process.
func (h processHandler) Purge(ctx context.Context, w Want) error {
	return h.host.super.forget(ctx, w.ID)
}

// command resolves the program: an absolute one that is in the root is meant when it is there, and a bare name is
// looked up in the path that it will see.
func (h processHandler) command(attrs plan.Process) []string { return h.host.command(attrs.Command) }

func (h *Host) command(argv []string) []string {
	out := append([]string(nil), argv...)
	switch name := out[0]; {
	case strings.HasPrefix(name, "/") && h.root.prefix() != "" && !strings.HasPrefix(name, h.root.dir+"/"):
		if _, err := os.Stat(h.root.real(name)); err == nil {
			out[0] = h.root.real(name)
		}
	case !strings.Contains(name, "/"):
		for _, dir := range []string{"/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin"} {
			if p, err := exec.LookPath(dir + "/" + name); err == nil {
				out[0] = p
				break
			}
		}
	}
	return out
}

// tail is the end of a process's log, for reasons.
func (h processHandler) tail(id string) string {
	f, err := os.Open(h.host.super.LogFile(id))
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > 400 {
		if _, err := f.Seek(-400, io.SeekEnd); err != nil {
			return ""
		}
	}
	text, err := io.ReadAll(io.LimitReader(f, 400))
	if err != nil || len(text) == 0 {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(strings.ToValidUTF8(string(text), "")), "\n")
	return "; its log ends with " + fmt.Sprintf("%q", strings.Join(lines[max(len(lines)-3, 0):], "\n"))
}
