package integration

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/integration/speculate"
)

const (
	rigWeight    = 20 // minutes of a build slot that a minute of a rig is worth
	checksASlot  = 4  // build checks at once for each slot of the farm: much of what a check asks for is known by its key, and takes none
	buildMinutes = 5.0
	rigMinutes   = 10.0
)

// options are the planner's, by the product's rules.
func (p *pass) options() speculate.Options {
	o := speculate.Options{MaxFails: p.rules.Flakes.Reruns + 1, Doubt: 1e-12, Retries: p.rules.Retries, Window: p.rules.Depth, Supersede: p.rules.Supersede}
	if p.rules.Policy == "serial" {
		o.Window, o.MaxBatch, o.Bypass = 1, 1, -1
	}
	return o
}

// decide asks the planner and does what it says, in one transaction.
func (s *Service) decide(ctx context.Context, p *pass) (bool, error) {
	if len(p.entries) == 0 && !slices.ContainsFunc(p.trials, func(t Trial) bool { return t.State == TrialRunning }) {
		return false, nil
	}
	snap, err := s.snapshot(ctx, p)
	if err != nil {
		return false, err
	}
	return s.act(ctx, p, snap, speculate.New(p.options()).Plan(snap))
}

// snapshot is the queue as the planner looks at it.
func (s *Service) snapshot(ctx context.Context, p *pass) (*speculate.Snapshot, error) {
	snap := &speculate.Snapshot{Now: minutesOf(p.now), Ledger: speculate.NewLedger(), Memory: p.queue.Memory, Frozen: p.queue.Frozen,
		Landed: func(id speculate.ID) bool { return p.phases[int64(id)] == Landed }}
	if open, next := p.rules.Open(p.now); !open && snap.Frozen == "" {
		snap.Frozen = "outside its hours until " + next.Format("Mon 15:04 MST")
	}
	nodes, err := s.lab.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	slots, err := s.builder.Slots(ctx)
	if err != nil {
		return nil, err
	}
	pools := map[string]int{}
	for i, c := range p.checks {
		state := p.queue.States[c.key()]
		snap.Checks = append(snap.Checks, speculate.Check{Name: c.String(), Configuration: c.Configuration, Tier: c.tier, Label: c.label, Whole: true})
		snap.Base = append(snap.Base, state.State)
		if !p.released() || !state.Proven.IsZero() && p.now.Sub(state.Proven) < trust {
			snap.Ledger.Prove(i, state.State)
		}
		if _, known := pools[c.label]; known {
			continue
		}
		pools[c.label] = len(snap.Pools)
		pool := speculate.Pool{Label: c.label, Weight: rigWeight}
		if c.Kind == kindBuild {
			pool.Weight, pool.Total = 1, checksASlot*max(2, slots)
		} else {
			pool.Total = nodesFor(c.roles, nodes)
		}
		pool.Free = pool.Total
		snap.Pools = append(snap.Pools, pool)
	}
	for _, t := range p.trials {
		i, known := p.index[t.Check.key()]
		if !known || t.Advisory {
			continue
		}
		if t.State == TrialRunning {
			run := speculate.Run{ID: t.Number, Edge: t.edge(i), Set: ids(t.Set), Covers: ids(t.Covers), Left: max(0.5, t.Minutes-p.now.Sub(t.Started).Minutes())}
			snap.Runs = append(snap.Runs, run)
			pool := &snap.Pools[pools[p.checks[i].label]]
			pool.Free = max(0, pool.Free-1)
			continue
		}
		if err := s.recall(ctx, p, snap.Ledger, t, i); err != nil {
			return nil, err
		}
	}
	for _, e := range p.entries {
		if p.deps.waits[e.Number] != "" {
			continue
		}
		one, err := s.candidateFor(ctx, p, e)
		if err != nil {
			return nil, err
		}
		snap.Entries = append(snap.Entries, one)
	}
	return snap, nil
}

func minutesOf(t time.Time) float64 { return float64(t.UnixMilli()) / 60000 }

func ids(numbers []int64) []speculate.ID {
	all := make([]speculate.ID, len(numbers))
	for i, n := range numbers {
		all[i] = speculate.ID(n)
	}
	return all
}

func back(ids []speculate.ID) []int64 {
	all := make([]int64, len(ids))
	for i, n := range ids {
		all[i] = int64(n)
	}
	return all
}

// recall records the verdict of a trial. What it failed may have been waived since.
func (s *Service) recall(ctx context.Context, p *pass, l *speculate.Ledger, t Trial, check int) error {
	outcome, times := t.Outcome, 1
	if outcome != slipway.Pass && len(t.Missing) > 0 {
		d, err := s.gate.Decide(ctx, p.product, slipway.Ref("candidate", t.Candidate), t.Missing)
		if err != nil {
			return err
		}
		waived := d.Of(slipway.CheckWaived)
		if len(waived) == len(t.Missing) {
			outcome = slipway.Pass
		}
	}
	switch {
	case outcome == slipway.Cancelled:
		outcome = slipway.Infra
	case outcome == slipway.Fail && t.Final:
		times = p.rules.Flakes.Reruns + 1 // nothing to be learnt from another run
	}
	where := ""
	if len(t.Nodes) > 0 {
		where = t.Nodes[0]
	}
	for range times {
		l.Record(t.edge(check), outcome, where)
	}
	return nil
}

// candidateFor is an entry as the planner looks at it.
func (s *Service) candidateFor(ctx context.Context, p *pass, e Entry) (speculate.Entry, error) {
	one := e.place()
	one.Pins, one.Digest, one.Arrived, one.P = e.Pins, e.state(), minutesOf(e.arrived()), p.chance(e)
	for _, i := range p.hits[e.Number] {
		c := p.checks[i]
		usual := buildMinutes
		if c.Kind == kindExperiment {
			usual = rigMinutes
		}
		if known, ok := p.queue.Minutes[c.key()]; ok {
			usual = max(known, 0.1)
		}
		passed := slices.ContainsFunc(p.trials, func(t Trial) bool {
			return t.State == TrialEnded && t.Outcome == slipway.Pass && t.Check == c.Check && t.covers(e.Number)
		})
		one.Needs = append(one.Needs, speculate.Need{Check: i, Minutes: usual, Passed: passed})
	}
	for _, d := range p.deps.on[e.Number] {
		one.DependsOn = append(one.DependsOn, speculate.ID(d))
		if _, open := p.entry(d); !open && p.phases[d] == "" {
			on, err := s.Entry(ctx, d)
			if err != nil {
				return one, err
			}
			p.phases[d] = on.Phase
		}
	}
	one.Invalid = p.deps.broken[e.Number]
	var before []Entry
	for _, o := range p.entries {
		if o.Number == e.Number {
			continue
		}
		clash, newer, err := s.compare(ctx, e, o)
		if err != nil {
			return one, err
		}
		if clash {
			one.Clashes = append(one.Clashes, speculate.ID(o.Number))
		}
		if newer {
			one.Replaces = append(one.Replaces, speculate.ID(o.Number))
		}
		if byRank(o, e) < 0 && !clash {
			before = append(before, o)
		}
	}
	if a := p.alone[e.Number]; a.err != nil && one.Invalid == "" {
		together := error(a.err)
		if len(before) > 0 { // what stands before it may mend it
			_, together = s.compose(ctx, p.product, p.base, append(before, e)...)
			if together != nil && !slipway.Is(together, slipway.Invalid) {
				return one, together
			}
		}
		if together != nil {
			one.Invalid = a.err.Error()
		}
	}
	return one, nil
}

// compare says how two entries that move the same components stand to each other: they clash when it would matter which of them came last;
// one is the newer when it has all that the other moves, in later commits.
func (s *Service) compare(ctx context.Context, e, o Entry) (clash, newer bool, err error) {
	shared := 0
	newer = true
	for _, theirs := range o.Pins {
		i := slices.IndexFunc(e.Pins, func(p slipway.Pin) bool { return p.Component == theirs.Component })
		if i < 0 {
			newer = false
			continue
		}
		shared++
		mine := e.Pins[i]
		if e.Exact || o.Exact || mine.Repo != theirs.Repo || mine.Path != theirs.Path {
			return true, false, nil
		}
		after, err := s.ancestor(ctx, mine.Repo, theirs.Commit, mine.Commit)
		if err != nil {
			return false, false, err
		}
		if after {
			continue
		}
		newer = false
		before, err := s.ancestor(ctx, mine.Repo, mine.Commit, theirs.Commit)
		if err != nil {
			return false, false, err
		}
		if !before {
			return true, false, nil
		}
	}
	return false, newer && shared > 0 && len(o.Changes) == 0, nil
}

// chance predicts that an entry passes, as the product's predictor says.
func (p *pass) chance(e Entry) float64 {
	if len(e.Features) == 0 {
		e.Features = p.features(e)
	}
	return p.queue.Forecast.predict(e)[cmp.Or(p.rules.Predictor, predictHistorical)] // a broken product file names none
}

// features are what is known of an entry now.
func (p *pass) features(e Entry) []float64 {
	experiments := 0
	for _, i := range p.hits[e.Number] {
		if p.checks[i].Kind == kindExperiment {
			experiments++
		}
	}
	return p.queue.Forecast.features(e, len(p.hits[e.Number]), experiments)
}

// estimates are when each open entry may land if nothing fails: its own checks, tier by tier, and not before those that it waits for.
func (p *pass) estimates(snap *speculate.Snapshot) map[int64]time.Time {
	at := map[int64]time.Time{}
	ahead := map[int]float64{}
	for _, one := range snap.Entries {
		total, tier, most, from := 0.0, 0, 0.0, 0.0
		for _, n := range one.Needs {
			c := p.checks[n.Check]
			if c.tier != tier {
				total, tier, most = total+most, c.tier, 0
			}
			left := n.Minutes
			if n.Passed {
				left = 0
			}
			for _, r := range snap.Runs {
				if r.Edge.Check == n.Check && slices.Contains(r.Covers, one.ID) {
					left = min(left, r.Left)
				}
			}
			most, from = max(most, left), max(from, ahead[n.Check])
		}
		total = max(total+most, from)
		for _, n := range one.Needs {
			ahead[n.Check] = total
		}
		at[int64(one.ID)] = p.now.Add(time.Duration(total * float64(time.Minute))).Truncate(time.Minute)
	}
	return at
}

// waiting writes down how an entry that stays stands. It reports whether that is news.
func (e *Entry) waiting(w speculate.Wait, reason string, at time.Time) bool {
	reason = cmp.Or(reason, w.Reason)
	chance := math.Round(w.P*100) / 100
	late := e.Estimate.Sub(at).Abs() > 5*time.Minute
	if e.Reason == reason && e.Ahead == w.Ahead && !late && math.Abs(e.Chance-chance) < 0.05 {
		return false
	}
	e.Reason, e.Ahead, e.Chance, e.Estimate = reason, w.Ahead, chance, at
	return true
}

// serially words what a serial queue says of those that are not at its head.
func (p *pass) serially(reason string) string {
	if p.rules.Policy == "serial" && reason == "behind the window" && len(p.entries) > 0 {
		return fmt.Sprintf("behind entry %d", p.entries[0].Number)
	}
	return reason
}
