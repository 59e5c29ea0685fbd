package build

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"slipway.dev/slipway/internal/platform/git"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/build/buildroot"
)

// rules are what the files of a product's integration repository say of building, at one commit.
type rules struct {
	file    string // "products/ferry/product.yaml"
	text    []byte
	product spec.Product
	locks   buildroot.Locks
	files   buildroot.Files
}

// ruleBooks reads rules and keeps them: what a commit says never changes.
type ruleBooks struct {
	source Source
	mu     sync.Mutex
	known  map[string]*rules
}

// maxRules bounds what is kept in memory.
const maxRules = 256

// read returns the rules of a product at a commit; without one, none.
func (r *ruleBooks) read(ctx context.Context, product, commit string) (*rules, error) {
	if commit == "" {
		return &rules{}, nil
	}
	id := product + "\x00" + commit
	r.mu.Lock()
	known := r.known[id]
	r.mu.Unlock()
	if known != nil {
		return known, nil
	}
	name, _ := slipway.Integration(product)
	repo, err := r.source.Git(name)
	rs := &rules{file: path.Join(name, spec.ProductFile), files: repoFiles{repo, commit}}
	if err == nil {
		rs.text, err = repo.File(ctx, commit, spec.ProductFile)
	}
	if slipway.Is(err, slipway.NotFound) {
		return &rules{}, nil // the product has been taken away meanwhile, and with it its buildroots
	}
	if err != nil {
		return nil, err
	}
	if rs.product, err = spec.ParseProduct(rs.text, rs.file); err != nil {
		return nil, err
	}
	text, err := repo.File(ctx, commit, buildroot.LockFile)
	if err == nil {
		rs.locks, err = buildroot.ParseLocks(text, path.Join(name, buildroot.LockFile))
	}
	if err != nil && !slipway.Is(err, slipway.NotFound) {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known == nil || len(r.known) >= maxRules {
		r.known = map[string]*rules{}
	}
	r.known[id] = rs
	return rs, nil
}

// request is the question for one of the buildroots.
func (r *rules) request(name string) (buildroot.Request, bool) {
	b, ok := r.product.Roots()[name]
	req := buildroot.Request{Name: name, Spec: b.Buildroot, Where: spec.Place(r.text, r.file, b.Keys...), Files: r.files}
	if l, locked := r.locks[name]; locked {
		req.Lock = &l
	}
	return req, ok
}

// repoFiles are the files of a repository at a commit.
type repoFiles struct {
	repo   git.Repo
	commit string
}

// Open implements [buildroot.Files].
func (f repoFiles) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	data, err := f.repo.File(ctx, f.commit, name)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

// Export implements [buildroot.Files].
func (f repoFiles) Export(ctx context.Context, name, dir string) error {
	_, err := f.repo.Export(ctx, f.commit, name, dir)
	return err
}

// equip says what a build has besides its source and what it needs: its buildroot, or the tools of the host; and whether it has a
// sandbox. It returns the buildroot's variables.
func (s *Service) equip(ctx context.Context, b *Build, req slipway.WaveRequest, rec recipe) (map[string]string, error) {
	rs, err := s.rules.read(ctx, req.Product, req.Rules)
	if err != nil {
		return nil, err
	}
	if rs.product.Build.Unconfined == "allow" {
		b.Unconfined = s.confined.check(ctx, s.exec) != nil
	}
	name := rs.product.RootOf(rec.Name, rec.Buildroot)
	if name == spec.BaseHost {
		b.Host, err = s.host.fingerprint(ctx)
		return nil, err
	}
	ask, ok := rs.request(name)
	if !ok {
		known := []string{spec.BaseHost}
		for n := range rs.product.Roots() {
			known = append(known, n)
		}
		return nil, slipway.Errorf(slipway.Invalid, "%s wants the buildroot %q, which the product %s does not have", rec.Name, name, req.Product).
			At(rec.rootLine).Try("describe it under buildroots: in the product's file, or use one of: " + strings.Join(slices.Sorted(slices.Values(known)), ", "))
	}
	if b.Unconfined {
		return nil, slipway.Errorf(slipway.Invalid, "%s wants the buildroot %q, and no buildroot can be shown without a sandbox", rec.Name, name).
			At(rec.rootLine).Try("install bubblewrap, or let the component use the tools of the host")
	}
	root, err := s.roots.Resolve(ctx, ask)
	if err != nil {
		return nil, err
	}
	b.Buildroot, b.Root, b.Lock = name, root.Tree, root.Digest
	return root.Env, nil
}

// confinement knows whether sandboxes run here.
type confinement struct {
	mu   sync.Mutex
	at   time.Time
	said error
}

// checker is the part of an executor that tells.
type checker interface {
	Check(ctx context.Context) error
}

// confinementFresh is how long an answer holds.
const confinementFresh = time.Minute

// check says why no sandbox can run here; nil if it can, and if nobody could find out in time.
func (c *confinement) check(ctx context.Context, exec checker) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.at.IsZero() && time.Since(c.at) < confinementFresh {
		return c.said
	}
	err := exec.Check(ctx)
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	c.at, c.said = time.Now(), err
	return err
}
