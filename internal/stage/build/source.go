package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/singleflight"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/git"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
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
	return t.get(ctx, tree, func(ctx context.Context, repo git.Repo, dir string) error {
		_, err := repo.Export(ctx, pin.Commit, pin.Path, dir)
		return err
	}, pin)
}

// get returns the artifact tree that an id names; export writes it out when it is not known.
func (t *trees) get(ctx context.Context, tree string, export func(ctx context.Context, repo git.Repo, dir string) error, pin slipway.Pin) (artifact.Digest, error) {
	if d, ok := t.known(ctx, tree); ok {
		return d, nil
	}
	result := t.once.DoChan(tree, func() (any, error) {
		return t.ingest(context.WithoutCancel(ctx), pin, tree, export)
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

func (t *trees) ingest(ctx context.Context, pin slipway.Pin, tree string, export func(ctx context.Context, repo git.Repo, dir string) error) (artifact.Digest, error) {
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
	if err := export(ctx, repo, filepath.Join(dir, "src")); err != nil {
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

// extraID names the contents of the paths that a component declares besides its own folder.
func extraID(ctx context.Context, repo git.Repo, pin slipway.Pin, rec recipe, text []byte) (string, error) {
	if len(rec.Paths) == 0 {
		return "", nil
	}
	sum := sha256.New()
	for _, p := range slices.Sorted(slices.Values(rec.Paths)) {
		id, err := repo.Tree(ctx, pin.Commit, p)
		if slipway.Is(err, slipway.Invalid) { // a file
			var data []byte
			data, err = repo.File(ctx, pin.Commit, p)
			id = artifact.DigestOf(data)
		}
		if slipway.Is(err, slipway.NotFound) {
			return "", slipway.Errorf(slipway.Invalid, "the repository %s has no %s at commit %.12s", pin.Repo, p, pin.Commit).
				At(spec.Place(text, rec.file, "paths", p)).Try("correct the path, which starts at the root of the repository, or take it off the list")
		}
		if err != nil {
			return "", err
		}
		fmt.Fprintf(sum, "%q %s\n", p, id)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// extra returns the artifact tree of the paths that a component declares besides its own folder, each at its place in the
// repository; "" without any.
func (t *trees) extra(ctx context.Context, pin slipway.Pin, rec recipe) (artifact.Digest, error) {
	if rec.extra == "" {
		return "", nil
	}
	return t.get(ctx, rec.extra, func(ctx context.Context, repo git.Repo, dir string) error {
		for _, p := range rec.Paths {
			to := filepath.Join(dir, filepath.FromSlash(p))
			_, err := repo.Export(ctx, pin.Commit, p, to)
			if slipway.Is(err, slipway.Invalid) {
				err = exportFile(ctx, repo, pin.Commit, p, to)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}, pin)
}

// exportFile writes one file of a commit.
func exportFile(ctx context.Context, repo git.Repo, commit, name, to string) error {
	data, err := repo.File(ctx, commit, name)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return slipway.Errorf(slipway.Unavailable, "read the source: %w", err)
	}
	if err := os.WriteFile(to, data, 0o644); err != nil {
		return slipway.Errorf(slipway.Unavailable, "read the source: %w", err)
	}
	return nil
}
