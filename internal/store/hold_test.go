package store_test

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/store"
	"slipway.dev/slipway/internal/store/storetest"
)

// One process works on a PostgreSQL database; another one comes in when it has ended, and is refused before.
func TestHold(t *testing.T) {
	ctx := t.Context()
	url := storetest.Postgres(t)
	open := func() *store.DB {
		t.Helper()
		db, err := store.Open(ctx, store.Config{URL: url})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		return db
	}
	first, second := open(), open()
	never := func(err error) { t.Errorf("lost: %v", err) }
	release, err := first.Hold(ctx, time.Second, never)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := second.Hold(ctx, 100*time.Millisecond, never); !slipway.Is(err, slipway.Conflict) {
		t.Fatalf("the second one got %v, want a Conflict", err)
	}
	waited := make(chan error, 1)
	go func() {
		release, err := second.Hold(ctx, time.Minute, never)
		if err == nil {
			release()
		}
		waited <- err
	}()
	release()
	if err := <-waited; err != nil {
		t.Errorf("after the first one ended: %v", err)
	}
}

// A holder whose session ended takes the lock again, or learns that somebody else has it.
func TestHoldLost(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	url := storetest.Postgres(t)
	db, err := store.Open(ctx, store.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	lost := make(chan error, 1)
	release, err := db.Hold(ctx, time.Second, func(err error) { lost <- err })
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	rival, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer rival.Close()
	// In one statement, so that nobody comes in between: end the holder's session, and wait for its lock.
	if _, err := rival.ExecContext(ctx, `SELECT pg_terminate_backend(pid), pg_advisory_lock(objid::int) FROM pg_locks
		WHERE locktype = 'advisory' AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-lost:
		if !slipway.Is(err, slipway.Conflict) {
			t.Error(err)
		}
	case <-ctx.Done():
		t.Error("the holder did not notice that another has the lock")
	}
}
