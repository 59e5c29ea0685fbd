package integration_test

import (
	"slices"
	"strings"
	"testing"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/gating"
	"slipway.dev/slipway/internal/stage/integration"
)

func TestFirstReleaseWaitsForMissingComponents(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.product(map[string]string{spec.ProductFile: productFile, "experiments/smoke.yaml": smoke, "experiments/load.yaml": load})
	waitsFor := func(names string) {
		t.Helper()
		w.drain()
		q, err := w.s.Queue(t.Context(), product)
		if want := "the first release waits for a commit of " + names; err != nil || q.Reason != want {
			t.Fatalf("the queue says %q, %v; want %q", q.Reason, err, want)
		}
		w.count(0)
	}
	waitsFor("app, lib")
	w.app("app 1")
	waitsFor("lib")
	w.lib("lib 1")
	w.settle()
	w.count(1)
	e := w.want(1, integration.Landed, "released as v2026.11.1")
	if len(e.Pins) != 2 {
		t.Errorf("the first release moves %+v", e.Pins)
	}
	if q, err := w.s.Queue(t.Context(), product); err != nil || q.Reason != "" {
		t.Errorf("the queue still waits: %q, %v", q.Reason, err)
	}
}

func TestFirstReleaseIsTriedAgainWithWhatIsMended(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.product(map[string]string{spec.ProductFile: productFile, "experiments/smoke.yaml": smoke, "experiments/load.yaml": load})
	w.lib("lib 1, no unit")
	w.app("app 1")
	w.settle()
	w.want(1, integration.Rejected, "unit of lib failed")
	w.lib("lib 2")
	w.settle()
	w.want(2, integration.Landed)
	w.count(2)
}

func TestEntriesLandInOrder(t *testing.T) {
	t.Parallel()
	w := released(t)
	app, lib := w.app("app 2"), w.lib("lib 2") // the names are in the other order
	w.changes[lib] = integration.Change{Ref: "change/7", Title: "feat: go faster", Author: "bob"}
	w.drain()
	w.want(2, integration.Building)
	if e := w.want(3, integration.Building); len(e.Assumes) != 1 || e.Assumes[0] != 2 {
		t.Errorf("entry 3 assumes %v", e.Assumes)
	}
	w.settle()
	if e := w.want(2, integration.Landed, "v2026.11.2"); e.Pins[0].Commit != app || e.Author != "ada" {
		t.Errorf("the first push became %+v", e)
	}
	if e := w.want(3, integration.Landed, "v2026.11.3"); e.Pins[0].Commit != lib || e.Title != "feat: go faster" || e.Changes[0] != "change/7" {
		t.Errorf("the landed change became %+v", e)
	}
	releases := w.releases()
	if len(releases) != 3 || releases[2].Previous != releases[1].ID || releases[2].Entry != "entry/3" {
		t.Errorf("releases %+v", releases)
	}
	w.locked("app", app)
	w.locked("lib", lib)
}

func TestAFailureAtTheHeadLetsTheNextGoOn(t *testing.T) {
	t.Parallel()
	w := released(t)
	was := w.manifest()["lib"].Commit
	w.lib("lib 2, no build")
	app := w.app("app 2")
	w.settle()
	w.want(2, integration.Rejected, "build of lib failed: make says fail", "app not built: needs lib")
	w.want(3, integration.Landed)
	w.locked("lib", was)
	w.locked("app", app)
}

func TestAUnitTestFailureNeverReachesTheLab(t *testing.T) {
	t.Parallel()
	w := released(t)
	before := len(w.lab.order)
	w.lib("lib 2, no unit")
	w.settle()
	w.want(2, integration.Rejected, "unit of lib failed: assertion failed")
	if len(w.lab.order) != before {
		t.Errorf("experiments %v were run", w.lab.order[before:])
	}
}

func TestAFailedExperimentRejectsWhenTheOthersHaveEnded(t *testing.T) {
	t.Parallel()
	w := released(t)
	w.app("app 2, no smoke")
	w.drain()
	w.builder.finish()
	w.drain()
	running := w.lab.running()
	if len(running) != 2 {
		t.Fatalf("%d experiments run, want 2", len(running))
	}
	slices.SortFunc(running, func(a, _ string) int { // smoke, which fails, ends first
		if strings.Contains(w.lab.runs[a].req.File, "smoke") {
			return -1
		}
		return 1
	})
	w.lab.end(running[0])
	w.drain()
	w.want(2, integration.Testing, "is running: on edge-1")
	w.lab.end(running[1])
	w.drain()
	w.want(2, integration.Rejected, "experiment of smoke (shore) failed: step up of smoke ended with 1")
	if x := w.lab.runs[running[1]].status; x.Outcome != slipway.Pass {
		t.Errorf("the other experiment ended with %s: %s", x.Outcome, x.Reason)
	}
	d, err := w.s.Decision(t.Context(), 2)
	if err != nil || d.OK || len(d.Of(slipway.CheckFailed)) != 1 {
		t.Errorf("decision %+v, %v", d, err)
	}
}

func TestInfrastructureIsTriedAgainAndNeverBlamed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		where   string
		outcome slipway.Outcome
	}{
		{"build lib", slipway.Infra}, {"build lib", slipway.Timeout}, {"unit lib", slipway.Infra}, {"unit lib", slipway.Timeout},
		{"load", slipway.Infra}, {"load", slipway.Timeout},
	} {
		t.Run(strings.ReplaceAll(c.where, " ", "-")+"-"+string(c.outcome), func(t *testing.T) {
			w := released(t)
			fates := w.builder.fate
			if c.where == "load" {
				fates = w.lab.fate
			}
			experiments := len(w.lab.order)
			fates[c.where] = []slipway.Outcome{c.outcome, c.outcome}
			w.lib("lib 2")
			w.settle()
			w.want(2, integration.Landed)
			if lost := w.lost(c.outcome); lost != 2 {
				t.Errorf("landed after %d losses, want 2", lost)
			}
			if c.where == "unit lib" && len(w.lab.order) != experiments+1 {
				t.Errorf("nodes were taken for %d experiments, want 1: none before the unit tests have a verdict", len(w.lab.order)-experiments)
			}
			w.app("app 2")
			w.settle()
			w.want(3, integration.Landed)

			fates[c.where] = []slipway.Outcome{c.outcome, c.outcome, c.outcome}
			w.lib("lib 3")
			w.settle()
			w.want(4, integration.Rejected, "no verdict after 3 attempts, which says nothing about the change", string(c.outcome))
			w.app("app 3")
			w.settle()
			w.want(5, integration.Landed)

			// Once it is mended, the same commit is really tried again.
			if _, err := w.s.Requeue(t.Context(), 4, "ada"); err != nil {
				t.Fatal(err)
			}
			w.settle()
			if e := w.want(6, integration.Landed); e.Attempt != 1 {
				t.Errorf("requeued, it took %d attempts", e.Attempt)
			}
		})
	}
}

func TestARequeuedEntryOnTheSameBaseIsReallyTriedAgain(t *testing.T) {
	t.Parallel()
	w := released(t)
	w.lab.fate["smoke"] = []slipway.Outcome{slipway.Infra, slipway.Infra, slipway.Infra}
	w.app("app 2")
	w.settle()
	rejected := w.want(2, integration.Rejected, "no verdict after 3 attempts")
	if _, err := w.s.Requeue(t.Context(), 2, "ada"); err != nil {
		t.Fatal(err)
	}
	w.settle()
	if e := w.want(3, integration.Landed); e.Candidate != rejected.Candidate || e.Attempt != 1 {
		t.Errorf("candidate %s, then %s in attempt %d", rejected.Candidate, e.Candidate, e.Attempt)
	}
}

func TestTheBaseMovesWhileItIsTested(t *testing.T) {
	t.Parallel()
	w := released(t)
	app := w.app("app 2")
	w.drain()
	w.builder.finish()
	w.drain()
	e := w.want(2, integration.Testing)
	first := e.Base
	for _, x := range e.Experiments {
		if x.Experiment == "smoke" {
			w.lab.end(x.ID)
		}
	}
	// What no check depends on disturbs nobody.
	readme := w.product(map[string]string{"README.md": "moved by hand"})
	w.drain()
	w.want(2, integration.Testing)
	// A check whose text moved is run again; the other keeps its verdict.
	hand := w.product(map[string]string{"experiments/load.yaml": load + "env: {HARD: very}\n"})
	w.settle()
	e = w.want(2, integration.Landed)
	if e.Base != hand {
		t.Errorf("landed on %s; the commit by hand is %s", e.Base, hand)
	}
	if i := slices.IndexFunc(e.History, func(s integration.Stamp) bool {
		return strings.HasPrefix(s.Reason, "main moved from "+readme[:10]+" to "+hand[:10]) || strings.HasPrefix(s.Reason, "main moved from "+first[:10]+" to "+hand[:10])
	}); i < 0 {
		t.Errorf("history says nothing of it: %+v", e.History)
	}
	if len(w.lab.order) != 2+2+1 {
		t.Errorf("experiments %v", w.lab.order)
	}
	w.locked("app", app)
}

func TestTheBaseMovesBetweenDecisionAndLanding(t *testing.T) {
	t.Parallel()
	w := released(t)
	lib := w.lib("lib 2")
	hand := ""
	w.repos.before = func() { hand = w.product(map[string]string{"README.md": "moved by hand"}) }
	w.settle()
	e := w.want(2, integration.Landed)
	if e.Base != hand || len(w.releases()) != 2 {
		t.Errorf("landed on %s, not on the hand's %s; %d releases", e.Base, hand, len(w.releases()))
	}
	if !slices.ContainsFunc(e.History, func(s integration.Stamp) bool {
		return s.Phase == integration.Queued && strings.HasPrefix(s.Reason, "main moved before it could land")
	}) {
		t.Errorf("history says nothing of it: %+v", e.History)
	}
	w.locked("lib", lib)
}

func TestAFrozenQueue(t *testing.T) {
	t.Parallel()
	w := released(t)
	if err := w.s.Freeze(t.Context(), product, "ada", " "); !slipway.Is(err, slipway.Invalid) {
		t.Errorf("frozen without a reason: %v", err)
	}
	w.lib("lib 2")
	w.drain()
	w.want(2, integration.Building)
	w.do(w.s.Freeze(t.Context(), product, "ada", "release party"))
	w.app("app 2")
	w.settle()
	w.want(2, integration.Landed) // had begun
	w.want(3, integration.Queued, "the queue is frozen: release party")
	w.do(w.s.Resume(t.Context(), product, "ada"))
	w.settle()
	w.want(3, integration.Landed)
}

func TestPriorityDoesNotDisturbRunningWork(t *testing.T) {
	t.Parallel()
	w := released(t)
	w.lib("lib 2")
	w.drain()
	wave := w.entry(2).Wave
	w.do(w.s.Freeze(t.Context(), product, "ada", "to line up"))
	w.app("app 2")
	w.app("app 3")
	w.drain()
	w.do(w.s.Promote(t.Context(), 4, "ada", 5, false))
	w.do(w.s.Resume(t.Context(), product, "ada"))
	w.drain()
	w.want(2, integration.Building)
	if e := w.entry(2); e.Attempt != 1 || e.Wave != wave || w.builder.waves[wave].status.State != slipway.WaveRunning {
		t.Errorf("the running entry was disturbed: %+v", e)
	}
	if e := w.entry(4); e.Rank <= w.entry(2).Rank || e.Rank >= w.entry(3).Rank {
		t.Errorf("entry 4 stands at %v, 2 at %v, 3 at %v", e.Rank, w.entry(2).Rank, w.entry(3).Rank)
	}
	w.settle()
	w.want(2, integration.Landed, "v2026.11.2")
	w.want(4, integration.Landed, "v2026.11.3")
	w.want(3, integration.Dequeued, "has all of it already, or newer")
}

func TestDequeueCancelsWhatRuns(t *testing.T) {
	t.Parallel()
	w := released(t)
	w.lib("lib 2")
	w.app("app 2")
	w.drain()
	wave := w.entry(2).Wave
	w.do(w.s.Dequeue(t.Context(), 2, "ada", "not today"))
	w.drain()
	w.want(2, integration.Dequeued, "taken out by ada: not today")
	if s := w.builder.waves[wave].status; s.State != slipway.WaveCancelled || !strings.Contains(s.Reason, "not today") {
		t.Errorf("its wave is %s: %s", s.State, s.Reason)
	}
	w.builder.finish()
	w.drain()
	e := w.want(3, integration.Testing)
	w.do(w.s.Dequeue(t.Context(), 3, "ada", "nor this"))
	w.drain()
	for _, x := range e.Experiments {
		if s := w.lab.runs[x.ID].status; s.Outcome != slipway.Cancelled {
			t.Errorf("experiment %s is %s %s", x.Experiment, s.State, s.Outcome)
		}
	}
	if q, err := w.s.Queue(t.Context(), product); err != nil || len(q.Stops) != 0 {
		t.Errorf("still to stop: %+v, %v", q.Stops, err)
	}
	if err := w.s.Dequeue(t.Context(), 2, "ada", "twice"); !slipway.Is(err, slipway.Conflict) {
		t.Errorf("taken out twice: %v", err)
	}
	if err := w.s.Dequeue(t.Context(), 1, "ada", "late"); !slipway.Is(err, slipway.Conflict) {
		t.Errorf("taken out after it landed: %v", err)
	}

	// On the same base, so as the same candidates, whose waves and experiments were cancelled.
	for _, number := range []int64{2, 3} {
		if _, err := w.s.Requeue(t.Context(), number, "bob"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.s.Requeue(t.Context(), 1, "bob"); !slipway.Is(err, slipway.Conflict) {
		t.Errorf("requeued what has landed: %v", err)
	}
	w.settle()
	for _, number := range []int64{4, 5} {
		if e := w.want(number, integration.Landed); e.Author != "bob" {
			t.Errorf("requeued: %+v", e)
		}
	}
}

func TestAChangeSetLandsOrFailsAtOnce(t *testing.T) {
	t.Parallel()
	w := released(t)
	move := func(lib, app string) int64 {
		t.Helper()
		e, err := w.s.Add(t.Context(), product, "", "ada", []integration.Move{{Component: "lib", To: lib}, {Component: "app", To: app}})
		if err != nil {
			t.Fatal(err)
		}
		w.settle()
		return e.Number
	}
	w.do(w.s.Freeze(t.Context(), product, "ada", "only by hand today"))
	lib, app := w.lib("lib 2"), w.app("app 2")
	w.drain()
	for _, n := range []int64{2, 3} {
		w.do(w.s.Dequeue(t.Context(), n, "ada", "together"))
	}
	w.do(w.s.Resume(t.Context(), product, "ada"))
	n := move(lib, app)
	if e := w.want(n, integration.Landed); !strings.HasPrefix(e.Title, "move lib ") {
		t.Errorf("titled %q", e.Title)
	}
	if r := w.releases(); len(r) != 2 || len(r[1].Moved) != 2 {
		t.Errorf("releases %+v", r)
	}
	w.locked("lib", lib)
	w.locked("app", app)

	w.do(w.s.Freeze(t.Context(), product, "ada", "only by hand today"))
	badLib, badApp := w.lib("lib 3"), w.app("app 3, no unit")
	w.drain()
	for _, e := range w.entries() {
		if e.Phase == integration.Queued {
			w.do(w.s.Dequeue(t.Context(), e.Number, "ada", "together"))
		}
	}
	w.do(w.s.Resume(t.Context(), product, "ada"))
	w.want(move(badLib, badApp), integration.Rejected, "unit of app failed")
	w.locked("lib", lib)
	w.locked("app", app)

	for what, moves := range map[string][]integration.Move{
		"nothing": nil, "an unknown component": {{Component: "hull", To: "main"}}, "an unknown commit": {{Component: "lib", To: "nowhere"}},
		"one twice": {{Component: "lib", To: "main"}, {Component: "lib", To: "main"}},
	} {
		if _, err := w.s.Add(t.Context(), product, "", "ada", moves); !slipway.Is(err, slipway.Invalid) && !slipway.Is(err, slipway.NotFound) {
			t.Errorf("moved %s: %v", what, err)
		}
	}
}

func TestAMonorepoPush(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	both := strings.NewReplacer("lib: {}", "lib: {repo: components/mono, path: lib}", "app: {}", "app: {repo: components/mono, path: app}").Replace(productFile)
	w.product(map[string]string{spec.ProductFile: both, "experiments/smoke.yaml": smoke, "experiments/load.yaml": load})
	push := func(lib, app string, others ...string) string {
		t.Helper()
		files := map[string]string{}
		for name, text := range map[string]string{"lib": lib, "app": app} {
			if text == "" {
				continue
			}
			needs := map[string][]string{"app": {"lib"}}[name]
			for file, text := range component(name, text, needs...) {
				files[name+"/"+file] = text
			}
		}
		for _, other := range others {
			files[other] = other
		}
		return w.push("components/mono", files)
	}
	push("lib 1", "app 1")
	w.settle()
	w.want(1, integration.Landed)

	two := push("lib 2", "app 2")
	w.drain() // queued, and building: neither is in the manifest yet
	push("", "", "README.md")
	w.drain()
	w.count(2)
	one := push("lib 3", "")
	push("", "", "docs/more.md")
	w.settle()
	w.count(3)
	if e := w.want(2, integration.Landed); len(e.Pins) != 2 || e.Pins[0].Commit != two || e.Pins[1].Commit != two {
		t.Errorf("a push that touches both became %+v", e)
	}
	if e := w.want(3, integration.Landed); len(e.Pins) != 1 || e.Pins[0].Component != "lib" || e.Pins[0].Commit != one {
		t.Errorf("a push that touches one became %+v", e)
	}
}

func TestASupersededEntryIsDequeued(t *testing.T) {
	t.Parallel()
	w := released(t)
	w.lib("lib 2")
	w.drain()
	newest := w.lib("lib 3")
	w.drain()
	w.do(w.s.Dequeue(t.Context(), 2, "ada", "the next one first"))
	w.settle()
	w.want(3, integration.Landed)
	again, err := w.s.Requeue(t.Context(), 2, "ada")
	if err != nil {
		t.Fatal(err)
	}
	w.settle()
	w.want(again.Number, integration.Dequeued, "the manifest has all of it already, or newer")
	w.locked("lib", newest)
	if len(w.releases()) != 2 {
		t.Errorf("%d releases", len(w.releases()))
	}
}

func TestByHandTheQueueGoesBack(t *testing.T) {
	t.Parallel()
	w := released(t)
	old := w.manifest()["lib"].Commit
	w.lib("lib 2")
	w.settle()
	w.want(2, integration.Landed)
	back, err := w.s.Add(t.Context(), product, "", "ada", []integration.Move{{Component: "lib", To: old}})
	if err != nil {
		t.Fatal(err)
	}
	w.settle()
	w.want(back.Number, integration.Landed)
	w.locked("lib", old)
	same, err := w.s.Add(t.Context(), product, "", "ada", []integration.Move{{Component: "lib", To: old}})
	if err != nil {
		t.Fatal(err)
	}
	w.settle()
	w.want(same.Number, integration.Dequeued, "the manifest has all of it already")
}

func TestAProductFile(t *testing.T) {
	t.Parallel()
	w := released(t)
	file := w.product(map[string]string{spec.ProductFile: productFile + "params: {speed: fast}\n"})
	w.settle()
	e := w.want(2, integration.Landed)
	if len(e.Pins) != 0 || e.File != file || e.Base != file {
		t.Errorf("the product file became %+v", e)
	}
	if !strings.Contains(w.releases()[1].Notes, "the product file") {
		t.Errorf("notes %q", w.releases()[1].Notes)
	}

	// Another release takes the next one along.
	w.lib("lib 2")
	w.drain()
	w.product(map[string]string{spec.ProductFile: productFile + "params: {speed: faster}\n"})
	w.settle()
	w.want(3, integration.Landed)
	w.want(4, integration.Dequeued, "has this product file already, or a newer one")
	if n := len(w.releases()); n != 3 {
		t.Errorf("%d releases", n)
	}
}

func TestAPromotedEntryDoesNotMakeThePastUnreleased(t *testing.T) {
	t.Parallel()
	w := released(t)
	serial := productFile + "queue: {policy: serial}\n"
	w.product(map[string]string{spec.ProductFile: serial})
	w.settle()
	w.want(2, integration.Landed)
	w.do(w.s.Freeze(t.Context(), product, "ada", "to line up"))
	w.lib("lib 2")
	w.app("app 2")
	w.drain()
	w.do(w.s.Promote(t.Context(), 4, "ada", 9, false))
	w.do(w.s.Resume(t.Context(), product, "ada"))
	w.drain()
	w.want(4, integration.Building)
	w.want(3, integration.Queued, "behind entry 4")
	w.builder.finish()
	w.drain()
	w.lab.finish()
	w.drain() // entry 4 has landed; entry 3, which is older, will land on a newer product file
	w.want(4, integration.Landed)
	w.product(map[string]string{spec.ProductFile: serial + "params: {speed: fast}\n"})
	w.settle()
	w.want(3, integration.Landed, "v2026.11.4")
	w.want(5, integration.Dequeued)
}

func TestANewComponentStartsAtItsHead(t *testing.T) {
	t.Parallel()
	w := released(t)
	hull := w.push("components/hull", component("hull", "hull 1"))
	w.product(map[string]string{spec.ProductFile: strings.Replace(productFile, "  lib: {}\n", "  lib: {}\n  hull: {}\n", 1)})
	w.settle()
	w.locked("hull", hull)
	next := w.push("components/hull", component("hull", "hull 2"))
	w.settle()
	w.locked("hull", next)
	if n := len(w.releases()); n != 3 {
		t.Errorf("%d releases for a new component and its next commit", n)
	}
}

func TestAComponentMovesToAnotherRepository(t *testing.T) {
	t.Parallel()
	w := released(t)
	old := w.manifest()["lib"].Commit
	lib := w.push("components/newlib", component("lib", "lib 9"))
	w.product(map[string]string{spec.ProductFile: strings.Replace(productFile, "lib: {}", "lib: {repo: components/newlib}", 1)})
	w.settle()
	w.locked("lib", lib)
	if lib == old {
		t.Error("nothing moved")
	}
}

func TestWhatIsBrokenAtTheBase(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		files map[string]string // of the integration repository
		lib   map[string]string // of components/lib; default a good one
		where string
		words string
	}{
		{"product file", map[string]string{spec.ProductFile: productFile + "colour: red\n"}, nil, "product.yaml:8:1: ", "colour"},
		{"unknown component", map[string]string{spec.ProductFile: "product: ferry\ncomponents:\n  app: {}\nconfigurations:\n  shore: {}\n"}, nil,
			"product.yaml:2:1: ", "the entry moves lib, which is not a component of the product"},
		{"unpushed component", map[string]string{spec.ProductFile: strings.Replace(productFile, "  lib: {}\n", "  lib: {}\n  hull: {}\n", 1)}, nil,
			"product.yaml:4:3: ", "component hull has no commit at components/hull branch main"},
		{"cyclic needs", nil, component("lib", "lib 2", "app"), "components/", "components need each other in a circle: app needs lib needs app"},
		{"unknown need", nil, component("lib", "lib 2", "hull"), "components/lib/slipway.yaml:3:", "component lib needs hull, which the product does not have"},
		{"gate", map[string]string{spec.ProductFile: productFile + "gates:\n  candidate: [build, unti]\n"}, nil, "product.yaml:9:22: ", `asks for "unti", a check that no component has (there are build, experiment, unit)`},
		{"component file", nil, map[string]string{spec.ComponentFile: "component: lib\nbuild: make\nbiuld: x\n", "src": "x"}, "components/lib/slipway.yaml:3:1: ", "biuld"},
		{"missing experiment", map[string]string{spec.ProductFile: strings.Replace(productFile, "load.yaml", "lost.yaml", 1)}, nil, "product.yaml", "experiments/lost.yaml"},
		{"experiment", map[string]string{"experiments/load.yaml": "experiment: load\n"}, nil, "experiments/load.yaml:", "roles"},
		{"manifest", map[string]string{"manifests/shore.yaml": "components: [\n"}, nil, "manifests/shore.yaml", "not a manifest"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := released(t)
			if c.lib == nil {
				c.lib = component("lib", "lib 2")
			}
			w.do(w.s.Freeze(t.Context(), product, "ada", "not yet"))
			w.push("components/lib", c.lib)
			w.drain()
			if c.files != nil {
				// By hand, so that the catalog does not take it for the file in force.
				w.repos.commit(t, "products/"+product, w.clock.Now(), c.files)
			}
			waves := len(w.builder.order)
			w.do(w.s.Resume(t.Context(), product, "ada"))
			w.settle()
			e := w.want(2, integration.Rejected, c.words)
			if !strings.HasPrefix(e.Reason, c.where) {
				t.Errorf("rejected: %q; want it to begin with %q", e.Reason, c.where)
			}
			if len(w.builder.order) != waves {
				t.Error("a wave was started for it")
			}
		})
	}
}

func TestAWaiverLetsARequeuedEntryLand(t *testing.T) {
	t.Parallel()
	w := released(t)
	lib := w.lib("lib 2, no load")
	w.settle()
	w.want(2, integration.Rejected, "experiment of load (shore) failed")
	runs := len(w.lab.order)
	if _, err := w.gate.Waive(t.Context(), gating.Waiver{Product: product, Check: "experiment", Item: "load", Reason: "known, see the notes", Author: "ada"}); err != nil {
		t.Fatal(err)
	}
	again, err := w.s.Requeue(t.Context(), 2, "ada")
	if err != nil {
		t.Fatal(err)
	}
	w.settle()
	e := w.want(again.Number, integration.Landed)
	w.locked("lib", lib)
	if len(w.lab.order) != runs {
		t.Error("an experiment that has its verdict was run again")
	}
	if d, err := w.s.Decision(t.Context(), e.Number); err != nil || !d.OK || len(d.Of(slipway.CheckWaived)) != 1 {
		t.Errorf("decision %+v, %v", d, err)
	}
}

func TestEqualInputsHaveOneVerdict(t *testing.T) {
	t.Parallel()
	w := released(t)
	ids := func(number int64) map[string]string {
		t.Helper()
		found := map[string]string{}
		for _, x := range w.want(number, integration.Landed).Experiments {
			found[x.Experiment] = x.ID
		}
		return found
	}
	first := ids(1)
	w.push("components/app", map[string]string{"README.md": "not built"})
	w.settle()
	if same := ids(2); same["smoke"] != first["smoke"] || same["load"] != first["load"] || len(w.lab.order) != 2 {
		t.Errorf("equal artifacts: experiments %v, then %v; %d were run", first, same, len(w.lab.order))
	}
	w.lib("lib 2")
	w.settle()
	if other := ids(3); other["smoke"] != first["smoke"] || other["load"] == first["load"] || len(w.lab.order) != 3 {
		t.Errorf("another lib, which only load uses: experiments %v, then %v; %d were run", first, other, len(w.lab.order))
	}
}

func TestSomethingElseThanTheBaseIsInTheWay(t *testing.T) {
	t.Parallel()
	w := released(t)
	w.lib("lib 2")
	w.drain()
	w.builder.finish()
	w.drain()
	w.lab.finish()
	main := w.entry(2).Base
	w.repos.before = func() {
		w.do(w.repos.move(t.Context(), "ada", slipway.RefUpdate{Repo: "products/ferry", Ref: "refs/tags/v2026.11.2", Old: slipway.ZeroCommit, New: main}))
	}
	if err := w.drainErr(); !slipway.Is(err, slipway.Conflict) {
		t.Fatalf("landed over a tag of another: %v", err)
	}
	w.want(2, integration.Landing, "cannot land: ", "refs/tags/v2026.11.2 is at")
	w.settle()
	if e := w.want(2, integration.Landed, "released as v2026.11.3"); e.Attempt != 1 {
		t.Errorf("it was tested again, %d times", e.Attempt)
	}
}
