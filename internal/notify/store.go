package notify

import (
	"context"
	"net/url"
	"strings"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
)

// Subscription says who wants which events.
type Subscription struct {
	ID      string    `json:"id"`
	Product string    `json:"product,omitempty"` // only its events; empty: all
	Events  []string  `json:"events,omitempty"`  // types, or prefixes that end in a dot; empty: all
	Webhook string    `json:"webhook,omitempty"` // either this
	Mail    string    `json:"mail,omitempty"`    // or this
	Secret  string    `json:"secret,omitempty"`  // signs webhooks; made when empty
	Origin  string    `json:"origin"`            // "file" (of the product, and follows it) or "api"
	Creator string    `json:"creator"`
	Created time.Time `json:"created"`
	After   int64     `json:"after"` // only events with a higher number
}

// Row implements [slipway.Record]; the key is the origin.
func (s Subscription) Row() slipway.Row {
	return slipway.Row{ID: s.ID, Product: s.Product, State: "active", Key: s.Origin}
}

// Target is where it goes, for everybody to read: of a webhook only scheme and host, because the rest is often a secret.
func (s Subscription) Target() string {
	if s.Mail != "" {
		return "mailto:" + s.Mail
	}
	u, err := url.Parse(s.Webhook)
	if err != nil {
		return "a webhook"
	}
	if u.Path == "" && u.RawQuery == "" {
		return u.Scheme + "://" + u.Host
	}
	return u.Scheme + "://" + u.Host + "/..."
}

// Shown is the subscription without what lets its reader act in its name.
func (s Subscription) Shown() Subscription {
	s.Secret = ""
	if s.Webhook != "" {
		s.Webhook = s.Target()
	}
	return s
}

// event tells that the subscription begins or ends.
func (s Subscription) event(what slipway.EventType, actor, reason string) slipway.Event {
	return slipway.Event{Type: what, Subject: slipway.Ref("subscription", s.ID), Product: s.Product, Actor: actor, Reason: s.Target() + ": " + reason}
}

// Wants reports whether the subscription is for the event.
func (s Subscription) Wants(e slipway.Event) bool {
	if e.Seq <= s.After || (s.Product != "" && s.Product != e.Product) {
		return false
	}
	for _, t := range s.Events {
		if string(e.Type) == t || (strings.HasSuffix(t, ".") && strings.HasPrefix(string(e.Type), t)) {
			return true
		}
	}
	return len(s.Events) == 0
}

// Delivery is one event on its way to one subscriber.
type Delivery struct {
	ID           string            `json:"id"` // SEQ-SUBSCRIPTION
	Subscription string            `json:"subscription"`
	Target       string            `json:"target"`
	Product      string            `json:"product,omitempty"`
	Event        int64             `json:"event"` // its number
	Type         slipway.EventType `json:"type"`
	Subject      string            `json:"subject"`
	State        string            `json:"state"` // pending, delivered, failed
	Reason       string            `json:"reason"`
	Attempts     int               `json:"attempts"`
	Created      time.Time         `json:"created"`
	Tried        time.Time         `json:"tried,omitzero"` // the last attempt
}

// The states of a delivery.
const (
	Pending   = "pending"
	Delivered = "delivered"
	Failed    = "failed"
)

// Row implements [slipway.Record]; the key is the subscription.
func (d Delivery) Row() slipway.Row {
	return slipway.Row{ID: d.ID, Product: d.Product, State: d.State, Key: d.Subscription}
}

// Tx is what the package needs inside one transaction.
type Tx interface {
	slipway.Ledger
	Subscriptions() slipway.Table[Subscription]
	Deliveries() slipway.Table[Delivery]
	// Told returns events with higher numbers than after, in order.
	Told(ctx context.Context, after int64, limit int) ([]slipway.Event, error)
	// LastTold returns the number of the last event; 0 if there is none.
	LastTold(ctx context.Context) (int64, error)
	Cursor(ctx context.Context, name string) (int64, error)
	SetCursor(ctx context.Context, name string, seq int64) error
}

// Products knows the product files in force.
type Products interface {
	Product(ctx context.Context, name string) (spec.Product, string, error)
}
