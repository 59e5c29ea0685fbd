package httpapi_test

import (
	"context"
	"testing"
	"time"

	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/edge/httpapi"
	"slipway.dev/slipway/internal/edge/httpapi/httpapitest"
	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/platform/git"
	"slipway.dev/slipway/internal/platform/jobs/jobstest"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/change"
	"slipway.dev/slipway/internal/stage/source"
	"slipway.dev/slipway/internal/store"
	"slipway.dev/slipway/internal/store/storetest"
)

// noUses is a catalog in which no product uses anything: changes need no tests.
type noUses struct{ change.Catalog }

func (noUses) UsesOf(context.Context, string) ([]change.Use, error) { return nil, nil }

// serveSource serves the source and change stages over real repositories.
func serveSource(t *testing.T) (*httpapitest.Server, *store.DB, *source.Service, *change.Service) {
	t.Helper()
	db := storetest.Open(t, change.Routes()...)
	src := source.New(store.Scope(db, func(tx *store.Tx) source.Tx { return tx }), source.Config{Dir: t.TempDir()})
	if err := src.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Stop(t.Context()) })
	changes := change.New(store.Scope(db, func(tx *store.Tx) change.Tx { return tx }), src, noUses{}, nil, nil, nil)
	srv := httpapitest.Serve(t, db, func(s *httpapi.Services) { s.Source, s.Change = src, changes })
	return srv, db, src, changes
}

func wantKind(t *testing.T, what string, err error, kind slipway.Kind) {
	t.Helper()
	if !slipway.Is(err, kind) {
		t.Errorf("%s: got %v (%s), want %s", what, err, slipway.KindOf(err), kind)
	}
}

func TestRepositoriesAndBranchHistory(t *testing.T) {
	srv, _, src, _ := serveSource(t)
	ctx := t.Context()
	viewer, dev, admin := srv.Client(auth.Viewer), srv.Client(auth.Developer), srv.Client(auth.Admin)
	const repo = "components/libwire"
	_, err := viewer.CreateRepo(ctx, repo, "", "")
	wantKind(t, "a viewer creates", err, slipway.Forbidden)
	r, err := dev.CreateRepo(ctx, repo, "framing", "")
	if err != nil || r.Path != "/git/components/libwire.git" || r.Creator != "developer" {
		t.Fatalf("created %+v, %v", r, err)
	}
	_, err = dev.CreateRepo(ctx, repo, "", "")
	wantKind(t, "twice", err, slipway.Conflict)
	for _, name := range []string{"libwire", "components/../x", "components/-x", "other/x"} {
		_, err = dev.CreateRepo(ctx, name, "", "")
		wantKind(t, name, err, slipway.Invalid)
	}
	_, err = viewer.Repo(ctx, "components/nosuch")
	wantKind(t, "no such", err, slipway.NotFound)

	spec := git.CommitSpec{Files: map[string][]byte{"f": []byte("1")}, Message: "one", Time: time.Unix(1700000000, 0)}
	a, err := src.CommitFiles(ctx, repo, spec)
	if err != nil {
		t.Fatal(err)
	}
	spec.Parent, spec.Message, spec.Files = a, "two", map[string][]byte{"f": []byte("2")}
	b, err := src.CommitFiles(ctx, repo, spec)
	if err != nil {
		t.Fatal(err)
	}
	move := func(from, to string) {
		t.Helper()
		if err := src.Move(ctx, "ada", "", slipway.RefUpdate{Repo: repo, Ref: "refs/heads/main", Old: from, New: to}); err != nil {
			t.Fatal(err)
		}
	}
	move(slipway.ZeroCommit, a)
	between := time.Now()
	move(a, b)
	moves, err := client.All(viewer.RefHistory(ctx, repo, "refs/heads/main", 0))
	if err != nil || len(moves) != 2 || moves[0].New != b || moves[1].New != a || moves[0].Actor != "ada" {
		t.Errorf("history %+v, %v", moves, err)
	}
	if at, err := viewer.RefAt(ctx, repo, "", between); err != nil || at.New != a {
		t.Errorf("between: %+v, %v", at, err)
	}
	_, err = viewer.RefAt(ctx, repo, "", between.Add(-time.Hour))
	wantKind(t, "before it was", err, slipway.NotFound)
	if p, err := viewer.PointedAt(ctx, a); err != nil || len(p) != 1 || p[0].Until.IsZero() {
		t.Errorf("pointed at: %+v, %v", p, err)
	}
	_, err = viewer.PointedAt(ctx, "--all")
	wantKind(t, "no commit", err, slipway.Invalid)
	if log, err := viewer.Log(ctx, repo, "", "", 1); err != nil || len(log) != 1 || log[0].ID != b || log[0].Subject != "two" {
		t.Errorf("log: %+v, %v", log, err)
	}
	_, err = viewer.Log(ctx, repo, "--output=/tmp/x", "", 1)
	wantKind(t, "an option as revision", err, slipway.Invalid)
	_, err = viewer.Log(ctx, repo, "main", "../x", 1)
	wantKind(t, "a path outside", err, slipway.Invalid)
	if refs, err := viewer.Refs(ctx, repo); err != nil || len(refs) != 1 || refs[0].Commit != b {
		t.Errorf("refs: %+v, %v", refs, err)
	}

	_, err = dev.SetMirror(ctx, "components/copy", "https://example.org/x.git", time.Minute)
	wantKind(t, "a developer mirrors", err, slipway.Forbidden)
	_, err = admin.SetMirror(ctx, "components/copy", "file:///etc", time.Minute)
	wantKind(t, "a local mirror", err, slipway.Invalid)
	_, err = admin.SetMirror(ctx, repo, "https://example.org/x.git", time.Minute)
	wantKind(t, "over branches", err, slipway.Conflict)
	m, err := admin.SetMirror(ctx, "components/copy", "https://user:hidden@example.org/x.git", 2*time.Minute)
	if err != nil || m.Secret == "" || m.Every != 2*time.Minute || m.Webhook != "/hooks/mirror/components/copy" {
		t.Errorf("mirror %+v, %v", m, err)
	}
	shown, err := viewer.Repo(ctx, "components/copy")
	if err != nil || shown.Mirror == nil || shown.Mirror.Secret != "" || shown.Mirror.URL != "https://user@example.org/x.git" {
		t.Errorf("shown %+v, %v", shown.Mirror, err)
	}
	if err := dev.SyncMirror(ctx, "components/copy"); err != nil {
		t.Error(err)
	}
	if err := admin.EndMirror(ctx, "components/copy"); err != nil {
		t.Error(err)
	}
	wantKind(t, "no mirror", dev.SyncMirror(ctx, "components/copy"), slipway.NotFound)
	repos, err := client.All(viewer.Repos(ctx, "components", 0))
	if err != nil || len(repos) != 2 {
		t.Errorf("repos %+v, %v", repos, err)
	}
}

func TestChanges(t *testing.T) {
	srv, db, src, changes := serveSource(t)
	ctx := t.Context()
	viewer, dev, keeper := srv.Client(auth.Viewer), srv.Client(auth.Developer), srv.Client(auth.Gatekeeper)
	const repo = "components/libwire"
	if _, err := dev.CreateRepo(ctx, repo, "", ""); err != nil {
		t.Fatal(err)
	}
	commit := func(parent, text string) string {
		t.Helper()
		id, err := src.CommitFiles(ctx, repo, git.CommitSpec{Parent: parent, Files: map[string][]byte{"f": []byte(text)}, Message: "fix: " + text, Time: time.Unix(1700000000, 0)})
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	base := commit("", "base")
	if err := src.Move(ctx, "ada", "", slipway.RefUpdate{Repo: repo, Ref: "refs/heads/main", Old: slipway.ZeroCommit, New: base}); err != nil {
		t.Fatal(err)
	}
	propose := func(id string) {
		t.Helper()
		if _, err := changes.Propose(ctx, change.Proposal{Repo: repo, Branch: "main", Commit: id, Actor: "developer"}); err != nil {
			t.Fatal(err)
		}
		jobstest.Drain(t, db, changes.Handlers()...)
	}
	propose(commit(base, "one"))
	propose(commit(base, "two"))
	found, err := client.All(viewer.Changes(ctx, client.ChangeFilter{State: "tested", Repo: repo}))
	if err != nil || len(found) != 2 || found[0].Number != 2 {
		t.Fatalf("changes %+v, %v", found, err)
	}
	_, err = viewer.Vote(ctx, 1, 1, 0, "")
	wantKind(t, "a viewer votes", err, slipway.Forbidden)
	_, err = dev.Vote(ctx, 1, 2, 0, "")
	wantKind(t, "a developer approves", err, slipway.Forbidden)
	_, err = dev.Vote(ctx, 1, 3, 0, "")
	wantKind(t, "three", err, slipway.Invalid)
	_, err = keeper.Vote(ctx, 1, 2, 7, "")
	wantKind(t, "another patchset", err, slipway.Conflict)
	_, err = keeper.Vote(ctx, 9, 2, 0, "")
	wantKind(t, "no such change", err, slipway.NotFound)
	if _, err = dev.Vote(ctx, 1, 1, 1, "nice"); err != nil {
		t.Fatal(err)
	}
	if _, err = keeper.Vote(ctx, 1, 2, 1, "fine"); err != nil {
		t.Fatal(err)
	}
	jobstest.Drain(t, db, changes.Handlers()...)
	c, err := viewer.Change(ctx, 1)
	if err != nil || c.State != "landed" || c.Landed == nil || len(c.Votes) != 2 {
		t.Errorf("change 1 is %+v, %v", c, err)
	}
	if got, ok, err := changes.LandedAs(ctx, repo, c.Landed.Commit); err != nil || !ok || got.Number != 1 {
		t.Errorf("landed as %+v %v %v", got, ok, err)
	}
	if c, err = dev.Abandon(ctx, 2, "no longer"); err != nil || c.State != "abandoned" {
		t.Errorf("abandoned: %+v, %v", c, err)
	}
	_, err = dev.Retest(ctx, 2)
	wantKind(t, "test again what is abandoned", err, slipway.Conflict)
}
