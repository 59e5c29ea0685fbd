package server

import (
	"context"
	"fmt"
	"path"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"slipway.dev/slipway/internal/edge/reapi"
	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/execution"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build"
	"slipway.dev/slipway/internal/stage/build/farm"
)

// remoteFarm is the farm as clients of the Remote Execution API use it: their actions share slots, cache and runs in flight with
// the builds of components.
type remoteFarm struct {
	*farm.Farm[build.Tx]
	artifacts *artifact.Disk
}

// Cached implements [reapi.Farm].
func (f remoteFarm) Cached(ctx context.Context, action artifact.Digest) (*repb.ActionResult, error) {
	r, err := f.Farm.Cached(ctx, action)
	if err != nil {
		return nil, err
	}
	if a, err := execution.Load(ctx, f.artifacts, action); err == nil && !a.Cacheable() {
		return nil, slipway.Errorf(slipway.NotFound, "the action %s says that its result must not be cached", action)
	}
	return r.Message()
}

// Execute implements [reapi.Farm].
func (f remoteFarm) Execute(ctx context.Context, o reapi.Order) (execution.Result, error) {
	a, err := execution.Load(ctx, f.artifacts, o.Action)
	if err != nil {
		return execution.Result{}, err
	}
	platform := a.Message.Platform
	if platform == nil {
		//lint:ignore SA1019 clients before version 2.2 of the API send it there
		platform = a.Command.Platform
	}
	host, labels := farm.Requirements(platform)
	t, err := f.Run(ctx, farm.Submission{
		Action: o.Action, Name: nameOf(o.User, a), Class: classOf(o.Priority), NoCache: o.NoCache, Host: host, Labels: labels,
	}, o.Log, o.Started)
	if err != nil {
		return execution.Result{}, err
	}
	if t.Result == nil {
		kind := t.Fault
		if kind == "" {
			kind = slipway.Unavailable
		}
		return execution.Result{}, slipway.Errorf(kind, "%s: %s", t.Outcome, t.Reason).At("action " + o.Action)
	}
	m, err := t.Result.Message()
	if err != nil {
		return execution.Result{}, err
	}
	return execution.Result{Status: t.Result.Status, Reason: t.Result.Reason, Action: m, Output: t.Result.Output, Wall: t.Result.Wall}, nil
}

// nameOf is what people see of a client's action: who wants it, and what it makes or runs.
func nameOf(user string, a *execution.Action) string {
	what := path.Base(a.Command.Arguments[0])
	if len(a.Outputs) > 0 {
		what = path.Base(a.Outputs[0].Declared)
	}
	return fmt.Sprintf("%s of %s", what, user)
}

// classOf sorts a priority of the protocol, of which less is more urgent, into the farm's classes.
func classOf(priority int32) slipway.Class {
	switch {
	case priority < 0:
		return slipway.ClassInteractive
	case priority == 0:
		return slipway.ClassCandidate
	case priority < 500:
		return slipway.ClassRebuild
	}
	return slipway.ClassIdle
}

// ActionResult implements [reapi.Results].
func (f remoteFarm) ActionResult(ctx context.Context, action artifact.Digest) (*repb.ActionResult, error) {
	r, err := f.ClientResult(ctx, action)
	if err != nil {
		return nil, err
	}
	return r.Message()
}

// PutActionResult implements [reapi.Results].
func (f remoteFarm) PutActionResult(ctx context.Context, action artifact.Digest, r *repb.ActionResult, by string) error {
	return f.PutClientResult(ctx, action, r, by)
}
