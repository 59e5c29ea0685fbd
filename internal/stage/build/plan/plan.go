// Package plan decides what of a wave is built when. It is pure: graph in, order and decisions out.
//
// A wave's actions are one build for each component that the targets need, and one action for each of the wanted checks. A build
// may start when the builds of all it needs have passed; a check when, in addition, its own component's has. When something
// fails, only what needs it is skipped; everything else goes on, so that one wave tells as much as it can. In a wave that
// validates, a build waits for the checks of what it needs too, and a tier begins only when all of the tiers before have ended. A
// check that sees builds of later tiers is of the last of those tiers, and no build waits for it.
//
// The plan knows nothing of keys and reuse: an action that was done before passes at once, and with it opens the next
// tier. Early cut-off needs no rule either: a key is made of the output digests of what is needed, so a rebuild that
// gives the same bytes leads to keys that are known.
//
//	[Plan]      the order, made once (graph.go finds cycles and breaks those that have a [Seed])
//	[Progress]  what can start now, kept up by each action that ends; its work is that of what changed
//	[Choose]    which components a [Strategy] takes over from an earlier run
//	[Forecast]  what a change will rebuild for certain, and what may be cut off
package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"slipway.dev/slipway/internal/slipway"
)

// Component is a vertex of the graph.
type Component struct {
	Needs []string
	Tests []string          // names of the tests that it has
	Where map[string]string // by needed component, where the need is written: "libwire/slipway.yaml:4"
	// By test: components whose builds it sees beside its own and those that the component needs.
	Beside map[string][]string
}

// With returns the component with one test more, which sees the builds of others beside its own.
func (c Component) With(test string, beside []string) Component {
	if !slices.Contains(c.Tests, test) {
		c.Tests = append(slices.Clone(c.Tests), test)
		slices.Sort(c.Tests)
	}
	all := map[string][]string{test: beside}
	for other, seen := range c.Beside {
		if other != test {
			all[other] = seen
		}
	}
	c.Beside = all
	return c
}

// Bootstrap is the check name of the first of two builds of a component that starts a cycle: see [Seed].
const Bootstrap = "bootstrap"

// Action is one thing to run: the build of a component (Check empty), one of its checks, or its [Bootstrap].
type Action struct {
	Component string
	Check     string
}

// String writes "libwire" or "libwire:unit".
func (a Action) String() string {
	if a.Check == "" {
		return a.Component
	}
	return a.Component + ":" + a.Check
}

// Builds reports whether the action makes an output, rather than checking one.
func (a Action) Builds() bool { return a.Check == "" || a.Check == Bootstrap }

// ParseAction reads what [Action.String] writes.
func ParseAction(s string) Action {
	component, check, _ := strings.Cut(s, ":")
	return Action{component, check}
}

// Request says what a plan is made for.
type Request struct {
	Targets  []string // components to build; what they need is implied
	Tests    []string // components whose tests run too
	Checks   []string // checks that every component in Tests has beside its own tests
	Seeds    []Seed   // edges that a cycle may be broken at
	Validate bool     // tiers wait for each other, and builds for the checks of what they need
}

// Plan is the order of a wave's actions. It does not change.
type Plan struct {
	Actions []Action       // those of lower tiers first, builds before checks, then by name
	Tier    map[string]int // by component; 0 needs nothing, otherwise one more than the highest that is needed

	validate bool
	index    map[Action]int32
	tier     []int32 // by action
	needs    [][]int32
	users    [][]int32
}

// Has reports whether the action is part of the plan.
func (p *Plan) Has(a Action) bool { _, ok := p.index[a]; return ok }

// Needs returns the actions that must pass before a may start.
func (p *Plan) Needs(a Action) []Action {
	i, ok := p.index[a]
	if !ok {
		return nil
	}
	all := make([]Action, len(p.needs[i]))
	for k, n := range p.needs[i] {
		all[k] = p.Actions[n]
	}
	return all
}

// Inputs returns, by needed component, the build whose output a build or check of the component sees. A seeded need of a
// [Bootstrap] has none.
func (p *Plan) Inputs(a Action) map[string]Action {
	if !a.Builds() {
		a.Check = ""
	}
	inputs := map[string]Action{}
	for _, need := range p.Needs(a) {
		if need.Builds() {
			inputs[need.Component] = need
		}
	}
	return inputs
}

// Sees returns the builds that must pass before a may start.
func (p *Plan) Sees(a Action) []Action {
	return slices.DeleteFunc(p.Needs(a), func(need Action) bool { return !need.Builds() })
}

// TierOf returns an action's tier: that of its component, or of the latest build that a check sees; a [Bootstrap] has its own.
func (p *Plan) TierOf(a Action) int { return int(p.tier[p.index[a]]) }

// Make orders the targets and all that they need, with the tests of the components named in tests. It fails with Invalid
// for a component that is not in graph, and for a cycle, which it names.
func Make(graph map[string]Component, targets, tests []string) (*Plan, error) {
	return New(graph, Request{Targets: targets, Tests: tests})
}

// New orders what the request asks for. It fails as [Make] does; a cycle is broken where a seed says so.
func New(graph map[string]Component, r Request) (*Plan, error) {
	tested := make(map[string]bool, len(r.Tests))
	targets := slices.Clone(r.Targets)
	for _, name := range r.Tests {
		tested[name] = true
		for _, beside := range graph[name].Beside {
			targets = append(targets, beside...)
		}
	}
	order, err := arrange(graph, targets, r.Seeds)
	if err != nil {
		return nil, err
	}
	p := &Plan{Tier: make(map[string]int, len(order.tier)), validate: r.Validate}
	type vertex struct {
		Action
		tier  int
		needs []Action // builds; of a check, those beside what its own build needs
	}
	checks := map[string][]string{} // by component: those that what needs it waits for
	vertices := make([]vertex, 0, 2*len(order.tier))
	for build, tier := range order.tier {
		vertices = append(vertices, vertex{build, tier, order.needs[build]})
		if build.Check != "" {
			continue
		}
		p.Tier[build.Component] = tier
		if !tested[build.Component] {
			continue
		}
		for _, list := range [][]string{graph[build.Component].Tests, r.Checks} {
			for _, check := range list {
				if check == Bootstrap && slices.ContainsFunc(r.Seeds, func(s Seed) bool { return s.From == build.Component }) {
					return nil, slipway.Errorf(slipway.Invalid, "the test %q of %s has the name of its first build in a cycle", check, build.Component).
						Try("rename the test")
				}
				v := vertex{Action: Action{build.Component, check}, tier: tier}
				for _, name := range graph[build.Component].Beside[check] {
					need := Action{Component: name}
					v.needs, v.tier = append(v.needs, need), max(v.tier, order.tier[need])
				}
				if v.tier == tier { // one that sees later builds cannot hold up what they may need
					checks[build.Component] = append(checks[build.Component], check)
				}
				vertices = append(vertices, v)
			}
		}
	}
	slices.SortFunc(vertices, func(a, b vertex) int {
		late := func(v vertex) int {
			if v.Builds() {
				return 0
			}
			return 1
		}
		return cmp.Or(a.tier-b.tier, late(a)-late(b), strings.Compare(a.Component, b.Component), strings.Compare(a.Check, b.Check))
	})
	n := len(vertices)
	p.Actions, p.tier, p.index = make([]Action, n), make([]int32, n), make(map[Action]int32, n)
	p.needs, p.users = make([][]int32, n), make([][]int32, n)
	for i, v := range vertices {
		p.Actions[i], p.tier[i], p.index[v.Action] = v.Action, int32(v.tier), int32(i)
	}
	for i, v := range vertices {
		var on []int32
		if v.Builds() {
			on = make([]int32, 0, len(v.needs))
			for _, need := range v.needs {
				on = append(on, p.index[need])
				if !r.Validate || need.Check != "" {
					continue
				}
				for _, check := range checks[need.Component] {
					on = append(on, p.index[Action{need.Component, check}])
				}
			}
		} else {
			own := p.index[Action{Component: v.Component}]
			for _, need := range slices.Concat(order.needs[p.Actions[own]], v.needs) {
				if i := p.index[need]; i != own && !slices.Contains(on, i) {
					on = append(on, i)
				}
			}
			on = append(on, own)
		}
		p.needs[i] = on
		for _, need := range on {
			p.users[need] = append(p.users[need], int32(i))
		}
	}
	return p, nil
}

// Unknown is the error of a component that the product does not have; by and where say who needs it.
func Unknown(name, by, where string) error {
	e := slipway.Errorf(slipway.Invalid, "unknown component %q", name)
	if by != "" {
		e = slipway.Errorf(slipway.Invalid, "%s needs an unknown component %q", by, name)
	}
	return e.At(where).Try("correct the name, or add the component to the product's file")
}

// Status is where one action stands.
type Status string

// The statuses of an action.
const (
	Waiting Status = "waiting" // for what it needs
	Active  Status = "active"  // queued or running
	Passed  Status = "passed"
	Failed  Status = "failed"
	Skipped Status = "skipped" // something it needs did not pass
)

// because says why an action never starts when what it needs ended so.
func because(a, need Action, s Status) string {
	word := "failed"
	if s == Skipped {
		word = "was skipped"
	}
	return fmt.Sprintf("skipped because %s %s", called(a, need), word)
}

// called is the name of what an action needs, as its own reason says it.
func called(a, need Action) string {
	switch {
	case need.Component == a.Component && need.Check == "":
		return "its own build"
	case need.Component == a.Component:
		return "its " + need.Check
	}
	return need.String()
}
