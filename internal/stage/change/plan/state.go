package plan

import "strings"

// State is where a change stands.
type State string

// The states of a change.
const (
	Open      State = "open"      // a patchset was pushed; its tests are not asked for yet
	Testing   State = "testing"   // its tests run
	Tested    State = "tested"    // its gate is satisfied; it waits for approval
	Failed    State = "failed"    // its gate is not satisfied
	Approved  State = "approved"  // it will land
	Landing   State = "landing"   // it is being put on its branch
	Landed    State = "landed"    // it is on its branch
	Conflict  State = "conflict"  // it cannot be put on its branch as it is
	Abandoned State = "abandoned" // somebody gave it up, or its content was there already
)

// Done reports whether nothing more happens to a change in this state.
func (s State) Done() bool { return s == Landed || s == Abandoned }

// Vote is one person's opinion on the current patchset, -2 to +2.
type Vote struct {
	By         string
	Value      int
	Gatekeeper bool // whether the voter could approve when voting
}

// Snapshot is what the decision rests on.
type Snapshot struct {
	State     State
	Waves     []Wave // of the current patchset; empty: nothing has to be tested
	Gate      Gate
	Votes     []Vote // on the current patchset, one for each voter
	Automatic bool   // the product approves whatever passes its gate
}

// Wave is one product's tests of the patchset.
type Wave struct {
	Product  string
	Asked    bool
	Finished bool
	Reason   string
}

// Gate is the decision over the results. It counts once all waves have finished.
type Gate struct {
	OK      bool
	Missing []string // for people: "unit of libwire failed: ..."
}

// Act is what to do next.
type Act string

// The acts.
const (
	Wait    Act = "wait"    // until something happens; State and Reason say how it stands meanwhile
	Ask     Act = "ask"     // for the waves that were not asked for yet; then go to State
	Enter   Act = "enter"   // go to State
	Perform Act = "perform" // put it on its branch
)

// Step is a decision.
type Step struct {
	Act    Act
	State  State
	Reason string // for a person: why it is in State, and what it waits for
}

// Next returns what to do with a change. Doing it and asking again leads to a Wait in finitely many steps.
func Next(s Snapshot) Step {
	switch s.State {
	case Open:
		if len(s.Waves) == 0 {
			return Step{Enter, Tested, "no product uses what it touches, so there is nothing to test"}
		}
		return Step{Ask, Testing, "its unit tests run"}
	case Testing:
		return whileTesting(s)
	case Failed:
		if len(s.Waves) > 0 && s.Gate.OK {
			return Step{Enter, Tested, "its gate is satisfied now"}
		}
		return refuted(s, Wait)
	case Tested:
		return onceTested(s)
	case Approved:
		if by, held := heldBack(s.Votes); held {
			return by.waits(Enter)
		}
		return Step{Perform, Landing, "it is being put on its branch"}
	case Landing: // too late for votes
		return Step{Perform, Landing, "it is being put on its branch"}
	}
	return Step{Act: Wait, State: s.State}
}

func whileTesting(s Snapshot) Step {
	for _, w := range s.Waves {
		if !w.Asked {
			return Step{Ask, Testing, "its unit tests run"}
		}
	}
	var waits []string
	for _, w := range s.Waves {
		if !w.Finished {
			waits = append(waits, strings.TrimSuffix(w.Product+": "+w.Reason, ": "))
		}
	}
	switch {
	case len(waits) > 0:
		return Step{Wait, Testing, "its unit tests run (" + strings.Join(waits, "; ") + ")"}
	case s.Gate.OK:
		return Step{Enter, Tested, "its gate is satisfied"}
	}
	return refuted(s, Enter)
}

// refuted says what is missing and what can be done about it: what failed needs another patchset, what ended without a verdict another run.
func refuted(s Snapshot, act Act) Step {
	return Step{act, Failed, "its gate is not satisfied: " + list(s.Gate.Missing) +
		"; push a new patchset, have what errored tested again (slipway change retest), or waive the check"}
}

func onceTested(s Snapshot) Step {
	if by, held := heldBack(s.Votes); held {
		return by.waits(Wait)
	}
	for _, v := range s.Votes {
		if v.Value == 2 && v.Gatekeeper {
			return Step{Enter, Approved, "approved by " + v.By}
		}
	}
	if s.Automatic {
		return Step{Enter, Approved, "approved by the product's policy: its gate is satisfied"}
	}
	return Step{Wait, Tested, "it waits for the approval of a gatekeeper (+2)"}
}

// heldBack returns the gatekeeper's vote that keeps a change from landing.
func heldBack(votes []Vote) (Vote, bool) {
	for _, v := range votes {
		if v.Value == -2 && v.Gatekeeper {
			return v, true
		}
	}
	return Vote{}, false
}

func (v Vote) waits(act Act) Step {
	return Step{act, Tested, v.By + " holds it back with -2; it waits for another vote of theirs or a new patchset"}
}

func list(missing []string) string {
	if len(missing) == 0 {
		return "something is missing"
	}
	return strings.Join(missing, "; ")
}
