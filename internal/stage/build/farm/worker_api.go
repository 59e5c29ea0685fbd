package farm

import (
	"context"
	"time"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/execution"
	"slipway.dev/slipway/internal/slipway"
)

// Server is the farm as a worker sees it. The farm implements it for the slots of the server, an HTTP client for workers
// elsewhere. An error of kind Conflict means that the claim is gone: the worker stops and drops the task. Unavailable means that
// the farm cannot be reached now.
type Server interface {
	// Claim waits for a task, for at most the wait that the request names; nil means that there was none.
	Claim(ctx context.Context, r ClaimRequest) (*Claim, error)
	// Renew makes the claim last another lease, and then waits for an order, for a third of a lease at most.
	Renew(ctx context.Context, h Hold) (Order, error)
	// Append adds to the task's log, whose length so far is offset as the worker counts. It returns how many bytes the farm has; when
	// that is not offset and the length of data, the worker goes on from there.
	Append(ctx context.Context, h Hold, offset int64, data []byte) (int64, error)
	// Finish ends the claim. Once it returned nil, or a Conflict, the task is no longer the worker's.
	Finish(ctx context.Context, h Hold, r Report) error
}

// ClaimRequest is a worker with a free slot.
type ClaimRequest struct {
	Worker string            `json:"worker" doc:"Name, unique in the farm" minLength:"1" maxLength:"100"`
	Host   string            `json:"host" doc:"Fingerprint of its host's tools"`
	Labels map[string]string `json:"labels,omitempty"`
	Slots  int               `json:"slots" doc:"How many tasks it runs at once" minimum:"1"`
	Wait   time.Duration     `json:"wait" doc:"How long to wait for a task, in nanoseconds; at most 30 s"`

	local bool
}

// Claim is a task that a worker has.
type Claim struct {
	Hold
	Name   string           `json:"name"`
	Action artifact.Digest  `json:"action"`
	Limits execution.Limits `json:"limits"`
	Lease  time.Duration    `json:"lease"` // how long it holds without renewal
}

// Hold names a claim: the fencing token of everything that a worker says of a task.
type Hold struct {
	Task   string `json:"task"`
	Worker string `json:"worker"`
	Epoch  int64  `json:"epoch"`
}

// Order is what the farm wants of a worker that has a task.
type Order struct {
	Stop string `json:"stop,omitempty"` // why it shall stop the task
}

// Report is what became of a claim: a result; or a fault of the worker; or neither, for a task that was stopped.
type Report struct {
	Result *Result      `json:"result,omitempty"`
	Fault  string       `json:"fault,omitempty"`
	Kind   slipway.Kind `json:"kind,omitempty"` // of the fault
}

// Worker is a worker as people see it.
type Worker struct {
	Name   string            `json:"name"`
	Host   string            `json:"host"`
	Labels map[string]string `json:"labels,omitempty"`
	Slots  int               `json:"slots"`
	State  string            `json:"state"` // online, gone
	Reason string            `json:"reason"`
	Seen   time.Time         `json:"seen"`
	Tasks  []Task            `json:"tasks"` // what it runs
}

// Local returns the farm as the slots of its own server see it. Their claims need no renewal, and end with the server.
func (f *Farm[T]) Local() Server { return local[T]{f} }

type local[T Tx] struct{ *Farm[T] }

// Claim implements [Server].
func (l local[T]) Claim(ctx context.Context, r ClaimRequest) (*Claim, error) {
	r.local = true
	return l.Farm.Claim(ctx, r)
}
