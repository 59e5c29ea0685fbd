package artifact

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"golang.org/x/sync/errgroup"

	"slipway.dev/slipway/internal/slipway"
)

// CopyTree writes a tree out to dir, which is made if it does not exist. Files get mode 0644 or 0755, directories 0755. Every
// file is checked against its digest. What is in dir already is never replaced: meeting it is a Conflict. Nothing outside dir is
// touched, whatever the tree holds.
func CopyTree(ctx context.Context, from Opener, d Digest, dir string) error {
	m, _, err := ReadDirectory(ctx, from, d, "")
	if err != nil {
		return err
	}
	return CopyDirectory(ctx, from, m, dir)
}

// CopyTreeIn is [CopyTree] into the open folder root, which may be renamed or replaced meanwhile.
func CopyTreeIn(ctx context.Context, from Opener, d Digest, root *os.Root) error {
	m, _, err := ReadDirectory(ctx, from, d, "")
	if err != nil {
		return err
	}
	var entries []Entry
	if err := walkInto(ctx, from, m, "", 0, &entries); err != nil {
		return err
	}
	return layOutIn(ctx, entries, root, func(ctx context.Context, root *os.Root, e Entry) error {
		return copyFile(ctx, from, root, e)
	})
}

// CopyDirectory is [CopyTree] of a root that [ReadDirectory] returned, or of part of it.
func CopyDirectory(ctx context.Context, from Opener, m *repb.Directory, dir string) error {
	var entries []Entry
	if err := walkInto(ctx, from, m, "", 0, &entries); err != nil {
		return err
	}
	return layOut(ctx, entries, dir, func(ctx context.Context, root *os.Root, e Entry) error {
		return copyFile(ctx, from, root, e)
	})
}

// layOut makes the folder and lays the entries out in it: directories first, then files in parallel, then links, so that no file is written through a link.
func layOut(ctx context.Context, entries []Entry, dir string, file func(context.Context, *os.Root, Entry) error) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return writeError(err, dir)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return writeError(err, dir)
	}
	defer root.Close()
	return layOutIn(ctx, entries, root, file)
}

func layOutIn(ctx context.Context, entries []Entry, root *os.Root, file func(context.Context, *os.Root, Entry) error) error {
	dir := root.Name()
	if err := root.Chmod(".", 0o755); err != nil {
		return writeError(err, dir)
	}
	for _, e := range entries {
		if e.Dir {
			err := root.Mkdir(e.Path, 0o755)
			if fi, e2 := root.Lstat(e.Path); errors.Is(err, fs.ErrExist) && e2 == nil && fi.IsDir() {
				continue
			}
			if err == nil {
				err = root.Chmod(e.Path, 0o755) // whatever the umask says
			}
			if err != nil {
				return writeError(err, filepath.Join(dir, e.Path))
			}
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(max(runtime.NumCPU(), 4))
	for _, e := range entries {
		if e.Dir || e.Target != "" {
			continue
		}
		g.Go(func() error {
			if err := gctx.Err(); err != nil {
				return err
			}
			return file(gctx, root, e)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, e := range entries {
		if e.Target != "" {
			if err := root.Symlink(e.Target, e.Path); err != nil {
				return writeError(err, filepath.Join(dir, e.Path))
			}
		}
	}
	return nil
}

func copyFile(ctx context.Context, from Opener, root *os.Root, e Entry) error {
	r, err := from.Open(ctx, e.Digest)
	if err != nil {
		return err
	}
	defer r.Close()
	mode := fs.FileMode(0o644)
	if e.Executable {
		mode = 0o755
	}
	f, err := root.OpenFile(e.Path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return writeError(err, path.Join(root.Name(), e.Path))
	}
	_, err = io.Copy(f, ctxReader{ctx, newChecked(r, e.Digest)})
	if err == nil {
		err = f.Chmod(mode) // whatever the umask says
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return writeError(err, path.Join(root.Name(), e.Path))
	}
	return nil
}

func writeError(err error, where string) error {
	var known *slipway.Error
	switch {
	case errors.As(err, &known), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, fs.ErrExist):
		return slipway.Errorf(slipway.Conflict, "something is there already").At(where).Try("write the tree to an empty folder")
	}
	return slipway.Errorf(slipway.Unavailable, "cannot write the tree: %w", err).At(where)
}

// Bytes reads a small blob whole; more than limit bytes are TooLarge.
func Bytes(ctx context.Context, from Opener, d Digest, limit int64) ([]byte, error) {
	r, err := from.Open(ctx, d)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var b bytes.Buffer
	n, err := io.Copy(&b, io.LimitReader(newChecked(r, d), limit+1))
	if err != nil {
		return nil, err
	}
	if n > limit {
		return nil, slipway.Errorf(slipway.TooLarge, "the artifact %s has more than %d bytes", d, limit)
	}
	return b.Bytes(), nil
}
