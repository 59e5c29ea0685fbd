package resource_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"slipway.dev/slipway/internal/agent/resource"
	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/deploy/plan"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// host is a host with a root and a state of its own.
func host(t *testing.T, from artifact.Opener) *resource.Host {
	t.Helper()
	h, err := resource.NewHost(resource.Config{Node: "n", Root: t.TempDir(), State: t.TempDir(), Artifacts: from, Grace: 2 * time.Second})
	must(t, err)
	t.Cleanup(func() {
		must(t, h.StopProcesses(context.WithoutCancel(t.Context())))
		must(t, h.Close())
	})
	return h
}

func want(t *testing.T, typ plan.Type, name string, attrs any) resource.Want {
	t.Helper()
	r, err := plan.New("n", typ, name, attrs, nil, "deploy/model.star:1:1")
	must(t, err)
	return resource.Want{Resource: r}
}

func handler(t *testing.T, h *resource.Host, w resource.Want) resource.Handler {
	t.Helper()
	handler, err := h.Handler(w.Type)
	must(t, err)
	return handler
}

// applied applies and makes sure that nothing is left to do.
func applied(t *testing.T, h *resource.Host, w resource.Want) resource.Diff {
	t.Helper()
	x := handler(t, h, w)
	must(t, x.Apply(t.Context(), w))
	d, err := x.Diff(t.Context(), w)
	must(t, err)
	if !d.Clean() {
		t.Fatalf("%s was applied and differs: %+v", w.ID, d.Changes)
	}
	return d
}

func diff(t *testing.T, h *resource.Host, w resource.Want) resource.Diff {
	t.Helper()
	d, err := handler(t, h, w).Diff(t.Context(), w)
	must(t, err)
	return d
}

func TestFile(t *testing.T) {
	h := host(t, nil)
	w := want(t, plan.TypeFile, "/etc/a/b.conf", plan.File{Path: "/etc/a/b.conf", Content: []byte("one\ntwo\n"), Mode: 0o640, Owner: "root:root"})
	if os.Geteuid() != 0 {
		w = want(t, plan.TypeFile, "/etc/a/b.conf", plan.File{Path: "/etc/a/b.conf", Content: []byte("one\ntwo\n"), Mode: 0o640})
	}
	if d := diff(t, h, w); !d.Absent {
		t.Fatalf("diff %+v", d)
	}
	if _, err := os.Stat(filepath.Join(h.Root(), "etc")); !os.IsNotExist(err) {
		t.Fatalf("the comparison wrote: %v", err)
	}
	applied(t, h, w)
	p := filepath.Join(h.Root(), "etc/a/b.conf")
	must(t, os.WriteFile(p, []byte("one\n2\n"), 0o640))
	must(t, os.Chmod(p, 0o600))
	d := diff(t, h, w)
	if c := d.Changes["content"]; !strings.HasPrefix(c.Current, `line 2: "2"`) || !strings.HasPrefix(c.Desired, `line 2: "two"`) {
		t.Errorf("content %+v", c)
	}
	if c := d.Changes["mode"]; c.Current != "0600" || c.Desired != "0640" {
		t.Errorf("mode %+v", c)
	}
	must(t, os.Remove(p))
	must(t, os.Symlink("/etc/hostname", p))
	applied(t, h, w) // a link is replaced, not followed
	if info, err := os.Lstat(p); err != nil || !info.Mode().IsRegular() {
		t.Fatalf("%v %v", info, err)
	}
	must(t, handler(t, h, w).Purge(t.Context(), w))
	must(t, handler(t, h, w).Purge(t.Context(), w))
	if left, err := filepath.Glob(filepath.Join(h.Root(), "etc/a/.*")); len(left) != 0 || err != nil {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestNothingLeavesTheRoot(t *testing.T) {
	h := host(t, nil)
	outside := t.TempDir()
	must(t, os.Symlink(outside, filepath.Join(h.Root(), "way")))
	must(t, os.WriteFile(filepath.Join(outside, "victim"), []byte("mine"), 0o600))
	for _, w := range []resource.Want{
		want(t, plan.TypeFile, "x", plan.File{Path: "/way/victim", Content: []byte("theirs"), Mode: 0o600}),
		want(t, plan.TypeFile, "x", plan.File{Path: "/../../victim", Content: []byte("theirs"), Mode: 0o600}),
		want(t, plan.TypeDirectory, "x", plan.Directory{Path: "/way/in", Mode: 0o755}),
		want(t, plan.TypeArtifact, "x", plan.Artifact{Path: "/way/opt", Component: "c", Digest: "sha256:" + strings.Repeat("0", 64)}),
		want(t, plan.TypeExec, "x", plan.Exec{Command: []string{"true"}, Creates: "/way/victim"}),
	} {
		x := handler(t, h, w)
		err := x.Apply(t.Context(), w)
		if kind := slipway.KindOf(err); kind != slipway.Forbidden && kind != slipway.Invalid {
			t.Errorf("%s: %v", w.Attrs, err)
		}
		if err := x.Purge(t.Context(), w); err == nil && w.Type == plan.TypeFile {
			t.Errorf("%s was purged", w.Attrs)
		}
	}
	if text, err := os.ReadFile(filepath.Join(outside, "victim")); string(text) != "mine" || err != nil {
		t.Errorf("victim %q %v", text, err)
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) != 1 {
		t.Errorf("outside: %v %v", entries, err)
	}
}

func TestDirectoryIsPurgedOnlyWhenEmpty(t *testing.T) {
	h := host(t, nil)
	w := want(t, plan.TypeDirectory, "/var/d", plan.Directory{Path: "/var/d", Mode: 0o1777})
	applied(t, h, w)
	must(t, os.WriteFile(filepath.Join(h.Root(), "var/d/precious"), nil, 0o600))
	must(t, handler(t, h, w).Purge(t.Context(), w))
	if _, err := os.Stat(filepath.Join(h.Root(), "var/d/precious")); err != nil {
		t.Fatal(err)
	}
}

// broken is a source that stops working.
type broken struct{ artifact.Opener }

func (broken) Open(context.Context, artifact.Digest) (io.ReadCloser, error) {
	return nil, errors.New("the server is away")
}

func TestArtifactIsSwitchedAndKept(t *testing.T) {
	disk, err := artifact.OpenDisk(t.TempDir())
	must(t, err)
	var wants []resource.Want
	for _, text := range []string{"one", "two", "three", "four", "five"} {
		dir := t.TempDir()
		must(t, os.MkdirAll(filepath.Join(dir, "share"), 0o755))
		must(t, os.WriteFile(filepath.Join(dir, "share/v"), []byte(text), 0o644))
		must(t, os.Symlink("share/v", filepath.Join(dir, "link")))
		digest, err := artifact.PutTree(t.Context(), disk, dir)
		must(t, err)
		wants = append(wants, want(t, plan.TypeArtifact, "/opt/c", plan.Artifact{Path: "/opt/c", Component: "c", Version: text, Digest: digest}))
	}
	h := host(t, disk)
	is := func(text string) {
		t.Helper()
		if got, err := os.ReadFile(filepath.Join(h.Root(), "opt/c/link")); string(got) != text || err != nil {
			t.Fatalf("it is %q, %v; want %s", got, err, text)
		}
	}
	for i, w := range wants {
		applied(t, h, w)
		is([]string{"one", "two", "three", "four", "five"}[i])
	}
	if trees, err := filepath.Glob(filepath.Join(h.Root(), "opt/.c.slipway/*.list")); len(trees) != 3 || err != nil {
		t.Fatalf("kept %v %v", trees, err)
	}
	d := applied(t, h, wants[4])
	if d.Actual["version"] != "five" || !strings.HasPrefix(d.Actual["digest"], "sha256:") {
		t.Errorf("actual %v", d.Actual)
	}
	// What is kept is linked again without its source.
	offline, err := resource.NewHost(resource.Config{Node: "n", Root: h.Root(), State: t.TempDir(), Artifacts: broken{disk}})
	must(t, err)
	defer offline.Close()
	applied(t, offline, wants[3])
	is("four")
	if err := handler(t, offline, wants[0]).Apply(t.Context(), wants[0]); err == nil || !strings.Contains(err.Error(), "the server is away") {
		t.Fatalf("error %v", err)
	}
	is("four") // a failed switch leaves what was there
	must(t, os.WriteFile(filepath.Join(h.Root(), "opt/c/share/v"), []byte("hacked"), 0o644))
	if c := diff(t, h, wants[3]).Changes["content"]; c.Current != "share/v was changed" {
		t.Fatalf("change %+v", c)
	}
	applied(t, h, wants[3])
	is("four")
	must(t, handler(t, h, wants[3]).Purge(t.Context(), wants[3]))
	if left, err := os.ReadDir(filepath.Join(h.Root(), "opt")); len(left) != 0 || err != nil {
		t.Fatalf("left %v %v", left, err)
	}
}

// swapping gives bytes, and before the first of them calls swap.
type swapping struct {
	artifact.Opener
	once *sync.Once
	swap func()
}

func (s swapping) Open(ctx context.Context, d artifact.Digest) (io.ReadCloser, error) {
	s.once.Do(s.swap)
	return s.Opener.Open(ctx, d)
}

// While an artifact is fetched, somebody puts a link out of the root where its folder was.
func TestAFetchDoesNotFollowWhatIsSwappedIn(t *testing.T) {
	st, err := artifact.OpenDisk(t.TempDir())
	must(t, err)
	dir, outside := t.TempDir(), t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "secret"), []byte("x"), 0o644))
	digest, err := artifact.PutTree(t.Context(), st, dir)
	must(t, err)
	from := swapping{Opener: st, once: new(sync.Once)}
	h := host(t, &from)
	from.swap = func() {
		store := filepath.Join(h.Root(), "opt/.app.slipway")
		partial, err := filepath.Glob(filepath.Join(store, "*.partial"))
		if err != nil || len(partial) != 1 {
			t.Fatalf("%v %v", partial, err)
		}
		must(t, os.Rename(partial[0], filepath.Join(store, "moved")))
		must(t, os.Symlink(outside, partial[0]))
	}
	w := want(t, plan.TypeArtifact, "/opt/app", plan.Artifact{Path: "/opt/app", Component: "app", Digest: digest})
	must(t, handler(t, h, w).Apply(t.Context(), w))
	if entries, err := os.ReadDir(outside); err != nil || len(entries) != 0 {
		t.Errorf("outside: %v %v", entries, err)
	}
}

func TestArtifactDoesNotReplaceWhatIsNotItsOwn(t *testing.T) {
	h := host(t, nil)
	must(t, os.MkdirAll(filepath.Join(h.Root(), "opt/c"), 0o755))
	w := want(t, plan.TypeArtifact, "/opt/c", plan.Artifact{Path: "/opt/c", Component: "c", Digest: "sha256:" + strings.Repeat("0", 64)})
	if err := handler(t, h, w).Apply(t.Context(), w); !slipway.Is(err, slipway.Conflict) {
		t.Fatalf("error %v", err)
	}
}

func TestExecTimeoutEndsTheWholeGroup(t *testing.T) {
	h := host(t, nil)
	w := want(t, plan.TypeExec, "x", plan.Exec{Command: []string{"/bin/sh", "-c", "sleep 1000 & echo $! > pid; wait"}, Creates: "/never", Timeout: 1})
	err := handler(t, h, w).Apply(t.Context(), w)
	if err == nil || !strings.Contains(err.Error(), "not done after 1s") {
		t.Fatalf("error %v", err)
	}
	pid, err := os.ReadFile(filepath.Join(h.Root(), "pid"))
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for tick := time.NewTicker(5 * time.Millisecond); ; { // it was killed; the kernel takes a moment
		stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("the child lives on: %s", stat)
		}
	}
	lies := want(t, plan.TypeExec, "y", plan.Exec{Command: []string{"true"}, Creates: "/never"})
	if err := handler(t, h, lies).Apply(t.Context(), lies); err == nil || !strings.Contains(err.Error(), "the command succeeded, but /never is not there") {
		t.Fatalf("error %v", err)
	}
}

func TestProcessIsStoppedWithItsGroup(t *testing.T) {
	h := host(t, nil)
	w := want(t, plan.TypeProcess, "p", plan.Process{Command: []string{"/bin/sh", "-c", `trap "" TERM; sleep 1000 & echo $! > "$ROOT/pid"; while :; do wait; done`}})
	applied(t, h, w)
	var pid []byte
	deadline := time.NewTimer(5 * time.Second)
	defer deadline.Stop()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for len(pid) == 0 {
		pid, _ = os.ReadFile(filepath.Join(h.Root(), "pid"))
		select {
		case <-again.C:
		case <-deadline.C:
			t.Fatal("the process has not begun")
		}
	}
	must(t, handler(t, h, w).Purge(t.Context(), w)) // it ignores SIGTERM
	stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/stat")
	if err == nil && !strings.Contains(string(stat), ") Z ") {
		t.Fatalf("the child lives on: %s", stat)
	}
	if d := diff(t, h, w); !d.Absent {
		t.Fatalf("diff %+v", d)
	}
}

// A daemon that left the session of the process that started it lives as long as that one: over a restart of the agent, and no longer.
func TestProcessTakesItsDaemonsAlong(t *testing.T) {
	cfg := resource.Config{Node: "n", Root: t.TempDir(), State: t.TempDir(), Grace: 2 * time.Second}
	h, err := resource.NewHost(cfg)
	must(t, err)
	w := want(t, plan.TypeProcess, "p", plan.Process{Command: []string{"/bin/sh", "-c", `setsid sh -c 'echo $$ > "$ROOT/new"; mv "$ROOT/new" "$ROOT/pid"; exec sleep 1000' & wait`}})
	must(t, handler(t, h, w).Apply(t.Context(), w))
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	until := func(what string, ok func() bool) {
		t.Helper()
		for !ok() {
			select {
			case <-again.C:
			case <-deadline.C:
				t.Fatal(what)
			}
		}
	}
	var daemon string
	until("the daemon has not begun", func() bool {
		text, err := os.ReadFile(filepath.Join(cfg.Root, "pid"))
		daemon = strings.TrimSpace(string(text))
		return err == nil
	})
	lives := func() bool {
		stat, err := os.ReadFile("/proc/" + daemon + "/stat")
		return err == nil && !strings.Contains(string(stat), ") Z ")
	}
	must(t, h.Close())
	h, err = resource.NewHost(cfg) // as after a restart of the agent
	must(t, err)
	defer func() { must(t, h.Close()) }()
	if !lives() {
		t.Fatal("the daemon of a process that goes on was killed")
	}
	must(t, handler(t, h, w).Purge(t.Context(), w))
	until("the daemon outlives its process", func() bool { return !lives() })
}

func TestServiceWithoutSystemd(t *testing.T) {
	h := host(t, nil)
	w := want(t, plan.TypeService, "x.service", plan.Service{Unit: "x.service"})
	_, err := handler(t, h, w).Diff(t.Context(), w)
	if !slipway.Is(err, slipway.Unavailable) || !strings.Contains(err.Error(), "declare a process instead") {
		t.Fatalf("error %v", err)
	}
	if _, err := h.Handler("teapot"); !slipway.Is(err, slipway.Unavailable) {
		t.Fatalf("error %v", err)
	}
}
