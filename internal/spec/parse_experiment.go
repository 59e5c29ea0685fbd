package spec

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// DefaultStepTimeout bounds a step of an experiment that says nothing about its time.
const DefaultStepTimeout = time.Minute

// ParseExperiment reads an experiment; file names it in errors. The error tells every problem (see [Problems]).
//
// What the file leaves out has its default in the result. In particular After is filled in: a step that does not
// say what it comes after comes after the step before it that has a role in common with it (a barrier without a
// role has all of them); `after: []` comes after nothing. The graph is free of cycles.
func ParseExperiment(data []byte, name string) (Experiment, error) {
	f := &file{name: name}
	root := f.read(data)
	if root == nil {
		return Experiment{}, f.err()
	}
	f.check(root, experimentSchema())
	e := f.experiment(root)
	if err := f.err(); err != nil {
		return Experiment{}, err
	}
	return e, nil
}

func (f *file) experiment(root *node) Experiment {
	e := Experiment{
		Name:    root.str("experiment"),
		Summary: root.str("summary"),
		Roles:   map[string]Role{},
		Timeout: f.duration(root, "timeout", DefaultTimeout),
		Env:     root.texts("env"),
		Tier:    LastTier,
	}
	if root.get("tier") != nil {
		e.Tier = root.integer("tier")
	}
	if roles := root.get("roles"); roles != nil {
		for _, name := range roles.keys {
			v := roles.members[name].value
			role := Role{Labels: v.texts("labels"), Nodes: 1, Artifacts: v.list("artifacts")}
			if v.get("nodes") != nil {
				role.Nodes = v.integer("nodes")
			}
			f.unique(v.get("artifacts"), "the component")
			e.Roles[name] = role
		}
	}
	roles := slices.Sorted(maps.Keys(e.Roles))
	lines := map[string]int{}
	steps := root.get("steps")
	e.Steps = f.steps(steps, roles, lines, "step")
	f.order(steps, e.Steps)
	cleanup := root.get("cleanup")
	e.Cleanup = f.steps(cleanup, roles, lines, "cleanup")
	if cleanup != nil {
		for _, item := range cleanup.items {
			for _, key := range []string{"after", "background", "barrier"} {
				if m, ok := item.members[key]; ok {
					f.report(m.line, m.column, "remove it", "cleanup runs in order; %q has no meaning there", key)
				}
			}
		}
	}
	return e
}

func (f *file) steps(n *node, roles []string, lines map[string]int, kind string) []ExperimentStep {
	if n == nil {
		return nil
	}
	var steps []ExperimentStep
	for i, item := range n.items {
		s := ExperimentStep{
			ID:         orText(item.str("id"), fmt.Sprintf("%s-%d", kind, i+1)),
			Role:       item.str("role"),
			Run:        item.str("run"),
			Background: item.boolean("background"),
			Barrier:    item.str("barrier"),
			After:      item.list("after"),
			Timeout:    f.duration(item, "timeout", DefaultStepTimeout),
			Retries:    item.integer("retries"),
		}
		if line, dup := lines[s.ID]; dup {
			f.at(item, "give it another id", "the id %q is used twice, first in line %d", s.ID, line)
		}
		lines[s.ID] = item.line
		if s.Role != "" {
			f.knownText(item.get("role"), s.Role, "role", roles)
		}
		run, hasRun := item.members["run"]
		switch {
		case hasRun && s.Barrier != "":
			f.at(item, "make two steps of it", "the step %q has both run and barrier", s.ID)
		case hasRun:
			f.script(run.value, "the step "+s.ID)
		case s.Barrier == "":
			f.at(item, "add run: or barrier:", "the step %q does nothing", s.ID)
		}
		if hasRun && s.Role == "" && kind == "step" {
			if len(roles) == 1 {
				s.Role = roles[0]
			} else {
				f.at(item, "add role: "+strings.Join(roles, " or "), "the step %q does not say who runs it", s.ID)
			}
		}
		if s.Barrier != "" && s.Background {
			f.at(item.get("background"), "remove it", "a barrier cannot be in the background")
		}
		if s.Background && s.Retries > 0 {
			f.at(item.get("retries"), "remove it", "a step in the background is not tried again")
		}
		steps = append(steps, s)
	}
	return steps
}

// order fills in After and reports unknown steps and cycles.
func (f *file) order(n *node, steps []ExperimentStep) {
	index := map[string]int{}
	var ids []string
	for i, s := range steps {
		index[s.ID] = i
		ids = append(ids, s.ID)
	}
	for i := range steps {
		item := n.items[i]
		f.unique(item.get("after"), "the step")
		f.known(item.get("after"), "step", ids)
		if steps[i].After == nil {
			steps[i].After = before(steps[:i], steps[i].Role)
		}
	}
	// Depth first; a step met again while it is open closes a cycle.
	const open, done = 1, 2
	state := make([]int, len(steps))
	var path []string
	var visit func(i int)
	visit = func(i int) {
		state[i] = open
		path = append(path, steps[i].ID)
		for _, id := range steps[i].After {
			j, ok := index[id]
			switch {
			case !ok:
			case state[j] == open:
				cycle := append(slices.Clone(path[slices.Index(path, id):]), id)
				f.at(n.items[i], "remove one of these from after", "steps wait for each other: %s", strings.Join(cycle, " after "))
			case state[j] == 0:
				visit(j)
			}
		}
		path = path[:len(path)-1]
		state[i] = done
	}
	for i := range steps {
		if state[i] == 0 {
			visit(i)
		}
	}
}

// before returns the last earlier step of the role; for a barrier of all roles, the last of each.
func before(earlier []ExperimentStep, role string) []string {
	after := []string{}
	seen := map[string]bool{}
	for _, s := range slices.Backward(earlier) {
		if role != "" {
			if s.Role == role || s.Role == "" {
				return []string{s.ID}
			}
			continue
		}
		if s.Role == "" {
			if len(after) == 0 {
				after = append(after, s.ID)
			}
			break
		}
		if !seen[s.Role] {
			seen[s.Role] = true
			after = append(after, s.ID)
		}
	}
	slices.Reverse(after)
	return after
}
