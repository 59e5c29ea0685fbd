package local

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"syscall"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/execution"
	"slipway.dev/slipway/internal/slipway"
)

// collect keeps the declared outputs in st. What cannot be kept is the fault of a command that succeeded; of one that failed it is
// left out.
func (l *layout) collect(ctx context.Context, st artifact.Store, res *execution.Result, limit int64) error {
	if limit <= 0 {
		limit = 8 << 30
	}
	c := &collector{layout: l, store: st, res: res.Action, left: limit}
	for _, o := range l.action.Outputs {
		err := c.output(ctx, o)
		switch {
		case err == nil:
		case !slipway.Is(err, slipway.Invalid) && !slipway.Is(err, slipway.TooLarge):
			return err
		case res.Action.ExitCode != 0:
		default:
			res.Status, res.Reason = execution.OutputRefused, "its output cannot be kept: "+err.Error()
			if slipway.Is(err, slipway.TooLarge) {
				res.Status = execution.OutputTooLarge
			}
			return nil
		}
	}
	if len(l.action.Outputs) == 1 {
		res.Output = c.tree
	}
	return nil
}

type collector struct {
	layout *layout
	store  artifact.Store
	res    *repb.ActionResult
	left   int64           // bytes that may still be kept
	tree   artifact.Digest // of the last output directory
}

func (c *collector) output(ctx context.Context, o execution.Output) error {
	base, rel, ok := c.layout.find(o.Path)
	if !ok {
		return nil
	}
	root, err := os.OpenRoot(base)
	if err != nil {
		return slipway.Errorf(slipway.Unavailable, "open the work folder: %w", err)
	}
	defer root.Close()
	fi, err := root.Lstat(rel)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	if err != nil {
		return slipway.Errorf(slipway.Invalid, "it cannot be reached: %w", err).At(o.Path)
	}
	switch fi.Mode().Type() {
	case 0:
		return c.file(ctx, root, rel, o)
	case fs.ModeDir:
		return c.directory(ctx, root, rel, o)
	case fs.ModeSymlink:
		return c.symlink(root, rel, o)
	}
	return slipway.Errorf(slipway.Invalid, "neither a file, a directory nor a symbolic link (%s)", fi.Mode().Type()).
		At(o.Path).Try("remove it at the end of the command")
}

func (c *collector) file(ctx context.Context, root *os.Root, rel string, o execution.Output) error {
	if o.Only == "directory" {
		return slipway.Errorf(slipway.Invalid, "it is declared as a directory, and is a file").At(o.Path)
	}
	f, err := root.OpenFile(rel, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return slipway.Errorf(slipway.Invalid, "it cannot be read: %w", err).At(o.Path)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil || !fi.Mode().IsRegular() {
		return slipway.Errorf(slipway.Invalid, "it is no longer a file").At(o.Path)
	}
	if fi.Size() > c.left {
		return slipway.Errorf(slipway.TooLarge, "the outputs have too many bytes").At(o.Path)
	}
	d, size, err := c.store.Put(ctx, f)
	if err != nil {
		return err
	}
	c.left -= size
	c.res.OutputFiles = append(c.res.OutputFiles, &repb.OutputFile{Path: o.Declared, Digest: artifact.Proto(d, size), IsExecutable: fi.Mode()&0o111 != 0})
	return nil
}

func (c *collector) directory(ctx context.Context, root *os.Root, rel string, o execution.Output) error {
	if o.Only == "file" {
		return slipway.Errorf(slipway.Invalid, "it is declared as a file, and is a directory").At(o.Path)
	}
	sub, err := root.OpenRoot(rel)
	if err != nil {
		return slipway.Errorf(slipway.Invalid, "it cannot be read: %w", err).At(o.Path)
	}
	defer sub.Close()
	d, err := artifact.PutRoot(ctx, c.store, sub, artifact.TreeLimits{Bytes: max(c.left, 1)})
	if err != nil {
		var e *slipway.Error
		if errors.As(err, &e) && (e.Kind == slipway.Invalid || e.Kind == slipway.TooLarge) {
			return e.At(path.Join(o.Path, e.Where))
		}
		return err
	}
	entries, err := artifact.ListTree(ctx, c.store, d)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.Dir {
			c.left -= e.Size
		}
	}
	message, err := execution.PutTreeMessage(ctx, c.store, d)
	if err != nil {
		return err
	}
	size, err := c.store.Stat(ctx, d)
	if err != nil {
		return err
	}
	c.tree = d
	c.res.OutputDirectories = append(c.res.OutputDirectories, &repb.OutputDirectory{
		Path: o.Declared, TreeDigest: message, IsTopologicallySorted: true, RootDirectoryDigest: artifact.Proto(d, size),
	})
	return nil
}

func (c *collector) symlink(root *os.Root, rel string, o execution.Output) error {
	target, err := root.Readlink(rel)
	if err != nil {
		return slipway.Errorf(slipway.Invalid, "the symbolic link cannot be read: %w", err).At(o.Path)
	}
	if err := artifact.CheckLink(o.Path, target); err != nil {
		var e *slipway.Error
		if errors.As(err, &e) {
			return e.At(o.Path)
		}
		return err
	}
	link := &repb.OutputSymlink{Path: o.Declared, Target: target}
	if o.Only == "" {
		c.res.OutputSymlinks = append(c.res.OutputSymlinks, link)
		return nil
	}
	// Clients before version 2.1 of the API look for it here.
	if fi, err := root.Stat(rel); err == nil && fi.IsDir() {
		//lint:ignore SA1019 see above
		c.res.OutputDirectorySymlinks = append(c.res.OutputDirectorySymlinks, link)
	} else {
		//lint:ignore SA1019 see above
		c.res.OutputFileSymlinks = append(c.res.OutputFileSymlinks, link)
	}
	return nil
}
