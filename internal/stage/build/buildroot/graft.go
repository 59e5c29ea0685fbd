package buildroot

import (
	"context"
	"slices"
	"strings"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/slipway"
)

// graft returns the tree with another one at a path below it, in place of what is there. Folders on the way are made.
func graft(ctx context.Context, st artifact.Store, tree artifact.Digest, at string, item artifact.Digest, above string) (artifact.Digest, error) {
	m := &repb.Directory{}
	if tree != "" {
		var err error
		if m, _, err = artifact.ReadDirectory(ctx, st, tree, above); err != nil {
			return "", err
		}
	}
	name, rest, deeper := strings.Cut(at, "/")
	for _, l := range m.Symlinks {
		if l.Name == name && deeper {
			return "", slipway.Errorf(slipway.Invalid, "%s%s is a link to %s", above, name, l.Target).Try("write the path without the link")
		}
	}
	below := artifact.Digest("")
	m.Directories = slices.DeleteFunc(m.Directories, func(d *repb.DirectoryNode) bool {
		if d.Name == name {
			below = artifact.Prefix + d.Digest.Hash
		}
		return d.Name == name
	})
	m.Files = slices.DeleteFunc(m.Files, func(f *repb.FileNode) bool { return f.Name == name })
	m.Symlinks = slices.DeleteFunc(m.Symlinks, func(l *repb.SymlinkNode) bool { return l.Name == name })
	if deeper {
		var err error
		if item, err = graft(ctx, st, below, rest, item, above+name+"/"); err != nil {
			return "", err
		}
	}
	size, err := st.Stat(ctx, item)
	if err != nil {
		return "", err
	}
	m.Directories = append(m.Directories, &repb.DirectoryNode{Name: name, Digest: artifact.Proto(item, size)})
	d, _, err := artifact.PutMessage(ctx, st, m)
	return d, err
}
