package artifact

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"sync/atomic"
	"syscall"
	"unicode/utf8"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"golang.org/x/sync/errgroup"

	"slipway.dev/slipway/internal/slipway"
)

// TreeLimits bounds what [PutTreeWithin] reads in. Zero means no bound of its own.
type TreeLimits struct {
	Bytes   int64 // of all files together
	Entries int   // files, links and directories together
}

// PutTree reads the folder dir into st and returns the tree's digest. Files are hashed in parallel. It is an error of kind
// Invalid if the folder holds a link that leaves it, a device, a socket or a pipe; the error's Where names it.
// The folder must not change meanwhile, but if it does, nothing outside it is read.
func PutTree(ctx context.Context, st Store, dir string) (Digest, error) {
	return PutTreeWithin(ctx, st, dir, TreeLimits{})
}

// PutTreeWithin is [PutTree] that gives up with TooLarge when the folder exceeds the limits.
func PutTreeWithin(ctx context.Context, st Store, dir string, limits TreeLimits) (Digest, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", slipway.Errorf(slipway.Invalid, "cannot read the tree: %w", err)
	}
	defer root.Close()
	return PutRoot(ctx, st, root, limits)
}

// PutRoot is [PutTreeWithin] of an open folder.
func PutRoot(ctx context.Context, st Store, root *os.Root, limits TreeLimits) (digest Digest, err error) {
	if limits.Entries <= 0 || limits.Entries > maxEntries {
		limits.Entries = maxEntries
	}
	read := func(ctx context.Context, st Store) error {
		in := ingest{root: root, put: st.Put, limits: limits}
		top, err := in.scan(".", "", 0)
		if err != nil {
			return err
		}
		if err := in.files(ctx); err != nil {
			return err
		}
		digest, _, err = in.directories(ctx, top)
		return err
	}
	if disk, ok := st.(*Disk); ok {
		err = disk.Together(ctx, read)
	} else {
		err = read(ctx, st)
	}
	if err != nil {
		return "", err
	}
	return digest, nil
}

// ingest is one reading of a folder: scan finds what is there, files puts the contents, directories the messages.
type ingest struct {
	root    *os.Root
	put     putFunc
	limits  TreeLimits
	entries int
	bytes   atomic.Int64
	todo    []*file
}

type folder struct {
	message *repb.Directory
	subs    map[string]*folder
	files   []*file
}

type file struct {
	path string
	node *repb.FileNode
}

func (in *ingest) scan(dir, at string, depth int) (*folder, error) {
	if depth > maxDepth {
		return nil, slipway.Errorf(slipway.Invalid, "the tree is more than %d levels deep", maxDepth).At("/" + at)
	}
	f, err := in.root.Open(dir)
	if err != nil {
		return nil, slipway.Errorf(slipway.Invalid, "cannot read the directory: %w", err).At("/" + at)
	}
	infos, err := f.Readdir(-1)
	f.Close()
	if err != nil {
		return nil, slipway.Errorf(slipway.Invalid, "cannot read the directory: %w", err).At("/" + at)
	}
	if in.entries += len(infos); in.entries > in.limits.Entries {
		return nil, slipway.Errorf(slipway.TooLarge, "the tree has more than %d entries", in.limits.Entries).At("/" + at)
	}
	out := &folder{message: &repb.Directory{}, subs: map[string]*folder{}}
	for _, fi := range infos {
		p := path.Join(at, fi.Name())
		if !utf8.ValidString(fi.Name()) {
			return nil, slipway.Errorf(slipway.Invalid, "the name is not UTF-8").At(fmt.Sprintf("/%q", p)).Try("rename it")
		}
		switch fi.Mode().Type() {
		case 0:
			node := &repb.FileNode{Name: fi.Name(), IsExecutable: fi.Mode()&0o111 != 0}
			one := &file{path: p, node: node}
			in.todo = append(in.todo, one)
			out.files = append(out.files, one)
		case fs.ModeDir:
			if out.subs[fi.Name()], err = in.scan(p, p, depth+1); err != nil {
				return nil, err
			}
		case fs.ModeSymlink:
			target, err := in.root.Readlink(p)
			if err != nil {
				return nil, slipway.Errorf(slipway.Invalid, "cannot read the link: %w", err).At("/" + p)
			}
			if err := CheckLink(p, target); err != nil {
				return nil, err
			}
			if !utf8.ValidString(target) {
				return nil, slipway.Errorf(slipway.Invalid, "the symbolic link's target %q is not UTF-8", target).At("/" + p).Try("rename it")
			}
			out.message.Symlinks = append(out.message.Symlinks, &repb.SymlinkNode{Name: fi.Name(), Target: target})
		default:
			return nil, slipway.Errorf(slipway.Invalid, "neither a file, a directory nor a symbolic link (%s)", fi.Mode().Type()).
				At("/" + p).Try("remove it at the end of the build")
		}
	}
	return out, nil
}

func (in *ingest) files(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(runtime.NumCPU(), 4))
	for _, one := range in.todo {
		g.Go(func() error { return in.file(ctx, one) })
	}
	return g.Wait()
}

func (in *ingest) file(ctx context.Context, one *file) error {
	// O_NONBLOCK and the second look at the type: it may have become a pipe since it was listed.
	f, err := in.root.OpenFile(one.path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return slipway.Errorf(slipway.Invalid, "cannot read the file: %w", err).At("/" + one.path)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil || !fi.Mode().IsRegular() {
		return slipway.Errorf(slipway.Invalid, "is no longer a file").At("/" + one.path)
	}
	digest, size, err := in.content(ctx, &metered{f, in}, fi.Size())
	if err != nil {
		if errors.Is(err, errTooLarge) {
			return slipway.Errorf(slipway.TooLarge, "the tree has more than %d bytes", in.limits.Bytes).At("/" + one.path)
		}
		return err
	}
	one.node.Digest = Proto(digest, size)
	return nil
}

// small is up to how many bytes a file is read into memory, so that nothing is written of content that is known.
const small = 64 << 10

// content puts what r reads; size is what to expect.
func (in *ingest) content(ctx context.Context, r io.Reader, size int64) (Digest, int64, error) {
	if size > small {
		return in.put(ctx, r)
	}
	data, err := io.ReadAll(io.LimitReader(r, small+1))
	if err != nil {
		return "", 0, err
	}
	if len(data) > small { // it has grown
		return in.put(ctx, io.MultiReader(bytes.NewReader(data), r))
	}
	return in.put(ctx, bytes.NewReader(data))
}

var errTooLarge = slipway.Errorf(slipway.TooLarge, "the tree has too many bytes")

type metered struct {
	f  *os.File
	in *ingest
}

func (m *metered) Read(p []byte) (int, error) {
	n, err := m.f.Read(p)
	if total := m.in.bytes.Add(int64(n)); m.in.limits.Bytes > 0 && total > m.in.limits.Bytes {
		return n, errTooLarge
	}
	if err != nil && err != io.EOF {
		return n, slipway.Errorf(slipway.Internal, "read %s: %w", m.f.Name(), err)
	}
	return n, err
}

// directories puts the messages from the leaves up and returns the root's digest and size.
func (in *ingest) directories(ctx context.Context, f *folder) (Digest, int64, error) {
	for _, one := range f.files {
		f.message.Files = append(f.message.Files, one.node)
	}
	names := make([]string, 0, len(f.subs))
	for name := range f.subs {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		digest, size, err := in.directories(ctx, f.subs[name])
		if err != nil {
			return "", 0, err
		}
		f.message.Directories = append(f.message.Directories, &repb.DirectoryNode{Name: name, Digest: Proto(digest, size)})
	}
	return putMessage(ctx, in.put, f.message)
}
