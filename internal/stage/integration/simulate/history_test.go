package simulate

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"slipway.dev/slipway/internal/platform/seeded"
	"slipway.dev/slipway/internal/stage/integration/speculate"
)

// checked asks the planner twice, the second time with everything in another order, and expects the same plan; and looks at what a plan may not say.
type checked struct {
	t *rapid.T
	speculate.Planner
	last speculate.Plan
}

func (c *checked) Plan(snap *speculate.Snapshot) speculate.Plan {
	plan := c.Planner.Plan(snap)
	c.last = plan
	other := *snap
	other.Entries, other.Runs, other.Pools = reversed(snap.Entries), reversed(snap.Runs), reversed(snap.Pools)
	if again := c.Planner.Plan(&other); !reflect.DeepEqual(plan.Start, again.Start) || !reflect.DeepEqual(plan.Land, again.Land) || !reflect.DeepEqual(plan.Evict, again.Evict) ||
		!reflect.DeepEqual(plan.Cancel, again.Cancel) || !reflect.DeepEqual(plan.Memory, again.Memory) || !reflect.DeepEqual(plan.Yield, again.Yield) {
		c.t.Fatalf("equal snapshots, other plans:\n%+v\n%+v", plan, again)
	}
	for _, st := range plan.Start {
		for _, r := range snap.Runs {
			if r.Edge == st.Edge && !slices.ContainsFunc(plan.Cancel, func(c speculate.Cancel) bool { return c.Run == r.ID }) {
				c.t.Fatalf("%+v runs already", st)
			}
		}
		if st.Reason == "" {
			c.t.Fatalf("%+v has no reason", st)
		}
	}
	said := map[speculate.ID]bool{}
	for _, l := range plan.Land {
		for _, id := range l.Entries {
			said[id] = true
		}
	}
	for _, e := range plan.Evict {
		said[e.Entry] = true
	}
	for _, w := range plan.Wait {
		if said[w.Entry] || w.Reason == "" {
			c.t.Fatalf("%+v: waits without a reason, or twice, or leaves", w)
		}
		said[w.Entry] = true
	}
	if len(said) != len(snap.Entries) {
		c.t.Fatalf("the plan tells of %d entries; there are %d: %+v", len(said), len(snap.Entries), plan)
	}
	return plan
}

func reversed[T any](list []T) []T {
	out := slices.Clone(list)
	slices.Reverse(out)
	return out
}

// profiled draws a small workload of a profile, with dependences.
func profiled(t *rapid.T) *Workload {
	s := Monorepo()
	if rapid.Bool().Draw(t, "multirepo") {
		s = Multirepo()
	}
	s.Seed = rapid.Uint64().Draw(t, "seed")
	s.Entries = rapid.IntRange(2, 40).Draw(t, "entries")
	s.Load = rapid.Float64Range(0.4, 1).Draw(t, "load")
	s.Areas = rapid.IntRange(1, 20).Draw(t, "areas")
	s.Fail = rapid.Float64Range(0.02, 0.6).Draw(t, "fail")
	s.Conflict = rapid.Float64Range(0, 0.2).Draw(t, "conflict")
	s.Flake, s.Infra = 0, 0
	w, err := Generate(s)
	if err != nil {
		t.Fatal(err)
	}
	depends := rapid.Float64Range(0, 0.5).Draw(t, "depends")
	near := rapid.IntRange(1, 40).Draw(t, "near")
	rng := rand.New(rand.NewPCG(s.Seed, 1))
	for _, c := range w.Changes[1:] {
		for len(c.DependsOn) < 3 && rng.Float64() < depends {
			if d := c.ID - 1 - speculate.ID(rng.IntN(min(int(c.ID)-1, near))); !slices.Contains(c.DependsOn, d) {
				c.DependsOn = append(c.DependsOn, d)
			}
		}
	}
	w.judge()
	return w
}

// small draws a product of a few checks of all kinds, and a queue in which everything happens: circles of dependences, priorities, authors who take their entries
// out, freezes, and a base that is moved by hand, also to one that fails.
func small(t *rapid.T) *Workload {
	seed := rapid.Uint64().Draw(t, "seed")
	rng := rand.New(rand.NewPCG(seed, 2))
	often := func(what string) float64 { return rapid.SampledFrom([]float64{0, 0.1, 0.3, 0.6}).Draw(t, what) }
	w := &Workload{Name: "small"}
	for i := range rapid.IntRange(1, 3).Draw(t, "pools") {
		w.Pools = append(w.Pools, speculate.Pool{Label: fmt.Sprint("pool ", i), Total: 1 + rng.IntN(3), Weight: []float64{1, 20}[rng.IntN(2)]})
	}
	incremental := often("incremental")
	tiers := rapid.IntRange(1, 3).Draw(t, "tiers")
	for i := range rapid.IntRange(1, 6).Draw(t, "checks") {
		w.Checks = append(w.Checks, speculate.Check{Name: fmt.Sprint("check ", i), Tier: rng.IntN(tiers), Label: w.Pools[rng.IntN(len(w.Pools))].Label,
			Whole: rng.Float64() >= incremental})
	}
	n := rapid.IntRange(1, 25).Draw(t, "entries")
	depends := map[speculate.ID][]speculate.ID{}
	forward, density := often("forward"), often("depends")
	for i := range n {
		id := speculate.ID(i + 1)
		depends[id] = nil
		for len(depends[id]) < 3 && rng.Float64() < density {
			d := speculate.ID(1 + rng.IntN(i+1))
			if rng.Float64() < forward {
				d = speculate.ID(1 + rng.IntN(n))
			}
			if d != id && !slices.Contains(depends[id], d) {
				depends[id] = append(depends[id], d)
			}
		}
	}
	w.Changes = sets(depends)
	gap := rapid.SampledFrom([]float64{0, 1, 10, 60}).Draw(t, "gap")
	moves, fail, leaves, urgent, odd := often("moves")+0.2, often("fail"), often("leaves"), often("urgent"), often("odd predictions")
	now := 0.0
	for _, c := range w.Changes {
		now += rng.ExpFloat64() * gap
		c.At, c.Fails = now, -1
		for at := range w.Checks {
			if rng.Float64() < moves || at == len(w.Checks)-1 && len(c.Needs) == 0 {
				c.Needs = append(c.Needs, speculate.Need{Check: at, Minutes: 1 + 59*rng.Float64()})
			}
		}
		slices.SortStableFunc(c.Needs, func(a, b speculate.Need) int { return w.Checks[a.Check].Tier - w.Checks[b.Check].Tier })
		if rng.Float64() < fail {
			c.Fails = c.Needs[rng.IntN(len(c.Needs))].Check
		}
		if rng.Float64() < leaves {
			c.Leaves = c.At + 100*rng.Float64()
		}
		for _, n := range c.Needs {
			if rng.IntN(8) == 0 {
				c.Mends = append(c.Mends, n.Check)
			}
		}
		if c.Urgent = rng.Float64() < urgent/3; rng.Float64() < urgent {
			c.Priority = rng.IntN(3)
		}
		if rng.Float64() < odd {
			c.P = []float64{0.0001, 0.3, 0.5, 0.9999}[rng.IntN(4)]
		}
	}
	w.collide(rng, Settings{Apart: 100, Conflict: often("conflict")}, 0)
	for range rapid.IntRange(0, 2).Draw(t, "freezes") {
		from := rng.Float64() * now
		w.Freezes = append(w.Freezes, Span{from, from + 200*rng.Float64()})
	}
	for range rapid.IntRange(0, 3).Draw(t, "pushes") {
		p := Push{At: rng.Float64() * now, Check: rng.IntN(len(w.Checks)), Bad: rng.IntN(2) == 0}
		w.Pushes = append(w.Pushes, p)
		if p.Bad {
			w.Pushes = append(w.Pushes, Push{At: p.At + 200*rng.Float64(), Check: p.Check})
		}
	}
	slices.SortStableFunc(w.Pushes, func(a, b Push) int { return int(100 * (a.At - b.At)) })
	for _, p := range w.Pushes { // whatever is bad is mended in the end
		w.Pushes = append(w.Pushes, Push{At: w.Pushes[len(w.Pushes)-1].At + 1, Check: p.Check})
	}
	w.judge()
	return w
}

// sets makes one change of each circle of dependences, in an order in which each comes behind what it depends on.
func sets(depends map[speculate.ID][]speculate.ID) []*Change {
	var changes []*Change
	of := map[speculate.ID]speculate.ID{}
	groups := speculate.ChangeSets(depends)
	for len(groups) > 0 {
		i := slices.IndexFunc(groups, func(g []speculate.ID) bool {
			return !slices.ContainsFunc(g, func(id speculate.ID) bool {
				return slices.ContainsFunc(depends[id], func(d speculate.ID) bool { return of[d] == 0 && !slices.Contains(g, d) })
			})
		})
		c := &Change{ID: speculate.ID(len(changes) + 1)}
		for _, id := range groups[i] {
			for _, d := range depends[id] {
				if of[d] != 0 && !slices.Contains(c.DependsOn, of[d]) {
					c.DependsOn = append(c.DependsOn, of[d])
				}
			}
		}
		for _, id := range groups[i] {
			of[id] = c.ID
		}
		changes = append(changes, c)
		groups = slices.Delete(groups, i, i+1)
	}
	return changes
}

func workload(t *rapid.T) *Workload {
	if rapid.IntRange(0, 4).Draw(t, "profiled") == 0 {
		return profiled(t)
	}
	return small(t)
}

// options draws a policy.
func options(t *rapid.T) speculate.Options {
	one := func(what string, of ...float64) float64 { return rapid.SampledFrom(of).Draw(t, what) }
	o := speculate.Options{Flake: one("flake", 0.001, 0.015, 0.1), Doubt: one("doubt", 0, 1e-12), Floor: one("floor", 0, 0.001, 0.5), Sticky: one("sticky", 0, 1.1),
		BatchPass: one("batch pass", 0, 0.1), Bypass: one("bypass", -1, 0, 0.9)}
	o.Window = rapid.SampledFrom([]int{0, 0, 1, 2, 5}).Draw(t, "window")
	o.MaxBatch = rapid.SampledFrom([]int{0, 1, 2, 5}).Draw(t, "max batch")
	o.MaxFails = rapid.SampledFrom([]int{0, 1, 2}).Draw(t, "max fails")
	o.Retries = rapid.SampledFrom([]int{0, 1}).Draw(t, "retries")
	o.Known = rapid.IntRange(0, 9).Draw(t, "known") == 0
	o.Coin = rapid.IntRange(0, 9).Draw(t, "coin") == 0
	return o
}

func play(t *rapid.T, w *Workload, policy speculate.Planner, predictor string) *world {
	planner := &checked{t: t, Planner: policy}
	predict, learn := predictorOf(w, predictor, 7)
	s, err := simulate(w, planner, predict, learn, 7, nil)
	if err != nil {
		t.Fatalf("%v\nthe last plan: %+v", err, planner.last)
	}
	for i, e := range s.ended {
		if e.at < 0 {
			t.Fatalf("entry %d has not ended", i+1)
		}
	}
	return s
}

// In every history: nothing lands untested or twice or on a base that fails, every certificate holds, every entry ends, equal snapshots give equal plans, everything
// has its reason (all of which simulate and checked look at as they go); and where outcomes are deterministic nobody innocent is evicted.
func deterministic(t *rapid.T) {
	w := workload(t)
	s := play(t, w, speculate.New(options(t)), rapid.SampledFrom(Predictors()).Draw(t, "predictor"))
	if s.wrong > 0 {
		t.Fatalf("%d evictions of innocents: %v", s.wrong, s.again)
	}
}

// badLuck makes runs fail and get lost, no more often than that an entry of many checks may pass all of them.
func badLuck(t *rapid.T, w *Workload) {
	often := []float64{0, 0.05, 0.3}
	if len(w.Checks) > 6 {
		often = often[:2]
	}
	w.Flake = rapid.SampledFrom(often).Draw(t, "flakes")
	w.Infra = rapid.SampledFrom(often).Draw(t, "lost")
}

func unlucky(t *rapid.T) {
	w := workload(t)
	badLuck(t, w)
	play(t, w, speculate.New(options(t)), rapid.SampledFrom(Predictors()).Draw(t, "predictor"))
}

// Rivals keep the rules of the queue too, so that they are compared on equal terms. They know nothing of freezes, nor of a base that is moved by hand; nor do they tell
// why an entry waits.
func rivals(t *rapid.T) {
	w := workload(t)
	w.Freezes, w.Pushes = nil, nil
	badLuck(t, w)
	name := rapid.SampledFrom(policies[1:]).Draw(t, "policy")
	predict, learn := predictorOf(w, map[bool]string{true: "oracle", false: "97"}[name == "oracle"], 7)
	if _, err := simulate(w, policy(name, w), predict, learn, 7, nil); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func TestHistoriesWithDeterministicOutcomes(t *testing.T) { seeded.Check(t, deterministic) }

func TestHistoriesWithFlakesAndLostRuns(t *testing.T) { seeded.Check(t, unlucky) }

func TestHistoriesOfRivals(t *testing.T) { seeded.Check(t, rivals) }
