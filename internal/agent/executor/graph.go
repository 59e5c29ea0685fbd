package executor

import (
	"slices"

	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/lab"
)

// stepState is where a step stands on this node.
type stepState string

const (
	stepIdle    stepState = ""
	stepRunning stepState = "running" // a background step counts as passed for those after it
	stepWaiting stepState = "waiting" // at a barrier
	stepPassed  stepState = "passed"
	stepFailed  stepState = "failed"
)

// startable returns the indexes of the steps that may begin now: they belong to the role, have not begun, and all that they
// come after has passed: here if this node has it, else everywhere (remote).
func startable(steps []spec.ExperimentStep, role string, state map[string]stepState, remote []string) []int {
	var out []int
	for i, s := range steps {
		if !lab.Takes(s, role) || state[s.ID] != stepIdle {
			continue
		}
		if !slices.ContainsFunc(s.After, func(id string) bool { return !passed(steps, s, role, id, state, remote) }) {
			out = append(out, i)
		}
	}
	return out
}

// passed reports whether the step with id no longer holds up the step s.
func passed(steps []spec.ExperimentStep, s spec.ExperimentStep, role, id string, state map[string]stepState, remote []string) bool {
	i := slices.IndexFunc(steps, func(o spec.ExperimentStep) bool { return o.ID == id })
	if i < 0 {
		return false
	}
	o := steps[i]
	switch {
	case lab.Takes(o, role):
		return state[id] == stepPassed || o.Background && state[id] == stepRunning
	case s.Barrier != "" && s.Role == "":
		// The nodes that have it wait for it themselves before they arrive at this barrier.
		return true
	default:
		return slices.Contains(remote, id)
	}
}

// complete reports whether nothing is left to do for the role but to let background steps go on.
func complete(steps []spec.ExperimentStep, role string, state map[string]stepState) bool {
	for _, s := range steps {
		if lab.Takes(s, role) && state[s.ID] != stepPassed && (!s.Background || state[s.ID] != stepRunning) {
			return false
		}
	}
	return true
}
