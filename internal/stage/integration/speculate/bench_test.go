package speculate_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/integration/speculate"
)

// busy makes a queue of n entries of a product of 50 components in 8 configurations, with verdicts and runs under way.
func busy(n int) *speculate.Snapshot {
	rng := rand.New(rand.NewPCG(1, 2))
	var names []string
	needs := map[string][]string{}
	for i := range 50 {
		name := fmt.Sprintf("component-%d", i)
		if i >= 10 {
			needs[name] = []string{names[rng.IntN(i)]}
		}
		names = append(names, name)
	}
	s := &speculate.Snapshot{Now: 600, Ledger: speculate.NewLedger(), Pools: []speculate.Pool{{Label: "build", Total: 100, Weight: 1}}}
	var inputs [][]string
	add := func(c speculate.Check, in ...string) {
		s.Checks, inputs = append(s.Checks, c), append(inputs, in)
		s.Base = append(s.Base, speculate.Digest("base of "+c.Name))
		s.Ledger.Prove(len(s.Base)-1, s.Base[len(s.Base)-1])
	}
	for _, name := range names {
		add(speculate.Check{Name: "build of " + name, Label: "build", Whole: true}, name)
	}
	for c := range 8 {
		in := []string{names[42+c], names[30+c]}
		add(speculate.Check{Name: fmt.Sprint("integration ", c), Tier: 1, Label: "build", Whole: true}, in...)
		add(speculate.Check{Name: fmt.Sprint("rig ", c), Tier: 2, Label: fmt.Sprint("rig-", c), Whole: true}, in...)
		s.Pools = append(s.Pools, speculate.Pool{Label: fmt.Sprint("rig-", c), Total: 4, Weight: 20})
	}
	for i := range n {
		e := speculate.Entry{ID: speculate.ID(i + 1), Rank: float64(i), Digest: speculate.Digest(fmt.Sprint("entry ", i)), Arrived: float64(i) / float64(n) * 600, P: 0.99}
		if rng.Float64() < 0.1 {
			e.P = 0.15
		}
		tiers := [3][]speculate.Need{}
		for _, t := range speculate.Affected(inputs, needs, names[rng.IntN(50)]) {
			tier := s.Checks[t].Tier
			tiers[tier] = append(tiers[tier], speculate.Need{Check: t, Minutes: []float64{5, 15, 45}[tier]})
		}
		e.Needs = append(append(tiers[0], tiers[1]...), tiers[2]...)
		s.Entries = append(s.Entries, e)
	}
	planner := speculate.New(speculate.Options{})
	for round := range 40 { // play a while, so that there are verdicts
		for i := range s.Pools {
			s.Pools[i].Free = s.Pools[i].Total
			for _, r := range s.Runs {
				if s.Checks[r.Edge.Check].Label == s.Pools[i].Label {
					s.Pools[i].Free--
				}
			}
		}
		p := planner.Plan(s)
		s.Memory = p.Memory
		for k, st := range p.Start {
			if k%9 == 0 {
				s.Runs = append(s.Runs, speculate.Run{ID: int64(round*1000 + k + 1), Edge: st.Edge, Set: st.Set, Covers: st.Covers, Left: st.Minutes})
			} else {
				s.Ledger.Record(st.Edge, slipway.Pass, "")
			}
		}
		if len(s.Runs) > 80 {
			s.Runs = s.Runs[40:]
		}
	}
	return s
}

func benchmarkPlan(b *testing.B, n int) {
	s := busy(n)
	planner := speculate.New(speculate.Options{})
	for b.Loop() {
		planner.Plan(s)
	}
}

func BenchmarkPlan1000(b *testing.B)  { benchmarkPlan(b, 1000) }
func BenchmarkPlan10000(b *testing.B) { benchmarkPlan(b, 10000) }
