package store

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"time"

	"slipway.dev/slipway/internal/platform/jobs"
	"slipway.dev/slipway/internal/slipway"
)

// running is the due time of a job that is leased: any wake during the run is earlier.
const running = math.MaxInt64

// Wake implements [slipway.Ledger].
func (tx *Tx) Wake(ctx context.Context, kind, key string, at time.Time) error {
	due := micros(tx.now)
	if !at.IsZero() {
		due = micros(at)
	}
	_, err := tx.tx.ExecContext(ctx, `INSERT INTO jobs (kind, key, due, wanted, epoch, leased, owner, attempts, dead, error)
		VALUES ($1, $2, $3, 1, 0, 0, '', 0, 0, '')
		ON CONFLICT (kind, key) DO UPDATE SET
			due = CASE WHEN excluded.due < jobs.due OR jobs.dead = 1 THEN excluded.due ELSE jobs.due END,
			wanted = jobs.wanted + 1,
			attempts = CASE WHEN jobs.dead = 1 THEN 0 ELSE jobs.attempts END,
			dead = 0`,
		kind, key, due)
	if err != nil {
		return fmt.Errorf("wake %s %s: %w", kind, key, err)
	}
	tx.woke = true
	return nil
}

// claimable is the condition under which a job can be claimed; $1 is the time.
const claimable = `dead = 0 AND ((leased = 0 AND due <= $1) OR (leased > 0 AND leased < $1))`

// Claim implements [jobs.Queue]. Each job is taken by comparing its epoch, so that of several servers one gets it.
func (db *DB) Claim(ctx context.Context, owner string, free map[string]int, lease time.Duration) ([]jobs.Claim, error) {
	now := micros(db.clock.Now())
	due, err := db.dueKinds(ctx, now)
	if err != nil {
		return nil, fmt.Errorf("look for due jobs: %w", err)
	}
	var claims []jobs.Claim
	for _, kind := range due {
		if free[kind] == 0 {
			continue
		}
		got, err := db.claimKind(ctx, owner, kind, free[kind], now, lease)
		if err != nil {
			return claims, fmt.Errorf("claim %s: %w", kind, err)
		}
		claims = append(claims, got...)
	}
	return claims, nil
}

func (db *DB) dueKinds(ctx context.Context, now int64) ([]string, error) {
	rows, err := db.read.QueryContext(ctx, `SELECT DISTINCT kind FROM jobs WHERE `+claimable, now)
	if err != nil {
		return nil, err
	}
	return scanAll(rows, func(scan func(...any) error) (kind string, err error) { return kind, scan(&kind) })
}

func (db *DB) claimKind(ctx context.Context, owner, kind string, limit int, now int64, lease time.Duration) ([]jobs.Claim, error) {
	rows, err := db.read.QueryContext(ctx, `SELECT key, wanted, epoch, attempts FROM jobs WHERE kind = $2 AND `+claimable+`
		ORDER BY due LIMIT $3`, now, kind, limit)
	if err != nil {
		return nil, err
	}
	seen, err := scanAll(rows, func(scan func(...any) error) (jobs.Claim, error) {
		c := jobs.Claim{Kind: kind}
		return c, scan(&c.Key, &c.Wanted, &c.Epoch, &c.Attempts)
	})
	if err != nil {
		return nil, err
	}
	if len(seen) == 0 {
		return nil, nil
	}
	var got []jobs.Claim
	err = db.writing(ctx, func(to runner) error {
		got, err = db.take(ctx, to, seen, owner, now, lease)
		return err
	})
	return got, err
}

// take leases jobs that are as they were seen.
func (db *DB) take(ctx context.Context, to runner, seen []jobs.Claim, owner string, now int64, lease time.Duration) (got []jobs.Claim, err error) {
	for _, c := range seen {
		err := to.QueryRowContext(ctx, `UPDATE jobs SET leased = $4, owner = $5, due = $6, epoch = epoch + 1
			WHERE kind = $1 AND key = $2 AND epoch = $3 AND dead = 0 RETURNING wanted, epoch`,
			c.Kind, c.Key, c.Epoch, now+lease.Microseconds(), owner, int64(running)).Scan(&c.Wanted, &c.Epoch)
		if err == sql.ErrNoRows {
			continue // another server was faster
		}
		if err != nil {
			return got, err
		}
		got = append(got, c)
	}
	return got, nil
}

// Renew implements [jobs.Queue].
func (db *DB) Renew(ctx context.Context, c jobs.Claim, lease time.Duration) (bool, error) {
	return db.changed(ctx, `UPDATE jobs SET leased = $4 WHERE kind = $1 AND key = $2 AND epoch = $3 AND leased > 0`,
		c.Kind, c.Key, c.Epoch, micros(db.clock.Now())+lease.Microseconds())
}

// Finish implements [jobs.Queue].
func (db *DB) Finish(ctx context.Context, c jobs.Claim, cause error, retry time.Time, dead bool) error {
	if cause == nil {
		gone, err := db.changed(ctx, `DELETE FROM jobs WHERE kind = $1 AND key = $2 AND epoch = $3 AND wanted = $4`, c.Kind, c.Key, c.Epoch, c.Wanted)
		if err != nil || gone {
			return err
		}
		// Woken again meanwhile: due is when it was woken for.
		_, err = db.changed(ctx, `UPDATE jobs SET leased = 0, owner = '', attempts = 0, error = '' WHERE kind = $1 AND key = $2 AND epoch = $3`,
			c.Kind, c.Key, c.Epoch)
		db.jobs.signal()
		return err
	}
	isDead := 0
	if dead {
		isDead = 1
	}
	// What was woken during its last attempt is not dead: the wake would be lost. It waits its time like any failure, so
	// that a handler which wakes itself before it fails does not spin.
	_, err := db.changed(ctx, `UPDATE jobs SET leased = 0, owner = '', attempts = $4, error = $5,
			dead = CASE WHEN wanted = $8 THEN $6 ELSE 0 END,
			due = CASE WHEN due < $7 AND $6 = 0 THEN due ELSE $7 END
		WHERE kind = $1 AND key = $2 AND epoch = $3`,
		c.Kind, c.Key, c.Epoch, c.Attempts+1, cause.Error(), isDead, micros(retry), c.Wanted)
	db.jobs.signal()
	return err
}

// Due implements [jobs.Queue].
func (db *DB) Due(ctx context.Context, _ []string) (time.Time, bool, error) {
	var due sql.NullInt64
	err := db.read.QueryRowContext(ctx, `SELECT MIN(due) FROM jobs WHERE dead = 0 AND leased = 0 AND due > $1`, micros(db.clock.Now())).Scan(&due)
	return fromMicros(due.Int64), due.Valid, err
}

// Release implements [jobs.Queue].
func (db *DB) Release(ctx context.Context, owner string) error {
	_, err := db.changed(ctx, `UPDATE jobs SET leased = 0, owner = '', due = 0, epoch = epoch + 1 WHERE owner = $1 AND leased > 0`, owner)
	db.jobs.signal()
	return err
}

// Changed implements [jobs.Queue].
func (db *DB) Changed() <-chan struct{} { return db.jobs.wait() }

// Jobs lists the jobs, dead ones first, then by when they are due.
func (db *DB) Jobs(ctx context.Context, limit int) ([]jobs.Job, error) {
	now := db.clock.Now()
	rows, err := db.read.QueryContext(ctx, `SELECT kind, key, due, leased, owner, attempts, dead, error FROM jobs ORDER BY dead DESC, due, kind, key LIMIT $1`, limit)
	if err != nil {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	return scanAll(rows, func(scan func(...any) error) (jobs.Job, error) {
		var j jobs.Job
		var due, leased, dead int64
		err := scan(&j.Kind, &j.Key, &due, &leased, &j.Owner, &j.Attempts, &dead, &j.Error)
		if due != running {
			j.Due = fromMicros(due)
		}
		switch {
		case dead != 0:
			j.State = "dead"
		case leased >= micros(now):
			j.State = "running"
		case j.Attempts > 0:
			j.State = "backing-off"
		default:
			j.State = "waiting"
		}
		return j, err
	})
}

// RetryJob makes a dead or waiting job due now, with its failures forgotten.
func (db *DB) RetryJob(ctx context.Context, kind, key string) error {
	ok, err := db.changed(ctx, `UPDATE jobs SET dead = 0, attempts = 0, due = $3 WHERE kind = $1 AND key = $2 AND leased = 0`,
		kind, key, micros(db.clock.Now()))
	if err == nil && !ok {
		err = slipway.Errorf(slipway.NotFound, "no job %s %q that waits or is dead", kind, key)
	}
	db.jobs.signal()
	return err
}

func (db *DB) changed(ctx context.Context, query string, args ...any) (bool, error) {
	var n int64
	err := db.writing(ctx, func(to runner) error {
		res, err := to.ExecContext(ctx, query, args...)
		if err == nil {
			n, err = res.RowsAffected()
		}
		return err
	})
	return n > 0, err
}

// writing runs statements that need not hold together: on SQLite in a transaction that others share, elsewhere each by itself.
func (db *DB) writing(ctx context.Context, f func(to runner) error) error {
	if db.engine == "sqlite" {
		return db.Update(ctx, func(tx *Tx) error { return f(tx.tx) })
	}
	return f(db.write)
}

// scanAll reads all rows and closes them.
func scanAll[T any](rows *sql.Rows, read func(scan func(...any) error) (T, error)) ([]T, error) {
	defer rows.Close()
	all := []T{}
	for rows.Next() {
		v, err := read(rows.Scan)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}
