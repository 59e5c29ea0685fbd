package httpapi_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/catalog"
	"slipway.dev/slipway/internal/edge/httpapi"
	"slipway.dev/slipway/internal/edge/httpapi/httpapitest"
	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/platform/git"
	"slipway.dev/slipway/internal/platform/jobs/jobstest"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/store"
	"slipway.dev/slipway/internal/store/storetest"
)

// repository is one real repository under every name.
type repository struct{ git.Repo }

func (r repository) File(ctx context.Context, _, rev, path string) ([]byte, error) {
	return r.Repo.File(ctx, rev, path)
}
func (r repository) Resolve(ctx context.Context, _, rev string) (string, error) {
	return r.Repo.Resolve(ctx, rev)
}
func (r repository) LogN(ctx context.Context, _, from, to, path string, limit int, others ...string) ([]git.Commit, error) {
	return r.Log(ctx, from, to, path, limit, others...)
}
func (r repository) Refs(ctx context.Context, _ string, prefixes ...string) ([]git.Ref, error) {
	return r.Repo.Refs(ctx, prefixes...)
}

func TestCatalog(t *testing.T) {
	ctx := t.Context()
	g, err := git.Init(ctx, t.TempDir(), "main")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	id, err := g.CommitFiles(ctx, git.CommitSpec{Time: at, Message: "first\n", Files: map[string][]byte{
		"product.yaml":      []byte("product: ferry\ncomponents: {tide: {repo: components/all, path: tide}, wire: {repo: components/all, path: wire}}\nconfigurations: {deck: {}}\n"),
		"tide/slipway.yaml": []byte("component: tide\nbuild: make\n"),
		"wire/slipway.yaml": []byte("component: wire\nneeds: [tide]\nbuild: make\n"),
	}})
	if err == nil {
		err = g.UpdateRefs(ctx, []git.RefChange{{Ref: "refs/heads/main", Old: slipway.ZeroCommit, New: id}})
	}
	if err != nil {
		t.Fatal(err)
	}
	db := storetest.Open(t, catalog.Routes()...)
	service := catalog.New(store.Scope(db, func(tx *store.Tx) catalog.Tx { return tx }), repository{g})
	for _, repo := range []string{"products/ferry", "components/all"} {
		u := slipway.RefUpdate{Repo: repo, Ref: "refs/heads/main", Old: slipway.ZeroCommit, New: id, Actor: "ann", Time: at}
		data, err := json.Marshal(u)
		if err != nil {
			t.Fatal(err)
		}
		err = db.Update(ctx, func(tx *store.Tx) error {
			if err := tx.RefHistory().Append(ctx, u); err != nil {
				return err
			}
			return tx.Emit(ctx, slipway.Event{Type: slipway.RefUpdated, Subject: "repo/" + repo, Data: data})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	jobstest.Drain(t, db, service.Handlers()...)
	c := httpapitest.Serve(t, db, func(s *httpapi.Services) { s.Catalog = service }).Client(auth.Viewer)

	products, err := client.All(c.Products(ctx, 0))
	if err != nil || len(products) != 1 || products[0].State != catalog.Loaded {
		t.Fatalf("products: %+v %v", products, err)
	}
	components, err := c.Components(ctx, "ferry")
	if err != nil || len(components) != 2 || components[1].Recipe.Needs[0] != "tide" {
		t.Errorf("components: %+v %v", components, err)
	}
	dependents, err := c.Dependents(ctx, "ferry", "tide", time.Time{})
	if err != nil || len(dependents) != 1 || dependents[0].Component != "wire" {
		t.Errorf("dependents: %+v %v", dependents, err)
	}
	if dependents, err = c.Dependents(ctx, "ferry", "tide", at.Add(-time.Hour)); err != nil || len(dependents) != 0 {
		t.Errorf("dependents before the push: %+v %v", dependents, err)
	}
	needs, err := c.Needs(ctx, "ferry", time.Time{})
	if err != nil || len(needs) != 1 || !needs[0].Since.Equal(at) {
		t.Errorf("needs: %+v %v", needs, err)
	}
	heads, err := c.Heads(ctx, "ferry")
	if err != nil || len(heads) != 2 || heads[0].Commit != id {
		t.Errorf("heads: %+v %v", heads, err)
	}
	if problems, err := c.Problems(ctx, "ferry"); err != nil || len(problems) != 0 {
		t.Errorf("problems: %+v %v", problems, err)
	}
	if _, err := c.Component(ctx, "ferry", "moon"); !slipway.Is(err, slipway.NotFound) || !strings.Contains(err.Error(), "slipway component list") {
		t.Errorf("unknown component: %v", err)
	}
}
