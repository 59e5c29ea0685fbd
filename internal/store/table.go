package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"

	"slipway.dev/slipway/internal/slipway"
)

// table keeps the records of one type in the SQL table of the given name, which a migration has made.
func table[T slipway.Record](tx *Tx, name string) slipway.Table[T] { return docs[T]{tx, name} }

// listed are the commands that list what a person can name.
var listed = map[string]string{
	"repos": "slipway repo list", "products": "slipway product list", "changes": "slipway change list", "waves": "slipway wave list",
	"builds": "slipway build list", "entries": "slipway queue list PRODUCT --all", "experiments": "slipway experiment list", "nodes": "slipway node list",
	"waivers": "slipway waiver list", "releases": "slipway release list", "composes": "slipway compose list", "models": "slipway deploy list",
	"users": "slipway user list", "subscriptions": "slipway notify list", "deliveries": "slipway notify log",
}

type docs[T slipway.Record] struct {
	tx   *Tx
	name string // a constant of this package, never input
}

func (d docs[T]) Get(ctx context.Context, id string) (T, error) {
	var zero T
	var doc string
	err := d.tx.tx.QueryRowContext(ctx, `SELECT doc FROM `+d.name+` WHERE id = $1`, id).Scan(&doc)
	if err == sql.ErrNoRows {
		err := slipway.Errorf(slipway.NotFound, "there is no %s %q", d.noun(), id)
		if command := listed[d.name]; command != "" {
			err = err.Try("see " + command)
		}
		return zero, err
	}
	if err != nil {
		return zero, fmt.Errorf("read %s %s: %w", d.name, id, err)
	}
	return d.decode(id, doc)
}

func (d docs[T]) Find(ctx context.Context, q slipway.Query) ([]T, error) {
	var where []string
	var args []any
	arg := func(v any) string {
		args = append(args, v)
		return fmt.Sprintf("$%d", len(args))
	}
	if q.Product != "" {
		where = append(where, "product = "+arg(q.Product))
	}
	if q.Key != "" {
		where = append(where, "key = "+arg(q.Key))
	}
	if len(q.States) > 0 {
		in := make([]string, len(q.States))
		for i, s := range q.States {
			in[i] = arg(s)
		}
		where = append(where, "state IN ("+strings.Join(in, ", ")+")")
	}
	order, beyond := "ASC", ">"
	if q.Newest {
		order, beyond = "DESC", "<"
	}
	if q.After != "" {
		where = append(where, "ord "+beyond+" (SELECT ord FROM "+d.name+" WHERE id = "+arg(q.After)+")")
	}
	text := `SELECT id, doc FROM ` + d.name
	if len(where) > 0 {
		text += " WHERE " + strings.Join(where, " AND ")
	}
	text += " ORDER BY ord " + order
	if q.Limit > 0 {
		text += " LIMIT " + arg(q.Limit)
	}
	rows, err := d.tx.tx.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, fmt.Errorf("find %s: %w", d.name, err)
	}
	defer rows.Close()
	found := []T{}
	for rows.Next() {
		var id, doc string
		if err := rows.Scan(&id, &doc); err != nil {
			return nil, fmt.Errorf("find %s: %w", d.name, err)
		}
		r, err := d.decode(id, doc)
		if err != nil {
			return nil, err
		}
		found = append(found, r)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("find %s: %w", d.name, err)
	}
	return found, nil
}

func (d docs[T]) Put(ctx context.Context, r T) error {
	row := r.Row()
	if row.ID == "" {
		return slipway.Errorf(slipway.Internal, "a record of %s has no id", d.name)
	}
	doc, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode %s %s: %w", d.name, row.ID, err)
	}
	_, err = d.tx.tx.ExecContext(ctx, `INSERT INTO `+d.name+` (id, ord, product, state, key, doc)
		VALUES ($1, (SELECT COALESCE(MAX(ord), 0) + 1 FROM `+d.name+`), $2, $3, $4, $5)
		ON CONFLICT (id) DO UPDATE SET product = excluded.product, state = excluded.state, key = excluded.key, doc = excluded.doc`,
		row.ID, row.Product, row.State, row.Key, string(doc))
	if err != nil {
		return fmt.Errorf("write %s %s: %w", d.name, row.ID, err)
	}
	return nil
}

func (d docs[T]) Delete(ctx context.Context, id string) error {
	if _, err := d.tx.tx.ExecContext(ctx, `DELETE FROM `+d.name+` WHERE id = $1`, id); err != nil {
		return fmt.Errorf("delete %s %s: %w", d.name, id, err)
	}
	return nil
}

func (d docs[T]) decode(id, doc string) (r T, err error) {
	if err := json.Unmarshal([]byte(doc), &r); err != nil {
		return r, fmt.Errorf("decode %s %s: %w", d.name, id, err)
	}
	return r, nil
}

// noun is the table's name in the singular, for messages.
func (d docs[T]) noun() string {
	if d.name == "models" {
		return "version"
	}
	noun := strings.ReplaceAll(d.name, "_", " ")
	if s, ok := strings.CutSuffix(noun, "ies"); ok {
		return s + "y"
	}
	return strings.TrimSuffix(noun, "s")
}
