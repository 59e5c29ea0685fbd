package reapi

import (
	"context"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/platform/execution"
	"slipway.dev/slipway/internal/slipway"
)

// GetActionResult returns what the farm earned for an action, else what a client wrote, as long as all of its blobs are there.
func (s *Server) GetActionResult(ctx context.Context, r *repb.GetActionResultRequest) (*repb.ActionResult, error) {
	digest, _, err := artifact.FromProto(r.ActionDigest)
	if err != nil {
		return nil, err
	}
	return s.cached(ctx, digest)
}

func (s *Server) cached(ctx context.Context, action artifact.Digest) (*repb.ActionResult, error) {
	m, err := s.farm.Cached(ctx, action)
	if slipway.Is(err, slipway.NotFound) {
		m, err = s.results.ActionResult(ctx, action)
	}
	return m, err
}

// UpdateActionResult keeps a result that a client writes.
func (s *Server) UpdateActionResult(ctx context.Context, r *repb.UpdateActionResultRequest) (*repb.ActionResult, error) {
	digest, _, err := artifact.FromProto(r.ActionDigest)
	if err != nil {
		return nil, err
	}
	if r.ActionResult == nil {
		return nil, slipway.Errorf(slipway.Invalid, "there is no result to keep")
	}
	_, missing, err := execution.Outputs(ctx, s.store, r.ActionResult)
	if err != nil {
		return nil, err
	}
	if len(missing) > 0 {
		return nil, missingStatus(missing).Err()
	}
	return r.ActionResult, s.results.PutActionResult(ctx, digest, r.ActionResult, auth.Actor(ctx))
}
