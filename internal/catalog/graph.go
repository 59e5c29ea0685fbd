package catalog

import (
	"maps"
	"slices"
	"strings"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
)

// Needs is who needs whom: component -> the components that it needs.
type Needs map[string][]string

// Problem says what is wrong with the needs of a product's components taken together.
type Problem struct {
	Component string   `json:"component"`
	Unknown   string   `json:"unknown,omitempty"` // a component that it needs and that the product does not have
	Cycle     []string `json:"cycle,omitempty"`   // from the component through its needs back to it
}

// Error words the problem.
func (p Problem) Error() *slipway.Error {
	if p.Unknown != "" {
		return slipway.Errorf(slipway.Invalid, "the component %s needs %s, which the product does not have", p.Component, p.Unknown).
			Try("add " + p.Unknown + " to the components of product.yaml, or remove the need")
	}
	return slipway.Errorf(slipway.Invalid, "components need each other in a circle: %s", strings.Join(p.Cycle, " needs ")).
		Try("remove one of these needs, move what both share into a component of its own, or say in product.yaml with bootstrap: where it starts")
}

// Without returns the needs without the edges at which the product breaks cycles.
func (n Needs) Without(bootstrap []spec.Bootstrap) Needs {
	if len(bootstrap) == 0 {
		return n
	}
	rest := maps.Clone(n)
	for _, b := range bootstrap {
		rest[b.From] = slices.DeleteFunc(slices.Clone(rest[b.From]), func(need string) bool { return need == b.To })
	}
	return rest
}

// Problems finds unknown needs and cycles, in the order of the components' names. Every component that is part of a
// cycle is part of one that is told.
func (n Needs) Problems(components []string) []Problem {
	var problems []Problem
	const open, done = 1, 2
	state := map[string]int{}
	var path []string
	var visit func(name string)
	visit = func(name string) {
		state[name] = open
		path = append(path, name)
		for _, need := range slices.Sorted(slices.Values(n[name])) {
			switch {
			case !slices.Contains(components, need):
				problems = append(problems, Problem{Component: name, Unknown: need})
			case state[need] == open:
				cycle := append(slices.Clone(path[slices.Index(path, need):]), need)
				problems = append(problems, Problem{Component: need, Cycle: cycle})
			case state[need] == 0:
				visit(need)
			}
		}
		path = path[:len(path)-1]
		state[name] = done
	}
	for _, name := range slices.Sorted(slices.Values(components)) {
		if state[name] == 0 {
			visit(name)
		}
	}
	return problems
}

// Dependent is a component that needs another, directly or through others.
type Dependent struct {
	Component string   `json:"component"`
	Tier      int      `json:"tier"` // 1 needs it directly
	Path      []string `json:"path"` // a shortest way: from the dependent to the component
}

// Dependents returns all components that need the named one, nearest first, then by name.
func (n Needs) Dependents(name string) []Dependent {
	found := map[string]Dependent{name: {Component: name, Path: []string{name}}}
	frontier := []string{name}
	var all []Dependent
	for tier := 1; len(frontier) > 0; tier++ {
		var next []string
		for _, component := range slices.Sorted(maps.Keys(n)) {
			if _, seen := found[component]; seen {
				continue
			}
			for _, need := range frontier {
				if slices.Contains(n[component], need) {
					d := Dependent{Component: component, Tier: tier, Path: append([]string{component}, found[need].Path...)}
					found[component] = d
					all = append(all, d)
					next = append(next, component)
					break
				}
			}
		}
		frontier = next
	}
	return all
}

func needsOf(edges []Edge) Needs {
	n := Needs{}
	for _, e := range edges {
		n[e.Component] = append(n[e.Component], e.Needs)
	}
	return n
}
