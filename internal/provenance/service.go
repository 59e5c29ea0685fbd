package provenance

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/jobs"
	"slipway.dev/slipway/internal/platform/signing"
	"slipway.dev/slipway/internal/slipway"
)

// Deps are what the service asks others for.
type Deps struct {
	Builds    Builds
	Composes  Composes
	Releases  Releases
	Artifacts artifact.Store
}

// Config says who signs.
type Config struct {
	Keys    string // folder of the keys, made on first use
	Builder Builder
}

// Service signs statements and knows them.
type Service struct {
	store slipway.Store[Tx]
	deps  Deps
	cfg   Config
	ring  *signing.Ring
}

// New makes the service and, the first time, its key.
func New(st slipway.Store[Tx], deps Deps, cfg Config) (*Service, error) {
	ring, err := signing.Open(cfg.Keys)
	if err != nil {
		return nil, err
	}
	return &Service{store: st, deps: deps, cfg: cfg, ring: ring}, nil
}

// Kinds of the handlers; their keys are ids of builds and of composes.
const (
	BuildKind   = "provenance.build"
	ComposeKind = "provenance.compose"
)

// Handlers returns the reconcilers.
func (s *Service) Handlers() []jobs.Handler {
	return []jobs.Handler{{Kind: BuildKind, Do: s.reconcileBuild}, {Kind: ComposeKind, Do: s.reconcileCompose}}
}

// Routes says what wakes them.
func Routes() []jobs.Route {
	return []jobs.Route{
		{On: slipway.BuildFinished, Kind: BuildKind, Key: jobs.SubjectID},
		{On: slipway.ComposeFinished, Kind: ComposeKind, Key: jobs.SubjectID},
	}
}

func (s *Service) reconcileBuild(ctx context.Context, id string) error {
	_, _, err := s.ensure(ctx, id)
	return err
}

// ensure returns a build's attestation, which it makes when there is none or its parts are gone from the store. ok is false when the
// build has nothing to signing.
func (s *Service) ensure(ctx context.Context, id string) (a Attestation, ok bool, err error) {
	a, err = s.attestation(ctx, BuildAttestation(id))
	switch {
	case err == nil && s.holds(ctx, a.Envelope) && s.holds(ctx, a.SBOM):
		return a, true, nil
	case err != nil && !slipway.Is(err, slipway.NotFound):
		return a, false, err
	}
	b, ok, err := s.deps.Builds.Attestable(ctx, id)
	if err != nil || !ok {
		return a, false, err
	}
	text, err := OfBuild(b, s.cfg.Builder)
	if err != nil {
		return a, false, err
	}
	found, err := s.contents(ctx, b)
	if err != nil {
		return a, false, fmt.Errorf("read what build %s made: %w", id, err)
	}
	sbom, err := encode(ofBuild(b, found, s.cfg.Builder.Version))
	if err != nil {
		return a, false, err
	}
	a = Attestation{ID: BuildAttestation(id), Product: b.Product, Component: b.Component, Version: b.Version, Commit: b.Commit, Name: b.Component,
		Subject: b.Output, Build: b.ID, Action: b.Key, Reason: "build " + b.ID + " of " + b.Component + " passed"}
	if a.SBOM, _, err = s.deps.Artifacts.Put(ctx, bytes.NewReader(sbom)); err != nil {
		return a, false, err
	}
	a, err = s.sign(ctx, a, text)
	return a, err == nil, err
}

// reconcileCompose attests the package files of a compose that are not attested yet.
func (s *Service) reconcileCompose(ctx context.Context, id string) error {
	packages, err := s.deps.Composes.ComposePackages(ctx, id)
	if err != nil {
		if slipway.Is(err, slipway.NotFound) {
			return nil
		}
		return err
	}
	for _, p := range packages {
		name := packageAttestation(p.Key, p.Format)
		a, err := s.attestation(ctx, name)
		if err == nil && s.holds(ctx, a.Envelope) {
			continue
		}
		if err != nil && !slipway.Is(err, slipway.NotFound) {
			return err
		}
		text, err := OfPackage(p, s.cfg.Builder)
		if err != nil {
			return err
		}
		a = Attestation{ID: name, Product: p.Product, Component: p.Component, Version: p.Version, Commit: p.Commit, Name: p.File, Subject: p.Digest,
			Action: p.Build, Compose: p.Compose, Reason: "compose " + p.Compose + " has made it"}
		if _, err := s.sign(ctx, a, text); err != nil {
			return err
		}
	}
	return nil
}

// sign keeps the signed statement and the attestation. Of two runs at once, the first one's attestation stays.
func (s *Service) sign(ctx context.Context, a Attestation, statement []byte) (Attestation, error) {
	envelope, keyID, err := s.ring.Sign(ctx, statement)
	if err != nil {
		return a, err
	}
	a.KeyID = keyID
	if a.Envelope, _, err = s.deps.Artifacts.Put(ctx, bytes.NewReader(envelope)); err != nil {
		return a, err
	}
	err = s.store.Update(ctx, func(tx Tx) error {
		old, err := tx.Attestations().Get(ctx, a.ID)
		switch {
		case err == nil && s.holds(ctx, old.Envelope) && (old.SBOM == "" || s.holds(ctx, old.SBOM)):
			a = old
			return nil
		case err != nil && !slipway.Is(err, slipway.NotFound):
			return err
		}
		fresh := err != nil
		if a.Time = tx.Now(); !fresh {
			a.Time = old.Time
		}
		if err := tx.Attestations().Put(ctx, a); err != nil {
			return err
		}
		kind, id, _ := slipway.SplitRef(a.ID)
		subject := slipway.Ref(kind, id)
		links := []string{slipway.Ref("component", a.Component)}
		if a.Compose != "" {
			subject, links = slipway.Ref("compose", a.Compose), append(links, slipway.Ref("package", a.Name))
		}
		// The event's ID makes a repeated one harmless: an attestation whose parts were lost is signed again, not announced again.
		return tx.Emit(ctx, slipway.Event{ID: "attested/" + a.ID, Type: slipway.ArtifactAttested, Subject: subject, Product: a.Product, Actor: "provenance",
			Reason: a.Name + ": " + a.Reason + "; its provenance is signed by key " + a.KeyID[:12], Links: links})
	})
	return a, err
}

func (s *Service) attestation(ctx context.Context, id string) (a Attestation, err error) {
	err = s.store.View(ctx, func(tx Tx) error { a, err = tx.Attestations().Get(ctx, id); return err })
	return a, err
}

func (s *Service) holds(ctx context.Context, digest string) bool {
	_, err := s.deps.Artifacts.Stat(ctx, digest)
	return err == nil
}

// Keys returns the public keys; the first is the one in use.
func (s *Service) Keys() []signing.Public { return s.ring.Keys() }

// Rotate makes a new key; what the old ones signed goes on to verify.
func (s *Service) Rotate(ctx context.Context, actor string) (signing.Public, error) {
	key, err := s.ring.Rotate()
	if err != nil {
		return key, err
	}
	return key, s.store.Update(ctx, func(tx Tx) error {
		return tx.Emit(ctx, slipway.Event{Type: slipway.KeyRotated, Subject: slipway.Ref("key", key.ID()), Actor: actor,
			Reason: "statements are signed by this key from now on; the earlier keys go on to verify"})
	})
}

// Attestations returns those of a product (empty: all), newest first; after is the id of the last one of the page before.
func (s *Service) Attestations(ctx context.Context, q slipway.Query) (all []Attestation, err error) {
	err = s.store.View(ctx, func(tx Tx) error { all, err = tx.Attestations().Find(ctx, q); return err })
	return all, err
}

// Find returns the attestations that what names: a build's id, an attestation's ID, or the digest of an output tree, of an action, or of a
// package file. NotFound says what to do.
func (s *Service) Find(ctx context.Context, what string) ([]Attestation, error) {
	switch {
	case strings.HasPrefix(what, artifact.Prefix):
		all, err := s.Attestations(ctx, slipway.Query{Key: what, Newest: true})
		if err != nil || len(all) > 0 {
			return all, err
		}
		b, ok, err := s.deps.Builds.Attestable(ctx, what)
		if err != nil {
			return nil, err
		}
		if ok {
			a, _, err := s.ensure(ctx, b.ID)
			return []Attestation{a}, err
		}
	case strings.Contains(what, "/"):
		a, err := s.attestation(ctx, what)
		return []Attestation{a}, err
	default:
		a, ok, err := s.ensure(ctx, what)
		if err != nil || ok {
			return []Attestation{a}, err
		}
	}
	return nil, slipway.Errorf(slipway.NotFound, "there is no provenance of %q", what).
		Try("give the number of a build that passed, or the digest of an output or of a package file")
}

// Envelope returns the signed statement of an attestation.
func (s *Service) Envelope(ctx context.Context, a Attestation) ([]byte, error) {
	return s.read(ctx, a.Envelope)
}

func (s *Service) read(ctx context.Context, digest string) ([]byte, error) {
	r, err := s.deps.Artifacts.Open(ctx, digest)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}
