package lab

import (
	"time"

	"slipway.dev/slipway/internal/slipway"
)

// The states of a node.
const (
	NodeOnline  = "online"
	NodeOffline = "offline"
)

// Node is a machine with an agent.
type Node struct {
	Name      string            `json:"name"`
	PublicKey string            `json:"publicKey"` // its agent's nkey
	Labels    map[string]string `json:"labels"`
	Fixed     map[string]string `json:"fixed,omitempty"` // labels that its join token gave it
	Facts     map[string]string `json:"facts"`
	State     string            `json:"state"`
	Reason    string            `json:"reason"` // why it is in that state
	LastSeen  time.Time         `json:"lastSeen"`
	Suspect   string            `json:"suspect,omitempty"` // why it may not be sound; experiments get it last
	Drained   string            `json:"drained,omitempty"` // why it gets no more experiments; empty: it does
	Lease     string            `json:"lease,omitempty"`   // filled in for readers: who has it, "experiment/4"
	JoinedAt  time.Time         `json:"joinedAt"`
}

// Row implements [slipway.Record]; the key is the agent's public key.
func (n Node) Row() slipway.Row { return slipway.Row{ID: n.Name, State: n.State, Key: n.PublicKey} }

// Noun is the node as other stages see it.
func (n Node) Noun() slipway.Node {
	return slipway.Node{Name: n.Name, Labels: n.Labels, Facts: n.Facts, Online: n.State == NodeOnline}
}

// Lease is the claim of one attempt of an experiment to one node. There is one record per node; it outlives the lease
// and also the node, so that the epoch only ever rises.
type Lease struct {
	Node       string    `json:"node"`
	Epoch      int64     `json:"epoch"`                // raised by every grant
	Experiment string    `json:"experiment,omitempty"` // its id; empty: the node is free
	Assignment string    `json:"assignment,omitempty"`
	Until      time.Time `json:"until"` // when it ends if the node is not heard
}

// Row implements [slipway.Record]; the key is the experiment.
func (l Lease) Row() slipway.Row {
	state := "free"
	if l.Experiment != "" {
		state = "held"
	}
	return slipway.Row{ID: l.Node, State: state, Key: l.Experiment}
}

// JoinToken lets one node join, once.
type JoinToken struct {
	Hash    string            `json:"hash"`              // SHA-256 of the token, which is nowhere kept
	Name    string            `json:"name,omitempty"`    // the only name it is good for; empty: any
	Labels  map[string]string `json:"labels,omitempty"`  // the node gets these, whatever it says itself
	Creator string            `json:"creator,omitempty"` // who made it
	Created time.Time         `json:"created"`
	Expires time.Time         `json:"expires"`
	UsedBy  string            `json:"usedBy,omitempty"` // the node that joined with it
}

// Row implements [slipway.Record].
func (t JoinToken) Row() slipway.Row {
	state := "open"
	if t.UsedBy != "" {
		state = "used"
	}
	return slipway.Row{ID: t.Hash, State: state}
}
