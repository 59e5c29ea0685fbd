package store

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"slipway.dev/slipway/internal/slipway"
)

// EventQuery selects a part of the ledger.
type EventQuery struct {
	After   int64  // events with a higher number
	Before  int64  // events with a lower number; 0: no bound
	Subject string // "change/12": about it, or linked to it
	Product string
	Type    string // a type, or a prefix that ends in a dot
	Newest  bool   // newest first
	Limit   int    // 0: 1000
}

// Events reads the ledger, in order of the events' numbers.
func (db *DB) Events(ctx context.Context, q EventQuery) ([]slipway.Event, error) {
	var events []slipway.Event
	err := db.View(ctx, func(tx *Tx) (err error) {
		events, err = tx.Events(ctx, q)
		return err
	})
	return events, err
}

// Events reads the ledger as of this transaction.
func (tx *Tx) Events(ctx context.Context, q EventQuery) ([]slipway.Event, error) {
	where := []string{"seq > $1"}
	args := []any{q.After}
	arg := func(v any) string {
		args = append(args, v)
		return fmt.Sprintf("$%d", len(args))
	}
	if q.Before > 0 {
		where = append(where, "seq < "+arg(q.Before))
	}
	if q.Subject != "" {
		a := arg(q.Subject)
		where = append(where, "(subject = "+a+" OR seq IN (SELECT seq FROM event_links WHERE link = "+a+"))")
	}
	if q.Product != "" {
		where = append(where, "product = "+arg(q.Product))
	}
	switch {
	case strings.HasSuffix(q.Type, "."):
		where = append(where, "type >= "+arg(q.Type)+" AND type < "+arg(strings.TrimSuffix(q.Type, ".")+"/"))
	case q.Type != "":
		where = append(where, "type = "+arg(q.Type))
	}
	order := "seq"
	if q.Newest {
		order = "seq DESC"
	}
	if q.Limit <= 0 {
		q.Limit = 1000
	}
	rows, err := tx.tx.QueryContext(ctx, `SELECT seq, id, type, subject, product, actor, time, reason, links, data FROM events
		WHERE `+strings.Join(where, " AND ")+` ORDER BY `+order+` LIMIT `+arg(q.Limit), args...)
	if err != nil {
		return nil, fmt.Errorf("read the ledger: %w", err)
	}
	return scanAll(rows, func(scan func(...any) error) (e slipway.Event, err error) {
		var at int64
		var links, data string
		if err := scan(&e.Seq, &e.ID, &e.Type, &e.Subject, &e.Product, &e.Actor, &at, &e.Reason, &links, &data); err != nil {
			return e, err
		}
		e.Time = fromMicros(at)
		if data != "" {
			e.Data = json.RawMessage(data)
		}
		return e, json.Unmarshal([]byte(links), &e.Links)
	})
}

// Appended is closed at the next commit of this process that appends an event.
func (db *DB) Appended() <-chan struct{} { return db.ledger.wait() }
