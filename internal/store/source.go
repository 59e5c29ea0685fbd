package store

import (
	"context"
	"fmt"
	"strings"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/source"
)

// Repos keeps the hosted repositories.
func (tx *Tx) Repos() slipway.Table[source.Repo] { return table[source.Repo](tx, "repos") }

// Mirrors keeps which repositories follow a remote.
func (tx *Tx) Mirrors() slipway.Table[source.Mirror] { return table[source.Mirror](tx, "mirrors") }

// RefIntents keeps the moves of refs that are under way.
func (tx *Tx) RefIntents() slipway.Table[source.Intent] {
	return table[source.Intent](tx, "ref_intents")
}

// RefHistory keeps branch history.
func (tx *Tx) RefHistory() source.History { return refHistory{tx} }

type refHistory struct{ tx *Tx }

const refColumns = "seq, repo, ref, old, new, actor, time"

func (h refHistory) Append(ctx context.Context, u slipway.RefUpdate) error {
	_, err := h.tx.tx.ExecContext(ctx, `INSERT INTO ref_updates (`+refColumns+`)
		VALUES ((SELECT COALESCE(MAX(seq), 0) + 1 FROM ref_updates), $1, $2, $3, $4, $5, $6)`,
		u.Repo, u.Ref, u.Old, u.New, u.Actor, micros(u.Time))
	if err != nil {
		return fmt.Errorf("append to the history of %s %s: %w", u.Repo, u.Ref, err)
	}
	return nil
}

func (h refHistory) Find(ctx context.Context, q source.HistoryQuery) ([]source.Recorded, error) {
	var where []string
	var args []any
	and := func(condition string, value any) {
		args = append(args, value)
		where = append(where, fmt.Sprintf("%s $%d", condition, len(args)))
	}
	if q.Repo != "" {
		and("repo =", q.Repo)
	}
	if q.Ref != "" {
		and("ref =", q.Ref)
	}
	if q.New != "" {
		and("new =", q.New)
	}
	if !q.Until.IsZero() {
		and("time <=", micros(q.Until))
	}
	if q.Before > 0 {
		and("seq <", q.Before)
	}
	text := "SELECT " + refColumns + " FROM ref_updates"
	if len(where) > 0 {
		text += " WHERE " + strings.Join(where, " AND ")
	}
	text += " ORDER BY seq DESC"
	if q.Limit > 0 {
		args = append(args, q.Limit)
		text += fmt.Sprintf(" LIMIT $%d", len(args))
	}
	return h.query(ctx, text, args...)
}

func (h refHistory) Current(ctx context.Context, repo string) ([]source.Recorded, error) {
	return h.query(ctx, `SELECT `+refColumns+` FROM ref_updates WHERE repo = $1 AND new <> $2
		AND seq IN (SELECT MAX(seq) FROM ref_updates WHERE repo = $1 GROUP BY ref) ORDER BY ref`, repo, slipway.ZeroCommit)
}

func (h refHistory) query(ctx context.Context, text string, args ...any) ([]source.Recorded, error) {
	rows, err := h.tx.tx.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, fmt.Errorf("read branch history: %w", err)
	}
	return scanAll(rows, func(scan func(...any) error) (r source.Recorded, err error) {
		var us int64
		err = scan(&r.Seq, &r.Repo, &r.Ref, &r.Old, &r.New, &r.Actor, &us)
		r.Time = fromMicros(us)
		return r, err
	})
}
