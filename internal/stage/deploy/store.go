package deploy

import (
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/deploy/plan"
)

// Tx is what the stage needs inside one transaction.
type Tx interface {
	slipway.Ledger
	Deployments() slipway.Table[Deployment]
	Versions() slipway.Table[Version]
	Slices() slipway.Table[Slice]
	NodeStates() slipway.Table[NodeState]
	DryRuns() slipway.Table[DryRun]
}

// The events of the stage beside those that internal/slipway names.
const (
	ModelBlocked   slipway.EventType = "deploy.model.blocked"   // (product/NAME) the release's compose failed
	VersionFailed  slipway.EventType = "deploy.version.failed"  // (version/PRODUCT-N) some resource failed
	DryRunFinished slipway.EventType = "deploy.dryrun.finished" // (dryrun/PRODUCT-N.M)
)

// State is where a version stands.
type State string

// The states of a version; see the package comment.
const (
	Compiled   State = "compiled"
	Released   State = "released"
	Deploying  State = "deploying"
	Deployed   State = "deployed"
	Failed     State = "failed"
	Superseded State = "superseded"
)

// Version is one compiled model: what is to be so on each node.
type Version struct {
	ID        string    `json:"id"` // PRODUCT-N
	Product   string    `json:"product"`
	Number    int64     `json:"number"`  // the epoch
	Release   string    `json:"release"` // id of the release whose model it is
	Tag       string    `json:"tag"`
	Commit    string    `json:"commit"` // of the integration repository
	Model     string    `json:"model"`  // the model's path there
	Files     []string  `json:"files"`  // that were loaded or read
	Compose   string    `json:"compose"`
	State     State     `json:"state"`
	Reason    string    `json:"reason"` // why it is in that state, and what would move it on
	Nodes     []string  `json:"nodes"`
	Leaving   []string  `json:"leaving,omitempty"` // nodes that it asks nothing of and that still hold something
	Resources int       `json:"resources"`
	Digest    string    `json:"digest"`            // equal digests ask for the same
	Copy      string    `json:"copy,omitempty"`    // the version that this one goes back to
	By        string    `json:"by,omitempty"`      // who released it
	Compiled  time.Time `json:"compiled"`          // when
	Released  time.Time `json:"released,omitzero"` // when
	Finished  time.Time `json:"finished,omitzero"` // when it was first deployed everywhere
	Output    []string  `json:"output,omitempty"`  // what the model printed
}

// Row implements [slipway.Record]; the key is the release.
func (v Version) Row() slipway.Row {
	return slipway.Row{ID: v.ID, Product: v.Product, State: string(v.State), Key: v.Release}
}

// Slice is a version's part of one node.
type Slice struct {
	ID        string          `json:"id"` // VERSION/NODE
	Product   string          `json:"product"`
	Version   string          `json:"version"`
	Node      string          `json:"node"`
	Digest    string          `json:"digest"`
	Resources []plan.Resource `json:"resources"`
}

// Row implements [slipway.Record]; the key is the version.
func (s Slice) Row() slipway.Row { return slipway.Row{ID: s.ID, Product: s.Product, Key: s.Version} }

// AttemptState is how the last try to compile ended.
type AttemptState string

// The ends of a try.
const (
	AttemptDone    AttemptState = "compiled"
	AttemptWaiting AttemptState = "waiting" // for the compose
	AttemptBlocked AttemptState = "blocked" // the compose failed
	AttemptBroken  AttemptState = "broken"  // the model or the product file is wrong
	AttemptNone    AttemptState = "none"    // the product names no model
)

// Attempt is the last try to compile a product's model.
type Attempt struct {
	Release string       `json:"release"`
	State   AttemptState `json:"state"`
	Reason  string       `json:"reason"`
	Time    time.Time    `json:"time"`
}

// Deployment is a product in service.
type Deployment struct {
	Product  string  `json:"product"`
	Newest   string  `json:"newest,omitempty"`   // the version compiled last
	Current  string  `json:"current,omitempty"`  // the version in force
	Previous string  `json:"previous,omitempty"` // the one in force before
	Attempt  Attempt `json:"attempt"`
	// Held is the release that a rollback went to, and HeldOver the newest release at that time: while no newer one
	// arrives, it is Held that is compiled.
	Held     string `json:"held,omitempty"`
	HeldOver string `json:"held_over,omitempty"`
	Highest  int64  `json:"highest,omitempty"` // the highest epoch that an agent was seen with
}

// Row implements [slipway.Record].
func (d Deployment) Row() slipway.Row {
	return slipway.Row{ID: d.Product, Product: d.Product, State: string(d.Attempt.State), Key: d.Current}
}

// NodeState is a product on one node: what is asked of it and what it last reported.
type NodeState struct {
	Product       string        `json:"product"`
	Node          string        `json:"node"`
	Version       string        `json:"version"` // in force
	Epoch         int64         `json:"epoch"`   // of the version
	Digest        string        `json:"digest"`  // of its slice
	External      bool          `json:"external,omitempty"`
	Standing      plan.Standing `json:"standing"`
	ReportedEpoch int64         `json:"reported_epoch"` // that Statuses are about
	Statuses      []plan.Status `json:"statuses"`
	StatusDigest  string        `json:"status_digest"`
	DriftSeq      int64         `json:"drift_seq"` // drifts up to here are in the ledger
	Repaired      int           `json:"repaired"`  // how many drifts were
	Reported      time.Time     `json:"reported,omitzero"`
}

// Row implements [slipway.Record]; the key is the node.
func (n NodeState) Row() slipway.Row {
	return slipway.Row{ID: nodeStateID(n.Product, n.Node), Product: n.Product, State: string(n.Standing.State), Key: n.Node}
}

func nodeStateID(product, node string) string { return product + "/" + node }

// DryRun is the question what a version would change.
type DryRun struct {
	ID      string                 `json:"id"` // VERSION.M
	Product string                 `json:"product"`
	Version string                 `json:"version"`
	State   string                 `json:"state"`  // waiting, done
	Reason  string                 `json:"reason"` // what it waits for
	Nodes   map[string]*NodeDryRun `json:"nodes"`
	Created time.Time              `json:"created"`
	By      string                 `json:"by,omitempty"`
}

// NodeDryRun is one node's answer.
type NodeDryRun struct {
	Done  bool        `json:"done"`
	Diffs []plan.Diff `json:"diffs"`
}

// Row implements [slipway.Record]; the key is the version.
func (d DryRun) Row() slipway.Row {
	return slipway.Row{ID: d.ID, Product: d.Product, State: d.State, Key: d.Version}
}
