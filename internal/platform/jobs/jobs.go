// Package jobs runs handlers at least once for every wake, also when the process is killed anywhere.
//
// A job is a pair (kind, key): "run the handler of kind for key". It is woken inside the transaction that changes the
// state which the handler looks at, so no wake is lost and none is early. Wakes of one pair coalesce into one row;
// the row says how often it was wanted, so that a wake which arrives while the handler runs leads to one more run.
//
// States of a row, and what moves it on:
//
//	waiting   due in the future or now; claimed by a [Runner] with a free slot for its kind
//	running   leased to a runner until a time that the runner keeps renewing, under an epoch that each claim raises
//	(gone)    the handler returned nil and nobody wanted it again meanwhile
//	backing   the handler failed: waiting again, 1 s doubling to 5 min later
//	dead      failed [MaxAttempts] times: seen by people, revived by them or by the next wake
//
// Jobs of a kind that can be done together are claimed together and done in one call ([Handler].All), and a kind may rest between its runs
// ([Handler].Rest); both keep what is woken often from costing a commit each time.
//
// A runner that loses its lease has its context cancelled, and whatever it reports afterwards is refused because its
// epoch is old. A handler is a reconciler: it loads the state of key, decides, commits. It must be idempotent. A wake
// for later holds until the next run of the pair; a handler that still wants one asks again.
package jobs

import (
	"context"
	"time"

	"slipway.dev/slipway/internal/slipway"
)

// MaxAttempts is how often a handler may fail in a row before its job is a dead letter.
const MaxAttempts = 10

// Handler does the work of one kind.
type Handler struct {
	Kind  string // "build.run"
	Slots int    // how many keys at once; 0 is 1
	// Do brings key to where it should be. The context ends on shutdown and when the lease is lost.
	Do func(ctx context.Context, key string) error
	// All, when set, does for many keys at once, at most Batch, what Do does for each, and shares what that costs. One call runs at a time. When it fails, Do
	// is called for each of the keys, so that one that cannot be done does not keep the others from it.
	All   func(ctx context.Context, keys []string) error
	Batch int
	// Rest is how long after the last run of its kind the next one begins at the earliest, so that wakes in between are heard together;
	// for what is woken often and not in a hurry.
	Rest time.Duration
}

// Route says which events wake which handler, for which key.
type Route struct {
	On   slipway.EventType // a type, a prefix that ends in a dot, or "" for all
	Kind string
	Key  func(slipway.Event) (key string, ok bool) // not ok: this event wakes nobody
}

// Matches reports whether the route is for events of type t.
func (r Route) Matches(t slipway.EventType) bool {
	n := len(r.On)
	return n == 0 || r.On == t || (r.On[n-1] == '.' && len(t) > n && t[:n] == r.On)
}

// SubjectID takes the key from the event's subject: "change/12" gives "12".
func SubjectID(e slipway.Event) (string, bool) {
	_, id, ok := slipway.SplitRef(e.Subject)
	return id, ok
}

// Product takes the event's product as the key.
func Product(e slipway.Event) (string, bool) { return e.Product, e.Product != "" }

// Linked takes the key from the first link of the given kind: Linked("entry") finds "entry/3" and gives "3".
func Linked(kind string) func(slipway.Event) (string, bool) {
	return func(e slipway.Event) (string, bool) {
		for _, link := range e.Links {
			if k, id, ok := slipway.SplitRef(link); ok && k == kind {
				return id, true
			}
		}
		return "", false
	}
}

// Job is a row as people see it.
type Job struct {
	Kind     string    `json:"kind"`
	Key      string    `json:"key"`
	State    string    `json:"state"` // waiting, running, backing-off, dead
	Due      time.Time `json:"due"`   // when it runs next, while it waits
	Attempts int       `json:"attempts"`
	Error    string    `json:"error,omitempty"` // of the last attempt
	Owner    string    `json:"owner,omitempty"` // the runner that holds it
}

// Claim is a job that a runner holds.
type Claim struct {
	Kind, Key string
	Epoch     int64 // raised by every claim; what an old epoch reports is refused
	Wanted    int64 // how often it had been woken when it was claimed
	Attempts  int   // failures so far
}

// Queue is the table of jobs. internal/store implements it for both databases.
type Queue interface {
	// Claim leases due jobs of the given kinds to owner, at most as many of each kind as free says.
	Claim(ctx context.Context, owner string, free map[string]int, lease time.Duration) ([]Claim, error)
	// Renew extends the lease; it reports false when another has taken the job.
	Renew(ctx context.Context, c Claim, lease time.Duration) (bool, error)
	// Finish ends a claim: with a nil cause the job is done, otherwise it is due again at retry, or dead. A job that was
	// woken since it was claimed does not die; it is due at retry.
	Finish(ctx context.Context, c Claim, cause error, retry time.Time, dead bool) error
	// Due returns the time at which the next job of the kinds can be claimed; ok is false when there is none.
	Due(ctx context.Context, kinds []string) (at time.Time, ok bool, err error)
	// Release ends the leases of an owner that is gone, so that its jobs run at once.
	Release(ctx context.Context, owner string) error
	// Changed is closed at the next commit that woke a job.
	Changed() <-chan struct{}
}

// Backoff is how long a job waits after its nth failure, n from 1: 1 s doubling, at most 5 min.
func Backoff(n int) time.Duration {
	d := time.Second << min(max(n-1, 0), 9)
	return min(d, 5*time.Minute)
}
