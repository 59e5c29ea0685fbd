package speculate

import (
	"cmp"
	"math"
	"slices"
)

// Options set the policy. The zero value of a field is replaced by its default, except where it says otherwise.
type Options struct {
	Flake     float64 // chance that a run fails although nothing is wrong; default 0.015
	Doubt     float64 // an entry is blamed once the chance that it is innocent is below this; default 0.001
	MaxFails  int     // or once the same run failed so often; default 4
	Retries   int     // how often a run that infrastructure or a time-out ended is tried again; default 3
	Floor     float64 // chance of being needed below which nothing is started on a build slot; default 0.08. On dearer pools it is times √weight, at most 0.5
	Sticky    float64 // a run gives way only to work that is so many times more likely to be needed; default 4
	MaxBatch  int     // entries that one run may speak for where capacity is short; default 16; 1 turns batching off
	BatchPass float64 // chance to pass that a batch must have; default 0.7
	Bypass    float64 // how much a run that would let an entry pass a slow one counts, as a chance of being needed; default 0.15; negative turns bypass off
	Window    int     // only so many entries are worked on; 0: all
	Supersede bool    // a newer version in the queue replaces an entry that has not begun
	Known     bool    // predictions are certain: of an oracle
	Coin      bool    // predictions are ignored: every entry is even odds, and every outcome of those ahead is speculated on
	Terse     bool    // no reasons for waiting entries, for simulations
}

// Queue is Slipway's planner.
type Queue struct{ o Options }

// New makes the planner with a policy.
func New(o Options) *Queue {
	or := func(v *float64, d float64) {
		if *v == 0 {
			*v = d
		}
	}
	ori := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	or(&o.Flake, 0.015)
	or(&o.Doubt, 0.001)
	or(&o.Floor, 0.08)
	or(&o.Sticky, 4)
	or(&o.BatchPass, 0.7)
	or(&o.Bypass, 0.15)
	ori(&o.MaxFails, 4)
	ori(&o.Retries, 3)
	ori(&o.MaxBatch, 16)
	return &Queue{o}
}

// Plan implements [Planner].
func (q *Queue) Plan(s *Snapshot) Plan {
	s = inLine(s)
	batches := s.Memory.Batches
	w := newWorld(s, q.o, batches)
	w.settle()
	for range 16 { // batches that failed come apart, those that capacity asks for are made
		next, changed := w.split()
		if !changed {
			next, changed = w.join()
		}
		if !changed {
			break
		}
		batches = next
		w = newWorld(s, q.o, batches)
		w.settle()
	}
	p := Plan{Memory: s.Memory}
	p.Memory.Batches = w.batches()
	w.freeze(&p)
	w.land(&p)
	w.evict(&p)
	w.work(&p)
	return p
}

// inLine is the snapshot with its runs and pools in order, so that ties end the same in whatever order they came. Entries have their rank.
func inLine(s *Snapshot) *Snapshot {
	byRun := func(a, b Run) int { return cmp.Compare(a.ID, b.ID) }
	byLabel := func(a, b Pool) int { return cmp.Compare(a.Label, b.Label) }
	if slices.IsSortedFunc(s.Runs, byRun) && slices.IsSortedFunc(s.Pools, byLabel) {
		return s
	}
	line := *s
	line.Runs, line.Pools = slices.SortedFunc(slices.Values(s.Runs), byRun), slices.SortedFunc(slices.Values(s.Pools), byLabel)
	return &line
}

// floor is the chance of being needed below which nothing is started in a pool.
func (o Options) floor(weight float64) float64 { return min(0.5, o.Floor*math.Sqrt(max(weight, 1))) }

// AIMD moves an adaptive window: one more for each landing, half for each failure, between floor and no limit. (Zuul's
// dependent pipeline; Jacobson 1988.)
func AIMD(window, start, floor, landed, failed int) int {
	if window == 0 {
		window = start
	}
	window += landed
	for range failed {
		window = max(floor, window/2)
	}
	return window
}
