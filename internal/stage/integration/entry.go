package integration

import (
	"strconv"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/integration/speculate"
)

// Phase is how far an entry has come.
type Phase string

// The phases of an entry. The last three are final.
const (
	Queued   Phase = "queued"   // waits for its turn
	Building Phase = "building" // candidates with it are built and unit-tested
	Testing  Phase = "testing"  // experiments run on nodes
	Landing  Phase = "landing"  // passed its gate; the manifest is being moved
	Landed   Phase = "landed"   // released
	Rejected Phase = "rejected" // refuted, or no verdict could be had
	Dequeued Phase = "dequeued" // taken out by a person, or overtaken
)

// Open reports whether the entry is still in the queue.
func (p Phase) Open() bool { return p != Landed && p != Rejected && p != Dequeued }

// OpenPhases are the phases of entries that are in the queue.
func OpenPhases() []string {
	return []string{string(Queued), string(Building), string(Testing), string(Landing)}
}

// Entry is a request to move pins of a product, all or nothing.
type Entry struct {
	Number   int64         `json:"number"`
	Product  string        `json:"product"`
	Title    string        `json:"title"`
	Author   string        `json:"author,omitempty"`
	Changes  []string      `json:"changes,omitempty"`  // the changes that it brings: "change/12"
	Pins     []slipway.Pin `json:"pins"`               // empty: only the product file moved
	File     string        `json:"file,omitempty"`     // the commit of the integration repository whose product file it brings
	Exact    bool          `json:"exact,omitempty"`    // asked for by hand: moves to these commits even if the manifest has newer ones
	Depends  []string      `json:"depends,omitempty"`  // what its commits say that it depends on: "change/12", a Change-Id
	Priority int           `json:"priority,omitempty"` // higher goes first among what has not begun
	Urgent   bool          `json:"urgent,omitempty"`   // the incident lane: goes before what has begun, too
	Rank     float64       `json:"rank,omitempty"`     // its place; lower first. Entries of old have none: their number

	Withdrawn string `json:"withdrawn,omitempty"` // why it may not land any more: what it moves to has left its branch

	Phase    Phase     `json:"phase"`
	Reason   string    `json:"reason"`            // why it is in its phase, and what it waits for
	Ahead    int       `json:"ahead,omitempty"`   // undecided entries that it has to wait for
	Chance   float64   `json:"chance,omitempty"`  // that it lands, as the queue sees it now
	Estimate time.Time `json:"estimate,omitzero"` // when it may land, if nothing fails

	Features []float64          `json:"features,omitempty"` // what was known of it when it was first planned
	Said     map[string]float64 `json:"said,omitempty"`     // by predictor: the chance then that it lands

	Candidate   string  `json:"candidate,omitempty"`   // id of the newest candidate with it
	Base        string  `json:"base,omitempty"`        // the commit that the candidate was made on
	Assumes     []int64 `json:"assumes,omitempty"`     // entries before it that the candidate takes for landed
	Attempt     int     `json:"attempt,omitempty"`     // how many candidates with it were tried
	Wave        string  `json:"wave,omitempty"`        // id of a wave of the candidate
	Experiments []Run   `json:"experiments,omitempty"` // of the candidate
	Unproven    int     `json:"unproven,omitempty"`    // landings that were called off because a proof did not hold
	Release     string  `json:"release,omitempty"`     // id, once landed
	History     []Stamp `json:"history"`               // the phases it went through
}

// Run is one experiment of an entry's candidate.
type Run struct {
	Configuration string `json:"configuration"`
	Experiment    string `json:"experiment"` // its name
	ID            string `json:"id"`         // follows from everything that it depends on
}

// Stamp says when an entry entered a phase, and why.
type Stamp struct {
	Phase  Phase     `json:"phase"`
	Time   time.Time `json:"time"`
	Reason string    `json:"reason"`
}

// ID is the number as a string.
func (e Entry) ID() string { return strconv.FormatInt(e.Number, 10) }

// Row implements [slipway.Record]; the state is the phase.
func (e Entry) Row() slipway.Row {
	return slipway.Row{ID: e.ID(), Product: e.Product, State: string(e.Phase), Key: e.Candidate}
}

// enter moves the entry to a phase. It reports whether that is news.
func (e *Entry) enter(p Phase, reason string, at time.Time) bool {
	e.Reason = reason
	if n := len(e.History); n > 0 && e.History[n-1].Phase == p && e.Phase == p {
		return false
	}
	e.Phase = p
	e.History = append(e.History, Stamp{p, at, reason})
	return true
}

// begun reports whether anything ever ran for the entry.
func (e Entry) begun() bool { return e.Phase != Queued || len(e.History) > 1 }

func (e Entry) rank() float64 {
	if e.Rank == 0 {
		return float64(e.Number)
	}
	return e.Rank
}

// arrived is when the entry joined.
func (e Entry) arrived() time.Time {
	if len(e.History) == 0 {
		return time.Time{}
	}
	return e.History[0].Time
}

// content names what the entry moves. Two requests for the same are two contents: a person who asks again wants to be heard again.
func (e Entry) content() string {
	name := "entry " + e.ID() + " " + e.File
	for _, p := range e.Pins {
		name += " " + p.Component + "=" + p.Repo + "/" + p.Path + "@" + p.Commit
	}
	return name
}

// state is what the entry adds to the state of a check that it affects.
func (e Entry) state() speculate.State { return speculate.Digest(e.content()) }

// place is what [speculate.Place] looks at.
func (e Entry) place() speculate.Entry {
	return speculate.Entry{ID: speculate.ID(e.Number), Rank: e.rank(), Urgent: e.Urgent, Priority: e.Priority, Begun: e.begun()}
}

// Queue is what a product's queue remembers beside its entries.
type Queue struct {
	Product  string           `json:"product"`
	Frozen   string           `json:"frozen,omitempty"`   // why nothing new starts
	FrozenBy string           `json:"frozenBy,omitempty"` // who froze it
	Closed   string           `json:"closed,omitempty"`   // why nothing new starts now, by the hours of the product file
	Lanes    []Lane           `json:"lanes,omitempty"`    // checks that fail on the base itself
	Seen     map[string]int64 `json:"seen"`               // by component: up to which position in branch history its updates have been taken
	File     string           `json:"file,omitempty"`     // the commit of the product file that was last taken
	Reason   string           `json:"reason,omitempty"`   // what the queue waits for before its first entry
	Released string           `json:"released,omitempty"` // the commit of the release that landed last
	Stops    []Stop           `json:"stops,omitempty"`    // what still has to be cancelled

	Main     string               `json:"main,omitempty"`    // the commit of the integration repository that was last planned on
	States   map[string]BaseState `json:"states,omitempty"`  // by check
	Going    *Going               `json:"going,omitempty"`   // the landing under way
	Memory   speculate.Memory     `json:"memory,omitzero"`   // of the planner
	Minutes  map[string]float64   `json:"minutes,omitempty"` // by check: how long it takes, learnt
	Forecast Forecast             `json:"forecast,omitzero"` // what it has learnt of how entries end
}

// Lane is a check that nobody can pass now.
type Lane struct {
	Check  string    `json:"check"`
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
}

// BaseState is what a check's part in the current manifest is called, in sums of states.
type BaseState struct {
	State   speculate.State `json:"state"`
	Content string          `json:"content"`         // digest of what is really there; when it is another, somebody moved it by hand
	Proven  time.Time       `json:"proven,omitzero"` // when the check was last known to pass on it
}

// Stop is what ran for a trial that nobody wants any more. It is written down with the decision, so that a crash does
// not leave it running.
type Stop struct {
	Wave        string   `json:"wave,omitempty"`
	Experiments []string `json:"experiments,omitempty"`
	Reason      string   `json:"reason"`
}

// Row implements [slipway.Record].
func (q Queue) Row() slipway.Row { return slipway.Row{ID: q.Product, Product: q.Product} }
