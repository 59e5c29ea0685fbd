package source

import (
	"context"
	"time"

	"slipway.dev/slipway/internal/slipway"
)

// Repo is a repository that is hosted here.
type Repo struct {
	Name    string    `json:"name"` // "components/libwire"
	Summary string    `json:"summary,omitempty"`
	Branch  string    `json:"branch"` // the default branch, without refs/heads/
	State   string    `json:"state"`  // hosted or mirror
	Reason  string    `json:"reason"` // why it is in that state
	Creator string    `json:"creator"`
	Created time.Time `json:"created"`
}

// The states of a repository.
const (
	Hosted   = "hosted"
	Mirrored = "mirror"
)

// Row implements [slipway.Record]; the key is the namespace.
func (r Repo) Row() slipway.Row {
	namespace, _, _ := slipway.SplitRef(r.Name)
	return slipway.Row{ID: r.Name, Product: slipway.ProductAt(r.Name, "main"), State: r.State, Key: namespace}
}

// Mirror makes a repository follow a remote one.
type Mirror struct {
	Repo    string        `json:"repo"`
	URL     string        `json:"url"`   // without credentials when shown: see [Mirror.Shown]
	Every   time.Duration `json:"every"` // between two polls, in nanoseconds
	Secret  string        `json:"secret"`
	State   string        `json:"state"` // new, ok or failing
	Reason  string        `json:"reason"`
	Tried   time.Time     `json:"tried,omitzero"`  // the last poll
	Synced  time.Time     `json:"synced,omitzero"` // the last good poll
	Next    time.Time     `json:"next,omitzero"`   // the next poll
	Refs    int           `json:"refs"`            // branches and tags it had then
	Creator string        `json:"creator"`
}

// The states of a mirror.
const (
	MirrorNew     = "new"
	MirrorOK      = "ok"
	MirrorFailing = "failing"
)

// Row implements [slipway.Record].
func (m Mirror) Row() slipway.Row {
	return slipway.Row{ID: m.Repo, Product: slipway.ProductAt(m.Repo, "main"), State: m.State}
}

// Intent says that refs of one repository are about to move. It exists only between that decision and the record of
// its outcome.
type Intent struct {
	ID     string              `json:"id"`
	Repo   string              `json:"repo"`
	Whole  bool                `json:"whole"` // all or nothing: finish it when it was begun
	Refs   []slipway.RefUpdate `json:"refs"`
	Actor  string              `json:"actor"`
	Reason string              `json:"reason,omitempty"`
	Time   time.Time           `json:"time"`
}

// Row implements [slipway.Record]; the key is the repository.
func (i Intent) Row() slipway.Row {
	return slipway.Row{ID: i.ID, State: "open", Key: i.Repo}
}

// Recorded is one line of branch history.
type Recorded struct {
	Seq int64 `json:"seq"` // its position: later moves have higher numbers
	slipway.RefUpdate
}

// HistoryQuery selects lines of branch history by what is set.
type HistoryQuery struct {
	Repo   string
	Ref    string
	New    string    // moves that put a ref on this object
	Until  time.Time // not after this time
	Before int64     // only lines with lower numbers, for pages
	Limit  int       // 0: no limit
}

// History keeps branch history inside a transaction.
type History interface {
	// Append adds a line; its number becomes the highest.
	Append(ctx context.Context, u slipway.RefUpdate) error
	// Find returns the lines that match, newest first.
	Find(ctx context.Context, q HistoryQuery) ([]Recorded, error)
	// Current returns the last line of each ref of a repository that still exists, in the order of their names.
	Current(ctx context.Context, repo string) ([]Recorded, error)
}

// Tx is what the stage needs inside one transaction.
type Tx interface {
	slipway.Ledger
	Repos() slipway.Table[Repo]
	Mirrors() slipway.Table[Mirror]
	RefIntents() slipway.Table[Intent]
	RefHistory() History
}
