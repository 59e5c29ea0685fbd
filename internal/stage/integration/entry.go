package integration

import (
	"strconv"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/integration/plan"
)

// Entry is a request to move pins of a product, all or nothing.
type Entry struct {
	Number      int64         `json:"number"`
	Product     string        `json:"product"`
	Title       string        `json:"title"`
	Author      string        `json:"author,omitempty"`
	Changes     []string      `json:"changes,omitempty"` // the changes that it brings: "change/12"
	Pins        []slipway.Pin `json:"pins"`              // empty: only the product file moved
	File        string        `json:"file,omitempty"`    // the commit of the integration repository whose product file it brings
	Exact       bool          `json:"exact,omitempty"`   // asked for by hand: moves to these commits even if the manifest has newer ones
	Priority    int           `json:"priority,omitempty"`
	Phase       plan.Phase    `json:"phase"`
	Reason      string        `json:"reason"`              // why it is in its phase, and what it waits for
	Candidate   string        `json:"candidate,omitempty"` // id of the newest candidate
	Base        string        `json:"base,omitempty"`      // the commit that the candidate was made on
	Attempt     int           `json:"attempt,omitempty"`   // how often a candidate was made of it
	Tries       int           `json:"tries,omitempty"`     // how often its present candidate was run
	Wave        string        `json:"wave,omitempty"`      // id of the candidate's wave
	Experiments []Run         `json:"experiments,omitempty"`
	Release     string        `json:"release,omitempty"` // id, once landed
	History     []Stamp       `json:"history"`           // the phases it went through
}

// Run is one experiment of an entry's candidate.
type Run struct {
	Configuration string `json:"configuration"`
	Experiment    string `json:"experiment"` // its name
	ID            string `json:"id"`         // follows from everything that it depends on
}

// Stamp says when an entry entered a phase, and why.
type Stamp struct {
	Phase  plan.Phase `json:"phase"`
	Time   time.Time  `json:"time"`
	Reason string     `json:"reason"`
}

// ID is the number as a string.
func (e Entry) ID() string { return strconv.FormatInt(e.Number, 10) }

// Row implements [slipway.Record]; the state is the phase.
func (e Entry) Row() slipway.Row {
	return slipway.Row{ID: e.ID(), Product: e.Product, State: string(e.Phase), Key: e.Candidate}
}

// enter moves the entry to a phase. It reports whether that is news.
func (e *Entry) enter(p plan.Phase, reason string, at time.Time) bool {
	e.Reason = reason
	if n := len(e.History); n > 0 && e.History[n-1].Phase == p && e.Phase == p {
		return false
	}
	e.Phase = p
	e.History = append(e.History, Stamp{p, at, reason})
	return true
}

// Queue is what a product's queue remembers beside its entries.
type Queue struct {
	Product  string           `json:"product"`
	Frozen   string           `json:"frozen,omitempty"`   // why nothing new starts
	FrozenBy string           `json:"frozenBy,omitempty"` // who froze it
	Seen     map[string]int64 `json:"seen"`               // by component: up to which position in branch history its updates have been taken
	File     string           `json:"file,omitempty"`     // the commit of the product file that was last taken
	Reason   string           `json:"reason,omitempty"`   // what the queue waits for before its first entry
	Released string           `json:"released,omitempty"` // the commit of the release that landed last
	Stops    []Stop           `json:"stops,omitempty"`    // what still has to be cancelled
}

// Stop is what ran for an attempt that nobody wants any more. It is written down with the decision, so that a crash does
// not leave it running.
type Stop struct {
	Wave        string   `json:"wave"`
	Experiments []string `json:"experiments,omitempty"`
	Reason      string   `json:"reason"`
}

// Row implements [slipway.Record].
func (q Queue) Row() slipway.Row { return slipway.Row{ID: q.Product, Product: q.Product} }

// Candidate is an exact tuple of versions, on an exact commit of the integration repository.
type Candidate struct {
	ID             string            `json:"id"` // from the digest of everything below
	Product        string            `json:"product"`
	Repo           string            `json:"repo"` // the integration repository
	Base           string            `json:"base"`
	Pins           []slipway.Pin     `json:"pins"` // of all components, by name
	Configurations []ConfigCandidate `json:"configurations"`
	Gate           []string          `json:"gate,omitempty"` // the checks that must pass; empty: all that run
	Moved          []slipway.Pin     `json:"moved"`
}

// ConfigCandidate is one configuration's part in a candidate.
type ConfigCandidate struct {
	Name        string            `json:"name"`
	Components  []string          `json:"components"` // with all that they need
	Params      map[string]string `json:"params,omitempty"`
	Experiments []Experiment      `json:"experiments,omitempty"`
}

// Experiment is the text of an experiment at the candidate's base.
type Experiment struct {
	Name string   `json:"name"`
	File string   `json:"file"`
	Text string   `json:"text"`
	Uses []string `json:"uses,omitempty"` // components whose artifacts it puts on nodes
}

// Row implements [slipway.Record].
func (c Candidate) Row() slipway.Row { return slipway.Row{ID: c.ID, Product: c.Product} }

func (c Candidate) pin(component string) slipway.Pin {
	for _, p := range c.Pins {
		if p.Component == component {
			return p
		}
	}
	return slipway.Pin{}
}
