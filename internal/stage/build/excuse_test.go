package build_test

import (
	"slices"
	"strings"
	"testing"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build"
	"slipway.dev/slipway/internal/stage/gating"
	"slipway.dev/slipway/internal/store"
	"slipway.dev/slipway/internal/store/storetest"
)

// gated is a world whose rebuilds ask the real gating.
func gated(t *testing.T, db *store.DB) (*world, *gating.Service) {
	gate := gating.New(store.Scope(db, func(tx *store.Tx) gating.Tx { return tx }))
	shelf := &shelf{}
	w := newWorld(t, db, build.Config{Products: shelf, Results: gate, Gate: gate})
	shelf.w = w
	return w, gate
}

func (w *world) waiver(gate *gating.Service, check, item string) gating.Waiver {
	w.t.Helper()
	v, err := gate.Waive(w.t.Context(), gating.Waiver{Product: "ferry", Check: check, Item: item, Reason: "known, and not promised", Author: "ann"})
	if err != nil {
		w.t.Fatal(err)
	}
	w.pushed() // the route's wake-up
	return v
}

// verdict is how gating sees a check of a rebuild.
func verdict(t *testing.T, gate *gating.Service, rebuild, check, item string) slipway.Verdict {
	t.Helper()
	d, err := gate.Decide(t.Context(), "ferry", "rebuild/"+rebuild, []slipway.Requirement{{Check: check, Item: item}})
	if err != nil {
		t.Fatal(err)
	}
	return d.Verdicts[0]
}

func (w *world) check(r build.Rebuild, component, check string) slipway.ComponentTest {
	w.t.Helper()
	tests := w.status(r.Attempts[len(r.Attempts)-1].Wave).Components[component].Tests
	i := slices.IndexFunc(tests, func(t slipway.ComponentTest) bool { return t.Check == check })
	if i < 0 {
		w.t.Fatalf("%s has no %s: %+v", component, check, tests)
	}
	return tests[i]
}

// TestWaivedCheckOfARebuild lets a rebuild go on past a check that fails and is waived, and past no other.
func TestWaivedCheckOfARebuild(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w, gate := gated(t, db)
		w.product()
		w.commit("link", "components/mono//link", map[string]string{"slipway.yaml": recipe("link", "libwire", "cp $DEPS/libwire/wire.txt $OUT/link.txt", "exit 5")})
		w.start()

		w.waiver(gate, "unit", "app") // covers another
		stuck := w.rebuilt(build.RebuildCause{All: true})
		if stuck.State != build.RebuildStuck || stuck.Counts != (slipway.WaveCounts{Built: 3, Skipped: 1}) {
			t.Fatalf("%+v", stuck)
		}
		told := w.events(slipway.RebuildBroken)
		if told != 1 {
			t.Fatalf("%d were told", told)
		}

		// A waiver lets it go on by itself: the failed test is not run again, and what it stopped is built.
		ran := w.events(slipway.BuildStarted)
		granted := w.waiver(gate, "unit", "link")
		went := w.settled(stuck.ID, 2)
		if went.State != build.RebuildPassed || went.Attempts[1].Why != "link:unit is waived" || went.Counts.Built != 1 || !strings.Contains(went.Reason, "failed checks waived: 1") {
			t.Fatalf("%+v", went)
		}
		if n := w.events(slipway.BuildStarted) - ran; n != 2 { // app and its test
			t.Fatalf("%d ran", n)
		}
		unit := w.check(went, "link", "unit")
		if unit.State != "waived" || unit.Outcome != slipway.Fail || !unit.Reused || !strings.Contains(unit.Reason, "exit code 5") || strings.Count(unit.Reason, "waived by ann: known, and not promised") != 1 {
			t.Fatalf("%+v", unit)
		}
		if v := verdict(t, gate, stuck.ID, "unit", "link"); v.State != slipway.CheckWaived || v.Link != slipway.Ref("build", unit.Build) || strings.Count(v.Reason, "waived by") != 1 {
			t.Fatalf("%+v", v)
		}

		// A failure that is new, run in this very rebuild, is waived likewise; nobody is told of it.
		w.commit("link", "components/mono//link", map[string]string{"slipway.yaml": recipe("link", "libwire", "cp $DEPS/libwire/wire.txt $OUT/link.txt", "exit 6")})
		again := w.rebuilt(build.RebuildCause{Components: []string{"link"}})
		if again.State != build.RebuildPassed || !strings.Contains(w.check(again, "link", "unit").Reason, "exit code 6") || w.events(slipway.RebuildBroken) != told {
			t.Fatalf("%+v", again)
		}

		// Nothing has changed: nothing is built, and the waived failure is reused.
		ran = w.events(slipway.BuildQueued)
		if same := w.rebuilt(build.RebuildCause{All: true}); same.State != build.RebuildPassed || same.Counts != (slipway.WaveCounts{Reused: 4}) || w.events(slipway.BuildQueued) != ran {
			t.Fatalf("%+v", same)
		}

		// A waiver that was taken back excuses nothing.
		if err := gate.Revoke(t.Context(), granted.ID, "ann", "it is to be mended"); err != nil {
			t.Fatal(err)
		}
		if r := w.rebuilt(build.RebuildCause{All: true}); r.State != build.RebuildStuck || !strings.Contains(r.Reason, "link:unit: the same inputs failed before: exit code 6") {
			t.Fatalf("%+v", r)
		}
	})
}

// TestWaivedInspection waives one of the default checks; the others still hold.
func TestWaivedInspection(t *testing.T) {
	w, gate := gated(t, storetest.Open(t))
	w.commit("lib", "components/lib", map[string]string{"slipway.yaml": recipe("lib", "", "echo lib > $OUT/lib; ln -s nowhere $OUT/gone")})
	w.commit("app", "components/app", map[string]string{"slipway.yaml": recipe("app", "lib", "cp $DEPS/lib/lib $OUT/app")})
	w.start()
	w.waiver(gate, "linkage", "lib")
	stuck := w.rebuilt(build.RebuildCause{All: true})
	if stuck.State != build.RebuildStuck || !strings.Contains(stuck.Reason, "lib:inspect: files: fail") {
		t.Fatalf("%+v", stuck)
	}
	w.waiver(gate, "files", "lib")
	went := w.settled(stuck.ID, 2)
	if went.State != build.RebuildPassed || went.Attempts[1].Why != "lib:inspect is waived" || went.Counts != (slipway.WaveCounts{Built: 1, Reused: 1}) {
		t.Fatalf("%+v", went)
	}
	if c := w.check(went, "lib", "inspect"); c.State != "waived" || len(c.Notes) != 5 {
		t.Fatalf("%+v", c)
	}
}
