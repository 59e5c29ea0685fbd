// Package execution runs actions of the Remote Execution API (version 2) and says how they ended.
//
// An action is named by the digest of its Action message; everything that it needs (messages, input files) is in a
// content-addressed store before it runs, and everything that it makes is there afterwards. So it does not matter where it
// runs: package local runs it in a bubblewrap sandbox of this host, package remote on any Remote Execution cluster, a second Slipway
// among them. Both pass one conformance suite, package executiontest.
//
// What an action sees: its input root is the folder /build, its working directory is below that, and its outputs are paths
// below the working directory that it declares. An action with the platform property [PropertyWritable] may write only to the
// named top folders of the input root (comma-separated; made when missing); without it, everywhere in /build, on a copy.
package execution

import (
	"context"
	"io"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"slipway.dev/slipway/internal/platform/artifact"
)

// Platform properties that Slipway's own executors know. Others are labels that a worker must have.
const (
	PropertyWritable   = "slipway-writable"   // top folders of the input root that the action may write to: "src,out"
	PropertyRoot       = "slipway-root"       // top folder of the input root that is shown as / (its usr, bin, lib, etc ...); absent: the host's tools
	PropertyHost       = "slipway-host"       // fingerprint of the host's tools; an executor with others refuses the action
	PropertyUnconfined = "slipway-unconfined" // "allow": runs without a sandbox, because none can run where it was asked for; never mistaken for one that had it
	PropertyUser       = "slipway-user"       // "root": runs as user 0 of its sandbox, who may change its root folder; without a sandbox it is refused
	PropertySandbox    = "slipway-sandbox"    // version of the sandbox; only keys different
)

// Request is one action to run.
type Request struct {
	Action  artifact.Digest // of the Action message
	Limits  Limits
	Log     io.Writer // gets standard output and error as they come; nil drops them
	NoCache bool      // run it although a cluster's cache has a result
	Ended   func()    // called when its command has ended and only its outputs are to be kept; another may run then. Nil, or a remote executor: never
}

// Limits bounds one run besides the action's own timeout; a zero field takes the executor's default.
type Limits struct {
	CPU         time.Duration // processor time of one process
	Memory      int64         // bytes
	Processes   int           // processes and threads at once
	OutputBytes int64         // bytes that it may write to its folders
	LogBytes    int64         // bytes of standard output and error together
}

// Status is how a run ended.
type Status string

// The ways to end. Only with Exited has the result an exit code that means something.
const (
	Exited         Status = "exited"
	TimedOut       Status = "timed out"        // after the action's timeout
	LogTooLarge    Status = "log too large"    // stopped at Limits.LogBytes
	OutputTooLarge Status = "output too large" // stopped at Limits.OutputBytes
	OutputRefused  Status = "output refused"   // what it wrote cannot be kept: a symlink out of the tree, a device, a socket ...
)

// Result is the end of a run.
type Result struct {
	Status Status
	Reason string             // for a person: "exit code 2", "stopped after its timeout of 10m0s", "$OUT/x: symlink leads out of the tree"
	Action *repb.ActionResult // outputs by digest, exit code, metadata with worker and times; never nil
	Output artifact.Digest    // tree of the single declared output directory, as a Directory digest; "" when there is none
	Wall   time.Duration      // from the start of the command to its end
}

// Executor runs actions. An error means that it could not run the action, which says nothing about the action: of kind
// NotFound, an input is missing from the store; Invalid, the action cannot be run by anybody; Unavailable, another worker or a later try may
// succeed. When ctx ends the run is stopped, all its processes are gone on return, and the error is ctx's cause.
type Executor interface {
	Execute(ctx context.Context, r Request) (Result, error)
	// Check says why actions cannot run here, and what to do about it.
	Check(ctx context.Context) error
}

// ErrorDomain marks the error details with which a Slipway tells another how a run ended: an ErrorInfo whose reason is a [Status].
const ErrorDomain = "slipway.dev"
