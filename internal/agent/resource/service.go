package resource

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/deploy/plan"
)

// serviceHandler keeps systemd units. It needs systemd as the running init, and the agent's root to be the machine's.
type serviceHandler struct{ host *Host }

func (h serviceHandler) available() error {
	if h.host.root.dir != "/" {
		return slipway.Errorf(slipway.Unavailable, "systemd serves the machine, and this agent's root is %s", h.host.root.dir).
			Try("declare a process instead, or run the agent with --target /")
	}
	if _, err := os.Stat("/run/systemd/system"); err != nil { // as sd_booted(3) asks
		return slipway.Errorf(slipway.Unavailable, "the node has no systemd: there is no /run/systemd/system").Try("declare a process instead")
	}
	return nil
}

func (h serviceHandler) systemctl(ctx context.Context, args ...string) (string, error) {
	out, err := h.host.run(ctx, append([]string{"systemctl", "--no-pager"}, args...), time.Minute)
	return strings.TrimSpace(out), err
}

// ask runs a systemctl query whose exit status only repeats its answer.
func (h serviceHandler) ask(ctx context.Context, args ...string) (string, error) {
	out, err := h.systemctl(ctx, args...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = nil
	}
	return out, err
}

func (h serviceHandler) unitFile(attrs plan.Service) string {
	return "/etc/systemd/system/" + attrs.Unit
}

func (h serviceHandler) stampFile(id string) string {
	return filepath.Join(h.host.cfg.State, "services", strings.NewReplacer("/", "%2F", "%", "%25").Replace(id))
}

func (h serviceHandler) Diff(ctx context.Context, w Want) (Diff, error) {
	attrs, err := decode[plan.Service](w)
	if err != nil {
		return Diff{}, err
	}
	if err := h.available(); err != nil {
		return Diff{}, err
	}
	var d Diff
	if attrs.Content != "" {
		current, err := os.ReadFile(h.unitFile(attrs))
		if gone(err) {
			d.Absent = true
			d.change("unit", "absent", attrs.Unit)
		} else if err != nil {
			return d, h.host.root.say(err, "read unit", h.unitFile(attrs))
		} else if !bytes.Equal(current, []byte(attrs.Content)) {
			d.change("unit", excerpt(current, []byte(attrs.Content)), excerpt([]byte(attrs.Content), current))
		}
	}
	active, err := h.ask(ctx, "is-active", attrs.Unit)
	if err != nil {
		return d, err
	}
	if active != "active" {
		d.change("state", active, "active")
	}
	enabled, err := h.ask(ctx, "is-enabled", attrs.Unit)
	if err != nil {
		return d, err
	}
	if enabled == "disabled" {
		d.change("enabled", enabled, "enabled")
	}
	stamp, err := os.ReadFile(h.stampFile(w.ID))
	if err != nil && !gone(err) {
		return d, err
	}
	if string(stamp) != w.Hash+" "+w.Stamp {
		d.change("requirements", "as when it was started", "changed since")
	}
	d.fact("unit", attrs.Unit)
	d.fact("active", active)
	return d, nil
}

func (h serviceHandler) Apply(ctx context.Context, w Want) error {
	attrs, err := decode[plan.Service](w)
	if err != nil {
		return err
	}
	if err := h.available(); err != nil {
		return err
	}
	if attrs.Content != "" {
		if err := h.host.root.write(h.unitFile(attrs)[1:], []byte(attrs.Content), 0o644, -1, -1); err != nil {
			return h.host.root.say(err, "write unit", h.unitFile(attrs))
		}
		if out, err := h.systemctl(ctx, "daemon-reload"); err != nil {
			return slipway.Errorf(slipway.Internal, "systemctl daemon-reload: %v%s", err, said(out))
		}
	}
	for _, args := range [][]string{{"enable", attrs.Unit}, {"restart", attrs.Unit}} {
		if out, err := h.systemctl(ctx, args...); err != nil {
			return slipway.Errorf(slipway.Internal, "systemctl %s: %v%s", strings.Join(args, " "), err, said(out)).
				Try("see journalctl -u " + attrs.Unit + " on the node")
		}
	}
	if err := os.MkdirAll(filepath.Dir(h.stampFile(w.ID)), 0o755); err != nil {
		return err
	}
	return WriteState(h.stampFile(w.ID), []byte(w.Hash+" "+w.Stamp))
}

func (h serviceHandler) Purge(ctx context.Context, w Want) error {
	attrs, err := decode[plan.Service](w)
	if err != nil {
		return err
	}
	if h.available() != nil { // then it never was there
		return nil
	}
	if attrs.Content != "" {
		if out, err := h.systemctl(ctx, "disable", "--now", attrs.Unit); err != nil {
			if _, statErr := os.Stat(h.unitFile(attrs)); statErr == nil {
				return slipway.Errorf(slipway.Internal, "systemctl disable: %v%s", err, said(out))
			}
		}
		if err := os.Remove(h.unitFile(attrs)); err != nil && !gone(err) {
			return h.host.root.say(err, "remove unit", h.unitFile(attrs))
		}
		if out, err := h.systemctl(ctx, "daemon-reload"); err != nil {
			return slipway.Errorf(slipway.Internal, "systemctl daemon-reload: %v%s", err, said(out))
		}
	}
	if err := os.Remove(h.stampFile(w.ID)); err != nil && !gone(err) {
		return err
	}
	return nil
}
