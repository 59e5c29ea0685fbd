package integration_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/integration"
	"slipway.dev/slipway/internal/store"
)

// fleetFile is a product of five components in three configurations, which share nothing.
const fleetFile = `product: ferry
components: {lib: {}, app: {}, hull: {}, mast: {}, bell: {}}
configurations:
  shore: {components: [app], experiments: [experiments/smoke.yaml, experiments/load.yaml]}
  sea: {components: [mast], experiments: [experiments/float.yaml]}
  tower: {components: [bell], experiments: [experiments/ring.yaml]}
`

func experiment(name string, artifacts ...string) string {
	return fmt.Sprintf("experiment: %s\nroles:\n  server: {artifacts: [%s]}\nsteps:\n  - {id: up, role: server, run: ./%s}\n", name, strings.Join(artifacts, ", "), name)
}

// fleet is a world whose product of five components has its first release. More is added to its product file.
func fleet(t testing.TB, more string) *world {
	t.Helper()
	return fleetOn(t, sqlite, more)
}

func fleetOn(t testing.TB, engine, more string) *world {
	t.Helper()
	return begin(t, engine+" fleet "+more, func(t testing.TB) *world {
		w := newWorldOn(t, engine)
		w.product(map[string]string{spec.ProductFile: fleetFile + more, "experiments/smoke.yaml": smoke, "experiments/load.yaml": load,
			"experiments/float.yaml": experiment("float", "mast", "hull"), "experiments/ring.yaml": experiment("ring", "bell")})
		for _, name := range names {
			w.move(name, name+" 1")
		}
		w.settle()
		w.want(1, integration.Landed, "released as v2026.11.1")
		return w
	})
}

// move pushes a component of the fleet.
func (w *world) move(name, text string) string {
	w.t.Helper()
	needs := map[string][]string{"app": {"lib"}, "mast": {"hull"}}
	return w.push("components/"+name, component(name, text, needs[name]...))
}

// runs counts the experiments that were really run since the first n.
func (w *world) ran(n int) int { return len(w.lab.order) - n }

func TestParallelSpeculationLandsInOrder(t *testing.T) {
	t.Parallel()
	w := released(t)
	for n := range 4 {
		w.app(fmt.Sprintf("app %d", n+2))
	}
	w.drain()
	for n := int64(2); n <= 5; n++ {
		if e := w.want(n, integration.Building); len(e.Assumes) != int(n-2) {
			t.Errorf("entry %d assumes %v", n, e.Assumes)
		}
	}
	w.builder.finish() // all candidates at once
	w.drain()
	w.lab.finish()
	w.drain()
	for n := int64(2); n <= 5; n++ {
		w.want(n, integration.Landed, fmt.Sprintf("v2026.11.%d", n))
	}
}

func TestAFailureInTheMiddle(t *testing.T) {
	t.Parallel()
	w := released(t)
	w.app("app 2")
	w.app("app 3, no smoke")
	good := w.lib("lib 2")
	w.settle()
	w.want(2, integration.Landed)
	w.want(3, integration.Rejected, "experiment of smoke (shore) failed")
	w.want(4, integration.Landed)
	w.locked("lib", good)
}

func TestTwoFailuresAtOnce(t *testing.T) {
	t.Parallel()
	w := fleet(t, "")
	w.app("app 2, no smoke")
	w.move("mast", "mast 2, no unit")
	lib := w.lib("lib 2")
	hull := w.move("hull", "hull 2")
	w.settle()
	w.want(2, integration.Rejected, "smoke (shore) failed")
	w.want(3, integration.Rejected, "unit of mast failed")
	w.want(4, integration.Landed)
	w.want(5, integration.Landed)
	w.locked("lib", lib)
	w.lockedIn("sea", "hull", hull)
}

// A failing commit that a later one mends lands with that, as one step: what lies between is never released.
func TestAMendedFailureLandsWithItsMending(t *testing.T) {
	t.Parallel()
	w := released(t)
	w.app("app 2, no smoke")
	app := w.app("app 3")
	w.settle()
	w.locked("app", app)
	w.want(3, integration.Landed, "v2026.11.2")
	if n := len(w.releases()); n != 2 {
		t.Errorf("%d releases", n)
	}
}

func TestIndependentLanesDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	w := fleet(t, "")
	w.app("app 2")
	w.move("bell", "bell 2")
	w.drain()
	w.builder.finish()
	w.drain()
	for _, id := range w.lab.running() { // the bell is fast
		if strings.Contains(w.lab.runs[id].req.File, "ring") {
			w.lab.end(id)
		}
	}
	w.drain()
	w.want(2, integration.Testing)
	if e := w.want(3, integration.Landed, "v2026.11.2"); len(e.Assumes) != 0 {
		t.Errorf("it assumed %v", e.Assumes)
	}
	w.settle()
	w.want(2, integration.Landed, "v2026.11.3")
}

func TestAConfigurationWhoseInputsDidNotChangeIsNotTestedAgain(t *testing.T) {
	t.Parallel()
	w := fleet(t, "")
	before := len(w.lab.order)
	w.move("mast", "mast 2")
	w.settle()
	w.want(2, integration.Landed)
	if w.ran(before) != 1 {
		t.Errorf("%d experiments ran for one configuration", w.ran(before))
	}
}

// named makes a push to a component the landing of a change.
func (w *world) named(ref, component, text, message string) string {
	w.t.Helper()
	w.repos.message = message
	commit := w.repos.commit(w.t, "components/"+component, w.clock.Now(), map[string]string{"src": text})
	w.repos.message = ""
	w.clock.Advance(time.Minute)
	w.changes[commit] = integration.Change{Ref: ref, Title: text, Author: "ada"}
	return commit
}

func (w *world) seen(components ...string) {
	for _, name := range components {
		w.emit(slipway.Event{Type: slipway.ComponentSeen, Subject: "component/" + name})
	}
}

func TestACrossRepositoryDependency(t *testing.T) {
	t.Parallel()
	w := fleet(t, "")
	w.changes["later"] = integration.Change{Ref: "change/8", Title: "bell 2"}
	w.named("change/7", "mast", "mast 2", "feat: mast\n\nDepends-On: change/8\n")
	w.seen("mast")
	w.settle()
	w.want(2, integration.Queued, "depends on change/8, which has not reached the queue")
	delete(w.changes, "later")
	w.named("change/8", "bell", "bell 2, no ring", "feat: bell\n")
	w.seen("bell")
	w.settle()
	w.want(3, integration.Rejected, "ring (tower) failed")
	w.want(2, integration.Rejected, "what it depends on has left the queue")

	w.named("change/10", "bell", "bell 3", "feat: bell\n")
	w.named("change/9", "mast", "mast 3", "feat: mast\n\nDepends-On: change/10\n")
	w.seen("bell", "mast")
	w.settle()
	bell, mast := int64(0), int64(0)
	for i, r := range w.releases() {
		for _, pin := range r.Moved {
			switch {
			case i > 0 && pin.Component == "bell":
				bell = int64(i)
			case i > 0 && pin.Component == "mast":
				mast = int64(i)
			}
		}
	}
	if bell == 0 || mast == 0 || bell > mast {
		t.Errorf("bell landed in release %d, mast, which depends on it, in %d", bell, mast)
	}
}

func TestADependencyOnAnAbandonedChange(t *testing.T) {
	t.Parallel()
	w := fleet(t, "")
	w.changes["never"] = integration.Change{Ref: "change/8", Title: "bell 2", Gone: "is abandoned: not wanted"}
	w.named("change/7", "mast", "mast 2", "feat: mast\n\nDepends-On: change/8\n")
	w.seen("mast")
	w.settle()
	w.want(2, integration.Rejected, "depends on change/8, which is abandoned: not wanted")
}

func TestADependencyCycleMovesAsOne(t *testing.T) {
	t.Parallel()
	w := fleet(t, "")
	w.changes["later"] = integration.Change{Ref: "change/8", Title: "bell 2"}
	mast := w.named("change/7", "mast", "mast 2", "feat: mast\n\nDepends-On: change/8\n")
	w.seen("mast")
	w.drain()
	delete(w.changes, "later")
	bell := w.named("change/8", "bell", "bell 2", "feat: bell\n\nDepends-On: change/7\n")
	w.seen("bell")
	w.settle()
	e := w.want(2, integration.Landed)
	w.want(3, integration.Dequeued, "as one change set")
	if len(e.Pins) != 2 || len(e.Changes) != 2 || len(w.releases()) != 2 {
		t.Errorf("the change set %+v; %d releases", e, len(w.releases()))
	}
	w.lockedIn("sea", "mast", mast)
	w.lockedIn("tower", "bell", bell)
}

func TestAChangeSetOfThree(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "bell"} {
		t.Run("bad="+bad, func(t *testing.T) {
			w := fleet(t, "")
			w.do(w.s.Freeze(t.Context(), product, "ada", "together"))
			var moves []integration.Move
			for _, name := range []string{"lib", "mast", "bell"} {
				text := name + " 2"
				if name == bad {
					text += ", no ring"
				}
				moves = append(moves, integration.Move{Component: name, To: w.move(name, text)})
			}
			w.drain()
			for n := int64(2); n <= 4; n++ {
				w.do(w.s.Dequeue(t.Context(), n, "ada", "together"))
			}
			e, err := w.s.Add(t.Context(), product, "", "ada", moves)
			w.do(err)
			w.do(w.s.Resume(t.Context(), product, "ada"))
			w.settle()
			if bad != "" {
				w.want(e.Number, integration.Rejected, "ring (tower) failed")
				if n := len(w.releases()); n != 1 {
					t.Errorf("%d releases", n)
				}
				return
			}
			w.want(e.Number, integration.Landed)
			if r := w.releases(); len(r) != 2 || len(r[1].Moved) != 3 {
				t.Errorf("releases %+v", r)
			}
			w.verified(e.Number)
		})
	}
}

func TestPredictionsAreLearntAndScored(t *testing.T) {
	t.Parallel()
	w := fleet(t, "queue: {predictor: logistic}\n")
	chances := map[string]float64{}
	for n := range 4 {
		w.move("bell", fmt.Sprintf("bell %d, no ring", n))
		w.move("mast", fmt.Sprintf("mast %d", n+2))
		w.drain()
		for _, e := range w.entries() {
			if e.Phase.Open() && len(e.Pins) == 1 {
				chances[e.Pins[0].Component] = e.Said["historical"]
			}
		}
		w.settle()
	}
	if !(chances["bell"] < chances["mast"]) {
		t.Errorf("the bell was always rejected and the mast always landed, and yet they are said to land with %v", chances)
	}
	all, err := w.s.Predictions(t.Context(), product)
	w.do(err)
	for _, c := range all {
		if c.Count != 9 || c.Used != (c.Predictor == "logistic") || c.Brier <= 0 || c.Brier >= 0.5 {
			t.Errorf("%+v after nine entries, of which four were rejected", c)
		}
	}
	if len(all) != 3 || all[1].Brier >= all[0].Brier {
		t.Errorf("who looks at components predicts no better: %+v", all)
	}
	// Who is taken out, or gets no verdict, teaches nothing.
	w.do(w.s.Freeze(t.Context(), product, "ada", "to take it out"))
	w.move("bell", "bell 9")
	w.drain()
	w.do(w.s.Dequeue(t.Context(), 10, "ada", "not today"))
	w.settle()
	if all, err = w.s.Predictions(t.Context(), product); err != nil || all[0].Count != 9 {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestEntriesThatCannotBeMergedDoNotMix(t *testing.T) {
	t.Parallel()
	w := released(t)
	old := w.manifest()["lib"].Commit
	w.lib("lib 2")
	w.settle()
	w.lib("lib 3")
	w.drain()
	back, err := w.s.Add(t.Context(), product, "", "ada", []integration.Move{{Component: "lib", To: old}})
	w.do(err)
	w.drain()
	w.want(back.Number, integration.Queued, "does not merge with an entry before it")
	w.settle()
	w.want(3, integration.Landed, "v2026.11.3")
	w.want(back.Number, integration.Landed, "v2026.11.4")
	w.locked("lib", old)
}

func TestAFlakeIsClearedByPolicy(t *testing.T) {
	t.Parallel()
	w := fleet(t, "queue: {flakes: {reruns: 1}}\n")
	w.lab.fate["ring"] = []slipway.Outcome{slipway.Fail}
	w.builder.fate["unit mast"] = []slipway.Outcome{slipway.Fail}
	w.move("bell", "bell 2")
	w.move("mast", "mast 2")
	w.settle()
	w.want(2, integration.Landed)
	w.want(3, integration.Landed)
	w.move("bell", "bell 3, no ring")
	w.settle()
	w.want(4, integration.Rejected, "ring (tower) failed", "failed in all of 2 runs")
}

func TestABaseThatFailsFreezesTheLaneAndBlamesNobody(t *testing.T) {
	t.Parallel()
	w := fleet(t, "")
	w.clock.Advance(25 * time.Hour) // nobody knows any more whether the base passes
	w.lab.fate["ring"] = slices.Repeat([]slipway.Outcome{slipway.Fail}, 50)
	w.move("bell", "bell 2")
	w.move("mast", "mast 2")
	w.settle()
	w.want(2, integration.Testing, "fails on the base itself")
	w.want(3, integration.Landed)
	q, err := w.s.Queue(t.Context(), product)
	w.do(err)
	if len(q.Lanes) != 1 || !strings.Contains(q.Lanes[0].Reason, "fails on the base without any entry") {
		t.Fatalf("frozen lanes %+v", q.Lanes)
	}
	// The rig is mended. After an hour the base is tried again, and then the entry.
	w.lab.fate["ring"] = nil
	w.clock.Advance(61 * time.Minute)
	w.settle()
	w.want(2, integration.Landed)
	if q, err = w.s.Queue(t.Context(), product); err != nil || len(q.Lanes) != 0 {
		t.Errorf("still frozen: %+v, %v", q.Lanes, err)
	}
}

func TestABaseThatFailsForAWhileBlamesNobody(t *testing.T) {
	t.Parallel()
	for fails := range 6 {
		w := fleet(t, "")
		w.clock.Advance(25 * time.Hour)
		w.lab.fate["ring"] = slices.Repeat([]slipway.Outcome{slipway.Fail}, fails+2)
		w.move("bell", "bell 2") // it fails, the base fails, then perhaps the base again
		w.settle()
		w.do(w.s.Resume(t.Context(), product, "ada"))
		w.settle()
		w.want(2, integration.Landed)
	}
}

func TestAControlRunFindsTheCulprit(t *testing.T) {
	t.Parallel()
	w := fleet(t, "")
	w.clock.Advance(25 * time.Hour)
	before := len(w.lab.order)
	w.move("bell", "bell 2, no ring")
	w.settle()
	w.want(2, integration.Rejected, "ring (tower) failed")
	if w.ran(before) != 2 {
		t.Errorf("%d runs: want the entry's and the base's", w.ran(before))
	}
}

func TestUrgent(t *testing.T) {
	t.Parallel()
	w := released(t)
	w.app("app 2")
	w.drain()
	w.lib("lib 2")
	w.drain()
	w.do(w.s.Promote(t.Context(), 3, "ada", 0, true))
	w.drain()
	if e := w.entry(3); e.Rank >= w.entry(2).Rank {
		t.Errorf("the urgent entry stands at %v, the other at %v", e.Rank, w.entry(2).Rank)
	}
	w.settle()
	w.want(3, integration.Landed, "v2026.11.2")
	w.want(2, integration.Landed, "v2026.11.3")
}

func TestReconfigurationWhileRunning(t *testing.T) {
	t.Parallel()
	w := fleet(t, "queue: {policy: serial}\n")
	w.app("app 2")
	w.app("app 3")
	w.drain()
	w.want(2, integration.Building)
	w.want(3, integration.Queued, "behind entry 2")
	w.product(map[string]string{spec.ProductFile: fleetFile + "queue: {policy: slipway}\n"})
	w.drain()
	w.want(3, integration.Building)
	w.settle()
	w.want(2, integration.Landed)
	w.want(3, integration.Landed)
	w.want(4, integration.Dequeued)
}

func TestHoursOfTheQueue(t *testing.T) {
	t.Parallel()
	w := fleet(t, "")
	w.product(map[string]string{spec.ProductFile: fleetFile + "queue:\n  hours: [mon-fri 08:00-18:00]\n"}) // the clock says Saturday
	w.app("app 2")
	w.settle()
	w.want(2, integration.Queued, "the queue is frozen: outside its hours until Mon 08:00 UTC")
	w.clock.Advance(48 * time.Hour)
	w.settle()
	w.want(2, integration.Landed)
}

func TestASupersededEntryByPolicy(t *testing.T) {
	t.Parallel()
	w := fleet(t, "queue: {supersede: true}\n")
	w.do(w.s.Freeze(t.Context(), product, "ada", "to line up"))
	w.app("app 2")
	newest := w.app("app 3")
	w.drain()
	w.do(w.s.Resume(t.Context(), product, "ada"))
	w.settle()
	w.want(2, integration.Dequeued, "a newer version of it is in the queue")
	w.want(3, integration.Landed, "v2026.11.2")
	w.locked("app", newest)
}

func TestAnAdvisoryExperimentHasNoVote(t *testing.T) {
	t.Parallel()
	w := fleet(t, "queue: {advisory: [ring]}\n")
	w.move("bell", "bell 2, no ring")
	w.settle()
	e := w.want(2, integration.Landed)
	results, err := w.gate.Results(t.Context(), slipway.Ref("candidate", e.Candidate))
	w.do(err)
	if !slices.ContainsFunc(results, func(r slipway.Result) bool { return r.Item == "ring" && r.Outcome == slipway.Fail }) {
		t.Errorf("nobody knows that ring fails: %+v", results)
	}
}

func TestScarceRigsAreShared(t *testing.T) {
	t.Parallel()
	w := released(t)
	w.lab.nodes = 1
	before := len(w.lab.order)
	for n := range 6 {
		w.app(fmt.Sprintf("app %d", n+2))
	}
	last := w.app("app 9")
	w.settle()
	for n := int64(2); n <= 8; n++ {
		w.want(n, integration.Landed)
	}
	w.locked("app", last)
	if ran := w.ran(before); ran >= 14 {
		t.Errorf("%d experiments for seven entries of two checks; a serial queue runs 14", ran)
	}
	for n := int64(2); n <= 8; n++ {
		w.verified(n)
	}
}

func TestTheServerRestartsInTheMiddle(t *testing.T) {
	t.Parallel()
	w := released(t)
	w.app("app 2")
	w.lib("lib 2")
	w.drain()
	w.start()
	w.drain()
	w.builder.finish()
	w.drain()
	running := w.lab.running()
	w.start()
	w.drain()
	if again := w.lab.running(); !slices.Equal(again, running) {
		t.Errorf("after the restart %v run, before it %v", again, running)
	}
	w.settle()
	w.want(2, integration.Landed)
	w.want(3, integration.Landed)
}

func TestVerify(t *testing.T) {
	t.Parallel()
	w := released(t)
	w.lib("lib 2")
	w.settle()
	w.verified(1)
	w.verified(2)
	if _, err := w.s.Verify(t.Context(), 9); !slipway.Is(err, slipway.NotFound) {
		t.Errorf("verified what is not there: %v", err)
	}
	e := w.entry(2)
	w.do(w.gate.Record(t.Context(), slipway.Result{Product: product, Subject: slipway.Ref("candidate", e.Candidate), Check: "unit", Item: "lib", Outcome: slipway.Fail, Reason: "forged"}))
	v, err := w.s.Verify(t.Context(), 2)
	w.do(err)
	if v.OK || !slices.ContainsFunc(v.Findings, func(f integration.Finding) bool { return !f.OK && strings.Contains(f.Claim, "unit of lib") }) {
		t.Errorf("a result that was changed later is not found: %+v", v.Findings)
	}
	w.do(w.db.Update(t.Context(), func(tx *store.Tx) error {
		c, err := tx.Candidates().Get(t.Context(), e.Candidate)
		if err != nil {
			return err
		}
		c.Pins[0].Commit = c.Pins[1].Commit
		return tx.Candidates().Put(t.Context(), c)
	}))
	if v, err = w.s.Verify(t.Context(), 2); err != nil || v.OK || v.Findings[0].OK {
		t.Errorf("a candidate that was changed later is not found: %+v, %v", v.Findings, err)
	}
}

// verified checks that an entry's certificate holds.
func (w *world) verified(number int64) {
	w.t.Helper()
	v, err := w.s.Verify(w.t.Context(), number)
	w.do(err)
	for _, f := range v.Findings {
		if !f.OK {
			w.t.Errorf("entry %d: it does not hold that %s: %s", number, f.Claim, f.Why)
		}
	}
	if len(v.Findings) < 5 {
		w.t.Errorf("entry %d: only %d findings", number, len(v.Findings))
	}
}

// tenChanges pushes ten changes to five components at once, two of them bad, and returns how many experiments were run for them.
func tenChanges(t *testing.T, policy string) int {
	t.Helper()
	w := fleet(t, "queue: {policy: "+policy+"}\n")
	w.lab.nodes = 2
	before := len(w.lab.order)
	bad := map[int64]string{5: "float (sea) failed", 8: "unit of lib failed"}
	for _, push := range [][2]string{{"app", "app 2"}, {"lib", "lib 2"}, {"bell", "bell 2"}, {"hull", "hull 2, no float"}, {"mast", "mast 2"},
		{"app", "app 3"}, {"lib", "lib 3, no unit"}, {"bell", "bell 3"}, {"mast", "mast 3"}, {"app", "app 4"}} {
		w.move(push[0], push[1])
	}
	w.settle()
	last := map[string]int64{}
	for _, r := range w.releases()[1:] {
		for _, pin := range r.Moved {
			number := int64(0)
			for _, e := range w.entries() {
				if len(e.Pins) == 1 && e.Pins[0].Commit == pin.Commit {
					number = e.Number
				}
			}
			if number <= last[pin.Component] {
				t.Errorf("%s: entry %d of %s landed after entry %d", policy, number, pin.Component, last[pin.Component])
			}
			last[pin.Component] = number
		}
	}
	for n := int64(2); n <= 11; n++ {
		if why, is := bad[n]; is {
			w.want(n, integration.Rejected, why)
			continue
		}
		w.want(n, integration.Landed)
		w.verified(n)
	}
	return w.ran(before)
}

func TestTenChangesTwoOfThemBad(t *testing.T) {
	t.Parallel()
	serial, slipway := tenChanges(t, "serial"), tenChanges(t, "slipway")
	t.Logf("experiments for ten changes: serial %d, slipway %d", serial, slipway)
	if slipway >= serial {
		t.Errorf("speculation ran %d experiments, the serial queue %d", slipway, serial)
	}
}
