package build

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sync/singleflight"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/slipway"
)

// trees turns folders of commits into artifact trees. A git tree id names the content, so each is read out of git once; what
// came of it is kept in a file by that id.
type trees struct {
	dir       string
	source    Source
	artifacts Artifacts
	once      singleflight.Group
}

// digest returns the artifact tree of a git tree, which is in the store when it returns.
func (t *trees) digest(ctx context.Context, pin slipway.Pin, tree string) (artifact.Digest, error) {
	if d, ok := t.known(ctx, tree); ok {
		return d, nil
	}
	result := t.once.DoChan(tree, func() (any, error) {
		return t.ingest(context.WithoutCancel(ctx), pin, tree)
	})
	select {
	case r := <-result:
		if r.Err != nil {
			return "", r.Err
		}
		return r.Val.(artifact.Digest), nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

func (t *trees) file(tree string) string { return filepath.Join(t.dir, tree[:2], tree[2:]) }

func (t *trees) known(ctx context.Context, tree string) (artifact.Digest, bool) {
	text, err := os.ReadFile(t.file(tree))
	if err != nil {
		return "", false
	}
	d := strings.TrimSpace(string(text))
	if _, err := t.artifacts.Stat(ctx, d); err != nil {
		return "", false // half written before a power cut, or the store was emptied: read it again
	}
	return d, true
}

// forget makes the next digest read the tree out of git again.
func (t *trees) forget(tree string) { _ = os.Remove(t.file(tree)) }

func (t *trees) ingest(ctx context.Context, pin slipway.Pin, tree string) (artifact.Digest, error) {
	repo, err := t.source.Git(pin.Repo)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(t.file(tree)), 0o700); err != nil {
		return "", slipway.Errorf(slipway.Unavailable, "read the source: %w", err)
	}
	dir, err := os.MkdirTemp(t.dir, "export-")
	if err != nil {
		return "", slipway.Errorf(slipway.Unavailable, "read the source: %w", err)
	}
	defer os.RemoveAll(dir)
	if _, err := repo.Export(ctx, pin.Commit, pin.Path, filepath.Join(dir, "src")); err != nil {
		return "", err
	}
	d, err := artifact.PutTree(ctx, t.artifacts, filepath.Join(dir, "src"))
	if err != nil {
		if slipway.Is(err, slipway.Invalid) {
			err = slipway.Errorf(slipway.Invalid, "the source of %s cannot be built: %w", pin.Component, err).At(pin.Repo)
		}
		return "", err
	}
	tmp := filepath.Join(dir, "digest")
	if err := os.WriteFile(tmp, []byte(d+"\n"), 0o600); err == nil {
		_ = os.Rename(tmp, t.file(tree)) // only a cache
	}
	return d, nil
}
