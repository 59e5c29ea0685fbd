// Package plan decides what of a wave is built when. It is pure: graph in, order and decisions out.
//
// A wave's actions are one build for each component that the targets need, and one action for each of the wanted tests. A build
// may start when the builds of all it needs have passed; a test when, in addition, its own component's has. When something
// fails, only what needs it is skipped; everything else goes on, so that one wave tells as much as it can.
//
// The plan knows nothing of keys and reuse: an action that was done before passes at once, and with it opens the next
// tier. Early cut-off needs no rule either: a key is made of the output digests of what is needed, so a rebuild that
// gives the same bytes leads to keys that are known.
package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"slipway.dev/slipway/internal/slipway"
)

// Component is a vertex of the graph.
type Component struct {
	Needs []string
	Tests []string          // names of the tests that it has
	Where map[string]string // by needed component, where the need is written: "libwire/slipway.yaml:4"
}

// Action is one thing to run: the build of a component (Check empty) or one of its tests.
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

// Plan is the order of a wave's actions.
type Plan struct {
	Actions []Action       // those of lower tiers first, builds before tests, then by name
	Tier    map[string]int // by component; 0 needs nothing, otherwise one more than the highest that is needed
	needs   map[Action][]Action
}

// Needs returns the actions that must pass before a may start.
func (p *Plan) Needs(a Action) []Action { return p.needs[a] }

// Make orders the targets and all that they need, with the tests of the components named in tests. It fails with Invalid
// for a component that is not in graph, and for a cycle, which it names.
func Make(graph map[string]Component, targets, tests []string) (*Plan, error) {
	m := maker{graph: graph, tier: map[string]int{}, on: map[string]bool{}}
	for _, t := range slices.Sorted(slices.Values(targets)) {
		if _, ok := graph[t]; !ok {
			return nil, Unknown(t, "", "")
		}
		if err := m.visit(t, nil); err != nil {
			return nil, err
		}
	}
	p := &Plan{Tier: m.tier, needs: map[Action][]Action{}}
	for name := range m.tier {
		build := Action{Component: name}
		for _, need := range graph[name].Needs {
			p.needs[build] = append(p.needs[build], Action{Component: need})
		}
		p.Actions = append(p.Actions, build)
		if !slices.Contains(tests, name) {
			continue
		}
		for _, check := range graph[name].Tests {
			test := Action{name, check}
			p.needs[test] = append(slices.Clone(p.needs[build]), build)
			p.Actions = append(p.Actions, test)
		}
	}
	slices.SortFunc(p.Actions, func(a, b Action) int {
		if d := p.Tier[a.Component] - p.Tier[b.Component]; d != 0 {
			return d
		}
		if (a.Check == "") != (b.Check == "") {
			if a.Check == "" {
				return -1
			}
			return 1
		}
		return strings.Compare(a.String(), b.String())
	})
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

type maker struct {
	graph map[string]Component
	tier  map[string]int
	on    map[string]bool // on the path to where we are
}

func (m *maker) visit(name string, path []string) error {
	path = append(path, name)
	if m.on[name] {
		loop := path[slices.Index(path, name):]
		by := loop[len(loop)-2]
		return slipway.Errorf(slipway.Invalid, "components need each other in a cycle: %s", strings.Join(loop, " needs ")).
			At(m.graph[by].Where[name]).Try("remove one of these needs, or move what both use into a component of its own")
	}
	if _, done := m.tier[name]; done {
		return nil
	}
	m.on[name] = true
	defer delete(m.on, name)
	tier := 0
	c := m.graph[name]
	for _, need := range slices.Sorted(slices.Values(c.Needs)) {
		if _, ok := m.graph[need]; !ok {
			return Unknown(need, name, c.Where[need])
		}
		if err := m.visit(need, path); err != nil {
			return err
		}
		tier = max(tier, m.tier[need]+1)
	}
	m.tier[name] = tier
	return nil
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

// Decision is what to do now.
type Decision struct {
	Start   []Action          // all they need has passed
	Skip    map[Action]string // and why
	Waits   map[Action]string // what the others wait for
	Done    bool              // nothing is active, and there is nothing to start
	Failed  []Action
	Skipped []Action
}

// Decide says what can start, what never will, and whether the wave is over. Actions without a status are waiting; Failed and
// Skipped include those of the statuses.
func (p *Plan) Decide(status map[Action]Status) Decision {
	d := Decision{Skip: map[Action]string{}, Waits: map[Action]string{}}
	now := maps.Clone(status)
	if now == nil {
		now = map[Action]Status{}
	}
	busy := false
	for _, a := range p.Actions { // needs come before those that need them
		switch now[a] {
		case Active:
			busy = true
		case Failed:
			d.Failed = append(d.Failed, a)
		case Skipped:
			d.Skipped = append(d.Skipped, a)
		case Waiting, "":
			switch bad, open := p.blocked(a, now); {
			case bad != "":
				now[a] = Skipped
				d.Skip[a] = bad
				d.Skipped = append(d.Skipped, a)
			case open != "":
				d.Waits[a] = open
			default:
				d.Start = append(d.Start, a)
			}
		}
	}
	d.Done = !busy && len(d.Start) == 0 && len(d.Waits) == 0
	return d
}

func (p *Plan) blocked(a Action, now map[Action]Status) (bad, open string) {
	var waits []string
	for _, need := range p.needs[a] {
		who := need.Component
		if who == a.Component {
			who = "its own build"
		}
		switch now[need] {
		case Passed:
		case Failed:
			return fmt.Sprintf("skipped because %s failed", who), ""
		case Skipped:
			return fmt.Sprintf("skipped because %s was skipped", who), ""
		default:
			waits = append(waits, who)
		}
	}
	if len(waits) == 0 {
		return "", ""
	}
	return "", "waits for " + strings.Join(waits, ", ")
}
