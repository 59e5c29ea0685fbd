package release

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"slipway.dev/slipway/internal/slipway"
)

// Tx is what the stage needs inside one transaction.
type Tx interface {
	slipway.Ledger
	Releases() slipway.Table[slipway.Release]
	Cuts() slipway.Table[Cut]
}

// Commit is a commit to make. Equal specifications give equal ids.
type Commit struct {
	Parent  string
	Files   map[string][]byte // whole contents by path; a nil slice removes the file
	Message string
	Time    time.Time
}

// Repository is what the stage asks of the product's integration repository.
type Repository interface {
	// Commit makes a commit object on top of its parent, without moving a ref.
	Commit(ctx context.Context, repo string, c Commit) (id string, err error)
	// Tag makes an annotated tag object, without moving a ref.
	Tag(ctx context.Context, repo, name, commit, message string, at time.Time) (id string, err error)
	// Move moves the refs all together, each from its old value, or returns a Conflict and moves none.
	Move(ctx context.Context, actor, reason string, moves ...slipway.RefUpdate) error
	// Object returns the id of what a full ref name points at, or NotFound.
	Object(ctx context.Context, repo, ref string) (string, error)
	// Subjects returns one line for each commit of a component after one and up to another, newest first.
	Subjects(ctx context.Context, repo, path, after, upTo string) ([]string, error)
}

// Cut is a release under way.
type Cut struct {
	slipway.ReleaseRequest
	Tag      string    `json:"tag"`
	Previous string    `json:"previous,omitempty"` // id of the release before
	Notes    string    `json:"notes"`
	Time     time.Time `json:"time"`
}

// Row implements [slipway.Record]; the id is that of the entry, the key the tag.
func (c Cut) Row() slipway.Row { return slipway.Row{ID: c.Entry, Product: c.Product, Key: c.Tag} }

// Service cuts releases and knows those that were cut.
type Service struct {
	store slipway.Store[Tx]
	repo  Repository
}

// New makes the service.
func New(st slipway.Store[Tx], repo Repository) *Service { return &Service{st, repo} }

// Actor is who moves the refs of a release, in branch history.
const Actor = "slipway-release"

// ManifestPath is where a configuration's manifest is in the integration repository.
func ManifestPath(configuration string) string { return "manifests/" + configuration + ".yaml" }

// Cut makes the release, or returns a Conflict when main is no longer at the request's base.
func (s *Service) Cut(ctx context.Context, req slipway.ReleaseRequest) (slipway.Release, error) {
	cut, err := s.reserve(ctx, req)
	if err != nil {
		return slipway.Release{}, err
	}
	commit, err := s.move(ctx, cut)
	if slipway.Is(err, slipway.Conflict) {
		return slipway.Release{}, s.giveUp(ctx, cut, err)
	}
	if err != nil {
		return slipway.Release{}, err
	}
	return s.record(ctx, cut, commit)
}

// reserve writes down what the release will be, or returns what was written down before. A tag that somebody has pushed by
// hand is passed over.
func (s *Service) reserve(ctx context.Context, req slipway.ReleaseRequest) (cut Cut, err error) {
	reserved := false
	err = s.store.View(ctx, func(tx Tx) error {
		if cut, err = tx.Cuts().Get(ctx, req.Entry); !slipway.Is(err, slipway.NotFound) {
			reserved = err == nil
			return err
		}
		cut = Cut{ReleaseRequest: req, Time: tx.Now().Truncate(time.Second)}
		last, err := tx.Releases().Find(ctx, slipway.Query{Product: req.Product, Newest: true, Limit: 1})
		if err == nil && len(last) > 0 {
			cut.Previous, cut.Tag = last[0].ID, last[0].Tag
		}
		return err
	})
	if err != nil || reserved {
		return cut, err
	}
	for taken := true; taken; {
		cut.Tag = NextTag(cut.Tag, cut.Time)
		_, err := s.repo.Object(ctx, req.Repo, "refs/tags/"+cut.Tag)
		if taken = err == nil; !taken && !slipway.Is(err, slipway.NotFound) {
			return cut, err
		}
	}
	if cut.Notes, err = s.notes(ctx, req); err != nil {
		return cut, err
	}
	err = s.store.Update(ctx, func(tx Tx) error {
		before, err := tx.Cuts().Get(ctx, req.Entry)
		if slipway.Is(err, slipway.NotFound) {
			return tx.Cuts().Put(ctx, cut)
		}
		cut = before // somebody asked for the same at the same time
		return err
	})
	return cut, err
}

// NextTag returns the tag that follows last (empty: none yet) in the month of at. A clock that went back does not
// make a tag that sorts before the last one.
func NextTag(last string, at time.Time) string {
	month := at.UTC().Format("v2006.01")
	var y, m, n int
	if _, err := fmt.Sscanf(last, "v%d.%d.%d", &y, &m, &n); err == nil {
		if lastMonth := fmt.Sprintf("v%04d.%02d", y, m); lastMonth >= month {
			return fmt.Sprintf("%s.%d", lastMonth, n+1)
		}
	}
	return month + ".1"
}

func (s *Service) move(ctx context.Context, cut Cut) (commit string, err error) {
	files := map[string][]byte{}
	for name, m := range cut.Manifests {
		if files[ManifestPath(name)], err = EncodeManifest(m); err != nil {
			return "", err
		}
	}
	message := fmt.Sprintf("release %s: %s\n\n%s\nSlipway-Entry: %s\nSlipway-Candidate: %s\n", cut.Tag, cut.Title, cut.Notes, cut.Entry, cut.Candidate)
	commit, err = s.repo.Commit(ctx, cut.Repo, Commit{Parent: cut.Base, Files: files, Message: message, Time: cut.Time})
	if err != nil {
		return "", fmt.Errorf("make the manifest commit: %w", err)
	}
	tag, err := s.repo.Tag(ctx, cut.Repo, cut.Tag, commit, fmt.Sprintf("%s %s\n\n%s", cut.Product, cut.Tag, cut.Notes), cut.Time)
	if err != nil {
		return "", fmt.Errorf("make the tag: %w", err)
	}
	tagRef := "refs/tags/" + cut.Tag
	switch there, err := s.repo.Object(ctx, cut.Repo, tagRef); {
	case err == nil && there == tag: // moved before a crash
		return commit, nil
	case err == nil:
		return "", slipway.Errorf(slipway.Conflict, "the tag %s exists and is not this release", cut.Tag).At(cut.Repo)
	case !slipway.Is(err, slipway.NotFound):
		return "", err
	}
	_, branch := slipway.Integration(cut.Product)
	return commit, s.repo.Move(ctx, Actor, "release "+cut.Tag,
		slipway.RefUpdate{Repo: cut.Repo, Ref: branch, Old: cut.Base, New: commit},
		slipway.RefUpdate{Repo: cut.Repo, Ref: tagRef, Old: slipway.ZeroCommit, New: tag})
}

func (s *Service) giveUp(ctx context.Context, cut Cut, cause error) error {
	if err := s.store.Update(ctx, func(tx Tx) error { return tx.Cuts().Delete(ctx, cut.Entry) }); err != nil {
		return err
	}
	return cause
}

func (s *Service) record(ctx context.Context, cut Cut, commit string) (slipway.Release, error) {
	r := slipway.Release{
		ID: cut.Product + "-" + cut.Tag, Product: cut.Product, Tag: cut.Tag, Commit: commit, Previous: cut.Previous,
		Manifests: cut.Manifests, Moved: cut.Moved, Entry: cut.Entry, Candidate: cut.Candidate, Notes: cut.Notes, Time: cut.Time,
	}
	err := s.store.Update(ctx, func(tx Tx) error {
		if err := tx.Releases().Put(ctx, r); err != nil {
			return err
		}
		links := []string{r.Entry, r.Candidate, slipway.Ref("commit", commit)}
		return tx.Emit(ctx, slipway.Event{ID: "release-" + r.ID, Type: slipway.ReleaseCreated, Subject: slipway.Ref("release", r.ID),
			Product: r.Product, Actor: Actor, Reason: cut.Title, Links: links})
	})
	return r, err
}

// notes writes what is new in the moved components, as Markdown.
func (s *Service) notes(ctx context.Context, req slipway.ReleaseRequest) (string, error) {
	var b strings.Builder
	before, err := s.manifestsOf(ctx, req.Product)
	if err != nil {
		return "", err
	}
	moved := slices.SortedFunc(slices.Values(req.Moved), func(a, b slipway.Pin) int { return cmp.Compare(a.Component, b.Component) })
	for _, pin := range moved {
		was, had := before[pin.Component]
		if !had {
			fmt.Fprintf(&b, "- %s %s (new)\n", pin.Component, pin.Version)
			continue
		}
		if was.Repo != pin.Repo || was.Path != pin.Path { // no history joins the two
			fmt.Fprintf(&b, "- %s %s -> %s (now from %s)\n", pin.Component, was.Version, pin.Version, strings.TrimSuffix(pin.Repo+"/"+pin.Path, "/"))
			continue
		}
		fmt.Fprintf(&b, "- %s %s -> %s\n", pin.Component, was.Version, pin.Version)
		subjects, err := s.repo.Subjects(ctx, pin.Repo, pin.Path, was.Commit, pin.Commit)
		if err != nil {
			return "", fmt.Errorf("list the commits of %s: %w", pin.Component, err)
		}
		for _, subject := range subjects {
			fmt.Fprintf(&b, "  - %s\n", subject)
		}
	}
	if len(moved) == 0 {
		b.WriteString("- no component moved: the product file or what it names changed\n")
	}
	return b.String(), nil
}

// manifestsOf returns the components of the newest release, of all its configurations together.
func (s *Service) manifestsOf(ctx context.Context, product string) (map[string]slipway.Locked, error) {
	all := map[string]slipway.Locked{}
	last, err := s.Latest(ctx, product)
	if slipway.Is(err, slipway.NotFound) {
		return all, nil
	}
	for _, m := range last.Manifests {
		for name, locked := range m.Components {
			all[name] = locked
		}
	}
	return all, err
}

// Latest returns the newest release of a product, or NotFound.
func (s *Service) Latest(ctx context.Context, product string) (r slipway.Release, err error) {
	err = s.store.View(ctx, func(tx Tx) error {
		found, err := tx.Releases().Find(ctx, slipway.Query{Product: product, Newest: true, Limit: 1})
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return slipway.Errorf(slipway.NotFound, "product %s has no release yet", product).Try("see 'slipway queue list " + product + "' for what is on its way")
		}
		r = found[0]
		return nil
	})
	return r, err
}

// Release returns one release by its id.
func (s *Service) Release(ctx context.Context, id string) (r slipway.Release, err error) {
	err = s.store.View(ctx, func(tx Tx) error { r, err = tx.Releases().Get(ctx, id); return err })
	return r, err
}

// Releases lists releases of a product, or of all, newest first.
func (s *Service) Releases(ctx context.Context, q slipway.Query) (found []slipway.Release, err error) {
	q.Newest = true
	err = s.store.View(ctx, func(tx Tx) error { found, err = tx.Releases().Find(ctx, q); return err })
	return found, err
}

// EncodeManifest writes the manifest as the file that is committed. Equal manifests give equal bytes.
func EncodeManifest(m slipway.Manifest) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("# Written by Slipway: exactly what was tested. Do not edit; ask the integration queue.\n")
	// Maps are encoded in the order of their keys.
	err := yaml.NewEncoder(&b, yaml.UseLiteralStyleIfMultiline(true)).Encode(m)
	return b.Bytes(), err
}

// DecodeManifest reads what [EncodeManifest] wrote.
func DecodeManifest(data []byte) (m slipway.Manifest, err error) {
	if err := yaml.UnmarshalWithOptions(data, &m, yaml.Strict()); err != nil {
		return m, slipway.Errorf(slipway.Invalid, "not a manifest: %w", err)
	}
	return m, nil
}
