package farm

import (
	"context"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/proto"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/execution"
	"slipway.dev/slipway/internal/slipway"
)

// Cached returns the result of an action that the farm ran before, or NotFound: also when a blob of it is gone.
func (f *Farm[T]) Cached(ctx context.Context, action artifact.Digest) (Result, error) {
	c, err := f.cached(ctx, action)
	return c.Result, err
}

func (f *Farm[T]) cached(ctx context.Context, key string) (c CachedResult, err error) {
	if err := f.store.View(ctx, func(tx T) error { c, err = tx.ActionResults().Get(ctx, key); return err }); err != nil {
		return c, err
	}
	return c, complete(ctx, f.cas, c.Result)
}

// ClientResult returns what a client kept for an action, or NotFound.
func (f *Farm[T]) ClientResult(ctx context.Context, action artifact.Digest) (Result, error) {
	c, err := f.cached(ctx, clientKey(action))
	return c.Result, err
}

// PutClientResult keeps a client's result for an action, over an older one. It answers clients only, never a build.
func (f *Farm[T]) PutClientResult(ctx context.Context, action artifact.Digest, r *repb.ActionResult, by string) error {
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
	if err != nil {
		return slipway.Errorf(slipway.Invalid, "encode the action result: %w", err)
	}
	return f.store.Update(ctx, func(tx T) error {
		return tx.ActionResults().Put(ctx, CachedResult{Key: clientKey(action), Result: Result{Action: data}, By: by, Stored: tx.Now()})
	})
}

func clientKey(action artifact.Digest) string { return "client " + action }

// Message decodes the ActionResult.
func (r Result) Message() (*repb.ActionResult, error) {
	m := &repb.ActionResult{}
	if err := proto.Unmarshal(r.Action, m); err != nil {
		return nil, slipway.Errorf(slipway.Invalid, "the action result cannot be read: %w", err)
	}
	return m, nil
}

// complete reports NotFound if a blob of the result is not in the store.
func complete(ctx context.Context, st artifact.Store, r Result) error {
	m, err := r.Message()
	if err != nil {
		return err
	}
	_, missing, err := execution.Outputs(ctx, st, m)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return slipway.Errorf(slipway.NotFound, "%d blobs of the result are gone, %s among them", len(missing), missing[0].Digest)
	}
	if r.Output != "" {
		_, err = st.Stat(ctx, r.Output)
	}
	return err
}
