package execution

import (
	"bytes"
	"context"
	"path"
	"slices"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/slipway"
)

// Blob is a blob that is needed: its name, and how large it is said to be.
type Blob struct {
	Digest artifact.Digest
	Size   int64 // bytes
}

// Proto is the blob's name as the Remote Execution API writes it.
func (b Blob) Proto() *repb.Digest { return artifact.Proto(b.Digest, b.Size) }

// maxTree bounds a Tree message, in bytes.
const maxTree = 512 << 20

// closure collects blobs, each once.
type closure struct {
	from    artifact.Store
	all     []Blob
	missing []Blob
	seen    map[artifact.Digest]bool
}

// add notes a blob and reports whether it was new and is there.
func (c *closure) add(ctx context.Context, d *repb.Digest) (artifact.Digest, bool, error) {
	digest, size, err := artifact.FromProto(d)
	if err != nil {
		return "", false, err
	}
	if c.seen[digest] {
		return digest, false, nil
	}
	c.seen[digest] = true
	b := Blob{digest, size}
	_, err = c.from.Stat(ctx, digest)
	switch {
	case slipway.Is(err, slipway.NotFound):
		c.missing = append(c.missing, b)
		return digest, false, nil
	case err != nil:
		return "", false, err
	}
	c.all = append(c.all, b)
	return digest, true, nil
}

// tree adds a directory and all below it. A directory is entered once, wherever it stands.
func (c *closure) tree(ctx context.Context, d *repb.Digest, at string) error {
	digest, fresh, err := c.add(ctx, d)
	if err != nil || !fresh {
		return err
	}
	m, _, err := artifact.ReadDirectory(ctx, c.from, digest, at)
	if err != nil {
		return err
	}
	return c.directory(ctx, m, at)
}

func (c *closure) directory(ctx context.Context, m *repb.Directory, at string) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	for _, f := range m.Files {
		if _, _, err := c.add(ctx, f.Digest); err != nil {
			return err
		}
	}
	for _, sub := range m.Directories {
		if err := c.tree(ctx, sub.Digest, path.Join(at, sub.Name)); err != nil {
			return err
		}
	}
	return nil
}

// Inputs returns every blob that an action needs and that is in the store, the action first, each once; and those that are
// missing, as far as they can be known: what a missing directory would name cannot.
func Inputs(ctx context.Context, st artifact.Store, action artifact.Digest) (all, missing []Blob, err error) {
	c := &closure{from: st, seen: map[artifact.Digest]bool{}}
	size, err := st.Stat(ctx, action)
	if slipway.Is(err, slipway.NotFound) {
		return nil, []Blob{{action, 0}}, nil
	}
	if err != nil {
		return nil, nil, err
	}
	if _, _, err := c.add(ctx, artifact.Proto(action, size)); err != nil {
		return nil, nil, err
	}
	m := &repb.Action{}
	if err := readMessage(ctx, st, action, "action", m); err != nil {
		return nil, nil, err
	}
	if _, _, err := c.add(ctx, m.CommandDigest); err != nil {
		return nil, nil, err
	}
	if err := c.tree(ctx, m.InputRootDigest, ""); err != nil {
		return nil, nil, err
	}
	return c.all, c.missing, nil
}

// Outputs returns every blob that a result refers to and that is in the store, and those that are missing.
func Outputs(ctx context.Context, st artifact.Store, r *repb.ActionResult) (all, missing []Blob, err error) {
	c := &closure{from: st, seen: map[artifact.Digest]bool{}}
	for _, f := range r.OutputFiles {
		if _, _, err := c.add(ctx, f.Digest); err != nil {
			return nil, nil, err
		}
	}
	for _, d := range []*repb.Digest{r.StdoutDigest, r.StderrDigest} {
		if d != nil {
			if _, _, err := c.add(ctx, d); err != nil {
				return nil, nil, err
			}
		}
	}
	for _, d := range r.OutputDirectories {
		if d.RootDirectoryDigest != nil {
			if err := c.tree(ctx, d.RootDirectoryDigest, d.Path); err != nil {
				return nil, nil, err
			}
		}
		if d.TreeDigest == nil {
			continue
		}
		digest, fresh, err := c.add(ctx, d.TreeDigest)
		if err != nil || !fresh {
			if err != nil {
				return nil, nil, err
			}
			continue
		}
		t, err := ReadTree(ctx, st, digest)
		if err != nil {
			return nil, nil, err
		}
		for _, m := range append([]*repb.Directory{t.Root}, t.Children...) {
			for _, f := range m.GetFiles() {
				if _, _, err := c.add(ctx, f.Digest); err != nil {
					return nil, nil, err
				}
			}
		}
	}
	return c.all, c.missing, nil
}

// ReadTree reads a Tree message.
func ReadTree(ctx context.Context, from artifact.Opener, d artifact.Digest) (*repb.Tree, error) {
	data, err := artifact.Bytes(ctx, from, d, maxTree)
	if err != nil {
		return nil, err
	}
	t := &repb.Tree{}
	if err := proto.Unmarshal(data, t); err != nil {
		return nil, slipway.Errorf(slipway.Invalid, "%s is no tree: %w", d, err)
	}
	if t.Root == nil {
		t.Root = &repb.Directory{}
	}
	return t, nil
}

// PutTreeMessage keeps the Tree message of a directory whose messages are in the store: parents before children, each once, in the
// encoding that the API calls topologically sorted.
func PutTreeMessage(ctx context.Context, st artifact.Store, root artifact.Digest) (*repb.Digest, error) {
	// The reverse of "children first" has every folder after the last of its parents.
	order, err := postOrder(ctx, st, root, "", map[artifact.Digest]bool{root: true})
	if err != nil {
		return nil, err
	}
	slices.Reverse(order)
	var out []byte
	for i, d := range order {
		data, err := artifact.Bytes(ctx, st, d, maxTree)
		if err != nil {
			return nil, err
		}
		if len(out)+len(data) > maxTree {
			return nil, slipway.Errorf(slipway.TooLarge, "the messages of the tree %s have more than %d bytes", root, maxTree)
		}
		field := protowire.Number(2) // a child
		if i == 0 {
			field = 1 // the root
		}
		out = protowire.AppendTag(out, field, protowire.BytesType)
		out = protowire.AppendBytes(out, data)
	}
	digest, size, err := st.Put(ctx, bytes.NewReader(out))
	if err != nil {
		return nil, err
	}
	return artifact.Proto(digest, size), nil
}

// postOrder lists the directories below d, children first, each once.
func postOrder(ctx context.Context, from artifact.Opener, d artifact.Digest, at string, seen map[artifact.Digest]bool) ([]artifact.Digest, error) {
	m, _, err := artifact.ReadDirectory(ctx, from, d, at)
	if err != nil {
		return nil, err
	}
	var all []artifact.Digest
	for _, sub := range m.Directories {
		digest, _, err := artifact.FromProto(sub.Digest)
		if err != nil {
			return nil, err
		}
		if seen[digest] {
			continue
		}
		seen[digest] = true
		below, err := postOrder(ctx, from, digest, path.Join(at, sub.Name), seen)
		if err != nil {
			return nil, err
		}
		all = append(all, below...)
	}
	return append(all, d), nil
}

// PutDirectories keeps every directory of a Tree message as a blob of its own and returns the root's digest. A tree whose directories
// name others that it does not hold is Invalid.
func PutDirectories(ctx context.Context, st artifact.Store, t *repb.Tree) (artifact.Digest, error) {
	have := map[artifact.Digest]bool{}
	var root artifact.Digest
	all := append([]*repb.Directory{t.Root}, t.Children...)
	for i, m := range all {
		data, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			return "", slipway.Errorf(slipway.Internal, "encode a directory: %w", err)
		}
		d, _, err := st.Put(ctx, bytes.NewReader(data))
		if err != nil {
			return "", err
		}
		have[d] = true
		if i == 0 {
			root = d
		}
	}
	for _, m := range all {
		for _, sub := range m.Directories {
			d, _, err := artifact.FromProto(sub.Digest)
			if err != nil {
				return "", err
			}
			if !have[d] {
				return "", slipway.Errorf(slipway.Invalid, "the tree %s holds no directory %s, which it names %q", root, d, sub.Name)
			}
		}
	}
	return root, nil
}
