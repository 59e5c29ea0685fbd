package speculate_test

import (
	"slices"
	"testing"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/integration/speculate"
)

// A rig that is taken makes those that wait for it a batch, which stands where its last entry does. What depends on an entry of it stands behind it, or
// both would wait for each other.
func TestWhatDependsOnABatchStandsBehindIt(t *testing.T) {
	y := newYard(t, opts{}, speculate.Check{Name: "rig", Label: "rig", Whole: true}, speculate.Check{Name: "b", Label: "build", Whole: true})
	y.enter(9, "rig")
	y.settle()
	y.enter(1, "rig")
	y.enter(2, "b").DependsOn = []speculate.ID{1}
	y.enter(3, "rig", "b")
	y.settle()
	y.end("b", 2, pass, 2)
	y.end("b", 3, pass, 2, 3)
	y.end("rig", 9, pass)
	if !slices.EqualFunc(y.s.Memory.Batches, [][]speculate.ID{{1, 3}}, slices.Equal) {
		t.Fatalf("batches %v, want 1 and 3 to share the rig", y.s.Memory.Batches)
	}
	y.drain()
	y.wantLanded(9, 1, 3, 2)
}

// A batch that would depend on itself, by way of an entry that is not in it, is not made.
func TestNoBatchDependsOnItself(t *testing.T) {
	y := newYard(t, opts{}, speculate.Check{Name: "rig", Label: "rig", Whole: true}, speculate.Check{Name: "b", Label: "build", Whole: true})
	y.enter(9, "rig")
	y.settle()
	y.enter(1, "rig")
	y.enter(2, "b").DependsOn = []speculate.ID{1}
	y.enter(3, "rig").DependsOn = []speculate.ID{2}
	y.settle()
	y.end("b", 2, pass)
	y.end("rig", 9, pass)
	y.drain()
	y.wantLanded(9, 1, 2, 3)
}

// Nor are two batches that would depend on each other.
func TestNoTwoBatchesDependOnEachOther(t *testing.T) {
	y := newYard(t, opts{}, speculate.Check{Name: "rig", Label: "rig", Whole: true}, speculate.Check{Name: "other rig", Label: "rig", Whole: true})
	y.enter(9, "rig")
	y.settle()
	y.enter(1, "rig")
	y.enter(2, "other rig")
	y.enter(3, "rig").DependsOn = []speculate.ID{2}
	y.enter(4, "other rig").DependsOn = []speculate.ID{1}
	y.settle()
	y.end("rig", 9, pass)
	y.drain()
	if landed := slices.Sorted(slices.Values(slices.Concat(y.landed...))); !slices.Equal(landed, []speculate.ID{1, 2, 3, 4, 9}) {
		t.Fatalf("landed %v, want all; evicted %v", landed, y.evicted)
	}
}

// A batch of old that depends on itself by now comes apart: dependences may change while it waits.
func TestABatchThatDependsOnItselfComesApart(t *testing.T) {
	y := newYard(t, opts{}, builds("a", "b")...)
	y.enter(1, "a")
	y.enter(2, "b").DependsOn = []speculate.ID{1}
	y.enter(3, "a").DependsOn = []speculate.ID{2}
	y.s.Memory.Batches = [][]speculate.ID{{1, 3}}
	y.settle()
	if len(y.s.Memory.Batches) > 0 {
		t.Fatalf("batches %v", y.s.Memory.Batches)
	}
	y.drain()
	y.wantLanded(1, 2, 3)
}

// Entries that depend on each other should be one change set. Apart, none of them can ever land, so they leave and hold nobody up.
func TestACircleThatIsNoChangeSetLeaves(t *testing.T) {
	y := newYard(t, opts{}, builds("a")...)
	y.enter(1, "a").DependsOn = []speculate.ID{2}
	y.enter(2, "a").DependsOn = []speculate.ID{3}
	y.enter(3, "a").DependsOn = []speculate.ID{1}
	y.enter(4, "a")
	y.settle()
	y.drain()
	y.wantLanded(4)
	for _, id := range []speculate.ID{1, 2, 3} {
		y.wantEvicted(id, speculate.Unmergable)
	}
}

// drain passes whatever runs until nothing does, and expects the queue to be empty then.
func (y *yard) drain() {
	y.t.Helper()
	for len(y.s.Runs) > 0 {
		r := y.s.Runs[0]
		id := speculate.ID(0) // a control run
		if len(r.Covers) > 0 {
			id = r.Covers[0]
		}
		y.end(y.s.Checks[r.Edge.Check].Name, id, slipway.Pass, r.Set...)
	}
	if len(y.s.Entries) > 0 {
		y.t.Fatalf("nothing runs, and %d entries wait: %+v; batches %v", len(y.s.Entries), y.last.Wait, y.s.Memory.Batches)
	}
}
