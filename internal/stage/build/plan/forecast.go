package plan

import (
	"slices"
	"strings"
)

// Expected is a component that a change concerns, before anything is built.
type Expected struct {
	Component string   `json:"component"`
	Tier      int      `json:"tier"`
	Certain   bool     `json:"certain"`        // its own inputs changed; otherwise only an output that it needs may change
	Why       string   `json:"why"`            // for a person
	Over      []string `json:"over,omitempty"` // the needed components through which the change may reach it
}

// Forecast says what is concerned when the inputs of some components have changed (by name, why), tier by tier: those that are
// built for certain, and those that early cut-off may spare, because all that may change for them is the output of what they
// need. Everything else of the plan keeps its keys.
func (p *Plan) Forecast(changed map[string]string) []Expected {
	state := map[string]*Expected{}
	var all []*Expected
	for i, a := range p.Actions { // needs come before those that need them
		if !a.Builds() {
			continue
		}
		why, certain := changed[a.Component]
		var over []string
		for _, n := range p.needs[i] {
			if need := p.Actions[n]; need.Builds() && state[need.Component] != nil && !slices.Contains(over, need.Component) {
				over = append(over, need.Component)
			}
		}
		if !certain && len(over) == 0 {
			continue
		}
		if !certain {
			why = "only if the output of " + strings.Join(over, " or ") + " changes"
		}
		if e := state[a.Component]; e != nil { // its second build in a cycle
			e.Tier, e.Over = int(p.tier[i]), over
			if !e.Certain {
				e.Why = why
			}
			continue
		}
		e := &Expected{Component: a.Component, Tier: int(p.tier[i]), Certain: certain, Why: why, Over: over}
		state[a.Component] = e
		all = append(all, e)
	}
	found := make([]Expected, len(all))
	for i, e := range all {
		found[i] = *e
	}
	slices.SortStableFunc(found, func(a, b Expected) int { return a.Tier - b.Tier })
	return found
}

// Users returns the components that need one of the named, directly or through others, with those themselves.
func Users(graph map[string]Component, names []string) []string {
	users := map[string][]string{}
	for name, c := range graph {
		for _, need := range c.Needs {
			users[need] = append(users[need], name)
		}
	}
	seen := map[string]bool{}
	todo := slices.Clone(names)
	for len(todo) > 0 {
		name := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if _, known := graph[name]; !known || seen[name] {
			continue
		}
		seen[name] = true
		todo = append(todo, users[name]...)
	}
	found := make([]string, 0, len(seen))
	for name := range seen {
		found = append(found, name)
	}
	slices.Sort(found)
	return found
}
