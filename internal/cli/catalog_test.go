package cli

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"slipway.dev/slipway/internal/edge/httpapi"
	"slipway.dev/slipway/internal/edge/httpapi/httpapitest"
	"slipway.dev/slipway/internal/notify"
	"slipway.dev/slipway/internal/overview"
	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/store"
	"slipway.dev/slipway/internal/store/storetest"
)

func TestCheckAndSchemaNeedNoServer(t *testing.T) {
	s := newShell(t)
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("slipway.yaml", "component: tide\nbuild: make\n")
	bad := write("product.yaml", "product: ferry\ncomponents: {tide: {}}\nconfigurations: {deck: {components: [tyde]}}\ncolour: red\n")
	if out, errOut, status := s.run("", "check", good); status != 0 || out != good+" is fine\n" {
		t.Errorf("good: %d %s%s", status, out, errOut)
	}
	out, errOut, status := s.run("", "check", good, bad)
	if status != 2 || !strings.Contains(out, `product.yaml:3:38: no component "tyde" (did you mean tide?)`) || !strings.Contains(out, `product.yaml:4:1: unknown key "colour"`) ||
		!strings.Contains(errOut, "2 problems") {
		t.Errorf("bad: %d %s%s", status, out, errOut)
	}
	if out, errOut, status := s.run("", "schema", "experiment"); status != 0 || !strings.Contains(out, `"$id": "https://slipway.dev/schema/experiment.json"`) {
		t.Errorf("schema: %d %.100s%s", status, out, errOut)
	}
	if _, errOut, status := s.run("", "schema", "produkt"); status != 3 || !strings.Contains(errOut, "did you mean product?") {
		t.Errorf("unknown schema: %d %s", status, errOut)
	}
}

func TestWhereWhyAndNotify(t *testing.T) {
	db := storetest.Open(t, notify.Routes()...)
	things := overview.New(map[string]overview.Lookup{
		"change": func(_ context.Context, id string) (overview.Item, error) {
			if id != "1" {
				return overview.Item{}, slipway.Errorf(slipway.NotFound, "no change %s", id)
			}
			return overview.Item{Kind: "change", Name: id, Title: "fix the tide", Stage: "change", State: "landed", Reason: "approved by ann", Because: []string{"commit/abc"}}, nil
		},
	}, db)
	srv := httpapitest.Serve(t, db, func(s *httpapi.Services) {
		s.Overview = things
		s.Notify = notify.New(store.Scope(db, func(tx *store.Tx) notify.Tx { return tx }), nil, notify.Config{Source: "http://slipway.test"})
	})
	err := db.Update(t.Context(), func(tx *store.Tx) error {
		return tx.Emit(t.Context(), slipway.Event{Type: slipway.RefUpdated, Subject: "commit/abc", Reason: "pushed by ann"})
	})
	if err != nil {
		t.Fatal(err)
	}
	s := newShell(t)
	s.env["SLIPWAY_SERVER"], s.env["SLIPWAY_TOKEN"] = srv.URL, srv.Token(auth.Operator)
	for _, c := range []struct {
		args   string
		want   []string
		status int
	}{
		{"where change/1", []string{"fix the tide", "landed", "approved by ann", "commit/abc"}, 0},
		{"where change/1 -o json", []string{`"stage": "change"`}, 0},
		{"where moon", []string{"nothing is called", "change"}, 3},
		{"why change/1", []string{"change/1  fix the tide  [landed]\n│  approved by ann\n└─ commit/abc  [ref.updated]"}, 0},
		{"why change/1 -o yaml", []string{"causes:", "reason: pushed by ann"}, 0},
		{"why change/2", []string{"no change 2"}, 3},
		{"notify add --mail crew@example.org --events release.,change.landed", []string{"mailto:crew@example.org", "secret"}, 0},
		{"notify add", []string{"needs a webhook or a mail address"}, 2},
		{"notify list", []string{"crew@example.org", "release. change.landed", "operator"}, 0},
		{"notify log --state failed", []string{"none"}, 0},
		{"notify retry 1-x", []string{"no delivery"}, 3},
		{"notify remove s-none", []string{"no subscription"}, 3},
	} {
		out, errOut, status := s.run("", strings.Fields(c.args)...)
		if status != c.status {
			t.Errorf("slipway %s: status %d, want %d: %s%s", c.args, status, c.status, out, errOut)
		}
		for _, want := range c.want {
			if !strings.Contains(out+errOut, want) {
				t.Errorf("slipway %s: no %q in:\n%s%s", c.args, want, out, errOut)
			}
		}
	}
	s.env["SLIPWAY_TOKEN"] = srv.Token(auth.Viewer)
	if _, errOut, status := s.run("", "notify", "add", "--mail", "crew@example.org"); status != 6 {
		t.Errorf("a viewer subscribes: %d %s", status, errOut)
	}
	if out, _, status := s.run("", "notify", "list", "-o", "json"); status != 0 || strings.Contains(out, `"secret"`) {
		t.Errorf("a viewer sees the secret: %d %s", status, out)
	}
}
