package build_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/build"
	"slipway.dev/slipway/internal/store"
	"slipway.dev/slipway/internal/store/storetest"
)

// shelf is what the stage knows of the one product: the world's pins are the heads.
type shelf struct {
	w      *world
	file   spec.Product
	locked map[string]slipway.Locked

	mu      sync.Mutex
	results []slipway.Result
}

func (p *shelf) Product(context.Context, string) (spec.Product, string, error) {
	return p.file, "", nil // of no commit: nothing else is read there
}

func (p *shelf) Heads(context.Context, string) ([]slipway.Pin, error) {
	return slices.SortedFunc(maps.Values(p.w.pins), func(a, b slipway.Pin) int { return strings.Compare(a.Component, b.Component) }), nil
}

func (p *shelf) Locked(context.Context, string) (map[string]slipway.Locked, string, error) {
	if p.locked == nil {
		return nil, "", slipway.Errorf(slipway.NotFound, "nothing was released")
	}
	return p.locked, "ferry-v1", nil
}

func (p *shelf) CommitsOf(_ context.Context, _, _, ref string) ([]string, error) {
	return []string{ref}, nil
}

func (p *shelf) Record(_ context.Context, r slipway.Result) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.results = append(p.results, r)
	return nil
}

func (p *shelf) RecordAll(_ context.Context, all []slipway.Result) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.results = append(p.results, all...)
	return nil
}

// result says how a check of a component ended in a rebuild, as gating was told last.
func (p *shelf) result(subject, check, item string) (found slipway.Result) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.results {
		if r.Subject == subject && r.Check == check && r.Item == item {
			found = r
		}
	}
	return found
}

func newShelf(t *testing.T, db *store.DB) (*world, *shelf) {
	p := &shelf{}
	w := newWorld(t, db, build.Config{Products: p, Results: p})
	p.w = w
	return w, p
}

// rebuilt starts a rebuild and waits for its end, or for it to be stuck.
func (w *world) rebuilt(c build.RebuildCause) build.Rebuild {
	w.t.Helper()
	r, err := w.s.StartRebuild(w.t.Context(), "ferry", c, "ann")
	if err != nil {
		w.t.Fatal(err)
	}
	return w.settled(r.ID, 1)
}

// settled waits until an attempt of a rebuild has ended.
func (w *world) settled(id string, attempts int) (r build.Rebuild) {
	w.t.Helper()
	w.await("the end of rebuild "+id, func() bool {
		var err error
		if r, err = w.s.Rebuild(w.t.Context(), id); err != nil {
			w.t.Fatal(err)
		}
		return r.State != build.RebuildRunning && r.State != build.RebuildPaused && len(r.Attempts) >= attempts
	})
	return r
}

func (w *world) pushed() {
	w.t.Helper()
	err := w.db.Update(w.t.Context(), func(tx *store.Tx) error { return tx.Wake(w.t.Context(), "build.fixed", "ferry", time.Time{}) })
	if err != nil {
		w.t.Fatal(err)
	}
}

func TestRebuild(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w, shelf := newShelf(t, db)
		w.product()
		w.start()
		first := w.rebuilt(build.RebuildCause{All: true})
		if first.State != build.RebuildPassed || first.Counts.Built != 4 || len(first.Targets) != 4 {
			t.Fatalf("%+v", first)
		}
		for _, check := range []string{"build", "outputs", "files", "arch", "linkage", "paths"} {
			if r := shelf.result("rebuild/1", check, "app"); r.Outcome != slipway.Pass {
				t.Errorf("gating was told %+v of %s", r, check)
			}
		}
		if r := shelf.result("rebuild/1", "linkage", "libwire"); !strings.Contains(r.Reason, "not applicable: ") {
			t.Errorf("%+v", r)
		}

		// A comment: what needs the library is cut off, all the way down.
		w.commit("libwire", "components/libwire", map[string]string{"wire.txt": "# another comment\nwire 1\n"})
		p, err := w.s.PlanRebuild(t.Context(), "ferry", build.RebuildCause{Components: []string{"libwire"}})
		if err != nil || p.Certain != 1 || p.Possible != 3 || p.Unaffected != 0 || p.Expected[0].Component != "libwire" || p.Expected[3].Component != "app" {
			t.Fatalf("%+v %v", p, err)
		}
		ran := w.events(slipway.BuildStarted)
		cut := w.rebuilt(build.RebuildCause{Components: []string{"libwire"}})
		if cut.State != build.RebuildPassed || cut.Counts != (slipway.WaveCounts{Built: 1, CutOff: 3}) || !strings.Contains(cut.Reason, "1 built, 0 reused, 3 cut off early") {
			t.Fatalf("%+v", cut)
		}
		if n := w.events(slipway.BuildStarted) - ran; n != 2 { // it and its test
			t.Fatalf("%d ran", n)
		}
		st := w.status(cut.Attempts[0].Wave)
		e, err := w.s.Explain(t.Context(), st.Components["libwire"].Build)
		if err != nil || !e.Same || len(e.Changes) != 1 || e.Changes[0].Kind != "source" || e.Before == "" {
			t.Fatalf("%+v %v", e, err)
		}

		// A break: what needs it is skipped, everything else goes on, and its maintainers are told.
		w.commit("codec", "components/mono//codec", map[string]string{"slipway.yaml": recipe("codec", "libwire", "echo broken; exit 4") + "maintainers: [mia@example.org]\n"})
		stuck := w.rebuilt(build.RebuildCause{Components: []string{"codec"}})
		if stuck.State != build.RebuildStuck || stuck.Counts.Failed != 1 || stuck.Counts.Skipped != 1 || !strings.Contains(stuck.Reason, "codec: exit code 4") {
			t.Fatalf("%+v", stuck)
		}
		told, err := db.Events(t.Context(), store.EventQuery{Type: string(slipway.RebuildBroken)})
		if err != nil || len(told) != 1 || told[0].Subject != "component/codec" || !strings.Contains(string(told[0].Data), "mia@example.org") {
			t.Fatalf("%+v %v", told, err)
		}
		if r := shelf.result("rebuild/3", "build", "codec"); r.Outcome != slipway.Fail || !strings.Contains(r.Reason, "exit code 4") {
			t.Fatalf("%+v", r)
		}
		w.pushed() // of something else: nothing moved
		if err := w.s.RetryRebuild(t.Context(), stuck.ID, "ann"); err != nil {
			t.Fatal(err)
		}
		if again := w.settled(stuck.ID, 2); again.State != build.RebuildStuck || len(again.Attempts) != 2 {
			t.Fatalf("%+v", again)
		}
		before := w.events(slipway.BuildStarted)
		w.commit("codec", "components/mono//codec", map[string]string{"slipway.yaml": recipe("codec", "libwire", "cat $DEPS/libwire/wire.txt > $OUT/codec.txt; echo codec 2 >> $OUT/codec.txt")})
		w.pushed()
		fixed := w.settled(stuck.ID, 3)
		if fixed.State != build.RebuildPassed || !strings.Contains(fixed.Attempts[2].Why, "codec moved") || fixed.Counts.Built != 2 {
			t.Fatalf("%+v", fixed)
		}
		if n := w.events(slipway.BuildStarted) - before; n != 3 { // codec, app, and app's test
			t.Fatalf("%d ran after the fix", n)
		}

		// What was made from the commit that was, and with what came of it.
		old := w.pins["libwire"].Commit
		found, err := w.s.Affected(t.Context(), "ferry", "components/libwire", old)
		if err != nil || fmt.Sprint(found.Components) != "[libwire]" || len(found.Builds) != 2 || len(found.Over) == 0 {
			t.Fatalf("%+v %v", found, err)
		}
		if _, err := w.s.PlanRebuild(t.Context(), "ferry", build.RebuildCause{}); !slipway.Is(err, slipway.Invalid) {
			t.Fatal(err)
		}
		if err := w.s.RetryRebuild(t.Context(), fixed.ID, "ann"); !slipway.Is(err, slipway.Conflict) {
			t.Fatal(err)
		}
	})
}

func TestRebuildStrategies(t *testing.T) {
	w, shelf := newShelf(t, storetest.Open(t))
	shelf.file.Modules = map[string]spec.Module{"wires": {Components: []string{"libwire", "codec", "link"}, Strategy: "only-changed"}}
	w.product()
	w.start()
	all := slipway.WaveCounts{Built: 3}
	if r := w.rebuilt(build.RebuildCause{Module: "wires"}); r.Counts != all || r.Cause.Strategy != "only-changed" {
		t.Fatalf("%+v", r)
	}
	w.commit("libwire", "components/libwire", map[string]string{"wire.txt": "wire 2\n"})
	// Only what changed: the others stay on the old library.
	r := w.rebuilt(build.RebuildCause{Module: "wires"})
	if r.Counts != (slipway.WaveCounts{Built: 1, CutOff: 2}) || r.State != build.RebuildPassed {
		t.Fatalf("%+v", r)
	}
	st := w.status(r.Attempts[0].Wave)
	if got := w.file(st.Components["codec"].Artifact, "codec.txt"); got != "wire 1\ncodec\n" || !strings.Contains(st.Components["codec"].Reason, "taken over from build") {
		t.Fatalf("%q %+v", got, st.Components["codec"])
	}
	// By key: they are built with the new one.
	if r := w.rebuilt(build.RebuildCause{Module: "wires", Strategy: "by-key"}); r.Counts != (slipway.WaveCounts{Built: 2, Reused: 1}) {
		t.Fatalf("%+v", r.Counts)
	}
	// All: everything anew, although every key is known.
	before := w.events(slipway.BuildQueued)
	if r := w.rebuilt(build.RebuildCause{Module: "wires", Strategy: "all"}); r.Counts != all {
		t.Fatalf("%+v", r.Counts)
	}
	if n := w.events(slipway.BuildQueued) - before; n < 3 {
		t.Fatalf("%d were queued", n)
	}
	// Changed and after: the library changed, so everything in later tiers is built by its key, which is known for what is the same.
	w.commit("libwire", "components/libwire", map[string]string{"wire.txt": "# said twice\nwire 2\n"})
	if r := w.rebuilt(build.RebuildCause{Module: "wires", Strategy: "changed-and-after"}); r.Counts != (slipway.WaveCounts{Built: 1, CutOff: 2}) {
		t.Fatalf("%+v", r.Counts)
	}
	if _, err := w.s.StartRebuild(t.Context(), "ferry", build.RebuildCause{Module: "wires", Strategy: "some"}, "ann"); !slipway.Is(err, slipway.Invalid) {
		t.Fatal(err)
	}
}

// TestBootstrap builds a compiler and a library that need each other.
func TestBootstrap(t *testing.T) {
	w, shelf := newShelf(t, storetest.Open(t))
	w.commit("cc", "components/cc", map[string]string{"slipway.yaml": recipe("cc", "", "echo cc 0 > $OUT/cc")})
	w.commit("libc", "components/libc", map[string]string{"slipway.yaml": recipe("libc", "cc", "echo libc > $OUT/libc; wc -l < $DEPS/cc/cc >> $OUT/libc")})
	w.commit("app", "components/app", map[string]string{"slipway.yaml": recipe("app", "cc, libc", "cat $DEPS/*/* > $OUT/app")})
	w.start()
	first := w.wave("w1", "app")
	w.passed(first)
	w.commit("cc", "components/cc", map[string]string{"slipway.yaml": recipe("cc", "libc", "echo cc 1 > $OUT/cc; cat $DEPS/libc/libc >> $OUT/cc")})
	named := w.wave("w2", "app")
	if named.State != slipway.WaveFailed || !strings.Contains(named.Reason, "cc needs libc needs cc") {
		t.Fatal(named.Reason)
	}
	shelf.file.Bootstrap = []spec.Bootstrap{{From: "cc", To: "libc"}}
	if w3 := w.wave("w3", "app"); w3.State != slipway.WaveFailed || !strings.Contains(w3.Reason, "nothing of libc was released yet") {
		t.Fatal(w3.Reason)
	}
	shelf.file.Bootstrap[0].At = first.Components["libc"].Artifact
	done := w.wave("w4", "app")
	w.passed(done)
	boot := done.Components["cc"].Tests
	if len(boot) != 1 || boot[0].Check != "bootstrap" || boot[0].Build == done.Components["cc"].Build {
		t.Fatalf("%+v", done.Components["cc"])
	}
	if got := w.file(done.Components["libc"].Artifact, "libc"); got != "libc\n3\n" { // made with the first cc, which has three lines
		t.Fatalf("%q", got)
	}
	if got := w.file(done.Components["cc"].Artifact, "cc"); got != "cc 1\nlibc\n3\n" { // the second cc was made with the new libc
		t.Fatalf("%q", got)
	}
	// From there on it has settled: the new libc leads to itself, and the second build of cc is the first.
	shelf.file.Bootstrap[0].At = done.Components["libc"].Artifact
	settled := w.wave("w5", "app")
	w.passed(settled)
	if c := settled.Components["cc"]; c.Build != c.Tests[0].Build || !c.Reused || settled.Components["libc"].Artifact != done.Components["libc"].Artifact {
		t.Fatalf("%+v", settled.Components)
	}
}

func TestPauseAndCancelRebuild(t *testing.T) {
	w, _ := newShelf(t, storetest.Open(t))
	w.product()
	r, err := w.s.StartRebuild(t.Context(), "ferry", build.RebuildCause{All: true, Limit: 1}, "ann") // nothing runs yet
	if err != nil {
		t.Fatal(err)
	}
	if err := w.s.PauseRebuild(t.Context(), r.ID, "ann", "lunch"); err != nil {
		t.Fatal(err)
	}
	w.start()
	limit, tick := time.After(time.Minute), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for planned := false; !planned; { // nothing tells the ledger that a wave was planned
		all, err := w.s.WaveRecord(t.Context(), r.Attempts[0].Wave)
		if err != nil {
			t.Fatal(err)
		}
		planned = all.Laid && strings.Contains(all.Reason, "paused: ann: lunch")
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("it does not pause: %s", all.Reason)
		}
	}
	if n := w.events(slipway.BuildQueued); n != 0 {
		t.Fatalf("%d were queued while it paused", n)
	}
	if err := w.s.PauseRebuild(t.Context(), r.ID, "ann", "again"); !slipway.Is(err, slipway.Conflict) {
		t.Fatal(err)
	}
	if err := w.s.ResumeRebuild(t.Context(), r.ID, "ann"); err != nil {
		t.Fatal(err)
	}
	if r = w.settled(r.ID, 1); r.State != build.RebuildPassed || r.Counts.Built != 4 {
		t.Fatalf("%+v", r)
	}
	w.commit("libwire", "components/libwire", long("libwire", 1000))
	r, err = w.s.StartRebuild(t.Context(), "ferry", build.RebuildCause{Components: []string{"libwire"}}, "ann")
	if err != nil {
		t.Fatal(err)
	}
	w.await("the library's build", func() bool {
		b, err := w.s.Build(t.Context(), w.status(r.Attempts[0].Wave).Components["libwire"].Build)
		return err == nil && b.State == build.Running
	})
	if err := w.s.CancelRebuild(t.Context(), r.ID, "ann", "not now"); err != nil {
		t.Fatal(err)
	}
	if r, err = w.s.Rebuild(t.Context(), r.ID); err != nil || r.State != build.RebuildCancelled || r.Attempts[0].State != slipway.WaveCancelled {
		t.Fatalf("%+v %v", r, err)
	}
	if err := w.s.CancelRebuild(t.Context(), r.ID, "ann", "again"); !slipway.Is(err, slipway.Conflict) {
		t.Fatal(err)
	}
}
