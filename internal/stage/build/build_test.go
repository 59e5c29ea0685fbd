package build_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/execution"
	"slipway.dev/slipway/internal/platform/execution/local"
	"slipway.dev/slipway/internal/platform/git"
	"slipway.dev/slipway/internal/platform/jobs"
	"slipway.dev/slipway/internal/platform/sandbox"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build"
	"slipway.dev/slipway/internal/store"
	"slipway.dev/slipway/internal/store/storetest"
)

// world is a build stage on a real database, real repositories, a real store and real sandboxes.
type world struct {
	t    testing.TB
	wrap func(execution.Executor) execution.Executor // around the sandbox; may be nil
	dir  string
	db   *store.DB
	disk *artifact.Disk
	s    *build.Service
	pins map[string]slipway.Pin
	stop func() // ends what start began; nil when nothing runs
}

// Git implements build.Source.
func (w *world) Git(repo string) (git.Repo, error) {
	dir := filepath.Join(w.dir, "git", repo)
	if _, err := os.Stat(dir); err != nil {
		return git.Repo{}, slipway.Errorf(slipway.NotFound, "there is no repository %q", repo)
	}
	return git.Open(filepath.Join(dir, ".git")), nil
}

func newWorld(t testing.TB, db *store.DB, cfg build.Config) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), db: db, pins: map[string]slipway.Pin{}}
	if err := os.Chmod(w.dir, 0o700); err != nil { // as data folders are
		t.Fatal(err)
	}
	t.Cleanup(func() { artifact.RemoveTree(filepath.Join(w.dir, "data")) })
	w.open(cfg)
	return w
}

// open starts the stage anew on the same folder, as a restarted process does.
func (w *world) open(cfg build.Config) {
	w.t.Helper()
	if w.stop != nil {
		w.stop()
	}
	var err error
	if w.disk, err = artifact.OpenDisk(filepath.Join(w.dir, "data", "artifacts")); err != nil {
		w.t.Fatal(err)
	}
	runner, err := sandbox.New(filepath.Join(w.dir, "data", "sandbox"))
	if err != nil {
		w.t.Fatal(err)
	}
	cfg.Dir = filepath.Join(w.dir, "data")
	box, err := local.New(w.disk, runner, local.Config{Dir: filepath.Join(w.dir, "data", "work"), Host: build.Fingerprint()})
	if err != nil {
		w.t.Fatal(err)
	}
	var exec execution.Executor = box
	if w.wrap != nil {
		exec = w.wrap(box)
	}
	if cfg.Backoff == nil {
		cfg.Backoff = func(int) time.Duration { return time.Millisecond }
	}
	w.s, err = build.New(store.Scope(w.db, func(tx *store.Tx) build.Tx { return tx }), w, w.disk, exec, cfg)
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) git(repo string, args ...string) string {
	w.t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = filepath.Join(w.dir, "git", repo)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b",
		"GIT_AUTHOR_DATE=1700000000 +0000", "GIT_COMMITTER_DATE=1700000000 +0000")
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// commit writes files of a component (path/ for one in a monorepo "REPO//PATH") and pins it there.
func (w *world) commit(component, repo string, files map[string]string) slipway.Pin {
	w.t.Helper()
	repo, path, _ := strings.Cut(repo, "//")
	dir := filepath.Join(w.dir, "git", repo)
	if _, err := os.Stat(dir); err != nil {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			w.t.Fatal(err)
		}
		w.git(repo, "init", "-q", "-b", "main")
	}
	for name, text := range files {
		p := filepath.Join(dir, path, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			w.t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			w.t.Fatal(err)
		}
	}
	w.git(repo, "add", "-A")
	w.git(repo, "commit", "-q", "--allow-empty", "-m", "change "+component)
	pin := slipway.Pin{Component: component, Repo: repo, Path: path, Version: "1.0.0", Commit: w.git(repo, "rev-parse", "HEAD")}
	w.pins[component] = pin
	return pin
}

// recipe is a slipway.yaml.
func recipe(name, needs, build string, tests ...string) string {
	text := "component: " + name + "\n"
	if needs != "" {
		text += "needs: [" + needs + "]\n"
	}
	text += "build: |\n  " + strings.ReplaceAll(build, "\n", "\n  ") + "\n"
	for i, test := range tests {
		if i == 0 {
			text += "tests:\n"
		}
		text += fmt.Sprintf("  %s: |\n    %s\n", []string{"unit", "style"}[i], strings.ReplaceAll(test, "\n", "\n    "))
	}
	return text
}

// product is a library, two that need it, and a program that needs those: three tiers.
func (w *world) product() {
	w.commit("libwire", "components/libwire", map[string]string{
		"slipway.yaml": recipe("libwire", "", "grep -v '^#' wire.txt > $OUT/wire.txt", "grep -q wire $OUT/wire.txt"),
		"wire.txt":     "# a comment\nwire 1\n",
	})
	w.commit("codec", "components/mono//codec", map[string]string{"slipway.yaml": recipe("codec", "libwire", "cat $DEPS/libwire/wire.txt > $OUT/codec.txt; echo codec >> $OUT/codec.txt")})
	w.commit("link", "components/mono//link", map[string]string{"slipway.yaml": recipe("link", "libwire", "cp $DEPS/libwire/wire.txt $OUT/link.txt", "test -s $OUT/link.txt")})
	w.pins["codec"] = func() slipway.Pin { p := w.pins["codec"]; p.Commit = w.pins["link"].Commit; return p }()
	w.commit("app", "components/app", map[string]string{
		"slipway.yaml": recipe("app", "codec, link", "cat $DEPS/codec/codec.txt $DEPS/link/link.txt > $OUT/app; printf '#!/bin/sh\\necho hi\\n' > $OUT/run; chmod +x $OUT/run", "test \"$($OUT/run)\" = hi"),
	})
}

func (w *world) request(id string, targets ...string) slipway.WaveRequest {
	return slipway.WaveRequest{
		ID: id, Product: "ferry", For: "change/" + id, Targets: targets, Tests: slices.Sorted(maps.Keys(w.pins)),
		Pins: slices.SortedFunc(maps.Values(w.pins), func(a, b slipway.Pin) int { return strings.Compare(a.Component, b.Component) }), Reason: "test",
	}
}

// wave starts a wave and runs it to its end.
func (w *world) wave(id string, targets ...string) slipway.WaveStatus {
	w.t.Helper()
	if _, err := w.s.StartWave(w.t.Context(), w.request(id, targets...)); err != nil {
		w.t.Fatal(err)
	}
	return w.ended(id)
}

// ended runs the stage until a wave has ended.
func (w *world) ended(id string) (st slipway.WaveStatus) {
	w.t.Helper()
	w.start()
	w.await("the end of "+id, func() bool {
		st = w.status(id)
		return st.State != slipway.WaveRunning
	})
	return st
}

func (w *world) status(id string) slipway.WaveStatus {
	w.t.Helper()
	st, err := w.s.Wave(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return st
}

func (w *world) passed(st slipway.WaveStatus) {
	w.t.Helper()
	if st.State != slipway.WavePassed {
		w.t.Fatalf("wave %s is %s: %s", st.ID, st.State, st.Reason)
	}
}

func (w *world) file(tree, name string) string {
	w.t.Helper()
	dir, err := w.disk.Tree(w.t.Context(), tree)
	if err != nil {
		w.t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

func (w *world) log(id string) string {
	w.t.Helper()
	r, err := w.s.Log(w.t.Context(), id, 0, false)
	if err != nil {
		w.t.Fatal(err)
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

// events counts the events of a type.
func (w *world) events(types ...slipway.EventType) (n int) {
	w.t.Helper()
	all, err := w.db.Events(w.t.Context(), store.EventQuery{Limit: 10000})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range all {
		if slices.Contains(types, e.Type) {
			n++
		}
	}
	return n
}

// await blocks until ok, looked at after each commit that tells the ledger something.
func (w *world) await(what string, ok func() bool) {
	w.t.Helper()
	limit := time.After(2 * time.Minute)
	tick := time.NewTicker(50 * time.Millisecond) // not everything is told to the ledger
	defer tick.Stop()
	for {
		appended := w.db.Appended()
		if ok() {
			return
		}
		select {
		case <-appended:
		case <-tick.C:
		case <-limit:
			w.t.Fatal("never came: " + what)
		}
	}
}

// start runs the stage in the background until the test ends or the returned function is called.
func (w *world) start() (stop func()) {
	w.t.Helper()
	if w.stop != nil {
		return w.stop
	}
	if err := w.s.Start(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	r, err := jobs.NewRunner(w.db, w.s.Handlers(), jobs.Config{Owner: "test"})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := r.Start(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	s := w.s
	var once sync.Once
	w.stop = func() {
		once.Do(func() {
			w.stop = nil
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			if err := errors.Join(r.Stop(ctx), s.Stop(ctx)); err != nil {
				w.t.Error(err)
			}
		})
	}
	w.t.Cleanup(w.stop)
	return w.stop
}

func TestRoad(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, build.Config{})
		w.product()
		first := w.wave("w1", "app")
		w.passed(first)
		if got := w.file(first.Components["app"].Artifact, "app"); got != "wire 1\ncodec\nwire 1\n" {
			t.Fatalf("%q", got)
		}
		for name, tier := range map[string]int{"libwire": 0, "codec": 1, "link": 1, "app": 2} {
			c := first.Components[name]
			if c.Tier != tier || c.State != "built" || c.Outcome != slipway.Pass || c.Reused || c.Key == "" || c.Artifact == "" || c.Build == "" {
				t.Errorf("%s: %+v", name, c)
			}
		}
		if tests := first.Components["link"].Tests; len(tests) != 1 || tests[0].Check != "unit" || tests[0].Outcome != slipway.Pass {
			t.Fatalf("%+v", tests)
		}
		ran := w.events(slipway.BuildStarted)
		if ran != 7 || w.events(slipway.BuildFinished) != 7 || w.events(slipway.WaveFinished) != 1 {
			t.Fatalf("%d ran", ran)
		}

		// The same again: nothing runs, and the wave passes in one turn of its job.
		if _, err := w.s.StartWave(t.Context(), w.request("w2", "app")); err != nil {
			t.Fatal(err)
		}
		again := w.wave("w2", "app")
		w.passed(again)
		if w.events(slipway.BuildStarted) != ran || w.events(slipway.BuildReused) != 7 {
			t.Fatal("something ran again")
		}
		for name, c := range again.Components {
			if !c.Reused || c.Artifact != first.Components[name].Artifact || c.Key != first.Components[name].Key {
				t.Errorf("%s: %+v", name, c)
			}
		}

		// A comment in the library: it is built again, to the same bytes; nothing that needs it is.
		w.commit("libwire", "components/libwire", map[string]string{"wire.txt": "# another comment\nwire 1\n"})
		cut := w.wave("w3", "app")
		w.passed(cut)
		if n := w.events(slipway.BuildStarted) - ran; n != 2 { // libwire and its test, whose source changed
			t.Fatalf("%d ran after a comment", n)
		}
		lib := cut.Components["libwire"]
		if lib.Reused || lib.Key == first.Components["libwire"].Key || lib.Artifact != first.Components["libwire"].Artifact || !cut.Components["codec"].Reused {
			t.Fatalf("%+v", cut.Components)
		}
		b, err := w.s.Build(t.Context(), lib.Build)
		if err != nil || !strings.Contains(b.Why, "the source changed") {
			t.Fatal(b.Why, err)
		}

		// A real change goes all the way, and the builds say why.
		w.commit("libwire", "components/libwire", map[string]string{"wire.txt": "wire 2\n"})
		real := w.wave("w4", "app")
		w.passed(real)
		if got := w.file(real.Components["app"].Artifact, "app"); got != "wire 2\ncodec\nwire 2\n" {
			t.Fatalf("%q", got)
		}
		if b, err = w.s.Build(t.Context(), real.Components["codec"].Build); err != nil || !strings.Contains(b.Why, "libwire has another output") {
			t.Fatal(b.Why, err)
		}
		if same, err := w.s.Build(t.Context(), b.Key); err != nil || same.ID != b.ID {
			t.Fatal(same.ID, err)
		}
		if b.Inputs["libwire"] != real.Components["libwire"].Artifact || b.Output == "" || b.Host == "" || b.Worker == "" || b.Log == "" || b.Finished.Before(b.Started) {
			t.Fatalf("%+v", b)
		}
	})
}

func TestEnvironment(t *testing.T) {
	w := newWorld(t, storetest.Open(t), build.Config{})
	w.commit("base", "components/base", map[string]string{"slipway.yaml": recipe("base", "", "echo base > $OUT/base")})
	w.commit("tool", "components/tool", map[string]string{"slipway.yaml": `component: tool
needs: [base]
stamp: true
env: {COLOR: red, LANG: C}
build: |
  env | grep -v -e '^PWD=' -e '^SHLVL=' -e '^_=' | sort > $OUT/env
  pwd >> $OUT/env
  ls $SRC >> $OUT/env
  cat $DEPS/base/base >> $OUT/env
  ! touch $DEPS/base/x 2>/dev/null
  touch made-in-src
tests:
  unit: |
    ! touch $OUT/x 2>/dev/null
    ! test -e made-in-src
    test -f $OUT/env
outputs: [env]
`, "f": "x"})
	st := w.wave("w", "tool")
	w.passed(st)
	want := `COLOR=red
DEPS=/build/deps
HOME=/tmp/home
LANG=C
OUT=/build/out
PATH=/usr/local/go/bin:/usr/local/bin:/usr/bin:/bin
SOURCE_DATE_EPOCH=1700000000
SRC=/build/src
TMPDIR=/tmp
TZ=UTC
VERSION=1.0.0
/build/src
f
slipway.yaml
base
`
	if got := w.file(st.Components["tool"].Artifact, "env"); got != want {
		t.Fatalf("got\n%s", got)
	}
	// Stamped: another version is another key. Not stamped: it is not.
	for _, name := range []string{"tool", "base"} {
		pin := w.pins[name]
		pin.Version = "1.0.1"
		w.pins[name] = pin
	}
	next := w.wave("w2", "tool")
	w.passed(next)
	if next.Components["tool"].Reused || !next.Components["base"].Reused {
		t.Fatalf("%+v", next.Components)
	}
}

func TestFailures(t *testing.T) {
	w := newWorld(t, storetest.Open(t), build.Config{Limits: build.Limits{LogBytes: 100_000, OutputBytes: 10 << 20}})
	w.commit("ok", "components/ok", map[string]string{"slipway.yaml": recipe("ok", "", "echo ok > $OUT/ok")})
	w.commit("broken", "components/broken", map[string]string{"slipway.yaml": recipe("broken", "ok", "echo compiling; echo 'wire.go:12: undefined: x' >&2; exit 2")})
	w.commit("user", "components/user", map[string]string{"slipway.yaml": recipe("user", "broken", "true", "true")})
	w.commit("untested", "components/untested", map[string]string{"slipway.yaml": recipe("untested", "", "echo x > $OUT/x", "echo expected 4, got 5; exit 1", "true")})
	w.commit("promise", "components/promise", map[string]string{"slipway.yaml": recipe("promise", "", "true") + "outputs: [bin/promise]\n"})
	w.commit("escape", "components/escape", map[string]string{"slipway.yaml": recipe("escape", "", "ln -s ../../../etc/passwd $OUT/l")})
	w.commit("noisy", "components/noisy", map[string]string{"slipway.yaml": recipe("noisy", "", "yes")})
	w.commit("fat", "components/fat", map[string]string{"slipway.yaml": recipe("fat", "", "head -c 20000000 /dev/zero > $OUT/f")})
	w.commit("slow", "components/slow", map[string]string{"slipway.yaml": "component: slow\nbuild:\n  run: echo waiting; sleep 1000\n  timeout: 1s\n"})
	w.commit("tools", "components/tools", map[string]string{"slipway.yaml": recipe("tools", "", "true") + "tools: [frobnicate-compiler]\n"})
	st := w.wave("w", "user", "untested", "promise", "escape", "noisy", "fat", "slow", "tools")
	if st.State != slipway.WaveFailed {
		t.Fatalf("%+v", st)
	}
	for name, want := range map[string][]string{
		"ok":       {"built", "pass", ""},
		"broken":   {"failed", "fail", "exit code 2", "wire.go:12: undefined: x"},
		"user":     {"skipped", "", "skipped because broken failed"},
		"untested": {"built", "pass", ""},
		"promise":  {"failed", "fail", "did not make the declared outputs: $OUT/bin/promise"},
		"escape":   {"failed", "fail", "out/l: the symbolic link", "leaves the tree"},
		"noisy":    {"failed", "fail", "wrote too much to its log"},
		"fat":      {"failed", "fail", "wrote too many bytes"},
		"slow":     {"failed", "timeout", "timeout of 1s", "waiting"},
		"tools":    {"failed", "infra", "frobnicate-compiler", "apt-get install"},
	} {
		c := st.Components[name]
		if c.State != want[0] || string(c.Outcome) != want[1] {
			t.Errorf("%s: %+v", name, c)
		}
		for _, text := range want[2:] {
			if !strings.Contains(c.Reason, text) {
				t.Errorf("%s: %q lacks %q", name, c.Reason, text)
			}
		}
		if want[0] == "failed" && !strings.Contains(st.Reason, name+": ") {
			t.Errorf("the wave's reason does not name %s: %s", name, st.Reason)
		}
	}
	for _, test := range st.Components["untested"].Tests {
		if test.Check == "unit" && (test.Outcome != slipway.Fail || !strings.Contains(test.Reason, "expected 4, got 5")) || test.Check == "style" && test.Outcome != slipway.Pass {
			t.Errorf("%+v", test)
		}
	}
	if test := st.Components["user"].Tests[0]; test.State != "skipped" || test.Outcome != "" {
		t.Errorf("%+v", test)
	}
	if log := w.log(st.Components["broken"].Build); !strings.Contains(log, "compiling\nwire.go:12: undefined: x\n# fail: exit code 2") {
		t.Errorf("%q", log)
	}

	// A failure of the build's own is reused, unless it is forgotten; what does not blame it is tried again.
	before := w.events(slipway.BuildQueued)
	again := w.wave("w2", "broken", "slow", "tools")
	if c := again.Components["broken"]; !c.Reused || c.State != "failed" || !strings.Contains(c.Reason, "failed before") {
		t.Errorf("%+v", c)
	}
	if n := w.events(slipway.BuildQueued) - before; n != 2 {
		t.Errorf("%d ran", n)
	}
	if err := w.s.Forget(t.Context(), again.Components["broken"].Build, "ann"); err != nil {
		t.Fatal(err)
	}
	events, err := w.db.Events(t.Context(), store.EventQuery{Type: string(slipway.BuildForgot)})
	if err != nil || len(events) != 1 || events[0].Actor != "ann" || events[0].Reason == "" {
		t.Errorf("the ledger tells %+v, %v", events, err)
	}
	if c := w.wave("w3", "broken").Components["broken"]; c.Reused || c.Build == again.Components["broken"].Build {
		t.Errorf("%+v", c)
	}
	if err := w.s.Forget(t.Context(), st.Components["ok"].Build, "ann"); !slipway.Is(err, slipway.Conflict) {
		t.Error(err)
	}
}

func TestBadRequests(t *testing.T) {
	w := newWorld(t, storetest.Open(t), build.Config{})
	w.commit("a", "components/a", map[string]string{"slipway.yaml": "component: a\nneeds:\n  - b\nbuild: \"true\"\n"})
	w.commit("b", "components/b", map[string]string{"slipway.yaml": recipe("b", "a", "true")})
	w.commit("ghostly", "components/g", map[string]string{"slipway.yaml": recipe("ghostly", "ghost", "true")})
	w.commit("bad", "components/bad", map[string]string{"slipway.yaml": "component: bad\nbuilt: true\n"})
	w.commit("bare", "components/bare", map[string]string{"README": "x"})
	w.commit("named", "components/named", map[string]string{"slipway.yaml": recipe("other", "", "true")})
	w.commit("link", "components/link", map[string]string{"slipway.yaml": recipe("link", "", "true")})
	if err := os.Symlink("/etc/passwd", filepath.Join(w.dir, "git/components/link/l")); err != nil {
		t.Fatal(err)
	}
	w.commit("link", "components/link", nil)
	for target, want := range map[string]string{
		"a":       "components/b/slipway.yaml:2: components need each other in a cycle: a needs b needs a",
		"ghostly": `components/g/slipway.yaml:2: ghostly needs an unknown component "ghost"`,
		"nothing": `unknown component "nothing"`,
		"bad":     "components/bad/slipway.yaml:",
		"bare":    "bare has no recipe",
		"named":   `calls this component "named", its own file "other"`,
		"link":    "the source of link cannot be built: /l: the symbolic link",
	} {
		st := w.wave("w-"+target, target)
		if st.State != slipway.WaveFailed || !strings.Contains(st.Reason, want) {
			t.Errorf("%s: %s %s\nwant %s", target, st.State, st.Reason, want)
		}
	}
	gone := w.request("w-gone", "a")
	gone.Pins[0].Commit = strings.Repeat("1", 40)
	if _, err := w.s.StartWave(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	if st := w.ended("w-gone"); st.State != slipway.WaveFailed {
		t.Errorf("%+v", st)
	}
	for _, req := range []slipway.WaveRequest{{}, {ID: "x"}, {ID: "x", Targets: []string{"a"}, Pins: []slipway.Pin{{Component: "a"}, {Component: "a"}}}} {
		if _, err := w.s.StartWave(t.Context(), req); !slipway.Is(err, slipway.Invalid) {
			t.Errorf("%+v: %v", req, err)
		}
	}
	if n := w.events(slipway.WaveFinished); n != 8 {
		t.Errorf("%d waves finished", n)
	}
}
