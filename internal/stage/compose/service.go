package compose

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"time"

	"slipway.dev/slipway/internal/platform/jobs"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/compose/apkrepo"
	"slipway.dev/slipway/internal/stage/compose/pgp"
)

// Releases knows the releases.
type Releases interface {
	Release(ctx context.Context, id string) (slipway.Release, error)
}

// Source reads files as they were at a release.
type Source interface {
	// ProductFile returns a file of the product's integration repository at a commit, or NotFound.
	ProductFile(ctx context.Context, product, commit, path string) ([]byte, error)
	// Recipe returns the component's file at a pin, and the time of the pin's commit.
	Recipe(ctx context.Context, pin slipway.Pin) (spec.Component, time.Time, error)
}

// Artifacts is the store of outputs and packages.
type Artifacts interface {
	// Tree returns a directory that holds an output tree and must not be written to, or NotFound.
	Tree(ctx context.Context, digest string) (dir string, err error)
	Put(ctx context.Context, r io.Reader) (digest string, size int64, err error)
	Open(ctx context.Context, digest string) (io.ReadCloser, error)
}

// Builder builds outputs that are missing.
type Builder interface {
	StartWave(ctx context.Context, req slipway.WaveRequest) (slipway.WaveStatus, error)
}

// Config is where composes are kept and found. Dir is required.
type Config struct {
	Dir string // folder of the finished composes, one folder each
	URL string // under which [Service.Handler] is reached from outside, with the path /composes; default /composes
	Key string // folder of the signing keys, made on first use; default DIR/../keys

	Signing Signing
	SBOM    func(ctx context.Context, rel slipway.Release) ([]byte, error) // writes a release's bill of materials; nil: composes have none
}

// Signing says which keys sign, where they are not to be those that the instance makes.
type Signing struct {
	OpenPGP    string // file with a private key, armored; signs RPM, DEB and the metadata of dnf and apt
	Passphrase string // of that key; empty: it has none
	APK        string // file with a private RSA key in PEM; signs APK and the index of apk
}

// Service makes composes and knows those that were made.
type Service struct {
	store     slipway.Store[Tx]
	releases  Releases
	source    Source
	artifacts Artifacts
	builder   Builder
	cfg       Config
	key       func() (*pgp.Key, error)
	apkKey    func() (*apkrepo.Key, error)
}

// New makes the service. The signing key is opened, and made, when it is first needed.
func New(st slipway.Store[Tx], releases Releases, source Source, artifacts Artifacts, builder Builder, cfg Config) *Service {
	if cfg.URL == "" {
		cfg.URL = "/composes"
	}
	if cfg.Key == "" {
		cfg.Key = filepath.Join(filepath.Dir(cfg.Dir), "keys")
	}
	key := sync.OnceValues(func() (*pgp.Key, error) {
		if cfg.Signing.OpenPGP != "" {
			return pgp.Load(cfg.Signing.OpenPGP, cfg.Signing.Passphrase)
		}
		return pgp.Open(cfg.Key, "Slipway")
	})
	apkKey := sync.OnceValues(func() (*apkrepo.Key, error) {
		if cfg.Signing.APK != "" {
			return apkrepo.LoadKey(cfg.Signing.APK)
		}
		return apkrepo.OpenKey(cfg.Key)
	})
	return &Service{st, releases, source, artifacts, builder, cfg, key, apkKey}
}

// Kind of the stage's handler; its keys are ids of composes.
const Kind = "compose.make"

// Handlers returns the stage's reconcilers.
func (s *Service) Handlers() []jobs.Handler {
	return []jobs.Handler{{Kind: Kind, Slots: 2, Do: s.reconcile}}
}

// Routes says what wakes the stage: a new release, and the end of a wave that it asked for.
func Routes() []jobs.Route {
	return []jobs.Route{
		{On: slipway.ReleaseCreated, Kind: Kind, Key: jobs.SubjectID},
		{On: slipway.WaveFinished, Kind: Kind, Key: jobs.Linked("compose")},
	}
}

// Compose returns one compose, or NotFound.
func (s *Service) Compose(ctx context.Context, id string) (c Compose, err error) {
	err = s.store.View(ctx, func(tx Tx) error {
		c, err = tx.Composes().Get(ctx, id)
		return err
	})
	return c, err
}

// Composes returns the composes of a product (empty: of all), newest first. After is the id of the last one of the page
// before; limit 0 is no limit.
func (s *Service) Composes(ctx context.Context, product, after string, limit int) (list []Compose, err error) {
	err = s.store.View(ctx, func(tx Tx) error {
		list, err = tx.Composes().Find(ctx, slipway.Query{Product: product, Newest: true, After: after, Limit: limit})
		return err
	})
	return list, err
}

// Latest returns the newest finished compose of a product, or NotFound. Newest is by the time of its release.
func (s *Service) Latest(ctx context.Context, product string) (Compose, error) {
	var all []Compose
	err := s.store.View(ctx, func(tx Tx) (err error) {
		all, err = tx.Composes().Find(ctx, slipway.Query{Product: product, States: []string{string(Finished)}, Newest: true})
		return err
	})
	if err != nil {
		return Compose{}, err
	}
	var best Compose
	for _, c := range all {
		if best.ID == "" || c.ReleaseTime.After(best.ReleaseTime) {
			best = c
		}
	}
	if best.ID == "" || product == "" {
		return Compose{}, slipway.Errorf(slipway.NotFound, "product %q has no finished compose", product)
	}
	return best, nil
}

// Packages returns a finished compose and the packages in it, each once. One that is not finished is a NotFound.
func (s *Service) Packages(ctx context.Context, id string) (c Compose, all []Package, err error) {
	err = s.store.View(ctx, func(tx Tx) error {
		all = nil
		if c, err = tx.Composes().Get(ctx, id); err != nil {
			return err
		}
		if c.State != Finished {
			return slipway.Errorf(slipway.NotFound, "compose %s is %s: %s", id, c.State, c.Reason)
		}
		seen := map[string]bool{}
		for _, v := range c.Variants {
			for _, vp := range v.Packages {
				line, err := tx.Packages().Find(ctx, slipway.Query{Product: c.Product, Key: packageLine(c.Product, vp.Name, vp.Version)})
				if err != nil {
					return err
				}
				for _, p := range line {
					if (p.Key == vp.Key || vp.Key == "" && p.Artifact == vp.Artifact && p.Release == vp.Release) && !seen[p.Key] {
						seen[p.Key] = true
						all = append(all, p)
					}
				}
			}
		}
		return nil
	})
	return c, all, err
}

// Retry makes a failed compose again, or a release's that has none yet. A finished one is a Conflict: it is immutable.
func (s *Service) Retry(ctx context.Context, id, actor string) (Compose, error) {
	rel, err := s.releases.Release(ctx, id)
	if err != nil {
		return Compose{}, err
	}
	var c Compose
	err = s.store.Update(ctx, func(tx Tx) error {
		c, err = tx.Composes().Get(ctx, id)
		switch {
		case slipway.Is(err, slipway.NotFound):
			c = fresh(rel, tx.Now())
		case err != nil:
			return err
		case c.State == Finished:
			return slipway.Errorf(slipway.Conflict, "compose %s is finished, and a finished compose does not change", id).
				Try("make a new release")
		case c.State == Failed:
			c.Attempt++
		}
		c.State, c.Reason = Waiting, "asked for by "+actor
		if err := tx.Composes().Put(ctx, c); err != nil {
			return err
		}
		return tx.Wake(ctx, Kind, id, time.Time{})
	})
	return c, err
}

func fresh(rel slipway.Release, now time.Time) Compose {
	return Compose{ID: rel.ID, Product: rel.Product, Tag: rel.Tag, State: Waiting, Attempt: 1, CreatedAt: now, ReleaseTime: rel.Time,
		Reason: fmt.Sprintf("release %s was made", rel.Tag)}
}

// PublicKey is the armored key with which clients check what composes hold.
func (s *Service) PublicKey() ([]byte, error) {
	k, err := s.key()
	if err != nil {
		return nil, err
	}
	return k.Public()
}
