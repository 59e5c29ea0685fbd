package store

import (
	"context"
	"fmt"
	"time"

	"slipway.dev/slipway/internal/catalog"
	"slipway.dev/slipway/internal/slipway"
)

// Products keeps the products and their files in force.
func (tx *Tx) Products() slipway.Table[catalog.Product] {
	return table[catalog.Product](tx, "products")
}

// Components keeps the components of each product.
func (tx *Tx) Components() slipway.Table[catalog.Component] {
	return table[catalog.Component](tx, "components")
}

// Moves returns the moves of a ref after a position in branch history, oldest first.
func (tx *Tx) Moves(ctx context.Context, repo, ref string, after int64) ([]catalog.Move, error) {
	rows, err := tx.tx.QueryContext(ctx, `SELECT seq, new, time FROM ref_updates WHERE repo = $1 AND ref = $2 AND seq > $3 ORDER BY seq`, repo, ref, after)
	if err != nil {
		return nil, fmt.Errorf("read the history of %s %s: %w", repo, ref, err)
	}
	return scanAll(rows, func(scan func(...any) error) (m catalog.Move, err error) {
		var at int64
		err = scan(&m.Seq, &m.New, &at)
		m.Time = fromMicros(at)
		return m, err
	})
}

// Edges keeps who needed whom.
func (tx *Tx) Edges() catalog.Edges { return edges{tx} }

type edges struct{ tx *Tx }

func (s edges) At(ctx context.Context, product string, at time.Time) ([]catalog.Edge, error) {
	when, args := "until = 0", []any{product}
	if !at.IsZero() {
		when, args = "since <= $2 AND (until = 0 OR until > $2)", append(args, micros(at))
	}
	rows, err := s.tx.tx.QueryContext(ctx, `SELECT product, component, branch, needs, since, since_commit, until FROM edges
		WHERE product = $1 AND `+when+` ORDER BY component, needs`, args...)
	if err != nil {
		return nil, fmt.Errorf("read edges of %s: %w", product, err)
	}
	return scanAll(rows, func(scan func(...any) error) (e catalog.Edge, err error) {
		var since, until int64
		err = scan(&e.Product, &e.Component, &e.Branch, &e.Needs, &since, &e.Commit, &until)
		e.Since = fromMicros(since)
		if until != 0 {
			e.Until = fromMicros(until)
		}
		return e, err
	})
}

func (s edges) Open(ctx context.Context, e catalog.Edge) error {
	_, err := s.tx.tx.ExecContext(ctx, `INSERT INTO edges (product, component, branch, needs, since, since_commit, until)
		VALUES ($1, $2, $3, $4, $5, $6, 0)
		ON CONFLICT (product, component, branch, needs, since) DO UPDATE SET until = 0, since_commit = excluded.since_commit`,
		e.Product, e.Component, e.Branch, e.Needs, micros(e.Since), e.Commit)
	if err != nil {
		return fmt.Errorf("open edge %s -> %s: %w", e.Component, e.Needs, err)
	}
	return nil
}

func (s edges) Close(ctx context.Context, e catalog.Edge, until time.Time) error {
	_, err := s.tx.tx.ExecContext(ctx, `UPDATE edges SET until = $6 WHERE product = $1 AND component = $2 AND branch = $3 AND needs = $4 AND since = $5`,
		e.Product, e.Component, e.Branch, e.Needs, micros(e.Since), micros(until))
	if err != nil {
		return fmt.Errorf("close edge %s -> %s: %w", e.Component, e.Needs, err)
	}
	return nil
}
