package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"

	"slipway.dev/slipway/internal/slipway"
)

// Tx is one transaction. It implements [slipway.Ledger]; the tables of each stage are methods in that stage's file.
type Tx struct {
	db      *DB
	tx      runner
	now     time.Time
	woke    bool
	emitted bool
	after   []func()
}

// runner runs statements.
type runner interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// told wakes who waits for what the transaction, which is committed, has changed.
func (tx *Tx) told() {
	if tx.woke {
		tx.db.jobs.signal()
	}
	if tx.emitted {
		tx.db.ledger.signal()
	}
	for _, f := range tx.after {
		f()
	}
}

// AfterCommit has f called once the transaction is committed, before Update returns. In a view f is never called.
func (tx *Tx) AfterCommit(f func()) { tx.after = append(tx.after, f) }

// Now implements [slipway.Ledger].
func (tx *Tx) Now() time.Time { return tx.now }

// Emit implements [slipway.Ledger].
func (tx *Tx) Emit(ctx context.Context, e slipway.Event) error {
	if e.Type == "" || e.Subject == "" {
		return slipway.Errorf(slipway.Internal, "an event needs a type and a subject, not %q and %q", e.Type, e.Subject)
	}
	if e.Time.IsZero() {
		e.Time = tx.now
	}
	if e.ID == "" {
		id, err := ulid.New(ulid.Timestamp(e.Time), rand.Reader)
		if err != nil {
			return fmt.Errorf("make an event id: %w", err)
		}
		e.ID = id.String()
	}
	if e.Links == nil {
		e.Links = []string{}
	}
	links, err := json.Marshal(e.Links)
	if err != nil {
		return fmt.Errorf("encode links: %w", err)
	}
	err = tx.tx.QueryRowContext(ctx, `INSERT INTO events (seq, id, type, subject, product, actor, time, reason, links, data)
		VALUES ((SELECT COALESCE(MAX(seq), 0) + 1 FROM events), $1, $2, $3, $4, $5, $6, $7, $8, $9)
		ON CONFLICT (id) DO NOTHING RETURNING seq`,
		e.ID, string(e.Type), e.Subject, e.Product, e.Actor, micros(e.Time), e.Reason, string(links), string(e.Data)).Scan(&e.Seq)
	if err == sql.ErrNoRows {
		return nil // told before
	}
	if err != nil {
		return fmt.Errorf("append event %s %s: %w", e.Type, e.Subject, err)
	}
	for _, link := range e.Links {
		if _, err := tx.tx.ExecContext(ctx, `INSERT INTO event_links (link, seq) VALUES ($1, $2) ON CONFLICT DO NOTHING`, link, e.Seq); err != nil {
			return fmt.Errorf("append event link: %w", err)
		}
	}
	tx.emitted = true
	for _, r := range tx.db.routes {
		if !r.Matches(e.Type) {
			continue
		}
		key, ok := r.Key(e)
		if !ok {
			continue
		}
		if err := tx.Wake(ctx, r.Kind, key, time.Time{}); err != nil {
			return err
		}
	}
	return nil
}

// Next implements [slipway.Ledger].
func (tx *Tx) Next(ctx context.Context, counter string) (n int64, err error) {
	err = tx.tx.QueryRowContext(ctx, `INSERT INTO counters (name, value) VALUES ($1, 1)
		ON CONFLICT (name) DO UPDATE SET value = counters.value + 1 RETURNING value`, counter).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count %s: %w", counter, err)
	}
	return n, nil
}

// Cursor returns how far a reader of the ledger has come, 0 at first.
func (tx *Tx) Cursor(ctx context.Context, name string) (seq int64, err error) {
	err = tx.tx.QueryRowContext(ctx, `SELECT value FROM cursors WHERE name = $1`, name).Scan(&seq)
	if err == sql.ErrNoRows {
		return 0, nil
	}
	return seq, err
}

// SetCursor remembers how far a reader of the ledger has come.
func (tx *Tx) SetCursor(ctx context.Context, name string, seq int64) error {
	_, err := tx.tx.ExecContext(ctx, `INSERT INTO cursors (name, value) VALUES ($1, $2)
		ON CONFLICT (name) DO UPDATE SET value = excluded.value`, name, seq)
	return err
}
