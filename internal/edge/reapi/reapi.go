// Package reapi serves the farm as a cluster of the Remote Execution API, version 2, over gRPC: Capabilities,
// ContentAddressableStorage, ByteStream, ActionCache, Execution and the longrunning Operations that cancel one.
//
// A client proves who it is with an API token, "authorization: Bearer slw_...", in each call's metadata. A viewer reads; a developer
// also writes blobs and runs actions; an operator also writes action results. Results that a client writes are
// kept apart from those that the farm earned: they answer clients, and no build of Slipway ever takes one.
package reapi

import (
	"context"
	"io"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/execution"
)

// Farm runs actions. Equal actions that are in flight at the same time may share one run.
type Farm interface {
	// Cached returns the result of an action that the farm ran before, or NotFound, also when a blob of it is gone.
	Cached(ctx context.Context, action artifact.Digest) (*repb.ActionResult, error)
	// Execute runs an action whose inputs are in the artifact store, and keeps the result for Cached unless the action says that it must not be
	// cached. It ends when the run has; the contract of [execution.Executor] holds.
	Execute(ctx context.Context, o Order) (execution.Result, error)
}

// Order is one action that a client wants run.
type Order struct {
	Action   artifact.Digest
	NoCache  bool                // it has to run, although Cached has a result or an equal one is in flight
	Priority int32               // as the protocol has it: 0 is usual, less is sooner
	User     string              // who asks
	Log      io.Writer           // gets standard output and error as they come
	Started  func(worker string) // called when it leaves the queue; may be called again when another worker starts over
}

// Results keeps the action results that clients write.
type Results interface {
	// ActionResult returns what was kept for an action, or NotFound, also when a blob of it is gone.
	ActionResult(ctx context.Context, action artifact.Digest) (*repb.ActionResult, error)
	// PutActionResult keeps a result, over an older one; by is the user who wrote it.
	PutActionResult(ctx context.Context, action artifact.Digest, r *repb.ActionResult, by string) error
}
