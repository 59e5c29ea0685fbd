package build

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/execution"
	"slipway.dev/slipway/internal/platform/git"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/build/farm"
)

// Desk is a build of a checkout, as the server would do it, without one: same sandbox, same environment, nothing kept.
type Desk struct {
	Dir     string            // the component's folder; what git ignores is left out
	Deps    map[string]string // by needed component: a folder with its output
	Out     string            // where to write the output; must not exist, or be empty; empty: nowhere
	Version string            // what $VERSION is, for a component that is stamped; default "0.0.0"
	Tests   bool              // run the tests too
	Log     io.Writer
}

// RunDesk builds and tests a checkout. The error is Invalid when the build or a test failed, and says why. It works in a folder
// of its own below tmp.
func RunDesk(ctx context.Context, run execution.Executor, artifacts Artifacts, tmp string, d Desk) error {
	file := filepath.Join(d.Dir, spec.ComponentFile)
	text, err := os.ReadFile(file)
	if err != nil {
		return slipway.Errorf(slipway.Invalid, "there is no recipe: %w", err).Try("run it in a component's folder, or give that folder")
	}
	rec := recipe{file: file}
	if rec.Component, err = spec.ParseComponent(text, file); err != nil {
		return err
	}
	work, err := os.MkdirTemp(tmp, "desk-")
	if err != nil {
		return fmt.Errorf("make a work folder: %w", err)
	}
	defer artifact.RemoveTree(work)
	b := Build{ID: "desk", Component: rec.Name, Version: d.Version, Commit: "the checkout", Inputs: map[string]string{}}
	if b.Version == "" {
		b.Version = "0.0.0"
	}
	for _, need := range rec.Needs {
		dir, ok := d.Deps[need]
		if !ok {
			return slipway.Errorf(slipway.Invalid, "%s needs the output of %s", rec.Name, need).At(lineOf(file, text, need)).
				Try("slipway build run --dep " + need + "=FOLDER, made by slipway build run --out FOLDER there")
		}
		if b.Inputs[need], err = artifact.PutTree(ctx, artifacts, dir); err != nil {
			return err
		}
	}
	if b.Source, rec.epoch, err = checkout(ctx, artifacts, d.Dir, filepath.Join(work, "checkout")); err != nil {
		return err
	}
	s := &Service{artifacts: artifacts}
	if b.Host, err = s.host.fingerprint(ctx); err != nil {
		return err
	}
	one := func(check string, step spec.Step) (artifact.Digest, error) {
		b := b
		b.Check = check
		b.Run = Run{Script: step.Run, Timeout: step.Timeout, Tools: rec.Tools, Env: environment(slipway.Pin{Version: b.Version}, rec)}
		if check == "" {
			b.Own, b.Run.Outputs = "", rec.Outputs
		}
		if missing := missingTools(b.Run); missing != "" {
			return "", slipway.Errorf(slipway.Invalid, "the tool %q is not on this host", missing).At(file).Try("apt-get install " + missing)
		}
		messages, err := s.messages(ctx, b)
		if err != nil {
			return "", err
		}
		var action artifact.Digest
		for _, m := range messages {
			if action, _, err = artifact.PutMessage(ctx, artifacts, m); err != nil {
				return "", err
			}
		}
		fmt.Fprintf(d.Log, "# %s %s from %s\n", b.Name(), b.Version, b.Commit)
		res, err := run.Execute(ctx, execution.Request{Action: action, Log: d.Log})
		if err != nil {
			return "", err
		}
		data, err := proto.Marshal(res.Action)
		if err != nil {
			return "", slipway.Errorf(slipway.Internal, "encode the result: %w", err)
		}
		outcome, reason, err := farm.Judge(ctx, artifacts, farm.Result{Status: res.Status, Reason: res.Reason, Action: data, Output: res.Output, Wall: res.Wall}, b.Run.Outputs, "")
		if err != nil {
			return "", err
		}
		fmt.Fprintf(d.Log, "# %s: %s: %s\n", b.Name(), outcome, reason)
		if outcome != slipway.Pass {
			return "", slipway.Errorf(slipway.Invalid, "%s: %s", b.Name(), reason)
		}
		return res.Output, nil
	}
	built, err := one("", rec.Build)
	if err != nil {
		return err
	}
	if d.Out != "" {
		if err := artifact.CopyTree(ctx, artifacts, built, d.Out); err != nil {
			return err
		}
	}
	if !d.Tests {
		return nil
	}
	b.Own = built
	for _, check := range slices.Sorted(maps.Keys(rec.Tests)) {
		if _, err := one(check, rec.Tests[check]); err != nil {
			return err
		}
	}
	return nil
}

// checkout reads a working tree in: the files that git tracks and those that it does not ignore; without git, all of them.
func checkout(ctx context.Context, st Artifacts, dir, tmp string) (artifact.Digest, time.Time, error) {
	list := exec.CommandContext(ctx, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir, list.Env = dir, git.Environ()
	names, err := list.Output()
	if err != nil {
		if _, err := os.Stat(filepath.Join(dir, ".git")); err == nil {
			return "", time.Time{}, slipway.Errorf(slipway.Internal, "git cannot list the checkout").At(dir).Try("git status")
		}
		d, err := artifact.PutTree(ctx, st, dir)
		return d, time.Time{}, err
	}
	for name := range strings.SplitSeq(string(bytes.TrimRight(names, "\x00")), "\x00") {
		from, to := filepath.Join(dir, name), filepath.Join(tmp, name)
		fi, err := os.Lstat(from)
		if err != nil {
			continue // removed, but not from the index yet
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return "", time.Time{}, fmt.Errorf("copy the checkout: %w", err)
		}
		switch {
		case fi.Mode()&os.ModeSymlink != 0:
			target, err := os.Readlink(from)
			if err == nil {
				err = os.Symlink(target, to)
			}
			if err != nil {
				return "", time.Time{}, fmt.Errorf("copy the checkout: %w", err)
			}
		case fi.Mode().IsRegular():
			text, err := os.ReadFile(from)
			if err == nil {
				err = os.WriteFile(to, text, fi.Mode().Perm())
			}
			if err != nil {
				return "", time.Time{}, fmt.Errorf("copy the checkout: %w", err)
			}
		}
	}
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return "", time.Time{}, fmt.Errorf("copy the checkout: %w", err)
	}
	d, err := artifact.PutTree(ctx, st, tmp)
	var epoch time.Time
	last := exec.CommandContext(ctx, "git", "log", "-1", "--format=%at", "--", ".")
	last.Dir, last.Env = dir, git.Environ()
	if out, err := last.Output(); err == nil {
		if sec, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64); err == nil {
			epoch = time.Unix(sec, 0)
		}
	}
	return d, epoch, err
}
