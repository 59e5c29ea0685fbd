package slipway

import (
	"fmt"
	"slices"
	"strings"
)

// Requirement is one check that a subject must pass.
type Requirement struct {
	Check         string `json:"check"`                   // "build", "unit", "experiment"
	Item          string `json:"item,omitempty"`          // which component or experiment; empty: the subject itself
	Configuration string `json:"configuration,omitempty"` // empty: holds for all
}

// String writes a requirement as people say it: "unit of libwire (shore)".
func (r Requirement) String() string {
	s := r.Check
	if r.Item != "" {
		s += " of " + r.Item
	}
	if r.Configuration != "" {
		s += " (" + r.Configuration + ")"
	}
	return s
}

// CheckState says how a requirement stands. The words follow Greenwave's.
type CheckState string

// The states of a requirement.
const (
	CheckPassed  CheckState = "passed"
	CheckWaived  CheckState = "waived"  // not passed, but excused
	CheckFailed  CheckState = "failed"  // the check blames the subject
	CheckErrored CheckState = "errored" // infrastructure, a time-out or a cancellation: says nothing about the subject
	CheckMissing CheckState = "missing" // no result yet
)

// Verdict is one requirement and how it stands.
type Verdict struct {
	Requirement
	State  CheckState `json:"state"`
	Reason string     `json:"reason,omitempty"` // the result's, or the waiver's with its author
	Link   string     `json:"link,omitempty"`   // where the result came from
	Waiver string     `json:"waiver,omitempty"` // the waiver's id
}

// Decision says whether a subject passes its gate, and what is missing if not.
type Decision struct {
	Subject  string    `json:"subject"`
	OK       bool      `json:"ok"`
	Reason   string    `json:"reason"` // one line for a person
	Verdicts []Verdict `json:"verdicts"`
}

// Of returns the requirements that stand at one of the states.
func (d Decision) Of(states ...CheckState) []Verdict {
	var of []Verdict
	for _, v := range d.Verdicts {
		if slices.Contains(states, v.State) {
			of = append(of, v)
		}
	}
	return of
}

// Summarize says in one line whether the gate is passed and, if not, what is missing.
func (d Decision) Summarize() string {
	if d.OK {
		met := fmt.Sprintf("%d requirements met", len(d.Verdicts))
		if len(d.Verdicts) == 1 {
			met = "1 requirement met"
		}
		if n := len(d.Of(CheckWaived)); n > 0 {
			met += fmt.Sprintf(", %d of them waived", n)
		}
		return met
	}
	var parts []string
	for _, s := range []CheckState{CheckFailed, CheckErrored, CheckMissing} {
		of := d.Of(s)
		for i, v := range of {
			if i == 3 {
				parts = append(parts, fmt.Sprintf("and %d more %s", len(of)-i, s))
				break
			}
			part := fmt.Sprintf("%s %s", v.Requirement, s)
			if v.Reason != "" && s != CheckMissing {
				part += ": " + v.Reason
			}
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, "; ")
}
