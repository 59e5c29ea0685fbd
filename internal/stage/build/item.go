package build

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build/plan"
)

// Order is what a wave was asked for, with what was found out when it was planned. It does not change afterwards.
type Order struct {
	Request slipway.WaveRequest `json:"request"`
	Seeds   []Seeded            `json:"seeds,omitempty"`
}

// Row implements [slipway.Record].
func (o Order) Row() slipway.Row { return slipway.Row{ID: o.Request.ID, Product: o.Request.Product} }

// Item is one action of a wave: a row of its own, so that a step of the wave writes no more than what has changed.
type Item struct {
	Wave     string          `json:"wave"`
	Action   string          `json:"action"` // "libwire", "libwire:unit"
	Tier     int             `json:"tier"`
	Needs    []string        `json:"needs,omitempty"` // the actions that must pass before
	State    string          `json:"state"`           // waiting, queued, running, passed, waived, failed, skipped
	Outcome  slipway.Outcome `json:"outcome,omitempty"`
	Reason   string          `json:"reason,omitempty"`
	Build    string          `json:"build,omitempty"`
	Key      string          `json:"key,omitempty"`
	Artifact string          `json:"artifact,omitempty"`
	Reused   bool            `json:"reused,omitempty"`
	CutOff   bool            `json:"cutOff,omitempty"` // reused although something that it needs, directly or not, was built anew
	Source   string          `json:"source,omitempty"` // of a build: id of the source's tree, for strategies
	Host     string          `json:"host,omitempty"`   // of a build: fingerprint of what it was built with, for strategies
	Notes    []string        `json:"notes,omitempty"`  // of an inspection: what each check found
}

// The states of an item, beside those of builds.
const (
	waiting = "waiting"
	passed  = "passed"
	waived  = "waived" // a check that failed, and may: what needs it goes on
	failed  = "failed"
	skipped = "skipped"
)

// Row implements [slipway.Record]; the key is the wave.
func (i Item) Row() slipway.Row { return slipway.Row{ID: itemID(i.Wave, i.Action), Key: i.Wave} }

func itemID(wave, action string) string { return wave + "/" + action }

func (i Item) action() plan.Action { return plan.ParseAction(i.Action) }

// status translates the state for the planner.
func (i Item) status() plan.Status {
	switch i.State {
	case string(Queued), string(Running):
		return plan.Active
	case passed, waived:
		return plan.Passed
	case failed:
		return plan.Failed
	case skipped:
		return plan.Skipped
	}
	return plan.Waiting
}

// take writes where a build stands into the item.
func (i *Item) take(b Build, reused bool) {
	i.Build, i.Key, i.Reused, i.Outcome, i.Reason = b.ID, b.Key, i.Reused || reused, "", b.Reason
	switch {
	case b.State != Done:
		i.State = string(b.State)
	case b.Outcome == slipway.Pass:
		i.State, i.Outcome, i.Artifact, i.Reason = passed, b.Outcome, b.Output, ""
		if reused {
			i.Reason = "build " + b.ID + " had the same inputs"
		}
	default:
		i.State, i.Outcome = failed, b.Outcome
		if reused {
			i.Reason = fmt.Sprintf("the same inputs failed before: %s (slipway build forget %s lets it be tried again)", b.Reason, b.ID)
		}
	}
}

// News tells a wave that something it waits for has moved: a build, or an inspection with its outcome.
type News struct {
	Wave    string          `json:"wave"`
	Build   string          `json:"build,omitempty"`
	State   State           `json:"state"`
	Action  string          `json:"action,omitempty"` // of an inspection
	Outcome slipway.Outcome `json:"outcome,omitempty"`
	Reason  string          `json:"reason,omitempty"`
	Notes   []string        `json:"notes,omitempty"`
}

// Row implements [slipway.Record]; the key is the wave. Each state of a build is news of its own, so that what was read is struck
// out and nothing else.
func (n News) Row() slipway.Row {
	return slipway.Row{ID: strings.Join([]string{n.Wave, n.Build + n.Action, string(n.State)}, "/"), Key: n.Wave}
}

// seen is after what time at the latest a wave says that a build of it runs.
const seen = 500 * time.Millisecond

// tell wakes the waves that wait for the build, and says which build it is that has moved. From its end on the build can be found by
// its output.
func tell(ctx context.Context, tx Tx, b Build) error {
	if b.State == Done && b.Output != "" {
		if err := tx.Marks().Put(ctx, Mark{outputMark(b.Output), b.ID}); err != nil {
			return err
		}
	}
	due := time.Time{}
	if b.State == Running {
		due = tx.Now().Add(seen) // nothing follows from it; most often something ends before
	}
	for _, w := range b.Waves {
		if err := tx.News().Put(ctx, News{Wave: w, Build: b.ID, State: b.State}); err != nil {
			return err
		}
		if err := tx.Wake(ctx, "build.wave", w, due); err != nil {
			return err
		}
	}
	return nil
}

// components puts a wave's items together as others see them, by component.
func components(items []Item) map[string]slipway.ComponentBuild {
	all := make(map[string]slipway.ComponentBuild, len(items))
	state := make(map[string]string, len(items))
	for _, i := range items {
		state[i.Action] = i.State
	}
	for _, i := range items {
		if i.State == waiting && i.Reason == "" {
			i.Reason = i.waits(state)
		}
		a := i.action()
		c := all[a.Component]
		if a.Check == "" {
			tests := c.Tests
			c = slipway.ComponentBuild{Tier: i.Tier, State: i.State, Reason: i.Reason, Key: i.Key, Build: i.Build, Artifact: i.Artifact,
				Reused: i.Reused, CutOff: i.CutOff, Outcome: i.Outcome, Tests: tests}
			if i.State == passed {
				c.State = "built"
			}
		} else {
			t := slipway.ComponentTest{Check: a.Check, State: i.State, Outcome: i.Outcome, Build: i.Build, Reason: i.Reason, Reused: i.Reused, Notes: i.Notes}
			if i.State == passed || i.State == failed {
				t.State = "finished"
			}
			c.Tests = append(c.Tests, t)
		}
		all[a.Component] = c
	}
	for _, c := range all {
		slices.SortFunc(c.Tests, func(a, b slipway.ComponentTest) int { return strings.Compare(a.Check, b.Check) })
	}
	return all
}

// waits says what a waiting item waits for.
func (i Item) waits(state map[string]string) string {
	var open []string
	for _, need := range i.Needs {
		if state[need] == passed || state[need] == waived {
			continue
		}
		a := plan.ParseAction(need)
		switch own := i.action().Component; {
		case a.Component == own && a.Check == "":
			need = "its own build"
		case a.Component == own:
			need = "its " + a.Check
		}
		open = append(open, need)
	}
	if len(open) == 0 {
		return "can start"
	}
	return "waits for " + strings.Join(open, ", ")
}
