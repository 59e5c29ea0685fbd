package change

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/change/plan"
)

// Change is a proposal for one branch of one repository.
type Change struct {
	Number    int64      `json:"number"`
	Repo      string     `json:"repo"`
	Branch    string     `json:"branch"`
	Identity  string     `json:"identity"` // what a push must have in common with it to be its next patchset
	Topic     string     `json:"topic,omitempty"`
	Title     string     `json:"title"`
	Author    string     `json:"author"` // the user who pushed it first
	State     plan.State `json:"state"`
	Reason    string     `json:"reason"` // why it is in that state, and what would move it on
	Patchsets []Patchset `json:"patchsets"`
	Uses      []Use      `json:"uses,omitempty"`  // the components that the current patchset touches, by product
	Tests     []Test     `json:"tests,omitempty"` // of the current patchset
	Stale     []string   `json:"stale,omitempty"` // waves that nobody waits for any more and that may still run
	Votes     []Vote     `json:"votes,omitempty"` // on all patchsets; those on the current one count
	Landing   *Landing   `json:"landing,omitempty"`
	Landed    *Outcome   `json:"landed,omitempty"`
	Created   time.Time  `json:"created"`
	Updated   time.Time  `json:"updated"`
}

// Patchset is one version of a change.
type Patchset struct {
	Number  int       `json:"number"`
	Commit  string    `json:"commit"`
	Base    string    `json:"base"` // where it leaves the branch
	Message string    `json:"message"`
	Pusher  string    `json:"pusher"`
	Attempt int       `json:"attempt"` // how often its tests were asked for again
	Time    time.Time `json:"time"`
}

// Use is a component that a product takes from the change's repository and branch.
type Use struct {
	Product   string `json:"product"`
	Component string `json:"component"`
	Path      string `json:"path,omitempty"`
	Branch    string `json:"branch"`

	Paths []string `json:"paths,omitempty"` // others of the repository that it is made from
}

// touched reports whether one of the changed files belongs to the component.
func (u Use) touched(files []string) bool {
	return plan.Touches(u.Path, files) || slices.ContainsFunc(u.Paths, func(p string) bool { return plan.Touches(p, files) })
}

// Test is one product's wave for a patchset.
type Test struct {
	Product  string            `json:"product"`
	Wave     string            `json:"wave"`
	State    slipway.WaveState `json:"state"` // empty: not asked for yet
	Reason   string            `json:"reason,omitempty"`
	Recorded bool              `json:"recorded"` // its results are with gating
	OK       bool              `json:"ok"`       // the gate's decision, once recorded
	Missing  []string          `json:"missing,omitempty"`
}

// Vote is an opinion on one patchset.
type Vote struct {
	By         string    `json:"by"`
	Value      int       `json:"value"`
	Gatekeeper bool      `json:"gatekeeper"`
	Patchset   int       `json:"patchset"`
	Message    string    `json:"message,omitempty"`
	Time       time.Time `json:"time"`
}

// Landing is a landing under way.
type Landing struct {
	Base    string              `json:"base"` // the branch's head when it began
	Time    time.Time           `json:"time"` // of the commits and tags that it writes
	Tries   int                 `json:"tries"`
	Outcome *Outcome            `json:"outcome,omitempty"` // once its objects are written
	Moves   []slipway.RefUpdate `json:"moves,omitempty"`   // what then has to move
}

// Outcome is what a landing put on the branch.
type Outcome struct {
	Commit string    `json:"commit"`
	Method string    `json:"method"` // fast-forward, rebase or merge
	Pins   []Pinned  `json:"pins,omitempty"`
	Time   time.Time `json:"time"`
}

// Pinned is a component's new version.
type Pinned struct {
	slipway.Pin
	Products []string `json:"products,omitempty"`
	Tag      string   `json:"tag,omitempty"` // empty: its policy makes no tags
	Reason   string   `json:"reason"`        // why this version
}

// ID is the number in decimal.
func (c Change) ID() string { return strconv.FormatInt(c.Number, 10) }

// Current is the newest patchset.
func (c Change) Current() Patchset { return c.Patchsets[len(c.Patchsets)-1] }

// Subject is what results and decisions of the current patchset are about: "change/12.1".
func (c Change) Subject() string {
	return slipway.Ref("change", fmt.Sprintf("%d.%d", c.Number, c.Current().Number))
}

// PatchsetRef is where a patchset can be fetched.
func (c Change) PatchsetRef(p Patchset) string {
	return fmt.Sprintf("refs/changes/%d/%d", c.Number, p.Number)
}

// Product is the first product that uses what the change touches, "" if none does.
func (c Change) Product() string {
	if len(c.Uses) == 0 {
		return ""
	}
	return c.Uses[0].Product
}

// Row implements [slipway.Record]; the key is what finds the change that a push belongs to.
func (c Change) Row() slipway.Row {
	return slipway.Row{ID: c.ID(), Product: c.Product(), State: string(c.State), Key: key(c.Repo, c.Branch, c.Identity)}
}

func key(repo, branch, identity string) string { return repo + " " + branch + " " + identity }

// Tx is what the stage needs inside one transaction.
type Tx interface {
	slipway.Ledger
	Changes() slipway.Table[Change]
}
