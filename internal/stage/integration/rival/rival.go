// Package rival has the policies of other merge queues behind the planner's interface of Slipway, so that the simulator can run them all on the
// same work. They are written to do well:
//
//   - all of them get Slipway's affected sets, its tiers, its cache of verdicts by exact inputs, and its retries of runs that
//     infrastructure lost; the systems that they stand for have not all of that;
//   - none of them gets what is not in its nature: [Serial], [Window] and [Bisect] have one queue and know no independence, predict nothing
//     and blame the first failure.
//
// Speculate-all and the oracle are settings of Slipway's own planner ([SpeculateAll], [Oracle]).
package rival

import (
	"slices"

	"slipway.dev/slipway/internal/stage/integration/speculate"
)

// SpeculateAll is the Speculate-all of the SubmitQueue paper (EuroSys 2019, section 8): every outcome is even odds, so builds go to the tree of outcomes breadth
// first. It knows independence, and nothing of batches, flakes or bypass.
func SpeculateAll() speculate.Planner {
	return speculate.New(speculate.Options{Coin: true, Floor: 0.03, MaxBatch: 1, Bypass: -1, MaxFails: 1, Terse: true})
}

// Oracle is told how every entry ends. It tests each entry once, on the tuple that it will land in, lands entries that affect each other in their
// order, and runs again what it knows to be a flake. No policy that tests every entry by itself and keeps the order does better; batches and
// bypass can.
func Oracle() speculate.Planner {
	return speculate.New(speculate.Options{Known: true, Doubt: 0.5, MaxFails: 1000, Retries: 1000, MaxBatch: 1, Bypass: -1, Terse: true})
}

// line is what a policy of one line works on: for each live entry its checks on the base and some entries before it.
type line struct {
	*speculate.Snapshot
	queue []*speculate.Entry // its entries, each behind what it depends on
	free  map[string]int
	runs  map[speculate.Edge]int64
	want  map[int64]bool
	plan  speculate.Plan
}

func newLine(s *speculate.Snapshot) *line {
	l := &line{Snapshot: s, free: map[string]int{}, runs: map[speculate.Edge]int64{}, want: map[int64]bool{}}
	for _, i := range speculate.InOrder(s.Entries) {
		l.queue = append(l.queue, &s.Entries[i])
	}
	for _, p := range s.Pools {
		l.free[p.Label] = p.Free
	}
	for _, r := range s.Runs {
		l.runs[r.Edge] = r.ID
	}
	l.plan.Memory = s.Memory
	return l
}

// fate is what is known of a group of entries on the base and some before it.
type fate struct {
	passed bool
	failed bool
	edge   speculate.Edge
	lost   bool // too often without a verdict
	alone  bool // what it depends on has left
}

// ended reports whether nothing is to be waited for.
func (f fate) ended() bool { return f.failed || f.lost || f.alone }

// group looks at what the entries need on the base and those before them, and starts what is missing, tier by tier. A group is tested as one.
func (l *line) group(before, group []*speculate.Entry, retries int) fate {
	f := fate{passed: true}
	for _, e := range group {
		for _, d := range e.DependsOn {
			is := func(o *speculate.Entry) bool { return o.ID == d }
			if !l.Landed(d) && !slices.ContainsFunc(before, is) && !slices.ContainsFunc(group, is) {
				return fate{alone: true}
			}
		}
	}
	type need struct {
		check   int
		minutes float64
		covers  []speculate.ID
	}
	var needs []need
	at := map[int]int{}
	for _, e := range group {
		for _, n := range e.Needs {
			i, has := at[n.Check]
			if !has {
				i = len(needs)
				at[n.Check] = i
				needs = append(needs, need{check: n.Check})
			}
			needs[i].minutes = max(needs[i].minutes, n.Minutes)
			needs[i].covers = append(needs[i].covers, e.ID)
		}
	}
	slices.SortStableFunc(needs, func(a, b need) int { return l.Checks[a.check].Tier - l.Checks[b.check].Tier })
	tier, clear := 0, true
	for _, n := range needs {
		c := l.Checks[n.check]
		if c.Tier > tier {
			tier = c.Tier
			clear = f.passed
		}
		if !clear {
			break
		}
		edge := speculate.Edge{Check: n.check, From: l.Base[n.check]}
		var set []speculate.ID
		for _, e := range before {
			if moves(e, n.check) {
				edge.From = edge.From.Plus(e.Digest)
				set = append(set, e.ID)
			}
		}
		edge.To = edge.From
		for _, e := range group {
			if moves(e, n.check) {
				edge.To = edge.To.Plus(e.Digest)
				set = append(set, e.ID)
			}
		}
		if c.Whole {
			edge.From = speculate.Nothing
		}
		v := l.Ledger.Of(edge)
		if l.Ledger.Proven(n.check, edge.To) || v.Passes > 0 {
			continue
		}
		f.passed = false
		switch {
		case v.Fails > 0:
			f.failed, f.edge = true, edge
		case v.Lost+v.Late > retries:
			f.lost = true
		case l.runs[edge] != 0:
			l.want[l.runs[edge]] = true
		case l.free[c.Label] > 0:
			l.free[c.Label]--
			l.plan.Start = append(l.plan.Start, speculate.Start{Edge: edge, Set: set, Covers: n.covers, Minutes: n.minutes, Needed: 1,
				Avoid: v.Avoid, Reason: "next in line"})
		}
	}
	return f
}

// moves reports whether an entry moves an input of a check.
func moves(e *speculate.Entry, check int) bool {
	return slices.ContainsFunc(e.Needs, func(n speculate.Need) bool { return n.Check == check })
}

func (l *line) land(entries ...*speculate.Entry) {
	landing := speculate.Landing{Reason: "passed"}
	var checks []int
	for _, e := range entries {
		landing.Entries = append(landing.Entries, e.ID)
		for _, n := range e.Needs {
			if !slices.Contains(checks, n.Check) {
				checks = append(checks, n.Check)
			}
		}
	}
	for _, t := range checks {
		to := l.Base[t]
		for _, e := range entries {
			if moves(e, t) {
				to = to.Plus(e.Digest)
			}
		}
		landing.Certificate.Proofs = append(landing.Certificate.Proofs, speculate.Proof{Check: t, Base: l.Base[t], To: to})
	}
	landing.Certificate.Entries = landing.Entries
	l.plan.Land = append(l.plan.Land, landing)
}

func (l *line) evict(e *speculate.Entry, f fate) {
	why, reason := speculate.Culprit, "failed"
	switch {
	case f.alone:
		why, reason = speculate.Dependent, "what it depends on has left"
	case f.lost && !f.failed:
		why, reason = speculate.NoVerdict, "no verdict"
	}
	l.plan.Evict = append(l.plan.Evict, speculate.Eviction{Entry: e.ID, Why: why, Edge: f.edge, Reason: reason})
}

// finish cancels what nothing asked for.
func (l *line) finish() speculate.Plan {
	if len(l.plan.Land)+len(l.plan.Evict) > 0 {
		l.plan.Start = nil // the base or the line moves first
		return l.plan
	}
	for _, r := range l.Runs {
		if !l.want[r.ID] {
			l.plan.Cancel = append(l.plan.Cancel, speculate.Cancel{Run: r.ID, Reason: "not on any tuple of the line"})
		} else {
			l.plan.Keep = append(l.plan.Keep, speculate.Keep{Run: r.ID, Needed: 1})
		}
	}
	return l.plan
}

const retries = 3

// Serial works on one entry at a time: Slipway's own queue before it speculated.
type Serial struct{}

// Plan implements [speculate.Planner].
func (Serial) Plan(s *speculate.Snapshot) speculate.Plan {
	l := newLine(s)
	if len(s.Entries) == 0 {
		return l.plan
	}
	e := l.queue[0]
	switch f := l.group(nil, []*speculate.Entry{e}, retries); {
	case f.passed:
		l.land(e)
	case f.ended():
		l.evict(e, f)
	}
	return l.finish()
}

// Window is optimistic: everything in a window is tested on the base and all entries before it that have not failed; what stood on a
// failing one is put on the nearest that has not, and tested again. Failing entries stay until the head is decided. The window
// grows by one for each landing and is halved by each failure (Zuul's dependent pipeline: 20, at least 3).
type Window struct{}

// Plan implements [speculate.Planner].
func (Window) Plan(s *speculate.Snapshot) speculate.Plan {
	l := newLine(s)
	if l.plan.Memory.Window == 0 {
		l.plan.Memory.Window = 20
	}
	var before []*speculate.Entry
	for i := 0; i < min(len(l.queue), l.plan.Memory.Window); i++ {
		e := l.queue[i]
		f := l.group(before, []*speculate.Entry{e}, retries)
		switch {
		case i == 0 && f.passed:
			l.land(e)
		case i == 0 && f.ended():
			l.evict(e, f)
		}
		if len(l.plan.Land)+len(l.plan.Evict) > 0 {
			break
		}
		if !f.ended() {
			before = append(before, e)
		}
	}
	l.plan.Memory.Window = speculate.AIMD(l.plan.Memory.Window, 20, 3, len(l.plan.Land), len(l.plan.Evict))
	return l.finish()
}

// Bisect tests all that wait as one batch and halves a batch that fails, whatever it failed of (bors).
type Bisect struct{}

// Plan implements [speculate.Planner].
func (Bisect) Plan(s *speculate.Snapshot) speculate.Plan {
	l := newLine(s)
	live := make(map[speculate.ID]*speculate.Entry, len(s.Entries))
	for i := range s.Entries {
		live[s.Entries[i].ID] = &s.Entries[i]
	}
	var batches [][]speculate.ID
	for _, b := range s.Memory.Batches {
		b = slices.DeleteFunc(slices.Clone(b), func(id speculate.ID) bool { return live[id] == nil })
		if len(b) > 0 {
			batches = append(batches, b)
		}
	}
	if len(batches) == 0 && len(s.Entries) > 0 {
		all := make([]speculate.ID, 0, len(s.Entries))
		for _, e := range l.queue {
			all = append(all, e.ID)
		}
		batches = [][]speculate.ID{all}
	}
	for len(batches) > 0 {
		var group []*speculate.Entry
		for _, id := range batches[0] {
			group = append(group, live[id])
		}
		f := l.group(nil, group, retries)
		switch {
		case f.passed:
			l.land(group...)
		case f.ended() && len(group) == 1:
			l.evict(group[0], f)
		case f.ended():
			half := len(group) / 2
			batches = append([][]speculate.ID{batches[0][:half], batches[0][half:]}, batches[1:]...)
			l.plan.Start, l.want = nil, map[int64]bool{} // the rest of a failed batch is not finished
			for _, p := range s.Pools {
				l.free[p.Label] = p.Free
			}
			continue
		}
		break
	}
	l.plan.Memory.Batches = batches
	return l.finish()
}
