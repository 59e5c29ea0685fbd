package lab

import (
	"time"

	"slipway.dev/slipway/internal/spec"
)

// Report is what the agent's "lab" module sends with every sync.
type Report struct {
	Assignments []AssignmentReport `json:"assignments,omitempty"` // those that it has on disk
}

// AssignmentReport is one of them.
type AssignmentReport struct {
	ID      string      `json:"id"`
	Epoch   int64       `json:"epoch"`
	Records []Record    `json:"records,omitempty"` // that the server has not yet said it took, oldest first
	Logs    []LogReport `json:"logs,omitempty"`
}

// Record is something that happened in an assignment. Seq counts from 1 without gaps.
type Record struct {
	Seq    int64       `json:"seq"`
	Kind   string      `json:"kind"`
	Time   time.Time   `json:"time"`
	Step   *StepResult `json:"step,omitempty"`   // RecordStep, RecordArrived (only its id)
	Result *StepResult `json:"result,omitempty"` // RecordFinished, RecordClean: outcome and reason of all
	Order  *Order      `json:"order,omitempty"`  // RecordOrder, which stays on the node
}

// The kinds of records, in the order in which they come.
const (
	RecordOrder    = "order"    // the node took the order
	RecordReady    = "ready"    // the artifacts are in place
	RecordRunning  = "running"  // the first steps are about to begin
	RecordStep     = "step"     // a step began or ended
	RecordArrived  = "arrived"  // the node waits at a barrier
	RecordFinished = "finished" // the steps have ended
	RecordClean    = "clean"    // the cleanup has ended: the last record
)

// MaxLog is how many bytes of one step's log on one node are kept; an agent sends no more and the server takes no more.
const MaxLog = 8 << 20

// LogReport is the next piece of a step's log.
type LogReport struct {
	Step   string `json:"step"`
	Offset int64  `json:"offset"`
	Data   []byte `json:"data"`
}

// Reply answers a Report.
type Reply struct {
	Order  *Order          `json:"order,omitempty"`  // what the node has to do; nil: nothing
	Acks   map[string]Ack  `json:"acks,omitempty"`   // by assignment
	Forget []ForgetMessage `json:"forget,omitempty"` // assignments that are over, or not the node's any more
}

// Ack says what the server has of an assignment.
type Ack struct {
	Taken int64            `json:"taken"`          // number of the last record
	Logs  map[string]int64 `json:"logs,omitempty"` // step -> bytes
}

// ForgetMessage ends an assignment on the node: it stops, cleans up if it has not, and deletes what it kept.
type ForgetMessage struct {
	ID     string `json:"id"`
	Reason string `json:"reason"`
}

// The phases of an order. A node goes through them in this sequence and never back.
const (
	PhasePrepare = "prepare"
	PhaseRun     = "run"
	PhaseClean   = "clean"
)

// Order is what a node has to do for an experiment.
type Order struct {
	ID     string   `json:"id"` // of the assignment
	Epoch  int64    `json:"epoch"`
	Phase  string   `json:"phase"`
	Reason string   `json:"reason,omitempty"` // why it shall clean up
	Open   []string `json:"open,omitempty"`   // names of barriers at which all have arrived
	Passed []string `json:"passed,omitempty"` // steps that have passed on every node that has them
	Work   *Work    `json:"work,omitempty"`   // only as long as the node does not have it

	// Missing names the nodes that have not arrived at a barrier which somebody waits at.
	Missing map[string][]string `json:"missing,omitempty"`
}

// Work is what an order is about; it never changes.
type Work struct {
	Experiment string                `json:"experiment"` // "experiment/4"
	Name       string                `json:"name"`
	Role       string                `json:"role"`
	Node       string                `json:"node"`
	Steps      []spec.ExperimentStep `json:"steps"`             // of all roles
	Cleanup    []spec.ExperimentStep `json:"cleanup,omitempty"` // of all roles
	Timeout    time.Duration         `json:"timeout"`
	Env        map[string]string     `json:"env,omitempty"`
	Artifacts  map[string]string     `json:"artifacts,omitempty"` // component -> tree digest
	Members    []Member              `json:"members"`             // node, role and address of all
}
