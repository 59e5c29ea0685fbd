package gating

import (
	"cmp"
	"fmt"
	"time"

	"slipway.dev/slipway/internal/slipway"
)

// Waiver is a recorded exception. Empty fields of the match cover everything.
type Waiver struct {
	ID            string    `json:"id"`
	Product       string    `json:"product"`
	Check         string    `json:"check"`
	Item          string    `json:"item,omitempty"`
	Configuration string    `json:"configuration,omitempty"`
	Subject       string    `json:"subject,omitempty"` // only for this one: "candidate/ab12...", "change/7.1"
	Reason        string    `json:"reason"`
	Author        string    `json:"author"`
	Time          time.Time `json:"time"`
	Until         time.Time `json:"until,omitzero"`    // zero: until revoked
	Revoked       string    `json:"revoked,omitempty"` // by whom and why; a revoked waiver is kept but waives nothing
}

// Row implements [slipway.Record]; the state is "active" or "revoked".
func (w Waiver) Row() slipway.Row {
	state := "active"
	if w.Revoked != "" {
		state = "revoked"
	}
	return slipway.Row{ID: w.ID, Product: w.Product, State: state, Key: w.Check}
}

// covers reports whether the waiver is in force for r of subject at the time now.
func (w Waiver) covers(subject string, r slipway.Requirement, now time.Time) bool {
	return w.Revoked == "" && (w.Until.IsZero() || now.Before(w.Until)) && w.Check == r.Check &&
		(w.Item == "" || w.Item == r.Item) &&
		(w.Configuration == "" || w.Configuration == r.Configuration) &&
		(w.Subject == "" || w.Subject == subject)
}

// Decide holds the results of subject against the requirements. A result with a configuration meets only
// requirements of that configuration; one without meets all. Equal inputs give equal decisions.
func Decide(subject string, required []slipway.Requirement, results []slipway.Result, waivers []Waiver, now time.Time) slipway.Decision {
	d := slipway.Decision{Subject: subject, OK: true, Verdicts: make([]slipway.Verdict, 0, len(required))}
	for _, r := range required {
		v := slipway.Verdict{Requirement: r, State: slipway.CheckMissing, Reason: "no result yet"}
		if res, ok := newest(subject, r, results); ok {
			v.Reason, v.Link = res.Reason, res.Link
			switch res.Outcome {
			case slipway.Pass:
				v.State = slipway.CheckPassed
			case slipway.Fail:
				v.State = slipway.CheckFailed
			default:
				v.State = slipway.CheckErrored
			}
		}
		if v.State != slipway.CheckPassed {
			for _, w := range waivers {
				if w.covers(subject, r, now) {
					v.Reason = fmt.Sprintf("%s; waived by %s: %s", cmp.Or(v.Reason, string(v.State)), w.Author, w.Reason)
					v.State, v.Waiver = slipway.CheckWaived, w.ID
					break
				}
			}
		}
		d.OK = d.OK && (v.State == slipway.CheckPassed || v.State == slipway.CheckWaived)
		d.Verdicts = append(d.Verdicts, v)
	}
	d.Reason = d.Summarize()
	return d
}

func newest(subject string, r slipway.Requirement, results []slipway.Result) (found slipway.Result, ok bool) {
	for _, res := range results {
		if res.Subject == subject && res.Check == r.Check && res.Item == r.Item &&
			(res.Configuration == "" || res.Configuration == r.Configuration) &&
			(!ok || res.Time.After(found.Time)) {
			found, ok = res, true
		}
	}
	return found, ok
}
