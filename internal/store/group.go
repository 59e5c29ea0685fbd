package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"
)

// maxGroup bounds how many callers of Update share a commit, and with that how long the first of them waits for the last.
const maxGroup = 64

// grouping lets callers of Update on SQLite share commits, each of which waits for the disk. Whoever finds others waiting for their turn
// leaves the transaction open for the next; the last one, or that of a full group, commits for all. So a lone caller waits for
// nobody, and many at once wait for the disk together.
//
// Each caller's part is a savepoint: when its function fails, its part alone is undone. The first part needs none, as the transaction is all its own
// so far: when it fails, that is undone. Nobody returns from Update before the commit, also
// not with an error, which may follow from what an earlier part has written. When the commit fails, all parts have failed.
type grouping struct {
	turn    chan struct{} // has room for one: it holds what f of a part runs under, and the field open
	waiting atomic.Int32  // how many want the turn; each of them takes it
	open    *group
}

// group is one transaction that is not committed yet.
type group struct {
	tx     *sql.Tx
	parts  int
	broken error         // the transaction is lost
	undone bool          // the first part failed, and there is no other
	done   chan struct{} // closed once err is set
	err    error         // of the commit
}

// shared runs f as a part of a transaction that is committed when it returns.
func (db *DB) shared(ctx context.Context, f func(*Tx) error) error {
	db.group.waiting.Add(1)
	db.group.turn <- struct{}{} // not given up when ctx ends: who has the turn may count on us to commit
	db.group.waiting.Add(-1)
	g, tx, err := db.part(ctx, f)
	if g == nil {
		return err
	}
	<-g.done
	if g.err != nil {
		return fmt.Errorf("commit: %w", g.err)
	}
	if err != nil {
		return err
	}
	tx.told()
	return nil
}

// part runs f within the open group, or a new one, and gives the turn back; the group is committed if nobody waits to go on with it. No group
// is returned when none could be begun.
func (db *DB) part(ctx context.Context, f func(*Tx) error) (g *group, tx *Tx, err error) {
	defer func() { <-db.group.turn }()
	if g = db.group.open; g == nil {
		sqlTx, err := db.write.BeginTx(context.WithoutCancel(ctx), nil)
		if err != nil {
			return nil, nil, fmt.Errorf("begin: %w", err)
		}
		g = &group{tx: sqlTx, done: make(chan struct{})}
		db.group.open = g
	}
	defer func() { // also when f panics: the others' parts hold
		if g.parts++; g.broken == nil && !g.undone && g.parts < maxGroup && db.group.waiting.Load() > 0 {
			return
		}
		db.group.open = nil
		g.end()
	}()
	tx = &Tx{db: db, tx: patient{g.tx}, now: db.clock.Now()}
	return g, tx, g.run(ctx, func() error { return f(tx) })
}

// run calls f within a savepoint, which is undone when f fails or ctx has ended.
func (g *group) run(ctx context.Context, f func() error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	keep := false
	if g.parts == 0 {
		defer func() { g.undone = !keep }()
	} else {
		if g.exec("SAVEPOINT part"); g.broken != nil {
			return g.broken
		}
		defer func() {
			if !keep {
				g.exec("ROLLBACK TO part")
			}
			g.exec("RELEASE part")
		}()
	}
	err := f()
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	keep = err == nil
	return err
}

// exec runs a statement without which the transaction is lost: SQLite ends a transaction by itself when the disk is full or fails.
func (g *group) exec(statement string) {
	if g.broken != nil {
		return
	}
	_, g.broken = g.tx.Exec(statement)
}

// end commits, unless the transaction is lost.
func (g *group) end() {
	defer close(g.done)
	if g.broken != nil {
		g.err = errors.Join(g.broken, g.tx.Rollback())
		return
	}
	if g.undone {
		_ = g.tx.Rollback() // what fails here has undone it too
		return
	}
	if g.err = g.tx.Commit(); g.err != nil {
		_ = g.tx.Rollback() // whatever is left of it
	}
}

// patient runs statements to their end: SQLite undoes the whole transaction, with what others have written, when one is interrupted.
type patient struct{ tx *sql.Tx }

func (p patient) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return p.tx.ExecContext(context.WithoutCancel(ctx), query, args...)
}

func (p patient) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return p.tx.QueryContext(context.WithoutCancel(ctx), query, args...)
}

func (p patient) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	return p.tx.QueryRowContext(context.WithoutCancel(ctx), query, args...)
}
