// Package storetest opens databases for tests: SQLite in a temporary folder, and a PostgreSQL server that the test
// binary starts on a free port and stops when it ends.
package storetest

import (
	"testing"

	"slipway.dev/slipway/internal/platform/jobs"
	"slipway.dev/slipway/internal/store"
)

// Open returns a fresh SQLite database that is closed with the test.
func Open(t testing.TB, routes ...jobs.Route) *store.DB {
	t.Helper()
	return open(t, store.Config{URL: "sqlite:" + t.TempDir() + "/slipway.db", Routes: routes})
}

// OpenPostgres returns a fresh database on the test binary's own PostgreSQL server.
func OpenPostgres(t testing.TB, routes ...jobs.Route) *store.DB {
	t.Helper()
	return open(t, store.Config{URL: Postgres(t), Routes: routes})
}

// Each runs f once on SQLite and once on PostgreSQL.
func Each(t *testing.T, f func(t *testing.T, db *store.DB), routes ...jobs.Route) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { f(t, Open(t, routes...)) })
	t.Run("postgres", func(t *testing.T) { f(t, OpenPostgres(t, routes...)) })
}

func open(t testing.TB, cfg store.Config) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}
