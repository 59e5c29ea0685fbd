package buildroot

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
)

// Store keeps what buildroots consist of. [artifact.Disk] does.
type Store interface {
	artifact.Store
	Together(ctx context.Context, f func(ctx context.Context, st artifact.Store) error) error
}

// Files gives the files of the repository that describes a buildroot.
type Files interface {
	// Open reads a file. NotFound if there is none.
	Open(ctx context.Context, name string) (io.ReadCloser, error)
	// Export writes a folder out to dir, which does not exist yet. NotFound if there is none.
	Export(ctx context.Context, name, dir string) error
}

// Request asks for a buildroot.
type Request struct {
	Name  string
	Spec  spec.Buildroot
	Lock  *Lock  // the committed one; nil: none
	Where string // place of the description, for errors: "products/ferry/product.yaml:7:3"
	Files Files
}

// Root is a resolved buildroot.
type Root struct {
	Lock
	Digest artifact.Digest // of the lock, as JSON in the store
}

// Config says where a [Resolver] works. The zero value of a field has its default.
type Config struct {
	Dir    string        // a folder of its own, for its cache and what is being unpacked
	Client *http.Client  // default one with a timeout of an hour
	Fresh  time.Duration // how long the tools of the host are taken to be as they were; default 10 s
}

// Resolver resolves buildroots. It may be used by several goroutines at once.
type Resolver struct {
	store Store
	cfg   Config
	once  singleflight.Group
	files fileCache

	mu   sync.Mutex
	host map[artifact.Digest]kept // by description
}

type kept struct {
	root Root
	at   time.Time
}

// New makes a resolver that keeps all in st.
func New(st Store, cfg Config) (*Resolver, error) {
	if cfg.Client == nil {
		cfg.Client = &http.Client{Timeout: time.Hour}
	}
	if cfg.Fresh <= 0 {
		cfg.Fresh = 10 * time.Second
	}
	if err := artifact.RemoveTree(filepath.Join(cfg.Dir, "work")); err != nil {
		return nil, fmt.Errorf("clear what was being unpacked: %w", err)
	}
	for _, d := range []string{"work", "roots"} {
		if err := os.MkdirAll(filepath.Join(cfg.Dir, d), 0o700); err != nil {
			return nil, fmt.Errorf("prepare for buildroots: %w", err)
		}
	}
	r := &Resolver{store: st, cfg: cfg, host: map[artifact.Digest]kept{}}
	r.files.open(filepath.Join(cfg.Dir, "files"))
	return r, nil
}

// Resolve returns the buildroot, whose tree and lock are in the store then. What is wrong with its description is of
// kind Invalid, and Where names the line.
func (r *Resolver) Resolve(ctx context.Context, req Request) (Root, error) {
	id, err := specDigest(req.Spec)
	if err != nil {
		return Root{}, slipway.Errorf(slipway.Internal, "encode the buildroot %s: %w", req.Name, err)
	}
	if req.Lock != nil {
		return r.locked(ctx, req, id)
	}
	if root, ok := r.known(ctx, req, id); ok {
		return root, nil
	}
	result := r.once.DoChan(req.Name+" "+id, func() (any, error) {
		return r.resolve(context.WithoutCancel(ctx), req, id)
	})
	select {
	case out := <-result:
		if out.Err != nil {
			return Root{}, placed(req, out.Err)
		}
		return out.Val.(Root), nil
	case <-ctx.Done():
		return Root{}, context.Cause(ctx)
	}
}

// placed says which buildroot an error is about, and where that is described.
func placed(req Request, err error) error {
	return slipway.Errorf(slipway.KindOf(err), "the buildroot %q: %w", req.Name, err).At(req.Where)
}

// locked replays a committed lock. A host's buildroot is what it was then; others are fetched again when the store has lost them.
func (r *Resolver) locked(ctx context.Context, req Request, id artifact.Digest) (Root, error) {
	if req.Lock.Spec != id {
		return Root{}, slipway.Errorf(slipway.Invalid, "the buildroot %q is described otherwise than when it was locked", req.Name).
			At(req.Where).Try("lock it again: slipway buildroot lock PRODUCT > " + LockFile)
	}
	_, err := r.store.Stat(ctx, req.Lock.Tree)
	if err == nil {
		return r.keep(ctx, *req.Lock)
	}
	if req.Spec.Base == spec.BaseHost {
		return Root{}, slipway.Errorf(slipway.NotFound, "the tree of the locked buildroot %q is not in the store: %w", req.Name, err).
			At(req.Where).Try("get it from the server that made it, or lock it again")
	}
	fresh, err := r.resolve(ctx, req, id)
	if err != nil {
		return Root{}, placed(req, err)
	}
	if fresh.Tree != req.Lock.Tree {
		return Root{}, slipway.Errorf(slipway.Internal, "the buildroot %q comes to another tree than its lock says (%s, not %s)", req.Name, fresh.Tree, req.Lock.Tree).At(req.Where)
	}
	return r.keep(ctx, *req.Lock)
}

func (r *Resolver) resolve(ctx context.Context, req Request, id artifact.Digest) (Root, error) {
	lock := Lock{Name: req.Name, Base: req.Spec.Base, Spec: id, Env: req.Spec.Env, Items: []Item{}}
	work, err := os.MkdirTemp(filepath.Join(r.cfg.Dir, "work"), "root-")
	if err != nil {
		return Root{}, slipway.Errorf(slipway.Unavailable, "make the work folder: %w", err)
	}
	defer artifact.RemoveTree(work)
	in := &resolution{Resolver: r, req: req, work: work, lock: &lock}
	switch req.Spec.Base {
	case spec.BaseHost:
		lock.Tree, err = in.fromHost(ctx)
	case spec.BaseArchive:
		lock.Tree, err = in.fromArchive(ctx)
	case spec.BaseOCI:
		lock.Tree, err = in.fromImage(ctx)
	default:
		err = slipway.Errorf(slipway.Invalid, "has no base %q", req.Spec.Base)
	}
	if err == nil {
		err = in.items(ctx)
	}
	if err != nil {
		return Root{}, err
	}
	lock.sort()
	root, err := r.keep(ctx, lock)
	if err == nil {
		r.remember(id, root)
	}
	return root, err
}

// keep puts the lock into the store.
func (r *Resolver) keep(ctx context.Context, lock Lock) (Root, error) {
	data, err := json.MarshalIndent(lock, "", "  ")
	if err != nil {
		return Root{}, slipway.Errorf(slipway.Internal, "encode a lock: %w", err)
	}
	d := artifact.DigestOf(data)
	if _, err := r.store.Stat(ctx, d); err != nil {
		if _, _, err := r.store.Put(ctx, strings.NewReader(string(data))); err != nil {
			return Root{}, err
		}
	}
	return Root{Lock: lock, Digest: d}, nil
}

// known finds what the description came to before: for ever, unless it is of the host.
func (r *Resolver) known(ctx context.Context, req Request, id artifact.Digest) (Root, bool) {
	r.mu.Lock()
	k, ok := r.host[id]
	r.mu.Unlock()
	if ok && (req.Spec.Base != spec.BaseHost || time.Since(k.at) < r.cfg.Fresh) {
		if _, err := r.store.Stat(ctx, k.root.Tree); err == nil {
			return k.root, true
		}
	}
	if req.Spec.Base == spec.BaseHost {
		return Root{}, false
	}
	data, err := os.ReadFile(r.cached(id))
	if err != nil {
		return Root{}, false
	}
	var lock Lock
	if json.Unmarshal(data, &lock) != nil || lock.Spec != id {
		return Root{}, false
	}
	if _, err := r.store.Stat(ctx, lock.Tree); err != nil {
		return Root{}, false
	}
	lock.Name = req.Name
	root, err := r.keep(ctx, lock)
	if err != nil {
		return Root{}, false
	}
	r.remember(id, root)
	return root, true
}

func (r *Resolver) cached(id artifact.Digest) string {
	return filepath.Join(r.cfg.Dir, "roots", strings.TrimPrefix(id, artifact.Prefix))
}

func (r *Resolver) remember(id artifact.Digest, root Root) {
	r.mu.Lock()
	r.host[id] = kept{root, time.Now()}
	r.mu.Unlock()
	if root.Base == spec.BaseHost {
		return
	}
	if data, err := json.Marshal(root.Lock); err == nil {
		tmp := r.cached(id) + ".new"
		if os.WriteFile(tmp, data, 0o600) == nil {
			_ = os.Rename(tmp, r.cached(id)) // only a cache
		}
	}
}

// resolution is one buildroot being resolved.
type resolution struct {
	*Resolver
	req  Request
	work string
	lock *Lock
}

// fromArchive unpacks the base.
func (in *resolution) fromArchive(ctx context.Context) (artifact.Digest, error) {
	b := in.req.Spec
	if err := in.fetch(ctx, b.From, b.Digest); err != nil {
		return "", err
	}
	in.lock.Items = append(in.lock.Items, Item{Kind: KindArchive, Name: path.Base(b.From), Digest: b.Digest, From: b.From})
	return in.unpack(ctx, b.From, []artifact.Digest{b.Digest}, ownFolders)
}

// unpack lays archives over each other, and keeps the tree.
func (in *resolution) unpack(ctx context.Context, from string, archives []artifact.Digest, skip []string) (artifact.Digest, error) {
	dir, err := os.MkdirTemp(in.work, "tree-")
	if err != nil {
		return "", slipway.Errorf(slipway.Unavailable, "make the work folder: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", slipway.Errorf(slipway.Unavailable, "make the work folder: %w", err)
	}
	defer root.Close()
	u := &unpacker{root: root, layers: len(archives) != 1 || in.req.Spec.Base == spec.BaseOCI, skip: skip, location: from}
	for _, d := range archives {
		r, err := in.store.Open(ctx, d)
		if err != nil {
			return "", err
		}
		err = u.unpack(ctx, r)
		if e := r.Close(); err == nil {
			err = e
		}
		if err != nil {
			return "", err
		}
	}
	in.lock.Dropped = append(in.lock.Dropped, u.dropped...)
	in.lock.Items = append(in.lock.Items, packages(root)...)
	tree, err := artifact.PutTree(ctx, in.store, dir)
	if err != nil {
		return "", slipway.Errorf(slipway.KindOf(err), "what it holds cannot be kept: %w", err).At(from)
	}
	return tree, nil
}

// items lays the pinned things over the base.
func (in *resolution) items(ctx context.Context) error {
	for _, i := range in.req.Spec.Items {
		tree, kind := i.Digest, KindTree
		if i.From != "" {
			kind = KindArchive
			if err := in.fetch(ctx, i.From, i.Digest); err != nil {
				return err
			}
			var err error
			if tree, err = in.unpackItem(ctx, i); err != nil {
				return err
			}
		} else if _, _, err := artifact.ReadDirectory(ctx, in.store, tree, i.At); err != nil {
			return slipway.Errorf(cmp.Or(slipway.KindOf(err), slipway.Invalid), "the item %q: %w", i.Name, err).Try("give the digest of a tree that the server has, or from: for an archive")
		}
		var err error
		if in.lock.Tree, err = graft(ctx, in.store, in.lock.Tree, strings.TrimPrefix(i.At, "/"), tree, "/"); err != nil {
			return slipway.Errorf(slipway.KindOf(err), "the item %q: %w", i.Name, err)
		}
		in.lock.Items = append(in.lock.Items, Item{Kind: kind, Name: i.Name, Version: i.Version, Digest: i.Digest, At: i.At, From: i.From})
	}
	return nil
}

// unpackItem unpacks an item by itself; its package database is not the root's.
func (in *resolution) unpackItem(ctx context.Context, i spec.BuildrootItem) (artifact.Digest, error) {
	before := len(in.lock.Items)
	tree, err := in.unpack(ctx, i.From, []artifact.Digest{i.Digest}, nil)
	in.lock.Items = in.lock.Items[:before]
	return tree, err
}
