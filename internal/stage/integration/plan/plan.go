// Package plan decides what the integration queue of one product does next: a function from a snapshot to a plan.
//
// It knows no context, clock, database or log; equal snapshots give equal plans. The runner takes a snapshot, asks
// [Next], does what the plan says and comes back whenever something in the snapshot may have changed. This planner is serial:
// one entry, the head, is worked on at a time. A planner that speculates takes its place behind the same two types.
package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"slipway.dev/slipway/internal/slipway"
)

// Phase is how far an entry has come.
type Phase string

// The phases of an entry. The last three are final.
const (
	Queued   Phase = "queued"   // waits for its turn
	Building Phase = "building" // its candidate is built and unit-tested, tier by tier
	Testing  Phase = "testing"  // experiments run on nodes
	Landing  Phase = "landing"  // passed its gate; the manifest is being moved
	Landed   Phase = "landed"   // released
	Rejected Phase = "rejected" // failed its gate
	Dequeued Phase = "dequeued" // taken out by a person, or overtaken
)

// Open reports whether the entry is still in the queue.
func (p Phase) Open() bool { return p != Landed && p != Rejected && p != Dequeued }

// Entry is what the planner knows of an entry.
type Entry struct {
	Number   int64
	Priority int
	Phase    Phase
	Base     string // the integration repository's commit that its candidate was made on; empty while queued
	Attempt  int    // how often its candidate was run, from 1
	// Moot says why the entry has nothing left to move: its pins are in the manifest, or older ones. Empty: it has.
	Moot string
	// Invalid says why no candidate can be made of it: an unknown component, a cycle, a broken file.
	Invalid string

	Wave        *slipway.WaveStatus        // of its candidate; nil before it was asked for
	Experiments []slipway.ExperimentStatus // of its candidate, in order; those asked for
	Planned     int                        // how many experiments the candidate's configurations ask for
	Decision    *slipway.Decision          // on its candidate, from what is known now; nil before the wave has ended
}

// Snapshot is a queue at one moment.
type Snapshot struct {
	Frozen  string // why nothing new starts; empty: it is not frozen
	Base    string // the commit that main of the integration repository is at
	Retries int    // how often a candidate is run again after an infrastructure failure
	Entries []Entry
}

// Verb is what to do with an entry.
type Verb string

// The verbs of a plan.
const (
	Start   Verb = "start"   // make its candidate on the present base and ask for its wave
	Test    Verb = "test"    // ask for its experiments
	Land    Verb = "land"    // move the manifest
	Reject  Verb = "reject"  // take it out: it failed
	Dequeue Verb = "dequeue" // take it out: it has nothing to move any more
	Wait    Verb = "wait"    // nothing to do now
)

// Step says what to do with one entry, and why.
type Step struct {
	Entry  int64
	Verb   Verb
	Reason string
}

// Next plans. Every open entry gets exactly one step, in the order in which they stand.
func Next(s Snapshot) []Step {
	entries := slices.Clone(s.Entries)
	slices.SortStableFunc(entries, func(a, b Entry) int {
		// What has begun stays ahead: a later, more urgent entry does not throw away running work.
		return cmp.Or(cmp.Compare(begun(b), begun(a)), cmp.Compare(b.Priority, a.Priority), cmp.Compare(a.Number, b.Number))
	})
	steps := []Step{}
	head := int64(0)
	for _, e := range entries {
		switch {
		case !e.Phase.Open():
			continue
		case e.Moot != "" && e.Phase != Landing:
			steps = append(steps, Step{e.Number, Dequeue, e.Moot})
		case head == 0:
			step := headStep(s, e)
			steps = append(steps, step)
			if step.Verb != Reject {
				head = e.Number
			}
		default:
			steps = append(steps, Step{e.Number, Wait, fmt.Sprintf("behind entry %d", head)})
		}
	}
	return steps
}

func begun(e Entry) int {
	if e.Phase == Queued {
		return 0
	}
	return 1
}

func headStep(s Snapshot, e Entry) Step {
	step := func(v Verb, format string, args ...any) Step { return Step{e.Number, v, fmt.Sprintf(format, args...)} }
	switch {
	case e.Phase == Landing: // decided; only a moved base can undo it, and landing itself finds that out
		return step(Land, "passed its gate: %s", reason(e))
	case e.Invalid != "":
		return step(Reject, "%s", e.Invalid)
	case e.Phase == Queued && s.Frozen != "":
		return step(Wait, "the queue is frozen: %s", s.Frozen)
	case e.Phase == Queued:
		return step(Start, "at the head of the queue")
	case e.Base != s.Base:
		return step(Start, "main moved from %s to %s while it was tested; tested again on that", short(e.Base), short(s.Base))
	case e.Wave == nil:
		return step(Wait, "its candidate has been asked for")
	case e.Wave.State == slipway.WaveRunning:
		return step(Wait, "%s", cmp.Or(e.Wave.Reason, "building"))
	case unbuilt(e.Wave) != "":
		return failed(s, e, unbuilt(e.Wave))
	case len(e.Experiments) == 0 && e.Decision != nil && len(e.Decision.Of(slipway.CheckFailed)) > 0:
		// Cheap checks refute before nodes are taken. Experiments that run are let finish: they tell the author more.
		refuted := slipway.Decision{Verdicts: e.Decision.Of(slipway.CheckFailed)} // what did not run is not missing
		return step(Reject, "%s", refuted.Summarize())
	case len(e.Experiments) == 0 && undecided(e.Decision):
		return failed(s, e, e.Decision.Reason)
	case len(e.Experiments) < e.Planned:
		return step(Test, "built; experiments of its configurations are next")
	}
	for _, x := range e.Experiments {
		if x.State != "done" {
			return step(Wait, "experiment/%d is %s: %s", x.Number, x.State, x.Reason)
		}
	}
	switch {
	case e.Decision == nil:
		return step(Wait, "waits for the decision of its gate")
	case e.Decision.OK:
		return step(Land, "passed its gate: %s", e.Decision.Reason)
	default:
		return failed(s, e, e.Decision.Reason)
	}
}

// failed rejects what is blamed and tries again what is not.
func failed(s Snapshot, e Entry, why string) Step {
	blamed := e.Wave.State == slipway.WaveCancelled || refused(e.Wave)
	for _, c := range e.Wave.Components {
		blamed = blamed || (c.State == "failed" && blames(c))
	}
	if e.Decision != nil {
		blamed = blamed || len(e.Decision.Of(slipway.CheckFailed)) > 0
	}
	if !blamed && e.Attempt <= s.Retries {
		return Step{e.Number, Start, fmt.Sprintf("attempt %d ended without a verdict, tried again: %s", e.Attempt, why)}
	}
	if !blamed {
		return Step{e.Number, Reject, fmt.Sprintf("no verdict after %d attempts, which says nothing about the change; requeue it when this is mended: %s", e.Attempt, why)}
	}
	return Step{e.Number, Reject, why}
}

// unbuilt says which components have no output, or nothing if all have.
func unbuilt(w *slipway.WaveStatus) string {
	if w.State == slipway.WaveCancelled {
		return cmp.Or(w.Reason, "its builds were cancelled")
	}
	if refused(w) {
		return cmp.Or(w.Reason, "its builds could not be planned")
	}
	var parts []string
	for _, name := range sorted(w.Components) {
		if c := w.Components[name]; c.State == "failed" {
			parts = append(parts, fmt.Sprintf("build of %s failed: %s", name, c.Reason))
		}
	}
	for _, name := range sorted(w.Components) {
		if c := w.Components[name]; c.State != "failed" && c.State != "built" {
			parts = append(parts, fmt.Sprintf("%s not built: %s", name, c.Reason))
		}
	}
	return strings.Join(parts, "; ")
}

// refused reports whether the wave ended because it could not be planned: a cycle, an unknown component, a broken file.
func refused(w *slipway.WaveStatus) bool {
	if w.State != slipway.WaveFailed {
		return false
	}
	built := len(w.Components) > 0
	for _, c := range w.Components {
		if c.State == "failed" {
			return false
		}
		built = built && c.State == "built"
	}
	return !built
}

// undecided reports whether a check that needs no nodes ended without a verdict.
func undecided(d *slipway.Decision) bool {
	return d != nil && slices.ContainsFunc(d.Of(slipway.CheckErrored), func(v slipway.Verdict) bool { return v.Check != "experiment" })
}

// blames reports whether a failed build says something about its source.
func blames(c slipway.ComponentBuild) bool { return c.Outcome == slipway.Fail || c.Outcome == "" }

func reason(e Entry) string {
	if e.Decision != nil {
		return e.Decision.Reason
	}
	return "decided before"
}

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func short(commit string) string { return commit[:min(len(commit), 10)] }
