package auth_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/platform/clock"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/store"
	"slipway.dev/slipway/internal/store/storetest"
)

func service(db *store.DB) *auth.Service {
	return auth.New(store.Scope(db, func(tx *store.Tx) auth.Tx { return tx }), auth.Config{})
}

func put(t *testing.T, s *auth.Service, u auth.User) {
	t.Helper()
	if _, err := s.PutUser(t.Context(), u); err != nil {
		t.Fatal(err)
	}
}

func issue(t *testing.T, s *auth.Service, spec auth.TokenSpec) (string, auth.Token) {
	t.Helper()
	if spec.Name == "" {
		spec.Name = "test"
	}
	secret, token, err := s.IssueToken(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return secret, token
}

func wantKind(t *testing.T, err error, kind slipway.Kind, says string) {
	t.Helper()
	if !slipway.Is(err, kind) || !strings.Contains(err.Error(), says) {
		t.Errorf("got %v, want kind %s and %q", err, kind, says)
	}
}

func TestRoles(t *testing.T) {
	roles := auth.Roles()[1:] // the worker's stands beside them
	for i, have := range roles {
		for j, need := range roles {
			if got := have.Covers(need); got != (i >= j) {
				t.Errorf("%s covers %s: %v", have, need, got)
			}
		}
		if have.Covers("") || have.Covers("king") || auth.Role("king").Covers(have) || auth.Role("").Covers(have) {
			t.Errorf("%s and an unknown role", have)
		}
	}
	for _, other := range auth.Roles() {
		if got := other.Covers(auth.Worker); got != slices.Contains([]auth.Role{auth.Worker, auth.Operator, auth.Admin}, other) {
			t.Errorf("%s covers a worker: %v", other, got)
		}
		if auth.Worker.Covers(other) != (other == auth.Worker) {
			t.Errorf("a worker covers %s", other)
		}
	}
	ctx := t.Context()
	wantKind(t, auth.Require(ctx, auth.Viewer), slipway.Unauthenticated, "no credentials")
	ctx = auth.With(ctx, auth.Identity{User: "ada", Role: auth.Developer})
	wantKind(t, auth.Require(ctx, auth.Gatekeeper), slipway.Forbidden, "ada has the role developer, and this needs gatekeeper")
	if err := auth.Require(ctx, auth.Viewer); err != nil {
		t.Error(err)
	}
}

func TestTokens(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		s, ctx := service(db), t.Context()
		put(t, s, auth.User{Name: "root", Role: auth.Admin})
		put(t, s, auth.User{Name: "ada", Role: auth.Gatekeeper})
		secret, token := issue(t, s, auth.TokenSpec{User: "ada"})
		if len(secret) < 4+43 || !strings.HasPrefix(secret, "slw_") || strings.Contains(secret, token.ID) {
			t.Errorf("secret %q of token %q", secret, token.ID)
		}
		id, err := s.Authenticate(ctx, secret)
		if err != nil || id != (auth.Identity{User: "ada", Role: auth.Gatekeeper, Token: token.ID}) {
			t.Errorf("%+v %v", id, err)
		}
		weak, _ := issue(t, s, auth.TokenSpec{User: "ada", Role: auth.Viewer})
		if id, err := s.Authenticate(ctx, weak); err != nil || id.Role != auth.Viewer {
			t.Errorf("a weak token gives %+v %v", id, err)
		}
		strong, _ := issue(t, s, auth.TokenSpec{User: "ada", Role: auth.Admin})
		if id, err := s.Authenticate(ctx, strong); err != nil || id.Role != auth.Gatekeeper {
			t.Errorf("a token gives more than its user has: %+v %v", id, err)
		}
		put(t, s, auth.User{Name: "big-1", Role: auth.Worker})
		put(t, s, auth.User{Name: "eve", Role: auth.Gatekeeper})
		for _, c := range []struct {
			spec auth.TokenSpec
			want auth.Role
		}{
			{auth.TokenSpec{User: "root", Role: auth.Worker}, auth.Worker},
			{auth.TokenSpec{User: "eve", Role: auth.Worker}, "none"}, // a gatekeeper does not work
			{auth.TokenSpec{User: "big-1"}, auth.Worker},
			{auth.TokenSpec{User: "big-1", Role: auth.Admin}, auth.Worker},
			{auth.TokenSpec{User: "big-1", Role: auth.Viewer}, "none"},
		} {
			secret, _ := issue(t, s, c.spec)
			if id, err := s.Authenticate(ctx, secret); err != nil || id.Role != c.want {
				t.Errorf("%+v gives %+v %v", c.spec, id, err)
			}
		}
		for _, bad := range []string{"", "slw_", "x", secret[:len(secret)-1], secret + "A", strings.ToUpper(secret), token.ID} {
			_, err := s.Authenticate(ctx, bad)
			wantKind(t, err, slipway.Unauthenticated, "token")
		}

		put(t, s, auth.User{Name: "ada", Role: auth.Gatekeeper, Disabled: true})
		_, err = s.Authenticate(ctx, secret)
		wantKind(t, err, slipway.Unauthenticated, "disabled")
		_, _, err = s.IssueToken(ctx, auth.TokenSpec{User: "ada", Name: "more"})
		wantKind(t, err, slipway.Conflict, "disabled")
		put(t, s, auth.User{Name: "ada", Role: auth.Gatekeeper})
		for range 2 { // twice is harmless
			if err := s.RevokeToken(ctx, token.ID); err != nil {
				t.Fatal(err)
			}
		}
		_, err = s.Authenticate(ctx, secret)
		wantKind(t, err, slipway.Unauthenticated, "revoked")

		events, err := db.Events(ctx, store.EventQuery{Subject: "user/ada"})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range events {
			got = append(got, string(e.Type)+": "+e.Reason)
			if strings.Contains(e.Reason+string(e.Data), secret) {
				t.Error("the secret is in the ledger")
			}
		}
		want := 3 + 3 + 1 // changes of the user, tokens issued, revoked once
		if len(got) != want {
			t.Errorf("%d events, not %d:\n%s", len(got), want, strings.Join(got, "\n"))
		}
	})
}

func TestTheSecretIsNotStored(t *testing.T) {
	dir := t.TempDir()
	db, err := store.Open(t.Context(), store.Config{URL: "sqlite:" + dir + "/x.db"})
	if err != nil {
		t.Fatal(err)
	}
	s := service(db)
	put(t, s, auth.User{Name: "root", Role: auth.Admin})
	secret, _ := issue(t, s, auth.TokenSpec{User: "root"})
	cookie, _, err := s.Login(t.Context(), secret, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(dir + "/*")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), secret[8:]) || strings.Contains(string(text), cookie.Value) {
			t.Errorf("%s holds a secret", f)
		}
		if !strings.Contains(string(text), "root") {
			t.Errorf("%s does not hold what it should; this test looks in the wrong place", f)
		}
	}
}

func TestExpiry(t *testing.T) {
	now := clock.NewFake(time.Date(2026, 11, 21, 3, 0, 0, 0, time.UTC))
	db, err := store.Open(t.Context(), store.Config{URL: "sqlite:" + t.TempDir() + "/x.db", Clock: now})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	s, ctx := service(db), t.Context()
	put(t, s, auth.User{Name: "root", Role: auth.Admin})
	secret, token := issue(t, s, auth.TokenSpec{User: "root", Expires: 2 * time.Hour})
	cookie, _, err := s.Login(ctx, secret, false)
	if err != nil {
		t.Fatal(err)
	}
	if cookie.MaxAge != 2*60*60 {
		t.Errorf("the session outlives its token: %d s", cookie.MaxAge)
	}
	now.Advance(2*time.Hour - time.Second)
	if _, err := s.Authenticate(ctx, secret); err != nil {
		t.Error(err)
	}
	if got, err := s.Token(ctx, token.ID); err != nil || !got.Used.Equal(now.Now()) {
		t.Errorf("used at %s, not %s; %v", got.Used, now.Now(), err)
	}
	now.Advance(time.Second)
	_, err = s.Authenticate(ctx, secret)
	wantKind(t, err, slipway.Unauthenticated, "expired")
	_, err = s.AuthenticateSession(ctx, cookie.Value)
	wantKind(t, err, slipway.Unauthenticated, "over")
	_, _, err = s.IssueToken(ctx, auth.TokenSpec{User: "root", Name: "x", Expires: -1})
	wantKind(t, err, slipway.Invalid, "expired already")
}

func TestSessions(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		s, ctx := service(db), t.Context()
		put(t, s, auth.User{Name: "ada", Role: auth.Developer})
		secret, token := issue(t, s, auth.TokenSpec{User: "ada"})
		cookie, id, err := s.Login(ctx, secret, true)
		if err != nil {
			t.Fatal(err)
		}
		if !cookie.HttpOnly || !cookie.Secure || cookie.SameSite != http.SameSiteLaxMode || !id.Session {
			t.Errorf("%+v", cookie)
		}
		if got, err := s.AuthenticateSession(ctx, cookie.Value); err != nil || got != id {
			t.Errorf("%+v %v", got, err)
		}
		other, _, err := s.Login(ctx, secret, true)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Logout(ctx, other.Value); err != nil {
			t.Fatal(err)
		}
		_, err = s.AuthenticateSession(ctx, other.Value)
		wantKind(t, err, slipway.Unauthenticated, "unknown session")
		if err := s.RevokeToken(ctx, token.ID); err != nil {
			t.Fatal(err)
		}
		_, err = s.AuthenticateSession(ctx, cookie.Value)
		wantKind(t, err, slipway.Unauthenticated, "unknown session")
		_, _, err = s.Login(ctx, secret, true)
		wantKind(t, err, slipway.Unauthenticated, "revoked")
	})
}

func TestRequest(t *testing.T) {
	s := service(storetest.Open(t))
	put(t, s, auth.User{Name: "ada", Role: auth.Developer})
	secret, _ := issue(t, s, auth.TokenSpec{User: "ada"})
	cookie, _, err := s.Login(t.Context(), secret, false)
	if err != nil {
		t.Fatal(err)
	}
	for name, set := range map[string]func(*http.Request){
		"bearer": func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+secret) },
		"basic":  func(r *http.Request) { r.SetBasicAuth("anybody", secret) },
		"cookie": func(r *http.Request) { r.AddCookie(cookie) },
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil)
		set(r)
		if id, err := s.Request(r); err != nil || id.User != "ada" {
			t.Errorf("%s: %+v %v", name, id, err)
		}
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", nil)
	r.AddCookie(cookie)
	r.Header.Set("Authorization", "Bearer slw_wrong") // the cookie must not stand in for a wrong token
	_, err = s.Request(r)
	wantKind(t, err, slipway.Unauthenticated, "unknown API token")
}

func TestTheLastAdminStays(t *testing.T) {
	s, ctx := service(storetest.Open(t)), t.Context()
	put(t, s, auth.User{Name: "root", Role: auth.Admin})
	_, err := s.PutUser(ctx, auth.User{Name: "root", Role: auth.Admin, Disabled: true})
	wantKind(t, err, slipway.Conflict, "last admin")
	_, err = s.PutUser(ctx, auth.User{Name: "root", Role: auth.Operator})
	wantKind(t, err, slipway.Conflict, "last admin")
	if u, err := s.User(ctx, "root"); err != nil || u.Role != auth.Admin || u.Disabled {
		t.Errorf("%+v %v", u, err)
	}
	put(t, s, auth.User{Name: "eva", Role: auth.Admin})
	put(t, s, auth.User{Name: "root", Role: auth.Operator})
	for _, bad := range []string{"", "Ada", "a b", "../x", "-x", strings.Repeat("a", 64)} {
		_, err := s.PutUser(ctx, auth.User{Name: bad, Role: auth.Viewer})
		wantKind(t, err, slipway.Invalid, "cannot be a user's name")
	}
	_, err = s.PutUser(ctx, auth.User{Name: "x", Role: "king"})
	wantKind(t, err, slipway.Invalid, `unknown role "king"`)
}

func TestEnsureAdmin(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		s, ctx, dir := service(db), t.Context(), t.TempDir()
		ensure := func() string {
			t.Helper()
			path, err := s.EnsureAdmin(ctx, dir)
			if err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(path)
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("mode %s, %v", info.Mode(), err)
			}
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			secret := strings.TrimSpace(string(text))
			if id, err := s.Authenticate(ctx, secret); err != nil || id.Role != auth.Admin {
				t.Fatalf("%+v %v", id, err)
			}
			return secret
		}
		first := ensure()
		if again := ensure(); again != first {
			t.Error("a good token was replaced")
		}
		if err := os.Remove(filepath.Join(dir, auth.AdminTokenFile)); err != nil {
			t.Fatal(err)
		}
		second := ensure()
		_, err := s.Authenticate(ctx, first)
		wantKind(t, err, slipway.Unauthenticated, "revoked")
		if err := os.WriteFile(filepath.Join(dir, auth.AdminTokenFile), []byte("rubbish"), 0o600); err != nil {
			t.Fatal(err)
		}
		if third := ensure(); third == second {
			t.Error("rubbish is a token")
		}
		ended, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := s.EnsureAdmin(ended, dir); err == nil {
			t.Error("no error although the context has ended")
		}
	})
}
