package artifact

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"slipway.dev/slipway/internal/slipway"
)

// Tree returns a folder that holds the tree, to be mounted or read. Its files are shared with the store: they must never be
// written to (they are mode 0444 or 0555; who is root has to take care). It is made once, by hard links, after each
// file's bytes were checked, and kept.
func (d *Disk) Tree(ctx context.Context, digest Digest) (string, error) {
	name, err := ParseDigest(digest)
	if err != nil {
		return "", err
	}
	dir := d.path("trees", name)
	// The blob is what keeps the tree: its use is what is noted.
	if _, err := d.lookup(d.blob(name)); err == nil {
		if _, err := os.Stat(dir); err == nil {
			return dir, nil
		}
	}
	result := d.expand.DoChan(name, func() (any, error) {
		return nil, d.expandTree(context.WithoutCancel(ctx), digest, dir)
	})
	select {
	case r := <-result:
		return dir, r.Err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

func (d *Disk) expandTree(ctx context.Context, digest Digest, dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	entries, err := ListTree(ctx, d, digest)
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(d.path("tmp"), "tree-")
	if err != nil {
		return storeError(err)
	}
	defer removeTree(tmp)
	tree := filepath.Join(tmp, "tree")
	if err := layOut(ctx, entries, tree, func(ctx context.Context, _ *os.Root, e Entry) error {
		for try := 1; ; try++ {
			from, err := d.link(ctx, e)
			if err != nil {
				return err
			}
			// The folder is ours alone and holds no link yet, so the plain path is safe.
			err = os.Link(from, filepath.Join(tree, filepath.FromSlash(e.Path)))
			if errors.Is(err, fs.ErrNotExist) && try < 10 {
				continue // somebody has just put an equal file in its place
			}
			return storeErrorOrNil(err)
		}
	}); err != nil {
		return err
	}
	if err := os.Rename(tree, dir); err != nil {
		return storeError(err)
	}
	return nil
}

// link returns the checked file to which a tree's entry can be linked.
func (d *Disk) link(ctx context.Context, e Entry) (string, error) {
	name, err := ParseDigest(e.Digest)
	if err != nil {
		return "", err
	}
	if !e.Executable {
		return d.blob(name), d.check(ctx, e.Digest, d.blob(name))
	}
	exec := d.path("exec", name[:2], name)
	if _, err := os.Stat(exec); err == nil {
		return exec, d.check(ctx, e.Digest, exec)
	}
	r, err := d.Open(ctx, e.Digest)
	if err != nil {
		return "", err
	}
	defer r.Close()
	t, err := os.CreateTemp(d.path("tmp"), "exec-")
	if err != nil {
		return "", storeError(err)
	}
	defer os.Remove(t.Name())
	_, err = io.Copy(t, ctxReader{ctx, r})
	if err == nil {
		err = t.Chmod(0o555)
	}
	if err == nil {
		err = t.Sync()
	}
	if e := t.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(t.Name(), exec)
	}
	return exec, storeErrorOrNil(err)
}

// check compares a file's bytes with the digest they should have.
func (d *Disk) check(ctx context.Context, digest Digest, file string) error {
	name, err := ParseDigest(digest)
	if err != nil {
		return err
	}
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return missing(digest)
	}
	if err != nil {
		return storeError(err)
	}
	v := newVerified(f, name, d.quarantine)
	defer v.Close()
	_, err = io.Copy(io.Discard, ctxReader{ctx, v})
	return err
}

func storeErrorOrNil(err error) error {
	if err == nil {
		return nil
	}
	return storeError(err)
}

// Check reads every blob and returns the digests of those that were damaged or unreadable; they are in quarantine then.
func (d *Disk) Check(ctx context.Context) ([]Digest, error) {
	var bad []Digest
	err := filepath.WalkDir(d.path("blobs"), func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		digest := Prefix + filepath.Base(p)
		if err := d.check(ctx, digest, p); err != nil && ctx.Err() == nil {
			bad = append(bad, digest)
		}
		return nil
	})
	if err != nil {
		return bad, slipway.Errorf(slipway.Unavailable, "check the artifact store: %w", err)
	}
	return bad, nil
}
