package store

import (
	"context"
	"fmt"
	"slices"

	"slipway.dev/slipway/internal/stage/build/retain"
)

// Tables implements [retain.Documents].
func (db *DB) Tables(ctx context.Context) ([]string, error) {
	query := `SELECT m.name FROM sqlite_master m JOIN pragma_table_info(m.name) c ON c.name = 'doc' WHERE m.type = 'table' ORDER BY m.name`
	if db.engine == "postgres" {
		query = `SELECT table_name FROM information_schema.columns WHERE table_schema = current_schema() AND column_name = 'doc' ORDER BY table_name`
	}
	rows, err := db.read.QueryContext(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("list the tables: %w", err)
	}
	return scanAll(rows, func(scan func(...any) error) (name string, err error) { return name, scan(&name) })
}

// eachPage is how many rows Each reads at once: f may take its time, and no transaction stays open meanwhile.
const eachPage = 500

// Each implements [retain.Documents]. Rows that are added meanwhile are seen too.
func (db *DB) Each(ctx context.Context, name string, f func(retain.Document) error) error {
	tables, err := db.Tables(ctx)
	if err != nil || !slices.Contains(tables, name) { // the name goes into the query
		return err
	}
	type row struct {
		retain.Document
		ord int64
	}
	last := int64(-1)
	for {
		rows, err := db.read.QueryContext(ctx, `SELECT ord, id, state, key, doc FROM `+name+` WHERE ord > $1 ORDER BY ord LIMIT $2`, last, eachPage)
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		page, err := scanAll(rows, func(scan func(...any) error) (r row, err error) {
			return r, scan(&r.ord, &r.ID, &r.State, &r.Key, &r.Text)
		})
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		for _, r := range page {
			if err := f(r.Document); err != nil {
				return err
			}
			last = r.ord
		}
		if len(page) < eachPage {
			return nil
		}
	}
}

// Forget implements [retain.Documents].
func (db *DB) Forget(ctx context.Context, name string, ids []string) error {
	tables, err := db.Tables(ctx)
	if err != nil || !slices.Contains(tables, name) {
		return err
	}
	for part := range slices.Chunk(ids, eachPage) {
		err := db.Update(ctx, func(tx *Tx) error {
			for _, id := range part {
				if _, err := tx.tx.ExecContext(ctx, `DELETE FROM `+name+` WHERE id = $1`, id); err != nil {
					return fmt.Errorf("remove old %s: %w", name, err)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Clear implements [retain.Documents].
func (db *DB) Clear(ctx context.Context, of string, names ...string) (n int, err error) {
	tables, err := db.Tables(ctx)
	if err != nil {
		return 0, err
	}
	err = db.Update(ctx, func(tx *Tx) error {
		n = 0
		for _, name := range names {
			if !slices.Contains(tables, name) { // the name goes into the query
				continue
			}
			for _, column := range []string{"id", "key"} {
				done, err := tx.tx.ExecContext(ctx, `DELETE FROM `+name+` WHERE `+column+` = $1`, of)
				if err != nil {
					return fmt.Errorf("clear %s: %w", name, err)
				}
				rows, err := done.RowsAffected()
				if err != nil {
					return fmt.Errorf("clear %s: %w", name, err)
				}
				n += int(rows)
			}
		}
		return nil
	})
	return n, err
}
