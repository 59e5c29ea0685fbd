package plan

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// product is a graph of 1,000 components in 12 tiers, each but the first tier's needing up to 6 of the tiers below, the last one
// always among them; every component has a test.
func product() (graph map[string]Component, names []string) {
	const components, tiers = 1000, 12
	random := rand.New(rand.NewPCG(1, 2))
	graph = make(map[string]Component, components)
	var below [][]string
	for tier := range tiers {
		var here []string
		for i := tier * components / tiers; i < (tier+1)*components/tiers; i++ {
			c := Component{Tests: []string{"unit"}}
			for k := range min(tier*2, 6) {
				from := below[tier-1]
				if k > 0 {
					from = below[random.IntN(tier)]
				}
				c.Needs = append(c.Needs, from[random.IntN(len(from))])
			}
			name := fmt.Sprintf("component-%04d", i)
			graph[name] = c
			here = append(here, name)
		}
		below = append(below, here)
		names = append(names, here...)
	}
	return graph, names
}

// BenchmarkPlan orders a product of 1,000 components in 12 tiers, with a test each.
func BenchmarkPlan(b *testing.B) {
	graph, names := product()
	for b.Loop() {
		p, err := Make(graph, names, names)
		if err != nil || len(p.Actions) != 2000 || p.Tier[names[999]] != 11 {
			b.Fatal(len(p.Actions), err)
		}
	}
}

// BenchmarkProgress takes such a plan to its end, one action after the other; reported per action.
func BenchmarkProgress(b *testing.B) {
	graph, names := product()
	p, err := Make(graph, names, names)
	if err != nil {
		b.Fatal(err)
	}
	n := 0
	for b.Loop() {
		r, _ := p.Begin(nil)
		for !r.Done() {
			for _, a := range r.Ready(16) {
				r.Set(a, Active)
				r.Set(a, Passed)
				n++
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/action")
}

// BenchmarkForecast says what a change of one component of the lowest tier concerns.
func BenchmarkForecast(b *testing.B) {
	graph, names := product()
	p, err := Make(graph, names, nil)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if len(p.Forecast(map[string]string{names[0]: "changed"})) < 100 {
			b.Fatal("it concerns too few")
		}
	}
}

// BenchmarkChoose applies a strategy to all components.
func BenchmarkChoose(b *testing.B) {
	graph, names := product()
	p, err := Make(graph, names, nil)
	if err != nil {
		b.Fatal(err)
	}
	var members []Member
	for _, name := range names {
		members = append(members, Member{Component: name, Tier: p.Tier[name], Source: name, Environment: "e"})
	}
	now := append([]Member(nil), members...)
	now[500].Source = "other"
	for b.Loop() {
		if Choose(ChangedAndAfter, now, members)[names[999]].Way != Key {
			b.Fatal("the last tier was taken over")
		}
	}
}
