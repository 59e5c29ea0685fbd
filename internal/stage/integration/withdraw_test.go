package integration_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/integration"
)

// amend replaces the head of a component's branch: a forced push.
func (w *world) amend(name, text string) string {
	w.t.Helper()
	repo := "components/" + name
	g, err := w.repos.git(repo)
	w.do(err)
	head, err := g.Ref(w.t.Context(), "refs/heads/main")
	w.do(err)
	was, err := g.Commit(w.t.Context(), head)
	w.do(err)
	commit := w.repos.commitOn(w.t, repo, was.Parents[0], w.clock.Now(), map[string]string{"src": text})
	w.clock.Advance(time.Minute)
	w.seen(name)
	return commit
}

// veto is a gatekeeper's -2 on a change that has landed in its repository; an empty reason takes it back.
func (w *world) veto(ref, reason string) {
	w.t.Helper()
	w.clock.Advance(time.Minute)
	for commit, c := range w.changes {
		if c.Ref == ref {
			c.Vetoed, c.Since = reason, w.clock.Now()
			w.changes[commit] = c
		}
	}
	w.clock.Advance(time.Minute)
	w.emit(slipway.Event{Type: slipway.ChangeVoted, Subject: ref})
}

// released reports whether any release has a component at a commit.
func (w *world) released(component, commit string) bool {
	for _, r := range w.releases() {
		for _, m := range r.Manifests {
			if m.Components[component].Commit == commit {
				return true
			}
		}
	}
	return false
}

func TestANewPatchsetAtTheHeadTakesItsDependentsAlong(t *testing.T) {
	t.Parallel()
	w := fleet(t, "")
	old := w.named("change/7", "bell", "bell 2", "feat: bell\n")
	w.named("change/8", "mast", "mast 2", "feat: mast\n\nDepends-On: change/7\n")
	w.seen("bell")
	w.drain() // entry 2 is the bell's, as the mast's has not been seen
	w.seen("mast")
	app := w.move("app", "app 2")
	w.drain()
	w.want(2, integration.Building)
	w.want(3, integration.Building)
	amended := w.amend("bell", "bell 2, amended")
	w.drain()
	w.want(2, integration.Dequeued, "bell "+old[:10]+" is no longer on main of components/bell")
	w.want(3, integration.Rejected, "what it depends on has left the queue")
	w.want(5, integration.Building)
	w.settle()
	w.want(4, integration.Landed)
	w.want(5, integration.Landed)
	w.locked("app", app)
	w.lockedIn("tower", "bell", amended)
	if w.released("bell", old) {
		t.Error("what was dropped from its branch was released")
	}
}

func TestANewPatchsetInTheMiddleKeepsWhatStandsBeforeIt(t *testing.T) {
	t.Parallel()
	w := released(t)
	w.app("app 2")
	old := w.app("app 3")
	lib := w.lib("lib 2")
	w.drain()
	if e := w.want(4, integration.Building); !slices.Equal(e.Assumes, []int64{2, 3}) {
		t.Fatalf("the lib's entry assumes %v", e.Assumes)
	}
	amended := w.amend("app", "app 3, amended")
	w.drain()
	w.want(2, integration.Building)
	w.want(3, integration.Dequeued, "no longer on main")
	w.settle()
	w.want(2, integration.Landed, "v2026.11.2")
	w.want(4, integration.Landed)
	w.want(5, integration.Landed)
	w.locked("app", amended)
	w.locked("lib", lib)
	if w.released("app", old) {
		t.Error("what was dropped from its branch was released")
	}
}

func TestApprovalIsRemovedWhileItRuns(t *testing.T) {
	t.Parallel()
	w := fleet(t, "")
	w.named("change/7", "bell", "bell 2", "feat: bell\n")
	w.seen("bell")
	w.drain()
	w.named("change/8", "mast", "mast 2", "feat: mast\n\nDepends-On: change/7\n")
	w.seen("mast")
	w.drain()
	w.move("bell", "bell 3") // stands on the change
	w.drain()
	w.builder.finish()
	w.drain()
	w.want(2, integration.Testing)
	w.veto("change/7", "grace votes -2: it wakes the harbour")
	w.drain()
	w.want(2, integration.Dequeued, "change/7 has lost its approval: grace votes -2: it wakes the harbour")
	w.want(3, integration.Rejected, "what it depends on has left the queue")
	w.want(4, integration.Dequeued, "it stands on entry 2", "lost its approval")
	if running := append(w.builder.running(), w.lab.running()...); len(running) > 0 {
		t.Errorf("still running for them: %v", running)
	}
	undone := w.move("bell", "bell 4, as 1") // what is pushed later may undo it
	w.settle()
	w.want(5, integration.Landed)
	w.lockedIn("tower", "bell", undone)

	// As long as the veto stands nobody gets the change in by hand; when it is taken back, they do.
	again, err := w.s.Requeue(t.Context(), 3, "ada")
	w.do(err)
	w.named("change/9", "hull", "hull 2", "feat: hull\n")
	w.veto("change/9", "grace votes -2")
	w.seen("hull")
	w.settle()
	w.want(again.Number, integration.Rejected, "what it depends on has left the queue")
	w.want(again.Number+1, integration.Dequeued, "change/9 has lost its approval")
	w.veto("change/9", "")
	hull, err := w.s.Requeue(t.Context(), again.Number+1, "ada")
	w.do(err)
	w.settle()
	w.want(hull.Number, integration.Landed)
}

func TestApprovalIsRemovedFromThePartOfALanding(t *testing.T) {
	t.Parallel()
	w := fleet(t, "")
	w.named("change/7", "bell", "bell 2", "feat: bell\n")
	w.seen("bell")
	w.drain()
	w.builder.finish()
	w.drain()
	w.builder.slow = true // the builds of the whole candidate, which are all known, are not told at once
	w.lab.finish()
	w.drain()
	q, err := w.s.Queue(t.Context(), product)
	w.do(err)
	if q.Going == nil {
		t.Fatal("nothing is landing")
	}
	w.veto("change/7", "grace votes -2")
	w.settle()
	w.want(2, integration.Dequeued, "change/7 has lost its approval")
	if n := len(w.releases()); n != 1 {
		t.Errorf("%d releases", n)
	}
}

func TestABranchThatHasNoQueueAnyMoreEmptiesIt(t *testing.T) {
	w := fleet(t, "")
	w.move("lib", "lib 2")
	w.move("app", "app 2")
	w.drain()
	w.catalog.retired = "it has gone out of service"
	w.emit(slipway.Event{Type: slipway.ProductRetired, Subject: "product/" + product})
	w.settle()
	for _, e := range w.entries()[1:] {
		w.want(e.Number, integration.Dequeued, w.catalog.retired)
	}
	n := len(w.releases())
	_, err := w.s.Add(t.Context(), product, "", "ann", []integration.Move{{Component: "lib", To: "main"}})
	if !slipway.Is(err, slipway.Conflict) {
		t.Fatal(err)
	}
	if _, err := w.s.Requeue(t.Context(), w.entries()[1].Number, "ann"); !slipway.Is(err, slipway.Conflict) {
		t.Fatal(err)
	}
	w.catalog.retired = "" // it comes back
	e, err := w.s.Requeue(t.Context(), w.entries()[2].Number, "ann")
	w.do(err)
	w.settle()
	w.want(e.Number, integration.Landed)
	if len(w.releases()) != n+1 {
		t.Fatalf("%d releases, before %d", len(w.releases()), n)
	}
}

func TestAnExecutorIsLost(t *testing.T) {
	t.Parallel()
	w := fleet(t, "")
	// A worker dies under a build: the build says so, and is asked for again.
	w.builder.fate["build mast"] = []slipway.Outcome{slipway.Infra}
	w.move("mast", "mast 2")
	w.move("bell", "bell 2")
	w.drain()
	w.builder.finish()
	w.drain()
	w.want(2, integration.Building)
	w.builder.finish()
	w.drain()
	w.want(2, integration.Testing)
	// A node dies under an experiment: it runs again, elsewhere. The others are not disturbed.
	running := w.lab.running()
	if len(running) != 2 {
		t.Fatalf("experiments %v", running)
	}
	lost := running[slices.IndexFunc(running, func(id string) bool { return strings.Contains(w.lab.runs[id].req.File, "float") })]
	w.lab.fate["float"] = []slipway.Outcome{slipway.Infra}
	w.lab.end(lost)
	w.drain()
	again := w.lab.running()
	if len(again) != 2 || slices.Contains(again, lost) {
		t.Fatalf("experiments %v; %s was lost", again, lost)
	}
	for _, id := range again {
		x := w.lab.runs[id]
		if strings.Contains(x.req.File, "float") && (!slices.Equal(x.req.Avoid, []string{"edge-1"}) || x.status.Nodes[0] != "edge-2") {
			t.Errorf("asked for with %v to avoid, it runs on %v; edge-1 lost it", x.req.Avoid, x.status.Nodes)
		}
	}
	w.settle()
	w.want(2, integration.Landed)
	w.want(3, integration.Landed)
}
