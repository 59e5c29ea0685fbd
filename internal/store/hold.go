package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"sync"
	"time"

	"slipway.dev/slipway/internal/slipway"
)

// holder is the key of the advisory lock that says who works on a PostgreSQL database.
const holder = 7554

// holdBeat is how often the holder makes sure that it still is.
const holdBeat = 5 * time.Second

// Hold makes this process the only one that works on the database, until release. It waits for a holder that is ending, up to
// the given time; then the error is a Conflict. The lock is a session's: PostgreSQL gives it back when the holder dies. If the
// session is lost, Hold takes the lock again as soon as the database answers; lost is called, once, when another process
// has been faster. On SQLite it does nothing: there the file is in a folder that a server has locked.
func (db *DB) Hold(ctx context.Context, wait time.Duration, lost func(error)) (release func(), err error) {
	if db.engine != "postgres" {
		return func() {}, nil
	}
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	var conn *sql.Conn
	for conn == nil {
		conn, err = db.hold(ctx)
		if err != nil && !slipway.Is(err, slipway.Conflict) {
			return nil, err
		}
		if conn != nil {
			break
		}
		select {
		case <-again.C:
		case <-waiting.Done():
			return nil, err
		}
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	var kept sync.WaitGroup
	kept.Go(func() { db.keep(ctx, conn, lost) })
	return func() { stop(); kept.Wait() }, nil
}

// hold opens a session that has the lock, or returns a Conflict.
func (db *DB) hold(ctx context.Context) (*sql.Conn, error) {
	conn, err := db.write.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("open a session: %w", err)
	}
	var mine bool
	err = conn.QueryRowContext(ctx, `SELECT pg_try_advisory_lock($1)`, holder).Scan(&mine)
	if err == nil && !mine {
		err = slipway.Errorf(slipway.Conflict, "another server works on this database").
			Try("stop it, or give this one a database of its own; one server works on a database at a time")
	}
	if err != nil {
		endSession(conn)
		return nil, err
	}
	return conn, nil
}

// keep keeps the session alive until ctx ends, and replaces it when it is lost.
func (db *DB) keep(ctx context.Context, conn *sql.Conn, lost func(error)) {
	defer func() {
		if conn != nil {
			endSession(conn)
		}
	}()
	beat := time.NewTicker(holdBeat)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
		}
		if conn != nil && conn.PingContext(ctx) == nil {
			continue
		}
		if ctx.Err() != nil {
			return
		}
		if conn != nil {
			endSession(conn)
		}
		var err error
		conn, err = db.hold(ctx)
		if slipway.Is(err, slipway.Conflict) {
			lost(err)
			return
		}
	}
}

// endSession closes the session itself instead of giving it back to the pool, and with it the lock.
func endSession(conn *sql.Conn) {
	conn.Raw(func(any) error { return driver.ErrBadConn }) //nolint:errcheck // this error makes database/sql drop the connection
	conn.Close()                                           //nolint:errcheck // ended already
}
