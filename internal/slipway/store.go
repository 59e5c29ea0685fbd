package slipway

import (
	"context"
	"time"
)

// Store opens transactions whose contents are described by T, an interface that the stage declares.
//
// Update runs f in one serializable transaction and commits it if f returns nil. f may be run again after a
// conflict with another transaction, so it must not change anything outside the transaction. View is the
// same for reading; what f writes there fails.
type Store[T any] interface {
	View(ctx context.Context, f func(tx T) error) error
	Update(ctx context.Context, f func(tx T) error) error
}

// Ledger is what every transaction offers beside the tables of its stage.
type Ledger interface {
	// Emit appends an event; the events' handlers are woken in the same transaction. Seq, ID and Time are
	// filled in when they are zero. An event whose ID exists already is ignored, so a retry is harmless.
	Emit(ctx context.Context, e Event) error
	// Wake makes sure that the handler of kind runs for key once more after this transaction, not before
	// at (zero: now). Wakes of one (kind, key) coalesce: a handler runs for one key at most once at a time.
	Wake(ctx context.Context, kind, key string, at time.Time) error
	// Next returns the next number of a named counter, starting at 1.
	Next(ctx context.Context, counter string) (int64, error)
	// Now is the time of the transaction; use it for everything the transaction writes.
	Now() time.Time
}

// Record is a noun that a [Table] can keep.
type Record interface {
	// Row returns the columns by which it is found.
	Row() Row
}

// Row is the indexed part of a record. Everything else is kept as JSON.
type Row struct {
	ID      string // unique in its table
	Product string // the product it belongs to; may be empty
	State   string // its state; may be empty
	Key     string // one more thing to find it by, as its type documents; may be empty
}

// Table keeps the records of one type, inside a transaction.
type Table[T Record] interface {
	// Get returns the record, or an error of kind [NotFound] that names the type and the id.
	Get(ctx context.Context, id string) (T, error)
	// Find returns the records that match, oldest first unless asked otherwise.
	Find(ctx context.Context, q Query) ([]T, error)
	// Put inserts or replaces the record with its id.
	Put(ctx context.Context, r T) error
	// Delete removes the record; a missing one is not an error.
	Delete(ctx context.Context, id string) error
}

// Query selects records by equality on the columns that are set.
type Query struct {
	Product string
	States  []string // any of these
	Key     string
	Newest  bool   // newest first
	After   string // the id after which to go on, for pages
	Limit   int    // 0: no limit
}
