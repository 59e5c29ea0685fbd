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
	"slipway.dev/slipway/internal/stage/build/buildroot"
	"slipway.dev/slipway/internal/stage/build/farm"
	"slipway.dev/slipway/internal/stage/build/plan"
)

// Desk is a build of a checkout, as the server would do it, without one: the same action, and so the same key and the same output for
// the same commit. Nothing is kept.
type Desk struct {
	Dir     string            // the component's folder; what git ignores is left out
	Deps    map[string]string // by needed component: a folder with its output
	Product string            // folder with the product's file, beside whose repositories needed components are looked for; may be empty
	Out     string            // where to write the output; must not exist, or be empty; empty: nowhere
	Version string            // what $VERSION is, for a component that is stamped; default "0.0.0"
	Tests   bool              // run the tests too
	Log     io.Writer
}

// DeskBuild is what a desk made.
type DeskBuild struct {
	Component string            `json:"component"`
	Dir       string            `json:"dir"`
	Commit    string            `json:"commit,omitempty"` // empty: the checkout has changes, or is no git's
	Version   string            `json:"version"`
	Key       string            `json:"key"` // digest of the action
	Source    string            `json:"source"`
	Inputs    map[string]string `json:"inputs"` // needed component -> digest of its output tree
	Output    string            `json:"output"` // digest of the output tree
	Took      time.Duration     `json:"took"`
	Tests     map[string]string `json:"tests,omitempty"` // by check: how it ended
	Needs     []DeskBuild       `json:"needs,omitempty"` // those that were built for it, from checkouts
	outputs   []string
}

// RunDesk builds and tests a checkout, and before it what it needs and was not given, from checkouts nearby. The error is Invalid when
// a build or a test failed, and says why. It works in a folder of its own below tmp.
func RunDesk(ctx context.Context, run execution.Executor, artifacts Artifacts, tmp string, d Desk) (DeskBuild, error) {
	work, err := os.MkdirTemp(tmp, "desk-")
	if err != nil {
		return DeskBuild{}, fmt.Errorf("make a work folder: %w", err)
	}
	defer artifact.RemoveTree(work)
	k := &desk{Desk: d, run: run, artifacts: artifacts, work: work, repos: map[string]git.Repo{}, built: map[string]DeskBuild{}, under: map[string]bool{}}
	if k.Version == "" {
		k.Version = "0.0.0"
	}
	if err := os.MkdirAll(filepath.Join(work, "gittrees"), 0o700); err != nil {
		return DeskBuild{}, fmt.Errorf("make a work folder: %w", err)
	}
	k.s = &Service{artifacts: artifacts, recipes: recipes{source: k}, trees: trees{dir: filepath.Join(work, "gittrees"), source: k, artifacts: artifacts}}
	if k.s.roots, err = buildroot.New(artifacts, buildroot.Config{Dir: filepath.Join(work, "buildroots")}); err != nil {
		return DeskBuild{}, err
	}
	k.s.exec = run
	if d.Product != "" {
		if err := k.product(); err != nil {
			return DeskBuild{}, err
		}
	}
	built, err := k.build(ctx, d.Dir, d.Tests)
	if err != nil {
		return built, err
	}
	if d.Out != "" {
		return built, artifact.CopyTree(ctx, artifacts, built.Output, d.Out)
	}
	return built, nil
}

// desk is one run of a Desk.
type desk struct {
	Desk
	s         *Service
	run       execution.Executor
	artifacts Artifacts
	work      string
	repos     map[string]git.Repo          // of checkouts, by the folder of their repository
	refs      map[string]spec.ComponentRef // the product's components
	built     map[string]DeskBuild         // by component
	under     map[string]bool              // components that are being built, to notice a cycle
	rules     string                       // names the rules of the product's checkout; "" without one
}

// Git implements [Source]: a repository of a desk is named by its folder.
func (k *desk) Git(repo string) (git.Repo, error) {
	r, ok := k.repos[repo]
	if !ok {
		return r, slipway.Errorf(slipway.NotFound, "there is no checkout of %s", repo)
	}
	return r, nil
}

// build builds the component in dir and what it needs.
func (k *desk) build(ctx context.Context, dir string, tests bool) (DeskBuild, error) {
	file := filepath.Join(dir, spec.ComponentFile)
	text, err := os.ReadFile(file)
	if err != nil {
		return DeskBuild{}, slipway.Errorf(slipway.Invalid, "there is no recipe: %w", err).Try("run it in a component's folder, or give that folder")
	}
	rec := recipe{file: file}
	if rec.Component, err = spec.ParseComponent(text, file); err != nil {
		return DeskBuild{}, err
	}
	out := DeskBuild{Component: rec.Name, Dir: dir, Version: k.Version, Inputs: map[string]string{}, outputs: rec.Outputs}
	if k.under[rec.Name] {
		return out, slipway.Errorf(slipway.Invalid, "%s needs itself, through %s", rec.Name, strings.Join(slices.Sorted(maps.Keys(k.under)), ", ")).At(file)
	}
	k.under[rec.Name] = true
	defer delete(k.under, rec.Name)
	for _, need := range rec.Needs {
		made, err := k.need(ctx, rec, lineOf(file, text, need), need)
		if err != nil {
			return out, err
		}
		out.Inputs[need] = made.Output
		if made.Key != "" {
			out.Needs = append(out.Needs, made)
		}
	}
	pin, err := k.pin(ctx, dir, &rec)
	if err != nil {
		return out, err
	}
	out.Commit = pin.Commit
	outputs := maps.Clone(out.Inputs)
	begun := time.Now()
	b, err := k.one(ctx, plan.Action{Component: rec.Name}, pin, rec, outputs)
	if err != nil {
		return out, err
	}
	out.Key, out.Source, out.Output, out.Took = b.Key, b.Source, b.Output, time.Since(begun)
	k.built[rec.Name] = out
	if !tests {
		return out, nil
	}
	outputs[rec.Name] = b.Output
	out.Tests = map[string]string{}
	for _, check := range slices.Sorted(maps.Keys(rec.Tests)) {
		out.Tests[check] = string(slipway.Fail)
		if _, err := k.one(ctx, plan.Action{Component: rec.Name, Check: check}, pin, rec, outputs); err != nil {
			return out, err
		}
		out.Tests[check] = string(slipway.Pass)
	}
	return out, nil
}

// need returns the output of a needed component: as it was given, or built from a checkout.
func (k *desk) need(ctx context.Context, rec recipe, line, name string) (DeskBuild, error) {
	if dir, ok := k.Deps[name]; ok {
		d, err := artifact.PutTree(ctx, k.artifacts, dir)
		return DeskBuild{Output: d}, err
	}
	if made, ok := k.built[name]; ok {
		return made, nil
	}
	dir, err := k.find(rec.file, name)
	if err != nil {
		return DeskBuild{}, err
	}
	if dir == "" {
		return DeskBuild{}, slipway.Errorf(slipway.Invalid, "%s needs the output of %s", rec.Name, name).At(line).
			Try("slipway build --dep " + name + "=FOLDER, made by slipway build --out FOLDER there; or have a checkout of it nearby")
	}
	return k.build(ctx, dir, false)
}

// pin says what a checkout is at. A clean one is read out of git as the server does it; of one with changes, the files are taken as they
// are, and the tree gets a name that no git tree has.
func (k *desk) pin(ctx context.Context, dir string, rec *recipe) (slipway.Pin, error) {
	pin := slipway.Pin{Component: rec.Name, Version: k.Version}
	if repo, prefix, head, ok := cleanCheckout(ctx, dir); ok {
		k.repos[repo] = git.Open(repo)
		pin.Repo, pin.Path, pin.Commit = repo, prefix, head
		committed, err := k.s.recipes.read(ctx, pin)
		if err != nil {
			return pin, err
		}
		committed.file = rec.file // as people know it
		*rec = committed
		return pin, nil
	}
	tmp, err := os.MkdirTemp(k.work, "checkout-")
	if err != nil {
		return pin, fmt.Errorf("copy the checkout: %w", err)
	}
	defer artifact.RemoveTree(tmp)
	tree, err := checkout(ctx, k.artifacts, dir, tmp)
	if err != nil {
		return pin, err
	}
	rec.epoch, rec.tree = lastTouched(ctx, dir), "checkout-"+strings.TrimPrefix(tree, artifact.Prefix)
	if err := k.extra(ctx, dir, rec); err != nil {
		return pin, err
	}
	return pin, k.known(rec.tree, tree)
}

// cleanCheckout says which repository, folder and commit a checkout is of; ok is false when its files are not those of the commit.
func cleanCheckout(ctx context.Context, dir string) (repo, prefix, head string, ok bool) {
	run := func(args ...string) (string, bool) {
		cmd := exec.CommandContext(ctx, "git", args...)
		cmd.Dir, cmd.Env = dir, git.Environ()
		out, err := cmd.Output()
		return strings.TrimSpace(string(out)), err == nil
	}
	at, ok := run("rev-parse", "--absolute-git-dir", "HEAD")
	if repo, head, _ = strings.Cut(at, "\n"); !ok || head == "" {
		return "", "", "", false
	}
	if changes, ok := run("status", "--porcelain", "--untracked-files=all", "--", "."); !ok || changes != "" {
		return "", "", "", false
	}
	prefix, ok = run("rev-parse", "--show-prefix")
	return repo, strings.TrimSuffix(prefix, "/"), head, ok
}

// one builds one action, as the server would, and returns its build with the output.
func (k *desk) one(ctx context.Context, a plan.Action, pin slipway.Pin, rec recipe, outputs map[string]string) (Build, error) {
	p, err := k.s.prepare(ctx, a, slipway.WaveRequest{ID: "desk", Pins: []slipway.Pin{pin}, Rules: k.rules}, rec, outputs)
	if err != nil {
		return p.build, err
	}
	b := p.build
	if missing := missingTools(b.Run); missing != "" && b.Root == "" {
		return b, slipway.Errorf(slipway.Invalid, "the tool %q is not on this host", missing).At(rec.file).Try("apt-get install " + missing)
	}
	for _, m := range p.messages {
		if _, _, err := artifact.PutMessage(ctx, k.artifacts, m); err != nil {
			return b, err
		}
	}
	from := "the checkout"
	if pin.Commit != "" {
		from = fmt.Sprintf("%.12s", pin.Commit)
	}
	fmt.Fprintf(k.Log, "# %s %s from %s, key %s\n", b.Name(), b.Version, from, b.Key)
	outcome, reason, output, err := execute(ctx, k.run, k.artifacts, b.Key, b.Run.Outputs, k.Log)
	if err != nil {
		return b, err
	}
	fmt.Fprintf(k.Log, "# %s: %s: %s\n", b.Name(), outcome, reason)
	if outcome != slipway.Pass {
		return b, slipway.Errorf(slipway.Invalid, "%s: %s", b.Name(), reason)
	}
	b.Output = output
	return b, nil
}

// execute runs an action and judges the result as the farm does.
func execute(ctx context.Context, run execution.Executor, artifacts Artifacts, action artifact.Digest, outputs []string, log io.Writer) (slipway.Outcome, string, artifact.Digest, error) {
	last := &lastLineWriter{to: log}
	res, err := run.Execute(ctx, execution.Request{Action: action, Log: last})
	if err != nil {
		return "", "", "", err
	}
	data, err := proto.Marshal(res.Action)
	if err != nil {
		return "", "", "", slipway.Errorf(slipway.Internal, "encode the result: %w", err)
	}
	outcome, reason, err := farm.Judge(ctx, artifacts, farm.Result{Status: res.Status, Reason: res.Reason, Action: data, Output: res.Output, Wall: res.Wall}, outputs, last.said())
	return outcome, reason, res.Output, err
}

// lastLineWriter passes a log on and remembers its last line that is not empty.
type lastLineWriter struct {
	to         io.Writer
	line, full []byte
}

// Write implements [io.Writer].
func (w *lastLineWriter) Write(p []byte) (int, error) {
	const most = 300
	for line := range bytes.Lines(p) {
		w.line = append(w.line, line...)
		if !bytes.HasSuffix(w.line, []byte("\n")) {
			break
		}
		if text := bytes.TrimSpace(w.line); len(text) > 0 {
			w.full = append(w.full[:0], text[:min(len(text), most)]...)
		}
		w.line = w.line[:0]
	}
	w.line = w.line[:min(len(w.line), most)]
	return w.to.Write(p)
}

// said quotes the last line, for the end of a reason.
func (w *lastLineWriter) said() string {
	text := bytes.TrimSpace(w.line)
	if len(text) == 0 {
		text = w.full
	}
	if len(text) == 0 {
		return ""
	}
	return ": " + strings.ToValidUTF8(string(text), "\uFFFD")
}

// checkout reads a working tree in: the files that git tracks and those that it does not ignore; without git, all of them.
func checkout(ctx context.Context, st Artifacts, dir, tmp string) (artifact.Digest, error) {
	list := exec.CommandContext(ctx, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir, list.Env = dir, git.Environ()
	names, err := list.Output()
	if err != nil {
		if _, err := os.Stat(filepath.Join(dir, ".git")); err == nil {
			return "", slipway.Errorf(slipway.Internal, "git cannot list the checkout").At(dir).Try("git status")
		}
		return artifact.PutTree(ctx, st, dir)
	}
	for name := range strings.SplitSeq(string(bytes.TrimRight(names, "\x00")), "\x00") {
		from, to := filepath.Join(dir, name), filepath.Join(tmp, name)
		fi, err := os.Lstat(from)
		if err != nil {
			continue // removed, but not from the index yet
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return "", fmt.Errorf("copy the checkout: %w", err)
		}
		switch {
		case fi.Mode()&os.ModeSymlink != 0:
			target, err := os.Readlink(from)
			if err == nil {
				err = os.Symlink(target, to)
			}
			if err != nil {
				return "", fmt.Errorf("copy the checkout: %w", err)
			}
		case fi.Mode().IsRegular():
			text, err := os.ReadFile(from)
			if err == nil {
				err = os.WriteFile(to, text, fi.Mode().Perm())
			}
			if err != nil {
				return "", fmt.Errorf("copy the checkout: %w", err)
			}
		}
	}
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return "", fmt.Errorf("copy the checkout: %w", err)
	}
	return artifact.PutTree(ctx, st, tmp)
}

// lastTouched is the author time of the last commit that touched dir; the zero time when there is none.
func lastTouched(ctx context.Context, dir string) time.Time {
	last := exec.CommandContext(ctx, "git", "log", "-1", "--format=%at", "--", ".")
	last.Dir, last.Env = dir, git.Environ()
	out, err := last.Output()
	if err != nil {
		return time.Time{}
	}
	sec, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(sec, 0)
}
