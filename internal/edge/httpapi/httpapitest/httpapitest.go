// Package httpapitest serves the API for tests, over a real store and with a user of each role.
package httpapitest

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/edge/httpapi"
	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/store"
)

// Server is a served API.
type Server struct {
	URL  string
	API  *httpapi.API
	Auth *auth.Service
	t    testing.TB
}

// Serve serves the API over db until the test ends. fill sets the services of the stages under test; it may be nil.
func Serve(t testing.TB, db *store.DB, fill func(*httpapi.Services)) *Server {
	t.Helper()
	users := auth.New(store.Scope(db, func(tx *store.Tx) auth.Tx { return tx }), auth.Config{})
	for _, role := range auth.Roles() {
		if _, err := users.PutUser(t.Context(), auth.User{Name: string(role), Role: role}); err != nil {
			t.Fatal(err)
		}
	}
	s := httpapi.Services{Version: "test", Auth: users, Ledger: ledger{db}, Jobs: db, Metrics: prometheus.NewRegistry(),
		Log: slog.New(slog.DiscardHandler)}
	if fill != nil {
		fill(&s)
	}
	api := httpapi.New(s)
	srv := httptest.NewServer(httpapi.Observe(api, s.Metrics, s.Log))
	t.Cleanup(func() {
		api.Close()
		srv.Close()
	})
	return &Server{URL: srv.URL, API: api, Auth: users, t: t}
}

// Token issues an API token of the user who has the role and is named like it.
func (s *Server) Token(role auth.Role) string {
	s.t.Helper()
	secret, _, err := s.Auth.IssueToken(s.t.Context(), auth.TokenSpec{User: string(role), Name: "test"})
	if err != nil {
		s.t.Fatal(err)
	}
	return secret
}

// Client returns a client that acts as the user with the role.
func (s *Server) Client(role auth.Role) *client.Client {
	s.t.Helper()
	return client.New(s.URL, s.Token(role))
}

type ledger struct{ *store.DB }

func (l ledger) Events(ctx context.Context, q httpapi.EventQuery) ([]slipway.Event, error) {
	return l.DB.Events(ctx, store.EventQuery(q))
}
