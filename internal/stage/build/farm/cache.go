package farm

import (
	"context"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/proto"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/slipway"
)

// maxTree bounds the Tree message of an output directory, in bytes.
const maxTree = 256 << 20

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
	need := []*repb.Digest{m.StdoutDigest, m.StderrDigest}
	for _, f := range m.OutputFiles {
		need = append(need, f.Digest)
	}
	var trees []string
	for _, d := range m.OutputDirectories {
		need = append(need, d.TreeDigest, d.RootDirectoryDigest)
		if h := d.TreeDigest.GetHash(); h != "" && r.Output == "" {
			trees = append(trees, h)
		}
	}
	for _, d := range need {
		if d.GetHash() == "" {
			continue
		}
		if _, err := st.Stat(ctx, artifact.Prefix+d.Hash); err != nil {
			return err
		}
	}
	for _, h := range trees {
		data, err := artifact.Bytes(ctx, st, artifact.Prefix+h, maxTree)
		if err != nil {
			return err
		}
		tree := &repb.Tree{}
		if err := proto.Unmarshal(data, tree); err != nil {
			return slipway.Errorf(slipway.Invalid, "the output tree %s cannot be read: %w", h, err)
		}
		for _, dir := range append([]*repb.Directory{tree.Root}, tree.Children...) {
			for _, f := range dir.GetFiles() {
				if _, err := st.Stat(ctx, artifact.Prefix+f.Digest.GetHash()); err != nil {
					return err
				}
			}
		}
	}
	if r.Output != "" {
		return treeComplete(ctx, st, r.Output)
	}
	return nil
}

// treeComplete reports NotFound if a blob of the tree is not in the store.
func treeComplete(ctx context.Context, st artifact.Store, d artifact.Digest) error {
	entries, err := artifact.ListTree(ctx, st, d)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Digest != "" && !e.Dir {
			if _, err := st.Stat(ctx, e.Digest); err != nil {
				return err
			}
		}
	}
	return nil
}
