package plan

import (
	"slices"
	"strings"

	"slipway.dev/slipway/internal/slipway"
)

// Seed breaks a cycle at the edge from From to To, which From needs.
//
// In the cycle, From is built twice. Its first build, [Bootstrap], sees a given output of To: an artifact or the last released one.
// Every other component of the cycle is built with that first build, To among them. Then From is built again with the new outputs;
// that second build is what everybody outside the cycle sees. When the new output of To has the bytes of the given one, both
// builds of From have one key, and the second is not run. There is one round: a cycle that has not settled after it does
// so in the next wave, whose seed is what this one made once it is released.
type Seed struct{ From, To string }

// arrangement is the order of builds.
type arrangement struct {
	needs map[Action][]Action // of builds: the builds that they see
	tier  map[Action]int
}

// arrange orders the builds of the targets and all that they need.
func arrange(graph map[string]Component, targets []string, seeds []Seed) (arrangement, error) {
	m := &maker{graph: graph, arrangement: arrangement{needs: make(map[Action][]Action, len(graph)), tier: make(map[Action]int, len(graph))}, on: map[Action]bool{}}
	if len(seeds) > 0 {
		m.cycles = components(graph)
		m.seeds = map[Seed]bool{}
		m.first = map[string]bool{}
		for _, s := range seeds {
			if _, in := m.cycles[s.From]; in && slices.Contains(graph[s.From].Needs, s.To) && m.cycles[s.From] == m.cycles[s.To] {
				m.seeds[s], m.first[s.From] = true, true
			}
		}
	}
	for _, t := range slices.Sorted(slices.Values(targets)) {
		if _, ok := graph[t]; !ok {
			return arrangement{}, Unknown(t, "", "")
		}
		if err := m.visit(Action{Component: t}); err != nil {
			return arrangement{}, err
		}
	}
	return m.arrangement, nil
}

type maker struct {
	arrangement
	graph  map[string]Component
	cycles map[string]int // by component, the number of its strongly connected component
	seeds  map[Seed]bool  // those that break a cycle
	first  map[string]bool
	path   []Action // to where we are
	on     map[Action]bool
}

func (m *maker) visit(a Action) error {
	if _, done := m.tier[a]; done {
		return nil
	}
	m.path = append(m.path, a)
	if m.on[a] {
		return m.cycle(a)
	}
	m.on[a] = true
	c := m.graph[a.Component]
	needs := slices.Clone(c.Needs)
	slices.Sort(needs)
	needs = slices.Compact(needs)
	on := make([]Action, 0, len(needs))
	tier := 0
	for _, name := range needs {
		if _, ok := m.graph[name]; !ok {
			return Unknown(name, a.Component, c.Where[name])
		}
		if a.Check == Bootstrap && m.seeds[Seed{a.Component, name}] {
			continue // it is given
		}
		need := Action{Component: name}
		if m.first[name] && m.cycles[name] == m.cycles[a.Component] {
			need.Check = Bootstrap
		}
		if err := m.visit(need); err != nil {
			return err
		}
		on = append(on, need)
		tier = max(tier, m.tier[need]+1)
	}
	if a.Check == "" && m.first[a.Component] { // the second build comes after the first also when nothing in the cycle needs the first
		if err := m.visit(Action{a.Component, Bootstrap}); err != nil {
			return err
		}
	}
	m.needs[a], m.tier[a] = on, tier
	delete(m.on, a)
	m.path = m.path[:len(m.path)-1]
	return nil
}

// cycle is the error of a path that comes back to a.
func (m *maker) cycle(a Action) error {
	loop := m.path[slices.Index(m.path, a):]
	names := make([]string, len(loop))
	for i, l := range loop {
		names[i] = l.Component
	}
	by := names[len(names)-2]
	return slipway.Errorf(slipway.Invalid, "components need each other in a cycle: %s", strings.Join(names, " needs ")).
		At(m.graph[by].Where[names[len(names)-1]]).
		Try("remove one of these needs, move what both use into a component of its own, or declare where it starts with bootstrap: in the product's file")
}

// components numbers the strongly connected components of the graph (Tarjan, SIAM J. Comput. 1(2), 1972).
func components(graph map[string]Component) map[string]int {
	number, low, found := map[string]int{}, map[string]int{}, map[string]int{}
	var stack []string
	var visit func(string)
	visit = func(v string) {
		number[v] = len(number) + 1
		low[v] = number[v]
		stack = append(stack, v)
		for _, w := range graph[v].Needs {
			if _, ok := graph[w]; !ok {
				continue
			}
			if number[w] == 0 {
				visit(w)
				low[v] = min(low[v], low[w])
			} else if _, closed := found[w]; !closed {
				low[v] = min(low[v], number[w])
			}
		}
		if low[v] != number[v] {
			return
		}
		for {
			w := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			found[w] = number[v]
			if w == v {
				return
			}
		}
	}
	for v := range graph {
		if number[v] == 0 {
			visit(v)
		}
	}
	return found
}
