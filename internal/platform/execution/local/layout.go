package local

import (
	"context"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/execution"
	"slipway.dev/slipway/internal/platform/sandbox"
	"slipway.dev/slipway/internal/slipway"
)

// inside is where an action sees its input root.
const inside = "/build"

// maxChildren is up to how many folders of one that holds nothing else are mounted one by one. Each is expanded once for all actions that
// use it; a folder of them would be expanded for each combination.
const maxChildren = 32

// layout is an action's input root on this host.
type layout struct {
	store  *artifact.Disk
	action *execution.Action
	work   string

	root     string          // folder that is shown as /; "" is the host's
	mounts   []sandbox.Mount // parents before children
	whole    bool            // one private copy, work/root, is all
	writable []string        // else: top folders that are copied to work/top
}

func (l *layout) dir() string { return path.Join(inside, l.action.Dir) }

// top is where on the host a top folder is that the action may write to.
func (l *layout) top(name string) string { return filepath.Join(l.work, "top", name) }

// make lays the input root out.
func (l *layout) make(ctx context.Context) (err error) {
	if l.writable, l.whole, err = l.action.Writable(); err != nil {
		return err
	}
	m, _, err := artifact.ReadDirectory(ctx, l.store, l.action.Root, "")
	if err != nil {
		return inputError("root", err)
	}
	if name, ok := l.action.Platform[execution.PropertyRoot]; ok {
		if m, err = l.takeRoot(ctx, m, name); err != nil {
			return err
		}
	}
	if l.whole {
		dir := filepath.Join(l.work, "root")
		if err := artifact.CopyDirectory(ctx, l.store, m, dir); err != nil {
			return inputError("root", err)
		}
		l.mounts = []sandbox.Mount{{Source: dir, Target: inside, Writable: true}}
	} else if err := l.parts(ctx, m); err != nil {
		return err
	}
	return l.folders(m)
}

// takeRoot splits off the folder that is shown as /.
func (l *layout) takeRoot(ctx context.Context, m *repb.Directory, name string) (*repb.Directory, error) {
	rest := &repb.Directory{Files: m.Files, Symlinks: m.Symlinks}
	for _, d := range m.Directories {
		if d.Name != name {
			rest.Directories = append(rest.Directories, d)
			continue
		}
		digest, _, err := artifact.FromProto(d.Digest)
		if err != nil {
			return nil, err
		}
		if l.root, err = l.store.Tree(ctx, digest); err != nil {
			return nil, inputError(name, err)
		}
	}
	if l.root == "" {
		return nil, slipway.Errorf(slipway.Invalid, "the input root has no folder %q, which %s names", name, execution.PropertyRoot).At("action " + l.action.Digest)
	}
	return rest, nil
}

// parts mounts each top folder by itself.
func (l *layout) parts(ctx context.Context, m *repb.Directory) error {
	for _, d := range m.Directories {
		digest, _, err := artifact.FromProto(d.Digest)
		if err != nil {
			return err
		}
		if slices.Contains(l.writable, d.Name) {
			if err := artifact.CopyTree(ctx, l.store, digest, l.top(d.Name)); err != nil {
				return inputError(d.Name, err)
			}
			continue
		}
		if err := l.mount(ctx, d.Name, digest); err != nil {
			return err
		}
	}
	for _, name := range l.writable {
		if err := os.MkdirAll(l.top(name), 0o755); err != nil {
			return slipway.Errorf(slipway.Unavailable, "make the work folder: %w", err)
		}
		if err := os.Chmod(l.top(name), 0o755); err != nil { // whatever the umask says
			return slipway.Errorf(slipway.Unavailable, "make the work folder: %w", err)
		}
		l.mounts = append(l.mounts, sandbox.Mount{Source: l.top(name), Target: path.Join(inside, name), Writable: true})
	}
	if len(m.Files)+len(m.Symlinks) == 0 {
		return nil
	}
	return l.ground(ctx, &repb.Directory{Files: m.Files, Symlinks: m.Symlinks})
}

// ground mounts a folder with what lies in the input root itself, and with places for the other mounts.
func (l *layout) ground(ctx context.Context, m *repb.Directory) error {
	base := filepath.Join(l.work, "base")
	if err := artifact.CopyDirectory(ctx, l.store, m, base); err != nil {
		return inputError("root", err)
	}
	for _, mount := range l.mounts {
		if err := os.MkdirAll(filepath.Join(base, strings.TrimPrefix(mount.Target, inside)), 0o755); err != nil {
			return slipway.Errorf(slipway.Unavailable, "make the work folder: %w", err)
		}
	}
	l.mounts = slices.Insert(l.mounts, 0, sandbox.Mount{Source: base, Target: inside})
	return nil
}

// mount shows a folder read-only, without a copy: as it is, or each folder in it by itself.
func (l *layout) mount(ctx context.Context, name string, digest artifact.Digest) error {
	m, _, err := artifact.ReadDirectory(ctx, l.store, digest, name)
	if err != nil {
		return inputError(name, err)
	}
	parts := []*repb.DirectoryNode{{Name: ".", Digest: artifact.Proto(digest, 0)}}
	if n := len(m.Directories); n > 0 && n <= maxChildren && len(m.Files)+len(m.Symlinks) == 0 {
		parts = m.Directories
	}
	for _, part := range parts {
		at := path.Join(name, part.Name)
		d, _, err := artifact.FromProto(part.Digest)
		if err != nil {
			return err
		}
		dir, err := l.store.Tree(ctx, d)
		if err != nil {
			return inputError(at, err)
		}
		l.mounts = append(l.mounts, sandbox.Mount{Source: dir, Target: path.Join(inside, at)})
	}
	return nil
}

// folders makes the folders that have to be there before the command runs: its working directory, and those above its outputs.
func (l *layout) folders(m *repb.Directory) error {
	if err := l.folder(l.action.Dir); err != nil {
		top, _, _ := strings.Cut(l.action.Dir, "/")
		known := slices.ContainsFunc(m.Directories, func(d *repb.DirectoryNode) bool { return d.Name == top })
		if !slipway.Is(err, slipway.Invalid) || !known && l.action.Dir != "." {
			return err
		}
	}
	for _, o := range l.action.Outputs {
		parent := path.Dir(o.Path)
		if o.Path == "." || o.Path == l.action.Dir {
			continue
		}
		if _, _, ok := l.find(o.Path); !ok {
			return slipway.Errorf(slipway.Invalid, "declares the output %q in a folder that it may not write to", o.Declared).
				At("action " + l.action.Digest).Try("name the folder in " + execution.PropertyWritable)
		}
		if parent == "." {
			continue
		}
		if err := l.folder(parent); err != nil {
			return err
		}
	}
	return nil
}

// folder makes a folder of the input root, if it is where the action may write.
func (l *layout) folder(p string) error {
	base, rel, ok := l.find(p)
	if !ok {
		return slipway.Errorf(slipway.Invalid, "the folder %q is not in the input root", p).At("action " + l.action.Digest)
	}
	if rel == "." {
		return nil
	}
	root, err := os.OpenRoot(base)
	if err != nil {
		return slipway.Errorf(slipway.Unavailable, "open the work folder: %w", err)
	}
	defer root.Close()
	// Step by step, so that each is for the sandbox's user whatever the umask says.
	at := ""
	for name := range strings.SplitSeq(rel, "/") {
		at = path.Join(at, name)
		if fi, err := root.Stat(at); err == nil && fi.IsDir() {
			continue
		}
		err := root.Mkdir(at, 0o755)
		if err == nil {
			err = root.Chmod(at, 0o755)
		}
		if err != nil {
			return slipway.Errorf(slipway.Invalid, "the folder %q cannot be made in the input root: %w", p, err).At("action " + l.action.Digest)
		}
	}
	return nil
}

// find returns where on the host a path of the input root is, if the action may write there: an open place and the path below it.
func (l *layout) find(p string) (base, rel string, ok bool) {
	if l.whole {
		return filepath.Join(l.work, "root"), p, true
	}
	top, rest, _ := strings.Cut(p, "/")
	if !slices.Contains(l.writable, top) {
		return "", "", false
	}
	if rest == "" {
		rest = "."
	}
	return l.top(top), rest, true
}
