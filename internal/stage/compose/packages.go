package compose

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/compose/pack"
	"slipway.dev/slipway/internal/stage/compose/plan"
)

// packages makes what is not made yet of every item of the plan, and returns all of them by key.
func (s *Service) packages(ctx context.Context, j *job) (map[string]Package, error) {
	made := map[string]Package{}
	for _, v := range j.plan.Variants {
		for _, it := range v.Items {
			id := packageKey(j.release.Product, j.keys.names(), it)
			if _, ok := made[id]; ok {
				continue
			}
			p, err := s.reserve(ctx, j, id, it)
			if err != nil {
				return nil, err
			}
			if made[id], err = s.make(ctx, j, p, it); err != nil {
				return nil, err
			}
		}
	}
	return made, nil
}

// packageKey digests everything that the bytes of a package come from, but for its time and its release number: those
// are fixed when a package with the key is first made.
func packageKey(product string, by signers, it plan.Item) string {
	if !slices.Contains(pack.Formats(it.Package), pack.APK) {
		by.apk = ""
	}
	text, err := json.Marshal(struct {
		Product, Signer, Artifact, Version, Summary, License string
		Package                                              spec.Package
		APKSigner                                            string `json:",omitempty"`
	}{product, by.pgp, it.Locked.Artifact, it.Locked.Version, it.Recipe.Summary, it.Recipe.License, it.Package, by.apk})
	if err != nil {
		panic(err) // strings, numbers and maps of strings can always be encoded
	}
	return digest(text)
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// reserve gives a package its release number and its time, or returns those it was given before.
func (s *Service) reserve(ctx context.Context, j *job, id string, it plan.Item) (p Package, err error) {
	err = s.store.Update(ctx, func(tx Tx) error {
		p, err = tx.Packages().Get(ctx, id)
		if !slipway.Is(err, slipway.NotFound) {
			return err
		}
		p = Package{Key: id, Product: j.release.Product, Name: it.Package.Name, Version: it.Locked.Version, Component: it.Component,
			Artifact: it.Locked.Artifact, Time: packageTime(j, it), First: j.compose.ID, Release: 1, Files: map[string]PackageFile{}}
		others, err := tx.Packages().Find(ctx, slipway.Query{Product: p.Product, Key: packageLine(p.Product, p.Name, p.Version)})
		if err != nil {
			return err
		}
		for _, o := range others {
			p.Release = max(p.Release, o.Release+1)
		}
		return tx.Packages().Put(ctx, p)
	})
	return p, err
}

func packageTime(j *job, it plan.Item) time.Time {
	if at := j.times[it.Component+"@"+it.Locked.Commit]; !at.IsZero() {
		return at.UTC().Truncate(time.Second)
	}
	return j.release.Time.UTC().Truncate(time.Second)
}

// make makes the package in the formats that the store does not hold, and records their digests.
func (s *Service) make(ctx context.Context, j *job, p Package, it plan.Item) (Package, error) {
	fresh := map[string]PackageFile{}
	for _, format := range pack.Formats(it.Package) {
		if f, ok := p.Files[format]; ok {
			held, err := s.artifacts.Open(ctx, f.Digest)
			if err == nil {
				held.Close()
				continue
			}
			if !slipway.Is(err, slipway.NotFound) {
				return p, err
			}
		}
		f, err := s.makeOne(ctx, j, p, it, format)
		if err != nil {
			return p, err
		}
		if old, ok := p.Files[format]; ok && old.Digest != f.Digest {
			return p, slipway.Errorf(slipway.Conflict, "package %s was lost from the store, and made again it has other bytes", f.Name).
				Try("raise the component's version and make a new release")
		}
		fresh[format] = f
	}
	if len(fresh) == 0 {
		return p, nil
	}
	err := s.store.Update(ctx, func(tx Tx) (err error) {
		if p, err = tx.Packages().Get(ctx, p.Key); err != nil {
			return err
		}
		for format, f := range fresh {
			p.Files[format] = f
		}
		return tx.Packages().Put(ctx, p)
	})
	return p, err
}

func (s *Service) makeOne(ctx context.Context, j *job, p Package, it plan.Item, format string) (PackageFile, error) {
	f := PackageFile{Name: pack.FileName(format, it.Package, p.Version, p.Release)}
	tree, err := s.artifacts.Tree(ctx, it.Locked.Artifact)
	if err != nil {
		return f, fmt.Errorf("open the outputs of %s: %w", it.Component, err)
	}
	in := pack.Input{Tree: tree, Package: it.Package, Version: p.Version, Release: p.Release, Time: p.Time,
		Summary: it.Recipe.Summary, License: it.Recipe.License, Vendor: j.release.Product, Artifact: it.Locked.Artifact}
	r, w := io.Pipe()
	defer r.Close() // ends the writer when the store gives up early
	go func() { w.CloseWithError(pack.Write(w, format, in, j.keys.pack())) }()
	f.Digest, f.Size, err = s.artifacts.Put(ctx, r)
	return f, err
}
