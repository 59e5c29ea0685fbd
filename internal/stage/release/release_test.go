package release_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/internal/platform/git"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/release"
	"slipway.dev/slipway/internal/store"
	"slipway.dev/slipway/internal/store/storetest"
)

// repository is a real git repository; dies makes one of its calls fail as a crash would.
type repository struct {
	git.Repo
	dies string
}

var errCrash = errors.New("killed")

func (r *repository) die(at string) error {
	if r.dies == at {
		r.dies = ""
		return errCrash
	}
	return nil
}

func (r *repository) Commit(ctx context.Context, _ string, c release.Commit) (string, error) {
	if err := r.die("commit"); err != nil {
		return "", err
	}
	return r.CommitFiles(ctx, git.CommitSpec{Parent: c.Parent, Files: c.Files, Message: c.Message, Time: c.Time})
}

func (r *repository) Tag(ctx context.Context, _, name, commit, message string, at time.Time) (string, error) {
	if err := r.die("tag"); err != nil {
		return "", err
	}
	return r.WriteTag(ctx, git.NewTag{Name: name, Commit: commit, Message: message, Tagger: git.Self(at)})
}

func (r *repository) Move(ctx context.Context, _, _ string, moves ...slipway.RefUpdate) error {
	if err := r.die("move"); err != nil {
		return err
	}
	var changes []git.RefChange
	for _, m := range moves {
		changes = append(changes, git.RefChange{Ref: m.Ref, Old: m.Old, New: m.New})
	}
	if err := r.UpdateRefs(ctx, changes); err != nil {
		return err
	}
	return r.die("moved")
}

func (r *repository) Object(ctx context.Context, _, ref string) (string, error) {
	id, err := r.Ref(ctx, ref)
	if err == nil && id == slipway.ZeroCommit {
		err = slipway.Errorf(slipway.NotFound, "no ref %s", ref)
	}
	return id, err
}

func (r *repository) Subjects(context.Context, string, string, string, string) ([]string, error) {
	return []string{"feat: go faster"}, nil
}

func newRepository(t *testing.T) (*repository, string) {
	t.Helper()
	g, err := git.Init(t.Context(), t.TempDir()+"/p.git", "main")
	if err != nil {
		t.Fatal(err)
	}
	base, err := g.CommitFiles(t.Context(), git.CommitSpec{Files: map[string][]byte{"product.yaml": []byte("product: p\n")}, Message: "begin", Time: time.Unix(1, 0)})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.UpdateRefs(t.Context(), []git.RefChange{{Ref: "refs/heads/main", Old: git.Zero, New: base}}); err != nil {
		t.Fatal(err)
	}
	return &repository{Repo: g}, base
}

func request(base, entry, version string) slipway.ReleaseRequest {
	locked := slipway.Locked{Repo: "components/libwire", Version: version, Commit: strings.Repeat("a", 40), Build: "sha256:k", Artifact: "sha256:a"}
	return slipway.ReleaseRequest{
		Product: "p", Repo: "products/p", Base: base, Entry: entry, Candidate: "candidate/c", Title: "libwire " + version,
		Manifests: map[string]slipway.Manifest{"shore": {Product: "p", Configuration: "shore", Components: map[string]slipway.Locked{"libwire": locked}}},
		Moved:     []slipway.Pin{locked.Pin("libwire")},
	}
}

func TestCut(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		repo, base := newRepository(t)
		s := release.New(store.Scope(db, func(tx *store.Tx) release.Tx { return tx }), repo)
		first, err := s.Cut(ctx, request(base, "entry/1", "1.0.0"))
		if err != nil {
			t.Fatal(err)
		}
		if again, err := s.Cut(ctx, request(base, "entry/1", "1.0.0")); err != nil || again.ID != first.ID || again.Commit != first.Commit {
			t.Errorf("asked again: %+v, %v; want %+v", again, err, first)
		}
		if head, err := repo.Resolve(ctx, "refs/heads/main"); err != nil || head != first.Commit {
			t.Errorf("main is at %s, %v; want the release's commit %s", head, err, first.Commit)
		}
		if c, err := repo.Repo.Commit(ctx, first.Tag); err != nil || c.ID != first.Commit || !strings.Contains(c.Message, "Slipway-Entry: entry/1") {
			t.Errorf("the tag leads to %+v, %v", c, err)
		}
		data, err := repo.File(ctx, first.Commit, release.ManifestPath("shore"))
		if err != nil {
			t.Fatal(err)
		}
		if m, err := release.DecodeManifest(data); err != nil || m.Components["libwire"] != first.Manifests["shore"].Components["libwire"] {
			t.Errorf("the manifest reads back as %+v, %v", m, err)
		}

		if _, err := s.Cut(ctx, request(base, "entry/2", "1.1.0")); !slipway.Is(err, slipway.Conflict) {
			t.Errorf("cut on a base that has moved: %v", err)
		}
		second, err := s.Cut(ctx, request(first.Commit, "entry/2", "1.1.0"))
		if err != nil {
			t.Fatal(err)
		}
		if second.Previous != first.ID || !strings.HasSuffix(second.Tag, ".2") || !strings.Contains(second.Notes, "libwire 1.0.0 -> 1.1.0\n  - feat: go faster") {
			t.Errorf("second release %+v", second)
		}
		events, err := db.Events(ctx, store.EventQuery{Type: string(slipway.ReleaseCreated)})
		if err != nil || len(events) != 2 {
			t.Errorf("%d events for 2 releases, %v", len(events), err)
		}
	})
}

// TestBranchesShareTags has two branches of a product take the same tag: the second finds it gone, and takes the next.
func TestBranchesShareTags(t *testing.T) {
	ctx := t.Context()
	repo, base := newRepository(t)
	if err := repo.UpdateRefs(ctx, []git.RefChange{{Ref: "refs/heads/stable-1", Old: git.Zero, New: base}}); err != nil {
		t.Fatal(err)
	}
	db := storetest.Open(t)
	s := release.New(store.Scope(db, func(tx *store.Tx) release.Tx { return tx }), repo)
	stable := request(base, "entry/2", "1.0.1")
	stable.Product = "p@stable-1"
	repo.dies = "commit" // when its tag is reserved
	if _, err := s.Cut(ctx, stable); !errors.Is(err, errCrash) {
		t.Fatalf("got %v, want the crash", err)
	}
	main, err := s.Cut(ctx, request(base, "entry/1", "1.1.0"))
	if err != nil || !strings.HasSuffix(main.Tag, ".1") {
		t.Fatal(main, err)
	}
	if _, err := s.Cut(ctx, stable); !slipway.Is(err, slipway.Conflict) || !strings.Contains(err.Error(), main.Tag) {
		t.Fatalf("got %v, want a conflict over %s", err, main.Tag)
	}
	r, err := s.Cut(ctx, stable)
	if err != nil || !strings.HasSuffix(r.Tag, ".2") || r.Previous != "" || r.ID != "p@stable-1-"+r.Tag {
		t.Fatal(r, err)
	}
	for ref, want := range map[string]string{"refs/heads/main": main.Commit, "refs/heads/stable-1": r.Commit} {
		if head, err := repo.Resolve(ctx, ref); err != nil || head != want {
			t.Errorf("%s is at %s, %v; want %s", ref, head, err, want)
		}
	}
}

// TestCutSurvivesACrash stops a cut after each of its steps; the next try ends with one release and one event.
func TestCutSurvivesACrash(t *testing.T) {
	for _, at := range []string{"commit", "tag", "move", "moved"} {
		t.Run(at, func(t *testing.T) {
			ctx := t.Context()
			db := storetest.Open(t)
			repo, base := newRepository(t)
			s := release.New(store.Scope(db, func(tx *store.Tx) release.Tx { return tx }), repo)
			repo.dies = at
			if _, err := s.Cut(ctx, request(base, "entry/1", "1.0.0")); !errors.Is(err, errCrash) {
				t.Fatalf("got %v, want the crash", err)
			}
			r, err := s.Cut(ctx, request(base, "entry/1", "1.0.0"))
			if err != nil || !strings.HasSuffix(r.Tag, ".1") {
				t.Fatal(r, err)
			}
			all, err := s.Releases(ctx, slipway.Query{Product: "p"})
			if err != nil || len(all) != 1 {
				t.Errorf("releases %+v, %v", all, err)
			}
			log, err := repo.Log(ctx, base, "refs/heads/main", "", 0)
			if err != nil || len(log) != 1 {
				t.Errorf("%d commits on main for one release, %v", len(log), err)
			}
		})
	}
}

// A tag that a person has pushed does not stop the releases after it.
func TestATagThatIsTakenIsPassedOver(t *testing.T) {
	ctx, db := t.Context(), storetest.Open(t)
	repo, base := newRepository(t)
	s := release.New(store.Scope(db, func(tx *store.Tx) release.Tx { return tx }), repo)
	first, err := s.Cut(ctx, request(base, "entry/1", "1.0.0"))
	if err != nil {
		t.Fatal(err)
	}
	taken := release.NextTag(first.Tag, first.Time)
	if err := repo.UpdateRefs(ctx, []git.RefChange{{Ref: "refs/tags/" + taken, Old: git.Zero, New: base}}); err != nil {
		t.Fatal(err)
	}
	second, err := s.Cut(ctx, request(first.Commit, "entry/2", "1.1.0"))
	if err != nil {
		t.Fatal(err)
	}
	if want := release.NextTag(taken, first.Time); second.Tag != want || second.Previous != first.ID {
		t.Errorf("the release is %s after %s, want %s", second.Tag, second.Previous, want)
	}
	if at, err := repo.Ref(ctx, "refs/tags/"+taken); err != nil || at != base {
		t.Errorf("the taken tag is at %s, %v; it must stay", at, err)
	}
}

func TestNextTag(t *testing.T) {
	november := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	for last, want := range map[string]string{
		"": "v2026.11.1", "v2026.10.7": "v2026.11.1", "v2026.11.9": "v2026.11.10", "v2027.01.3": "v2027.01.4", "odd": "v2026.11.1",
	} {
		if got := release.NextTag(last, november); got != want {
			t.Errorf("after %q comes %s, want %s", last, got, want)
		}
	}
}
