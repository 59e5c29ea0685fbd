package overview

import (
	"context"
	"time"

	"slipway.dev/slipway/internal/slipway"
)

// Item is one thing, of whatever kind, as it stands.
type Item struct {
	Kind    string    `json:"kind"` // "change"
	Name    string    `json:"name"` // "12"
	Product string    `json:"product,omitempty"`
	Title   string    `json:"title,omitempty"` // what a person would call it
	Stage   string    `json:"stage"`           // where on the road it is: "source", "change", ... "deploy"
	State   string    `json:"state"`
	Reason  string    `json:"reason"` // why it is in that state
	Since   time.Time `json:"since,omitzero"`
	Next    string    `json:"next,omitempty"`    // what would move it on
	Facts   []Fact    `json:"facts,omitempty"`   // what else is worth telling, in order
	Because []string  `json:"because,omitempty"` // the subjects that made it so; Why follows them
	Links   []string  `json:"links,omitempty"`   // other subjects it concerns
}

// Fact is one more thing to tell about an item.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Subject is the item's name with its kind: "change/12".
func (i Item) Subject() string { return slipway.Ref(i.Kind, i.Name) }

// Lookup returns the item with an id, or an error of kind NotFound.
type Lookup func(ctx context.Context, id string) (Item, error)

// Ledger tells the last event about a subject; ok is false when there is none.
type Ledger interface {
	Last(ctx context.Context, subject string) (e slipway.Event, ok bool, err error)
}

// Reason is an item with the reasons that it follows from: one vertex of the answer to "why".
type Reason struct {
	Item
	Causes []Reason `json:"causes,omitempty"`
	Above  bool     `json:"above,omitempty"` // told in full further up
	Gone   string   `json:"gone,omitempty"`  // it could not be looked up: why
}
