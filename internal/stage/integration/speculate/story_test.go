package speculate_test

import (
	"slices"
	"strings"
	"testing"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/integration/speculate"
)

type opts = speculate.Options

const pass, fail = slipway.Pass, slipway.Fail

func TestParallelSpeculationLandsInOrder(t *testing.T) {
	y := newYard(t, opts{Bypass: -1}, builds("a")...)
	y.enter(1, "a")
	y.enter(2, "a")
	y.enter(3, "a")
	y.settle()
	y.wantRuns(3)
	y.end("a", 3, pass, 1, 2, 3)
	// The last passed on a tuple that holds all three: that is what may land, and nothing less is waited for.
	y.wantLanded(1, 2, 3)
	if len(y.landed) != 1 {
		t.Fatalf("landed %v, want all in one move of the manifest", y.landed)
	}
	y.wantRuns(0)

	y = newYard(t, opts{Bypass: -1}, speculate.Check{Name: "a", Label: "build"}) // incremental: each run speaks for its own entry
	y.enter(1, "a")
	y.enter(2, "a")
	y.settle()
	y.end("a", 2, pass)
	y.wantLanded()
	y.end("a", 1, pass)
	y.wantLanded(1, 2)
	if len(y.landed) != 2 {
		t.Fatalf("landed %v, want one after the other", y.landed)
	}
}

func TestFailureAtTheHead(t *testing.T) {
	y := newYard(t, opts{}, builds("a")...)
	y.enter(1, "a")
	y.enter(2, "a")
	y.settle()
	y.end("a", 1, fail, 1)
	y.refute("a", 1)
	y.wantEvicted(1, speculate.Culprit)
	y.end("a", 2, pass, 2)
	y.wantLanded(2)
}

func TestFailureInTheMiddle(t *testing.T) {
	y := newYard(t, opts{}, builds("a")...)
	y.enter(1, "a")
	y.enter(2, "a").P = 0.6
	y.enter(3, "a")
	y.settle()
	y.end("a", 1, pass, 1)
	y.end("a", 2, fail)
	y.refute("a", 2)
	y.end("a", 3, pass)
	y.wantLanded(1, 3)
}

func TestTwoFailuresAtOnce(t *testing.T) {
	y := newYard(t, opts{}, builds("a")...)
	for id := range speculate.ID(4) {
		y.enter(id+1, "a").P = 0.9
	}
	y.settle()
	y.end("a", 1, fail, 1)
	y.refute("a", 1)
	y.refute("a", 2)
	y.end("a", 4, pass)
	y.wantLanded(3, 4)
	y.wantEvicted(1, speculate.Culprit)
	y.wantEvicted(2, speculate.Culprit)
}

func TestSpeculationOnFailure(t *testing.T) {
	y := newYard(t, opts{}, builds("a")...)
	y.enter(1, "a").P = 0.1 // will probably fail: the next is tested without it
	y.enter(2, "a")
	y.settle()
	y.end("a", 2, pass, 2)
	y.wantLanded() // it waits for what is likely to be so until it is so
	y.refute("a", 1)
	y.wantLanded(2)
}

func TestADependencyAcrossRepositories(t *testing.T) {
	y := newYard(t, opts{}, builds("a", "b")...)
	y.enter(1, "b").DependsOn = []speculate.ID{2} // came first, and stands behind what it depends on
	y.enter(2, "a")
	y.settle()
	y.end("b", 1, pass)
	y.wantLanded()
	y.end("a", 2, pass)
	y.wantLanded(2, 1)

	y = newYard(t, opts{}, builds("a", "b")...)
	y.enter(1, "a")
	y.enter(2, "b").DependsOn = []speculate.ID{1}
	y.settle()
	y.refute("a", 1)
	y.wantEvicted(2, speculate.Dependent)
}

func TestACycleIsOneChangeSet(t *testing.T) {
	groups := speculate.ChangeSets(map[speculate.ID][]speculate.ID{1: {2}, 2: {3}, 3: {1}, 4: {2}, 5: {9}})
	want := [][]speculate.ID{{1, 2, 3}, {4}, {5}}
	if !slices.EqualFunc(groups, want, slices.Equal[[]speculate.ID]) {
		t.Fatalf("groups %v, want %v", groups, want)
	}
}

func TestIndependentLanes(t *testing.T) {
	y := newYard(t, opts{}, builds("a", "b")...)
	y.enter(1, "a")
	y.enter(2, "b")
	y.settle()
	y.end("b", 2, pass, 2) // alone: what the other moves is no input of its check
	y.wantLanded(2)
	y.end("a", 1, pass)
	y.wantLanded(2, 1)
	if y.started != 2 {
		t.Fatalf("%d runs were started, want 2: nothing was tested again", y.started)
	}
}

func TestANewPatchsetAtTheHead(t *testing.T) {
	y := newYard(t, opts{Supersede: true}, builds("a")...)
	y.enter(1, "a")
	y.enter(2, "a").DependsOn = []speculate.ID{1}
	y.enter(3, "a")
	y.settle()
	y.drop(1) // a new patchset takes the entry out; the new one joins at the end
	e := y.enter(4, "a")
	e.Replaces = []speculate.ID{1}
	y.settle()
	y.wantEvicted(2, speculate.Dependent)
	y.end("a", 3, pass, 3)
	y.end("a", 4, pass)
	y.wantLanded(3, 4)
}

func TestANewerVersionReplacesWhatHasNotBegun(t *testing.T) {
	y := newYard(t, opts{Supersede: true, Window: 1}, builds("a")...)
	y.enter(1, "a")
	y.settle()
	y.enter(2, "a")
	y.enter(3, "a").Replaces = []speculate.ID{1, 2}
	y.settle()
	y.wantEvicted(2, speculate.Superseded)
	if _, out := y.evicted[1]; out {
		t.Fatal("what has begun was replaced")
	}
}

func TestApprovalRemovedWhileRunning(t *testing.T) {
	y := newYard(t, opts{}, builds("a")...)
	y.enter(1, "a")
	y.enter(2, "a")
	y.settle()
	y.entry(1).Invalid = "its approval was taken back"
	y.settle()
	y.wantEvicted(1, speculate.Unmergable)
	y.wantRuns(1) // that of the other, on the base alone
	y.end("a", 2, pass, 2)
	y.wantLanded(2)
}

func TestAMergeConflictAgainstTheManifest(t *testing.T) {
	y := newYard(t, opts{}, builds("a", "b")...)
	y.enter(1, "a")
	y.enter(2, "b").Clashes = []speculate.ID{1} // moves the same component to a commit that does not hold the other's
	y.settle()
	y.wantRuns(1)
	if r := y.reason(2); !strings.Contains(r, "does not merge") {
		t.Fatalf("entry 2 waits since %q", r)
	}
	y.end("a", 1, pass)
	y.entry(2).Invalid = "it does not merge with the manifest any more"
	y.settle()
	y.wantLanded(1)
	y.wantEvicted(2, speculate.Unmergable)
}

func TestTheBaseMovedByHand(t *testing.T) {
	y := newYard(t, opts{}, builds("a")...)
	y.enter(1, "a")
	y.settle()
	y.s.Base[0] = speculate.Digest("somebody pushed")
	y.settle()
	y.wantRuns(1)
	y.end("a", 1, fail, 1) // on a base that nobody has tested: is it the entry, or the base?
	y.end("a", 0, pass)    // the control run
	y.s.Ledger.Base(0, y.s.Base[0])
	y.settle()
	y.end("a", 1, pass, 1)
	y.wantLanded(1)
}

func TestABrokenBaseFreezesTheLane(t *testing.T) {
	y := newYard(t, opts{}, builds("a", "b")...)
	y.s.Base[0] = speculate.Digest("somebody pushed")
	y.enter(1, "a")
	y.enter(2, "b")
	y.settle()
	y.end("a", 1, fail, 1)
	y.end("a", 0, fail)
	y.end("a", 0, fail)
	if len(y.last.Freeze) != 1 || len(y.evicted) != 0 {
		t.Fatalf("freeze %v, evicted %v; want the lane frozen and nobody blamed", y.last.Freeze, y.evicted)
	}
	y.end("b", 2, pass)
	y.wantLanded(2) // the other lane goes on
	y.s.Base[0] = speculate.Digest("mended")
	y.s.Ledger.Prove(0, y.s.Base[0])
	y.settle()
	y.end("a", 1, pass)
	y.wantLanded(2, 1)
}

func TestInfrastructureIsRetriedAndNeverBlamed(t *testing.T) {
	y := newYard(t, opts{Retries: 2}, builds("a")...)
	y.enter(1, "a")
	y.settle()
	y.end("a", 1, slipway.Infra)
	if avoid := y.s.Ledger.Of(y.s.Runs[0].Edge).Avoid; len(avoid) != 1 {
		t.Fatalf("to be avoided: %v; want the executor that lost it", avoid)
	}
	y.end("a", 1, slipway.Infra)
	y.end("a", 1, slipway.Timeout)
	y.wantEvicted(1, speculate.NoVerdict)
}

func TestAnExecutorIsLost(t *testing.T) {
	y := newYard(t, opts{}, builds("a")...)
	y.enter(1, "a")
	y.enter(2, "a")
	y.settle()
	y.s.Runs = nil // nothing of what ran is heard of again
	y.settle()
	y.wantRuns(2)
	y.end("a", 2, pass, 1, 2)
	y.wantLanded(1, 2)
}

func TestAFrozenQueue(t *testing.T) {
	y := newYard(t, opts{}, builds("a")...)
	y.enter(1, "a")
	y.settle()
	y.s.Frozen = "release day"
	y.enter(2, "a")
	y.settle()
	y.wantRuns(1)
	if r := y.reason(2); !strings.Contains(r, "release day") {
		t.Fatalf("entry 2 waits since %q", r)
	}
	y.end("a", 1, pass) // what has begun goes on
	y.wantLanded(1)
	y.s.Frozen = ""
	y.settle()
	y.end("a", 2, pass)
	y.wantLanded(1, 2)
}

func TestPriorityResetsNoRunningWork(t *testing.T) {
	y := newYard(t, opts{Window: 2}, builds("a")...)
	y.enter(1, "a")
	y.enter(2, "a")
	y.settle()
	y.enter(3, "a")
	before := slices.Clone(y.s.Runs)
	e := speculate.Entry{ID: 4, Priority: 5, P: 0.9, Digest: speculate.Digest("entry 4"), Needs: []speculate.Need{{Check: 0, Minutes: 10}}}
	e.Rank = speculate.Place(y.s.Entries, e)
	y.s.Entries = append(y.s.Entries, e)
	y.settle()
	if !slices.EqualFunc(before, y.s.Runs, func(a, b speculate.Run) bool { return a.ID == b.ID }) {
		t.Fatalf("running work changed: %s", y.running())
	}
	y.end("a", 2, pass, 1, 2)
	y.end("a", 4, pass, 4) // before entry 3, which had not begun
	y.wantLanded(1, 2, 4)

	y.enter(5, "a").Begun = true
	urgent := speculate.Entry{ID: 6, Urgent: true}
	if rank := speculate.Place(y.s.Entries, urgent); rank >= y.s.Entries[0].Rank {
		t.Fatalf("an urgent entry stands at %g, behind %g", rank, y.s.Entries[0].Rank)
	}
}

func TestReconfigurationWhileRunning(t *testing.T) {
	y := newYard(t, opts{}, builds("a", "b")...)
	y.enter(1, "a")
	y.settle()
	e := y.entry(1) // the product's configuration asks for one more check now
	e.Needs = append(e.Needs, speculate.Need{Check: 1, Minutes: 10})
	y.settle()
	y.wantRuns(2)
	y.end("a", 1, pass)
	y.wantLanded()
	y.end("b", 1, pass)
	y.wantLanded(1)
}

func TestAFlakeIsClearedBeforeAnybodyIsBlamed(t *testing.T) {
	y := newYard(t, opts{}, builds("a")...)
	y.enter(1, "a")
	y.enter(2, "a")
	y.settle()
	y.end("a", 1, fail, 1)
	y.end("a", 1, pass, 1)
	y.end("a", 2, pass)
	y.wantLanded(1, 2)
	if len(y.evicted) != 0 {
		t.Fatalf("evicted %v", y.evicted)
	}
}

func TestAChangeSetOfThreeLandsAndFailsAsOne(t *testing.T) {
	y := newYard(t, opts{}, builds("a", "b", "c")...)
	y.enter(1, "a", "b", "c")
	y.settle()
	y.end("a", 1, pass)
	y.end("b", 1, pass)
	y.wantLanded()
	y.end("c", 1, pass)
	y.wantLanded(1)
	if n := len(y.certs[0].Proofs); n != 3 {
		t.Fatalf("the certificate has %d proofs, want 3", n)
	}
	before := slices.Clone(y.s.Base)
	y.enter(2, "a", "b", "c")
	y.settle()
	y.end("a", 2, pass)
	y.end("b", 2, fail)
	y.refute("b", 2)
	if !slices.Equal(before, y.s.Base) {
		t.Fatal("a part of it landed")
	}
}

func TestCheapChecksRefuteBeforeRigs(t *testing.T) {
	y := newYard(t, opts{}, speculate.Check{Name: "unit", Label: "build", Whole: true}, speculate.Check{Name: "rig", Tier: 1, Label: "rig", Whole: true})
	y.enter(1, "unit", "rig")
	y.settle()
	y.wantRuns(1)
	y.refute("unit", 1)
	y.wantRuns(0)
	if y.started > 4 {
		t.Fatalf("%d runs", y.started)
	}
	y.enter(2, "unit", "rig")
	y.settle()
	y.end("unit", 2, pass)
	y.end("rig", 2, pass)
	y.wantLanded(2)
}

func TestAScarceRigTestsABatchAndSplitsItByBlame(t *testing.T) {
	y := newYard(t, opts{}, speculate.Check{Name: "rig", Label: "rig", Whole: true})
	y.enter(1, "rig")
	y.settle()
	for id := range speculate.ID(4) {
		y.enter(id+2, "rig")
	}
	y.settle()
	y.wantRuns(1)
	y.end("rig", 1, pass)
	y.end("rig", 2, fail, 1, 2, 3, 4, 5) // all that waited, together
	y.end("rig", 2, pass, 2, 3)          // then one half
	y.wantLanded(1, 2, 3)
	y.refute("rig", 4)
	y.end("rig", 5, pass)
	y.wantLanded(1, 2, 3, 5)
}

func TestATimeOutIsNotBisected(t *testing.T) {
	y := newYard(t, opts{Retries: 1}, speculate.Check{Name: "rig", Label: "rig", Whole: true})
	y.enter(1, "rig")
	y.settle()
	for id := range speculate.ID(4) {
		y.enter(id+2, "rig")
	}
	y.settle()
	y.end("rig", 1, pass)
	y.end("rig", 2, slipway.Timeout)
	y.end("rig", 2, slipway.Timeout) // nobody is to blame for it: no halves are tried
	if len(y.evicted) != 0 {
		t.Fatalf("evicted %v", y.evicted)
	}
}

func TestBypassWhereEveryOutcomeAgrees(t *testing.T) {
	y := newYard(t, opts{}, speculate.Check{Name: "a", Label: "build"})
	slow := y.enter(1, "a")
	slow.P, slow.Needs[0].Minutes = 0.9, 120
	y.enter(2, "a")
	y.settle()
	y.wantRuns(3) // the second both ways
	y.end("a", 2, pass, 1, 2)
	y.wantLanded()
	y.end("a", 2, pass, 2)
	y.wantLanded(2)
	c := y.certs[0]
	if !slices.Equal(c.Bypassed, []speculate.ID{1}) || len(c.Agreed) != 1 {
		t.Fatalf("certificate %+v", c)
	}
	if why := speculate.Verify(c, y.s.Checks, speculate.NewLedger()); why == "" {
		t.Fatal("a ledger without verdicts bears it out")
	}
	y.wantRuns(1) // the slow one runs on: its verdict still counts
	y.end("a", 1, pass, 1)
	y.wantLanded(2, 1)
}
