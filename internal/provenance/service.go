package provenance

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

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
	return []jobs.Handler{{Kind: BuildKind, Do: s.reconcileBuild, All: s.reconcileBuilds, Batch: 256, Rest: 500 * time.Millisecond}, {Kind: ComposeKind, Do: s.reconcileCompose}}
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
// build has nothing to sign.
func (s *Service) ensure(ctx context.Context, id string) (a Attestation, ok bool, err error) {
	if a, ok, err = s.attested(ctx, id); ok || err != nil {
		return a, ok, err
	}
	d, ok, err := s.draft(ctx, id)
	if err != nil || !ok {
		return a, false, err
	}
	all, err := s.sign(ctx, s.deps.Artifacts, []draft{d})
	if err != nil {
		return a, false, err
	}
	return all[0], true, nil
}

// attested returns a build's attestation if there is one with all its parts.
func (s *Service) attested(ctx context.Context, id string) (a Attestation, ok bool, err error) {
	a, err = s.attestation(ctx, BuildAttestation(id))
	if slipway.Is(err, slipway.NotFound) {
		return a, false, nil
	}
	return a, err == nil && s.holds(ctx, a.Envelope) && s.holds(ctx, a.SBOM), err
}

// draft is an attestation with what belongs to it, before it is signed.
type draft struct {
	Attestation
	statement []byte
	sbom      []byte // none: nil
}

// draft makes a build's; ok is false when there is nothing to sign.
func (s *Service) draft(ctx context.Context, id string) (d draft, ok bool, err error) {
	b, ok, err := s.deps.Builds.Attestable(ctx, id)
	if err != nil || !ok {
		return d, false, err
	}
	if d.statement, err = OfBuild(b, s.cfg.Builder); err != nil {
		return d, false, err
	}
	found, err := s.contents(ctx, b)
	if err != nil {
		return d, false, fmt.Errorf("read what build %s made: %w", id, err)
	}
	if d.sbom, err = encode(ofBuild(b, found, s.cfg.Builder.Version)); err != nil {
		return d, false, err
	}
	d.Attestation = Attestation{ID: BuildAttestation(id), Product: b.Product, Component: b.Component, Version: b.Version, Commit: b.Commit, Name: b.Component,
		Subject: b.Output, Build: b.ID, Action: b.Key, Reason: "build " + b.ID + " of " + b.Component + " passed"}
	return d, true, nil
}

// together is a store that makes many blobs durable at once. [artifact.Disk] is one.
type together interface {
	Together(ctx context.Context, f func(ctx context.Context, st artifact.Store) error) error
}

// reconcileBuilds attests many builds with one wait for the disk and one transaction.
func (s *Service) reconcileBuilds(ctx context.Context, ids []string) error {
	var drafts []draft
	for _, id := range ids {
		if _, ok, err := s.attested(ctx, id); err != nil {
			return err
		} else if ok {
			continue
		}
		d, ok, err := s.draft(ctx, id)
		if err != nil {
			return err
		}
		if ok {
			drafts = append(drafts, d)
		}
	}
	if len(drafts) == 0 {
		return nil
	}
	_, err := s.sign(ctx, s.deps.Artifacts, drafts)
	return err
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
		d := draft{statement: text}
		d.Attestation = Attestation{ID: name, Product: p.Product, Component: p.Component, Version: p.Version, Commit: p.Commit, Name: p.File, Subject: p.Digest,
			Action: p.Build, Compose: p.Compose, Reason: "compose " + p.Compose + " has made it"}
		if _, err := s.sign(ctx, s.deps.Artifacts, []draft{d}); err != nil {
			return err
		}
	}
	return nil
}

// sign keeps signed statements with what belongs to them, all of them or none, and returns the attestations. Of two runs at once, the first
// one's attestations stay.
func (s *Service) sign(ctx context.Context, to artifact.Store, drafts []draft) ([]Attestation, error) {
	if disk, ok := to.(together); ok && len(drafts) > 1 {
		err := disk.Together(ctx, func(ctx context.Context, st artifact.Store) error { return s.keep(ctx, st, drafts) })
		if err != nil {
			return nil, err
		}
	} else if err := s.keep(ctx, to, drafts); err != nil {
		return nil, err
	}
	all := make([]Attestation, len(drafts))
	err := s.store.Update(ctx, func(tx Tx) (err error) {
		for i, d := range drafts {
			if all[i], err = s.record(ctx, tx, d.Attestation); err != nil {
				return err
			}
		}
		return nil
	})
	return all, err
}

// keep signs the statements and writes what belongs to the attestations.
func (s *Service) keep(ctx context.Context, st artifact.Store, drafts []draft) error {
	for i := range drafts {
		d := &drafts[i]
		if d.sbom != nil {
			var err error
			if d.SBOM, _, err = st.Put(ctx, bytes.NewReader(d.sbom)); err != nil {
				return err
			}
		}
		envelope, keyID, err := s.ring.Sign(ctx, d.statement)
		if err != nil {
			return err
		}
		d.KeyID = keyID
		if d.Envelope, _, err = st.Put(ctx, bytes.NewReader(envelope)); err != nil {
			return err
		}
	}
	return nil
}

// record writes an attestation, unless there is one that holds, and tells of it.
func (s *Service) record(ctx context.Context, tx Tx, a Attestation) (Attestation, error) {
	old, err := tx.Attestations().Get(ctx, a.ID)
	switch {
	case err == nil && s.holds(ctx, old.Envelope) && (old.SBOM == "" || s.holds(ctx, old.SBOM)):
		return old, nil
	case err != nil && !slipway.Is(err, slipway.NotFound):
		return a, err
	}
	fresh := err != nil
	if a.Time = tx.Now(); !fresh {
		a.Time = old.Time
	}
	if err := tx.Attestations().Put(ctx, a); err != nil {
		return a, err
	}
	kind, id, _ := slipway.SplitRef(a.ID)
	subject := slipway.Ref(kind, id)
	links := []string{slipway.Ref("component", a.Component)}
	if a.Compose != "" {
		subject, links = slipway.Ref("compose", a.Compose), append(links, slipway.Ref("package", a.Name))
	}
	// The event's ID makes a repeated one harmless: an attestation whose parts were lost is signed again, not announced again.
	return a, tx.Emit(ctx, slipway.Event{ID: "attested/" + a.ID, Type: slipway.ArtifactAttested, Subject: subject, Product: a.Product, Actor: "provenance",
		Reason: a.Name + ": " + a.Reason + "; its provenance is signed by key " + a.KeyID[:12], Links: links})
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
