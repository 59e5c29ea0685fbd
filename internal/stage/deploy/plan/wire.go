package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"
)

// State is how one resource, or one node, stands.
type State string

// The states of a resource. Waiting is the server's word for "not reported yet".
const (
	Waiting     State = "waiting"     // the agent has not taken it up
	Deploying   State = "deploying"   // being applied
	Deployed    State = "deployed"    // as desired
	Failed      State = "failed"      // could not be made so; tried again
	Skipped     State = "skipped"     // something it requires is not deployed
	Unavailable State = "unavailable" // the node has no means for it, such as systemd
)

// Change is one attribute that is not, or was not, as desired.
type Change struct {
	Current string `json:"current"`
	Desired string `json:"desired"`
}

// Status is what an agent says about one resource.
type Status struct {
	ID       string            `json:"id"`
	Hash     string            `json:"hash"` // of the resource that this is about
	State    State             `json:"state"`
	Reason   string            `json:"reason,omitempty"`  // why it is in that state, and what would move it on
	Changes  map[string]Change `json:"changes,omitempty"` // of the last apply that changed something
	Actual   map[string]string `json:"actual,omitempty"`  // what is there: digest, version, pid, ...
	Started  time.Time         `json:"started,omitzero"`  // of the last apply that changed something or failed
	Finished time.Time         `json:"finished,omitzero"`
}

// Drift is a resource that was found different from what had been deployed, and made so again.
type Drift struct {
	Seq     int64             `json:"seq"` // counts up per agent and product
	ID      string            `json:"id"`
	Changes map[string]Change `json:"changes"`
	Reason  string            `json:"reason"`
	Time    time.Time         `json:"time"`
}

// Report is what an agent says in the "deploy" module of a sync.
type Report struct {
	Products map[string]ProductReport `json:"products,omitempty"`
	DryRuns  []DryRunReport           `json:"dry_runs,omitempty"` // finished ones the server still asked for
}

// ProductReport is an agent's report about one product's version.
type ProductReport struct {
	Version      string   `json:"version"`
	Epoch        int64    `json:"epoch"`
	Digest       string   `json:"digest"`                  // of the resources it holds
	Refused      string   `json:"refused,omitempty"`       // why it did not take the version it was offered last
	RefusedEpoch int64    `json:"refused_epoch,omitempty"` // of that version
	Full         bool     `json:"full,omitempty"`          // send everything again: an increment did not fit
	StatusDigest string   `json:"status_digest"`           // of its statuses
	Statuses     []Status `json:"statuses"`                // null: as the server has them
	Drifts       []Drift  `json:"drifts,omitempty"`        // not acknowledged yet
}

// DryRunReport is what a version would change on a node.
type DryRunReport struct {
	ID    string `json:"id"`
	Diffs []Diff `json:"diffs"`
}

// Diff is what would be done about one resource.
type Diff struct {
	ID      string            `json:"id"`
	Action  string            `json:"action"` // create, change, purge, keep, error
	Changes map[string]Change `json:"changes,omitempty"`
	Reason  string            `json:"reason,omitempty"` // why an error
}

// The actions of a [Diff].
const (
	ActionCreate = "create"
	ActionChange = "change"
	ActionPurge  = "purge"
	ActionKeep   = "keep"
	ActionError  = "error"
)

// Desired is the server's answer: what is to be so on the node.
type Desired struct {
	Products map[string]Slice `json:"products"`
	DryRuns  []DryRun         `json:"dry_runs,omitempty"`
}

// DryRun asks for the difference to a version that is not in force.
type DryRun struct {
	ID        string     `json:"id"`
	Product   string     `json:"product"`
	Resources []Resource `json:"resources"`
}

// Slice is one product's part of one node.
type Slice struct {
	Product   string            `json:"product"`
	Version   string            `json:"version"`
	Epoch     int64             `json:"epoch"`               // the version's number
	Digest    string            `json:"digest"`              // of the resources
	Complete  bool              `json:"complete,omitempty"`  // Resources lists all; false: the agent holds Digest already
	Resources []Resource        `json:"resources,omitempty"` // without attributes where the agent holds the same hash
	Held      map[string]string `json:"held,omitempty"`      // resource -> why it waits for another node
	Acked     string            `json:"acked,omitempty"`     // digest of the statuses that the server has
	AckedSeq  int64             `json:"acked_seq,omitempty"` // drifts up to here are recorded
}

// StatusDigest names a list of statuses.
func StatusDigest(statuses []Status) string {
	doc, err := json.Marshal(statuses)
	if err != nil {
		panic("plan: a status is not JSON: " + err.Error()) // strings and times only
	}
	sum := sha256.Sum256(doc)
	return hex.EncodeToString(sum[:16])
}
