package farm

import (
	"strings"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/execution"
	"slipway.dev/slipway/internal/slipway"
)

// MaxAttempts is how often a task is tried when workers cannot run it.
const MaxAttempts = 3

// State is where a task stands.
type State string

// The states of a task.
const (
	Queued  State = "queued"
	Claimed State = "claimed"
	Done    State = "done"
)

// Task is one action in flight, or one that ended lately.
type Task struct {
	ID      string          `json:"id"` // a number, counted up
	Action  artifact.Digest `json:"action"`
	Name    string          `json:"name"` // for people: "libwire:unit"
	Product string          `json:"product,omitempty"`
	Class   slipway.Class   `json:"class"`
	Owners  []string        `json:"owners"`  // who waits for it: "build/17", "call/ID"
	Header  string          `json:"header"`  // first line of its log
	NoCache bool            `json:"noCache"` // it runs although the action cache has a result

	Outputs []string          `json:"outputs,omitempty"` // paths that must be in its output tree
	Limits  execution.Limits  `json:"limits"`
	Host    string            `json:"host,omitempty"`   // fingerprint that its worker must have
	Labels  map[string]string `json:"labels,omitempty"` // that its worker must have

	State    State     `json:"state"`
	Reason   string    `json:"reason"`         // why it is in that state
	Stop     string    `json:"stop,omitempty"` // why it shall end early
	Worker   string    `json:"worker,omitempty"`
	Epoch    int64     `json:"epoch"`
	Local    bool      `json:"local,omitempty"`   // its worker is a slot of the server
	Header0  int64     `json:"header0,omitempty"` // bytes of the log before the worker's own
	Failed   []Attempt `json:"failed,omitempty"`
	Retry    time.Time `json:"retry,omitzero"` // not before, on a worker that failed it
	Queued   time.Time `json:"queued"`
	Claimed  time.Time `json:"claimed,omitzero"`
	Finished time.Time `json:"finished,omitzero"`

	Outcome  slipway.Outcome `json:"outcome,omitempty"` // once done
	Fault    slipway.Kind    `json:"fault,omitempty"`   // with the outcome infra: of what kind the last fault was
	Result   *Result         `json:"result,omitempty"`  // once it ran to its end
	Log      artifact.Digest `json:"log,omitempty"`     // once it ran
	LogBytes int64           `json:"logBytes,omitempty"`
}

// Attempt is one try that a worker could not bring to an end.
type Attempt struct {
	Worker string    `json:"worker"`
	Reason string    `json:"reason"`
	Time   time.Time `json:"time"`
}

// Row implements [slipway.Record]; the key is the action.
func (t Task) Row() slipway.Row {
	return slipway.Row{ID: t.ID, Product: t.Product, State: string(t.State), Key: t.Action}
}

// reasons joins what went wrong in all attempts.
func (t Task) reasons() string {
	all := make([]string, len(t.Failed))
	for i, a := range t.Failed {
		all[i] = a.Reason + " (on " + a.Worker + ")"
	}
	return strings.Join(all, "; ")
}

func (t Task) failedOn() []string {
	all := make([]string, len(t.Failed))
	for i, a := range t.Failed {
		all[i] = a.Worker
	}
	return all
}

// Submission asks for a task.
type Submission struct {
	Action  artifact.Digest
	Name    string
	Product string
	Class   slipway.Class
	Owner   string // "build/17"; its kind must be among [Config.Owners]
	Header  string // first line of the log, without a newline; empty: none
	NoCache bool
	Outputs []string // paths that must be in the output tree
	Limits  execution.Limits
	Host    string
	Labels  map[string]string
}

// Requirements reads what an action asks of its worker from its platform properties.
func Requirements(p *repb.Platform) (host string, labels map[string]string) {
	for _, one := range p.GetProperties() {
		switch one.Name {
		case execution.PropertyHost:
			host = one.Value
		case execution.PropertyWritable, execution.PropertyRoot, execution.PropertySandbox, execution.PropertyUnconfined:
		default:
			if labels == nil {
				labels = map[string]string{}
			}
			labels[one.Name] = one.Value
		}
	}
	return host, labels
}

// Result is how an action ended, in a form that is kept and sent.
type Result struct {
	Status execution.Status `json:"status"`
	Reason string           `json:"reason"`
	Action []byte           `json:"action"`           // an ActionResult message
	Output artifact.Digest  `json:"output,omitempty"` // tree of its output directory
	Wall   time.Duration    `json:"wall"`
}

// CachedResult is what the action cache keeps: the result of an action that exited with 0.
type CachedResult struct {
	Key    artifact.Digest `json:"key"` // the action; for what clients wrote, "client " before it
	Result Result          `json:"result"`
	By     string          `json:"by"` // the worker that ran it, or the client who wrote it
	Stored time.Time       `json:"stored"`
}

// Row implements [slipway.Record].
func (c CachedResult) Row() slipway.Row { return slipway.Row{ID: c.Key} }
