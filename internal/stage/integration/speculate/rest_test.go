package speculate_test

import (
	"slices"
	"strings"
	"testing"

	"slipway.dev/slipway/internal/stage/integration/speculate"
)

// The first entry of the queue has to come to a decision whatever is known, since all others wait for it. Each test here is a way in which it did not.

// A step that passed on a base that nobody has tested proves nothing until the base is.
func TestAStepFromAnUntestedBaseHasTheBaseTested(t *testing.T) {
	y := newYard(t, opts{}, speculate.Check{Name: "a", Label: "build"})
	y.s.Base[0] = speculate.Digest("somebody pushed")
	y.enter(1, "a")
	y.settle()
	y.end("a", 1, pass, 1)
	y.wantLanded()
	y.wantRuns(1)
	y.end("a", 0, pass) // the base alone
	y.wantLanded(1)
}

// A batch that fails as often as is asked comes apart, also where it was so likely to pass that flakes are the likelier cause.
func TestABatchThatFailsComesApartHoweverLikelyItWas(t *testing.T) {
	y := newYard(t, opts{MaxFails: 1, Flake: 0.3}, speculate.Check{Name: "rig", Label: "rig", Whole: true})
	y.enter(9, "rig")
	y.settle()
	y.enter(1, "rig").P = 0.999
	y.enter(2, "rig").P = 0.999
	y.settle()
	y.end("rig", 9, pass)
	y.end("rig", 1, fail, 9, 1, 2)
	if len(y.s.Memory.Batches) > 0 {
		t.Fatalf("batches %v", y.s.Memory.Batches)
	}
	y.end("rig", 1, pass, 1)
	y.wantLanded(9, 1)
	y.wantEvicted(2, speculate.Culprit)
}

// Two that failed alone both stand last: they do not change places for ever, and each is run again alone on the base.
func TestTwoThatStandLastComeToRest(t *testing.T) {
	y := newYard(t, opts{}, builds("a", "b")...)
	y.enter(1, "a", "b").P = 0.5
	y.enter(2, "a", "b").P = 0.5
	y.enter(3, "b")
	y.settle()
	y.end("a", 1, fail, 1)
	y.end("a", 2, fail, 2)
	y.end("b", 3, pass, 3)
	y.wantLanded(3)
	y.end("a", 1, pass, 1)
	y.refute("a", 2)
	y.drain()
	y.wantLanded(3, 1)
}

// What depends on an entry that is run again waits with it: it is not tested without it, nor blamed for that, and nobody waits for either.
func TestWhatDependsOnOneThatStandsLastStandsLast(t *testing.T) {
	y := newYard(t, opts{}, builds("a")...)
	y.enter(1, "a").P = 0.5
	y.enter(2, "a").DependsOn = []speculate.ID{1}
	y.enter(3, "a")
	y.settle()
	y.end("a", 1, fail, 1)
	for _, r := range y.s.Runs {
		if slices.Contains(r.Set, 2) {
			t.Fatalf("entry 2 runs without what it depends on: %s", y.running())
		}
	}
	y.end("a", 3, pass, 3)
	y.wantLanded(3)
	y.end("a", 1, pass, 1)
	y.drain()
	y.wantLanded(3, 1, 2)
}

// An entry that failed alone once and is proven since by the run of another waits for nothing.
func TestWhatPassedWithAnotherIsNotRunAgain(t *testing.T) {
	y := newYard(t, opts{}, builds("a")...)
	y.enter(1, "a").P = 0.5
	y.enter(2, "a")
	y.settle()
	together := y.s.Runs[slices.IndexFunc(y.s.Runs, func(r speculate.Run) bool { return len(r.Set) == 2 })].Edge
	y.end("a", 1, fail, 1)
	y.s.Ledger.Record(together, pass, "")
	y.end("a", 2, pass, 2)
	y.wantLanded(2, 1)
}

// A check that fails on the base stops those that need it, and nobody else; an entry with which it passes mends the base by landing.
func TestAnEntryMendsTheBase(t *testing.T) {
	y := newYard(t, opts{}, builds("a", "b")...)
	y.s.Base[0] = speculate.Digest("somebody pushed")
	y.enter(1, "a", "b")
	y.enter(2, "a")
	y.enter(3, "b")
	y.settle()
	y.end("b", 3, pass)
	y.end("a", 1, fail, 1)
	y.end("a", 0, fail)
	y.end("a", 0, fail)
	y.end("b", 3, pass, 3)
	y.wantLanded(3) // though 1 stands before it
	if r := y.reason(1); !strings.Contains(r, "fails on the base") {
		t.Fatalf("entry 1 waits since %q", r)
	}
	y.end("a", 2, pass, 2)
	y.wantLanded(3, 2)
	y.drain()
	y.wantLanded(3, 2, 1)
	if len(y.evicted) > 0 {
		t.Fatalf("evicted %v", y.evicted)
	}
}

// A base that failed by bad luck is found to be good, since it is run again.
func TestABaseThatFailedByBadLuck(t *testing.T) {
	y := newYard(t, opts{}, builds("a")...)
	y.s.Base[0] = speculate.Digest("somebody pushed")
	y.enter(1, "a")
	y.settle()
	y.end("a", 1, fail, 1)
	y.end("a", 0, fail)
	y.end("a", 0, fail)
	y.end("a", 0, pass)
	y.end("a", 1, pass, 1)
	y.wantLanded(1)
}

// A check for which there is nothing to run it on is said to wait for that.
func TestACheckOfAKindThatIsNotThere(t *testing.T) {
	y := newYard(t, opts{}, speculate.Check{Name: "a", Label: "submarine", Whole: true})
	y.enter(1, "a")
	y.settle()
	if r := y.reason(1); !strings.Contains(r, "submarine") {
		t.Fatalf("entry 1 waits since %q", r)
	}
}
