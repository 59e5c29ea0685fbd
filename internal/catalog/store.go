package catalog

import (
	"context"
	"time"

	"slipway.dev/slipway/internal/platform/git"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
)

// The states of products and components.
const (
	Loaded  = "loaded"
	OK      = "ok"
	Broken  = "broken"
	Missing = "missing"
	Retired = "retired" // a branch that had a queue
)

// Product is a product and its file in force.
type Product struct {
	Name   string       `json:"name"`
	State  string       `json:"state"` // loaded, broken or retired
	Reason string       `json:"reason"`
	Spec   spec.Product `json:"spec"`           // in force; zero while there was never a valid one
	Commit string       `json:"commit"`         // it was read at; empty while there was never a valid one
	Since  time.Time    `json:"since,omitzero"` // when it came into force
	Head   string       `json:"head"`           // where its branch of the integration repository was when it was last read
}

// Row implements [slipway.Record].
func (p Product) Row() slipway.Row {
	return slipway.Row{ID: p.Name, Product: p.Name, State: p.State}
}

// Component is a component of a product: what its file says at the head of its branch.
type Component struct {
	Product string            `json:"product"`
	Name    string            `json:"name"`
	Source  spec.ComponentRef `json:"source"`
	State   string            `json:"state"` // missing, ok or broken
	Reason  string            `json:"reason"`
	Version string            `json:"version,omitempty"` // at Commit, from the nearest tag
	Commit  string            `json:"commit,omitempty"`  // where Recipe was read
	Recipe  spec.Component    `json:"recipe"`            // the last valid one
	Since   time.Time         `json:"since,omitzero"`    // when the branch came to Head
	Head    string            `json:"head,omitempty"`    // the branch's commit
	Seen    int64             `json:"seen"`              // the last move of branch history that was read
}

// Row implements [slipway.Record]; the key is the repository.
func (c Component) Row() slipway.Row {
	return slipway.Row{ID: componentID(c.Product, c.Name), Product: c.Product, State: c.State, Key: c.Source.Repo}
}

func componentID(product, name string) string { return product + "/" + name }

// Edge says that a component needed another during some time.
type Edge struct {
	Product   string    `json:"product"`
	Component string    `json:"component"` // the one that needs
	Branch    string    `json:"branch"`
	Needs     string    `json:"needs"`  // the one that is needed
	Since     time.Time `json:"since"`  // of the push that brought it
	Commit    string    `json:"commit"` // that push's commit
	Until     time.Time `json:"until,omitzero"`
}

// Move is one move of a branch, as branch history has it.
type Move struct {
	Seq  int64
	New  string // slipway.ZeroCommit: deleted
	Time time.Time
}

// Edges keeps who needed whom.
type Edges interface {
	// At returns the edges of a product that were valid at a time; the zero time means now.
	At(ctx context.Context, product string, at time.Time) ([]Edge, error)
	// Open begins an edge.
	Open(ctx context.Context, e Edge) error
	// Close ends an edge at a time.
	Close(ctx context.Context, e Edge, until time.Time) error
}

// Tx is what the catalog needs inside one transaction.
type Tx interface {
	slipway.Ledger
	Products() slipway.Table[Product]
	Components() slipway.Table[Component]
	Edges() Edges
	// Moves returns the moves of a ref after a position in branch history, oldest first.
	Moves(ctx context.Context, repo, ref string, after int64) ([]Move, error)
}

// Files reads repositories.
type Files interface {
	// File returns the bytes at a path of a revision; NotFound if there is no such revision or file.
	File(ctx context.Context, repo, rev, path string) ([]byte, error)
	// Resolve returns the commit that a revision names; NotFound if there is none.
	Resolve(ctx context.Context, repo, rev string) (string, error)
	// LogN returns at most limit (0: all) commits that to reaches and from does not, newest first, of those that touch path or one of the others.
	LogN(ctx context.Context, repo, from, to, path string, limit int, others ...string) ([]git.Commit, error)
	// Refs returns the refs below the prefixes.
	Refs(ctx context.Context, repo string, prefixes ...string) ([]git.Ref, error)
}
