package integration

import (
	"context"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
)

// Tx is what the stage needs inside one transaction.
type Tx interface {
	slipway.Ledger
	Entries() slipway.Table[Entry]
	Queues() slipway.Table[Queue]
	Candidates() slipway.Table[Candidate]
	Trials() slipway.Table[Trial]
	Certificates() slipway.Table[Certificate]
}

// Source answers from the repositories.
type Source interface {
	Resolve(ctx context.Context, repo, rev string) (commit string, err error)
	File(ctx context.Context, repo, commit, path string) ([]byte, error)
	// Updates returns the moves of a ref after a position in branch history, oldest first.
	Updates(ctx context.Context, repo, ref string, after int64) ([]Update, error)
	IsAncestor(ctx context.Context, repo, ancestor, commit string) (bool, error)
	// Messages returns the messages of the commits after one and up to another, newest first, at most limit; after may be empty.
	Messages(ctx context.Context, repo, after, upTo string, limit int) ([]string, error)
}

// Update is one move of a ref, with its position in branch history.
type Update struct {
	Seq int64
	slipway.RefUpdate
}

// Catalog knows what exists.
type Catalog interface {
	// Product returns the product file in force and the commit it was read at.
	Product(ctx context.Context, name string) (spec.Product, string, error)
	// Retired says why a product takes nothing in any more; empty while it does.
	Retired(ctx context.Context, product string) (string, error)
	// PinAt returns the pin of a component when its repository is at commit: the version, and in a monorepo the last
	// commit that touched its path. NotFound when the component is not there at that commit.
	PinAt(ctx context.Context, name string, ref spec.ComponentRef, commit string) (slipway.Pin, error)
	// HeadPins returns the pins of components at the heads of their branches, and those heads, by name; what is not there is left out.
	HeadPins(ctx context.Context, components map[string]spec.ComponentRef) (pins map[string]slipway.Pin, at map[string]string, err error)
	// Recipe reads a component's file at its pin.
	Recipe(ctx context.Context, pin slipway.Pin) (spec.Component, error)
}

// Changes tells which change a landed commit came from.
type Changes interface {
	Landed(ctx context.Context, repo, commit string) (Change, bool, error)
	// Named returns the change that a trailer names: by number ("12", "change/12", a URL that ends so) or by its Change-Id.
	Named(ctx context.Context, name string) (Change, bool, error)
}

// Change is what an entry shows of the change that it brings.
type Change struct {
	Ref, Title, Author string
	Gone               string    // why it will never land; empty: it has, or may
	Vetoed             string    // by whom it may not be released although it has landed, and why
	Since              time.Time // of the veto
}

// Builder builds and unit-tests candidates.
type Builder interface {
	StartWave(ctx context.Context, req slipway.WaveRequest) (slipway.WaveStatus, error)
	Wave(ctx context.Context, id string) (slipway.WaveStatus, error)
	CancelWave(ctx context.Context, id, reason string) error
	// Forget lets the next wave try a failed build again, whose failure would be reused otherwise.
	Forget(ctx context.Context, build, actor string) error
	// Slots is how many actions the farm runs at once now.
	Slots(ctx context.Context) (int, error)
}

// Lab runs experiments on nodes.
type Lab interface {
	Run(ctx context.Context, req slipway.ExperimentRequest) (slipway.ExperimentStatus, error)
	Experiment(ctx context.Context, id string) (slipway.ExperimentStatus, error)
	Cancel(ctx context.Context, id, reason string) error
	Nodes(ctx context.Context) ([]slipway.Node, error)
}

// Gate keeps results and decides.
type Gate interface {
	Record(ctx context.Context, r slipway.Result) error
	Decide(ctx context.Context, product, subject string, required []slipway.Requirement) (slipway.Decision, error)
}

// Releaser lands candidates.
type Releaser interface {
	Cut(ctx context.Context, req slipway.ReleaseRequest) (slipway.Release, error)
	Release(ctx context.Context, id string) (slipway.Release, error)
}
