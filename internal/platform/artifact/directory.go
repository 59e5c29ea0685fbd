package artifact

import (
	"bytes"
	"context"
	"io"
	"path"
	"slices"
	"strings"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/proto"

	"slipway.dev/slipway/internal/slipway"
)

// Limits of trees, far above what builds make, so that a hostile one cannot exhaust the reader.
const (
	maxDirectory = 64 << 20 // bytes of one Directory message
	maxDepth     = 200
	maxEntries   = 2_000_000
)

// Entry is one thing in a tree.
type Entry struct {
	Path       string // below the root, with slashes
	Digest     Digest // of a file's bytes or of a directory's message; "" for a symbolic link
	Size       int64  // in bytes; of a directory: of its message
	Executable bool
	Target     string // of a symbolic link
	Dir        bool
}

// Marshal returns the canonical bytes of a Directory (sorted, deterministic): equal directories give equal bytes.
func Marshal(m proto.Message) ([]byte, error) {
	if d, ok := m.(*repb.Directory); ok {
		slices.SortFunc(d.Files, func(a, b *repb.FileNode) int { return strings.Compare(a.Name, b.Name) })
		slices.SortFunc(d.Directories, func(a, b *repb.DirectoryNode) int { return strings.Compare(a.Name, b.Name) })
		slices.SortFunc(d.Symlinks, func(a, b *repb.SymlinkNode) int { return strings.Compare(a.Name, b.Name) })
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(m)
}

// PutMessage keeps the canonical bytes of m.
func PutMessage(ctx context.Context, st Store, m proto.Message) (Digest, int64, error) {
	return putMessage(ctx, st.Put, m)
}

func putMessage(ctx context.Context, put putFunc, m proto.Message) (Digest, int64, error) {
	data, err := Marshal(m)
	if err != nil {
		return "", 0, slipway.Errorf(slipway.Internal, "encode a directory: %w", err)
	}
	return put(ctx, bytes.NewReader(data))
}

type putFunc func(context.Context, io.Reader) (Digest, int64, error)

// Proto returns d and a size as the Remote Execution API writes them.
func Proto(d Digest, size int64) *repb.Digest {
	return &repb.Digest{Hash: strings.TrimPrefix(d, Prefix), SizeBytes: size}
}

// FromProto returns the digest and size that the Remote Execution API writes as d, or an error of kind Invalid.
func FromProto(d *repb.Digest) (Digest, int64, error) {
	digest := Prefix + d.GetHash()
	if _, err := ParseDigest(digest); err != nil {
		return "", 0, err
	}
	if d.SizeBytes < 0 {
		return "", 0, slipway.Errorf(slipway.Invalid, "the digest %s has the size %d", digest, d.SizeBytes)
	}
	return digest, d.SizeBytes, nil
}

// CheckLink reports whether a symbolic link at the given path of a tree may point to target. See the package comment.
func CheckLink(at, target string) error {
	bad := func(why, remedy string) error {
		return slipway.Errorf(slipway.Invalid, "the symbolic link to %q %s", target, why).At("/" + at).Try(remedy)
	}
	switch {
	case target == "" || strings.ContainsRune(target, 0):
		return bad("has no valid target", "remove it")
	case strings.HasPrefix(target, "/"):
		return bad("is absolute", "link relatively, to something in the same tree")
	}
	rest := target
	for strings.HasPrefix(rest, "../") {
		rest = rest[len("../"):]
	}
	if rest != ".." && slices.Contains(strings.Split(rest, "/"), "..") {
		return bad("goes down and up again", `write ".." only at the beginning`)
	}
	if to := path.Join(path.Dir(at), target); to == ".." || strings.HasPrefix(to, "../") {
		return bad("leaves the tree", "link to something in the same tree")
	}
	return nil
}

// checkName refuses names that could mean another place.
func checkName(dir, name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") || len(name) > 255 {
		return slipway.Errorf(slipway.Invalid, "%q is no name for a file", name).At("/" + dir)
	}
	return nil
}

// ReadDirectory reads and checks one Directory message; at is its path in the tree, for errors and for the bounds of its links. It
// returns the message's size in bytes too.
func ReadDirectory(ctx context.Context, from Opener, d Digest, at string) (*repb.Directory, int64, error) {
	r, err := from.Open(ctx, d)
	if err != nil {
		return nil, 0, err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, maxDirectory+1))
	if err != nil {
		return nil, 0, err
	}
	if len(data) > maxDirectory {
		return nil, 0, slipway.Errorf(slipway.TooLarge, "the directory %s has more than %d bytes", d, maxDirectory).At("/" + at)
	}
	if got := DigestOf(data); got != d { // the opener may be another machine
		return nil, 0, slipway.Errorf(slipway.Internal, "the bytes of %s are damaged (they hash to %s)", d, got)
	}
	m := &repb.Directory{}
	if err := proto.Unmarshal(data, m); err != nil {
		return nil, 0, slipway.Errorf(slipway.Invalid, "%s is no directory: %w", d, err).At("/" + at)
	}
	seen := map[string]bool{}
	check := func(name string) error {
		if err := checkName(at, name); err != nil {
			return err
		}
		if seen[name] {
			return slipway.Errorf(slipway.Invalid, "two entries are named %q", name).At("/" + at)
		}
		seen[name] = true
		return nil
	}
	for _, f := range m.Files {
		if err := check(f.Name); err != nil {
			return nil, 0, err
		}
		if _, err := ParseDigest(Prefix + f.GetDigest().GetHash()); err != nil {
			return nil, 0, err
		}
	}
	for _, s := range m.Symlinks {
		if err := check(s.Name); err != nil {
			return nil, 0, err
		}
		if err := CheckLink(path.Join(at, s.Name), s.Target); err != nil {
			return nil, 0, err
		}
	}
	for _, sub := range m.Directories {
		if err := check(sub.Name); err != nil {
			return nil, 0, err
		}
		if _, err := ParseDigest(Prefix + sub.GetDigest().GetHash()); err != nil {
			return nil, 0, err
		}
	}
	return m, int64(len(data)), nil
}

// ListTree returns everything in a tree below its root: a directory stands before what is in it, and the entries of a
// directory are sorted by name.
func ListTree(ctx context.Context, from Opener, d Digest) ([]Entry, error) {
	var all []Entry
	err := walk(ctx, from, d, "", 0, &all)
	return all, err
}

func walk(ctx context.Context, from Opener, d Digest, at string, depth int, all *[]Entry) error {
	if depth > maxDepth {
		return slipway.Errorf(slipway.Invalid, "the tree is more than %d levels deep", maxDepth).At("/" + at)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	m, _, err := ReadDirectory(ctx, from, d, at)
	if err != nil {
		return err
	}
	return walkInto(ctx, from, m, at, depth, all)
}

// walkInto lists what a checked message names, and all below.
func walkInto(ctx context.Context, from Opener, m *repb.Directory, at string, depth int, all *[]Entry) error {
	var here []Entry
	for _, f := range m.Files {
		here = append(here, Entry{Path: path.Join(at, f.Name), Digest: Prefix + f.Digest.Hash, Size: f.Digest.SizeBytes, Executable: f.IsExecutable})
	}
	for _, s := range m.Symlinks {
		here = append(here, Entry{Path: path.Join(at, s.Name), Target: s.Target})
	}
	for _, s := range m.Directories {
		here = append(here, Entry{Path: path.Join(at, s.Name), Digest: Prefix + s.Digest.Hash, Size: s.Digest.SizeBytes, Dir: true})
	}
	slices.SortFunc(here, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
	if len(*all)+len(here) > maxEntries {
		return slipway.Errorf(slipway.TooLarge, "the tree has more than %d entries", maxEntries)
	}
	for _, e := range here {
		*all = append(*all, e)
		if e.Dir {
			if err := walk(ctx, from, e.Digest, e.Path, depth+1, all); err != nil {
				return err
			}
		}
	}
	return nil
}
