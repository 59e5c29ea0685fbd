package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	_ "github.com/jackc/pgx/v5/stdlib" // the database/sql driver "pgx"
	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"

	"slipway.dev/slipway/internal/platform/clock"
	"slipway.dev/slipway/internal/platform/jobs"
	"slipway.dev/slipway/internal/slipway"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Config says where the database is and which handlers its events wake.
type Config struct {
	URL    string       // "sqlite:PATH" or a PostgreSQL URL ("postgres://user@host/name")
	Routes []jobs.Route // applied to every event, in the event's transaction
	Clock  clock.Clock  // default the system's
}

// DB is an open database. It is safe for concurrent use.
type DB struct {
	write, read *sql.DB // the same pool on PostgreSQL
	engine      string  // "sqlite" or "postgres"
	routes      []jobs.Route
	clock       clock.Clock
	group       grouping  // of callers of Update, on SQLite
	jobs        broadcast // a commit woke a job
	ledger      broadcast // a commit appended an event
}

// Open connects, and brings the schema up to date.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	db := &DB{routes: cfg.Routes, clock: cfg.Clock, group: grouping{turn: make(chan struct{}, 1)}}
	if db.clock == nil {
		db.clock = clock.System{}
	}
	var err error
	switch path, isFile := strings.CutPrefix(cfg.URL, "sqlite:"); {
	case isFile:
		db.engine = "sqlite"
		db.write, db.read, err = openSQLite(path)
	case strings.HasPrefix(cfg.URL, "postgres://"), strings.HasPrefix(cfg.URL, "postgresql://"):
		db.engine = "postgres"
		db.write, err = sql.Open("pgx", cfg.URL)
		if err == nil {
			db.write.SetMaxOpenConns(32)
			db.read = db.write
		}
	default:
		return nil, slipway.Errorf(slipway.Invalid, "unknown database %q", redact(cfg.URL)).
			Try("use sqlite:PATH or postgres://USER@HOST/NAME")
	}
	if err != nil {
		return nil, slipway.Errorf(slipway.Unavailable, "open the database: %w", err).At(redact(cfg.URL))
	}
	if err := db.migrate(ctx); err != nil {
		db.Close()
		return nil, slipway.Errorf(slipway.Unavailable, "prepare the database: %w", err).At(redact(cfg.URL)).
			Try("is it running, and may this user create tables?")
	}
	return db, nil
}

func openSQLite(path string) (write, read *sql.DB, err error) {
	dsn := func(extra string) string {
		return "file:" + (&url.URL{Path: path}).EscapedPath() +
			"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=busy_timeout(10000)&_pragma=foreign_keys(1)" + extra
	}
	if write, err = openKeeping(dsn("&_txlock=immediate")); err != nil {
		return nil, nil, err
	}
	write.SetMaxOpenConns(1)
	if read, err = openKeeping(dsn("&_txlock=deferred&_pragma=query_only(1)")); err != nil {
		write.Close()
		return nil, nil, err
	}
	read.SetMaxOpenConns(8)
	read.SetMaxIdleConns(8)
	return write, read, nil
}

func (db *DB) migrate(ctx context.Context) error {
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	dialect := goose.DialectSQLite3
	if db.engine == "postgres" {
		dialect = goose.DialectPostgres
		// Two servers may start at once: one migrates, the other waits.
		conn, err := db.write.Conn(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		if _, err := conn.ExecContext(ctx, "SELECT pg_advisory_lock(7553)"); err != nil {
			return err
		}
		defer conn.ExecContext(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock(7553)") //nolint:errcheck // closing the connection unlocks too
	}
	p, err := goose.NewProvider(dialect, db.write, dir, goose.WithSlog(slog.New(slog.DiscardHandler)))
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
}

// Close closes the database. Transactions under way are rolled back.
func (db *DB) Close() error {
	err := db.write.Close()
	if db.read != db.write {
		err = errors.Join(err, db.read.Close())
	}
	return err
}

// Ping reports whether the database answers.
func (db *DB) Ping(ctx context.Context) error { return db.write.PingContext(ctx) }

// Engine is "sqlite" or "postgres".
func (db *DB) Engine() string { return db.engine }

// Update runs f in a transaction that no other writer runs beside, and commits if f returns nil. See [slipway.Store].
func (db *DB) Update(ctx context.Context, f func(*Tx) error) error {
	const tries = 5
	for try := 1; ; try++ {
		err := db.update(ctx, f)
		if err == nil || try == tries || !transient(err) || ctx.Err() != nil {
			return err
		}
	}
}

func (db *DB) update(ctx context.Context, f func(*Tx) error) error {
	if db.engine == "sqlite" {
		return db.shared(ctx, f)
	}
	sqlTx, err := db.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer sqlTx.Rollback() //nolint:errcheck // a no-op after Commit
	// LOCK TABLE takes no snapshot: what follows sees all that was committed before.
	if _, err := sqlTx.ExecContext(ctx, "LOCK TABLE writer IN EXCLUSIVE MODE"); err != nil {
		return fmt.Errorf("wait for the other writers: %w", err)
	}
	tx := &Tx{db: db, tx: sqlTx, now: db.clock.Now()}
	if err := f(tx); err != nil {
		return err
	}
	if err := sqlTx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	tx.told()
	return nil
}

// View runs f on a consistent snapshot. What f writes fails.
func (db *DB) View(ctx context.Context, f func(*Tx) error) error {
	sqlTx, err := db.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true, Isolation: db.snapshot()})
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer sqlTx.Rollback() //nolint:errcheck // nothing to roll back
	return f(&Tx{db: db, tx: sqlTx, now: db.clock.Now()})
}

func (db *DB) snapshot() sql.IsolationLevel {
	if db.engine == "postgres" {
		return sql.LevelRepeatableRead
	}
	return sql.LevelDefault
}

// Scope narrows the database to what one stage declares: T is the interface, as tells that a *Tx implements it.
func Scope[T any](db *DB, as func(*Tx) T) slipway.Store[T] { return scope[T]{db, as} }

type scope[T any] struct {
	db *DB
	as func(*Tx) T
}

func (s scope[T]) View(ctx context.Context, f func(T) error) error {
	return s.db.View(ctx, func(tx *Tx) error { return f(s.as(tx)) })
}

func (s scope[T]) Update(ctx context.Context, f func(T) error) error {
	return s.db.Update(ctx, func(tx *Tx) error { return f(s.as(tx)) })
}

// transient reports whether the same transaction may succeed when it is run again.
func transient(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code == "40001" || pg.Code == "40P01" // serialization failure, deadlock
	}
	var lite *sqlite.Error
	return errors.As(err, &lite) && lite.Code()&0xff == 5 // SQLITE_BUSY
}

func redact(raw string) string {
	if u, err := url.Parse(raw); err == nil {
		return u.Redacted()
	}
	return "(unreadable URL)"
}

// broadcast wakes everybody who waits on its channel.
type broadcast struct {
	mu sync.Mutex
	ch chan struct{}
}

func (b *broadcast) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

func (b *broadcast) signal() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}

func micros(t time.Time) int64 { return t.UnixMicro() }

func fromMicros(us int64) time.Time { return time.UnixMicro(us).UTC() }
