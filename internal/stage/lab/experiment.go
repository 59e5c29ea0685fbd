package lab

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
)

// The states of an experiment.
const (
	Queued   = "queued"
	Reserved = "reserved"
	Running  = "running"
	Cleaning = "cleaning"
	Done     = "done"
)

// Experiment is one request and what has become of it.
type Experiment struct {
	Request slipway.ExperimentRequest `json:"request"`
	Number  int64                     `json:"number"`
	Spec    spec.Experiment           `json:"spec"`

	State    string          `json:"state"`
	Outcome  slipway.Outcome `json:"outcome,omitempty"` // once done; while cleaning, of this attempt
	Reason   string          `json:"reason"`
	Attempt  int             `json:"attempt"` // 1 is the first; 0 before it has nodes
	Members  []Member        `json:"members,omitempty"`
	Past     []Attempt       `json:"past,omitempty"`  // attempts that were given up
	Avoid    []string        `json:"avoid,omitempty"` // nodes that died under it
	Cancel   string          `json:"cancel,omitempty"`
	Creator  string          `json:"creator,omitempty"`
	Created  time.Time       `json:"created"`
	Since    time.Time       `json:"since"` // when it came into its state
	Started  time.Time       `json:"started,omitzero"`
	Finished time.Time       `json:"finished,omitzero"`
}

// Row implements [slipway.Record]; the key is the number.
func (e Experiment) Row() slipway.Row {
	return slipway.Row{ID: e.Request.ID, Product: e.Request.Product, State: e.State, Key: strconv.FormatInt(e.Number, 10)}
}

// Ref is the experiment's subject: "experiment/4".
func (e Experiment) Ref() string { return slipway.Ref("experiment", strconv.FormatInt(e.Number, 10)) }

// Status is the experiment as other stages see it.
func (e Experiment) Status() slipway.ExperimentStatus {
	s := slipway.ExperimentStatus{ID: e.Request.ID, Number: e.Number, State: e.State, Reason: e.Reason}
	if e.State == Done {
		s.Outcome = e.Outcome
	}
	for _, m := range e.Members {
		s.Nodes = append(s.Nodes, m.Node)
	}
	slices.Sort(s.Nodes)
	return s
}

// Member is one node's part in the attempt that is under way, or was the last.
type Member struct {
	Node       string          `json:"node"`
	Role       string          `json:"role"`
	Address    string          `json:"address,omitempty"`
	Epoch      int64           `json:"epoch"`
	Assignment string          `json:"assignment"`
	State      string          `json:"state"` // preparing, ready, running, finished, clean, lost
	Outcome    slipway.Outcome `json:"outcome,omitempty"`
	Reason     string          `json:"reason,omitempty"`
	Ended      time.Time       `json:"ended,omitzero"`    // when the server learned that its steps had ended
	Taken      int64           `json:"taken"`             // number of the last record taken from it
	Arrived    []string        `json:"arrived,omitempty"` // ids of barrier steps
	Steps      []StepResult    `json:"steps,omitempty"`

	Logged map[string]int64 `json:"logged,omitempty"` // step -> bytes of its log that the server has
}

// The states of a member.
const (
	MemberPreparing = "preparing" // fetches artifacts
	MemberReady     = "ready"     // waits for the others
	MemberRunning   = "running"   // runs steps
	MemberFinished  = "finished"  // its steps have ended; waits for the word to clean up
	MemberClean     = "clean"     // its cleanup has ended: nothing more comes
	MemberLost      = "lost"      // its lease ran out: nothing more is waited for
)

// step returns the member's record of a step, made when there is none.
func (m *Member) step(id string) *StepResult {
	i := slices.IndexFunc(m.Steps, func(s StepResult) bool { return s.Step == id })
	if i < 0 {
		m.Steps = append(m.Steps, StepResult{Step: id})
		i = len(m.Steps) - 1
	}
	return &m.Steps[i]
}

// Attempt is what is kept of an attempt that was given up.
type Attempt struct {
	Number  int             `json:"number"`
	Outcome slipway.Outcome `json:"outcome"`
	Reason  string          `json:"reason"`
	Members []Member        `json:"members"`
}

// StepResult is one step on one node.
type StepResult struct {
	Step     string          `json:"step"`
	State    string          `json:"state"`             // waiting, running, finished
	Outcome  slipway.Outcome `json:"outcome,omitempty"` // once finished
	Exit     int             `json:"exit,omitempty"`    // of the process; -1 when a signal ended it
	Reason   string          `json:"reason,omitempty"`
	Tries    int             `json:"tries,omitempty"` // runs, with retries
	Cleanup  bool            `json:"cleanup,omitempty"`
	Started  time.Time       `json:"started,omitzero"` // by the node's clock
	Finished time.Time       `json:"finished,omitzero"`
	Tail     string          `json:"tail,omitempty"` // the last lines of its log
}

// LogChunk is a piece of a step's log. Equal pieces have equal ids, so taking one twice changes nothing.
type LogChunk struct {
	Experiment string `json:"experiment"`
	Assignment string `json:"assignment"`
	Step       string `json:"step"`
	Offset     int64  `json:"offset"`
	Data       []byte `json:"data"`
}

// LogKey names the log of one step on one node in one attempt.
func LogKey(assignment, step string) string { return assignment + "/" + step }

// Row implements [slipway.Record]; the key is that of LogKey.
func (c LogChunk) Row() slipway.Row {
	key := LogKey(c.Assignment, c.Step)
	return slipway.Row{ID: fmt.Sprintf("%s/%012d", key, c.Offset), Key: key}
}

// AssignmentID names one node's part in one attempt: "4.1-edge-2".
func AssignmentID(number int64, attempt int, node string) string {
	return fmt.Sprintf("%d.%d-%s", number, attempt, node)
}

// check looks for what the file's own reader does not know: that ids can be part of paths, and that no node meets a
// barrier twice, which would wait for itself.
func check(s spec.Experiment) error {
	for _, step := range slices.Concat(s.Steps, s.Cleanup) {
		if !validID(step.ID) {
			return slipway.Errorf(slipway.Invalid, "the step id %q cannot be part of a path", step.ID).Try("use at most 64 letters, digits, dots, dashes and underscores")
		}
	}
	for _, role := range slices.Sorted(maps.Keys(s.Roles)) {
		met := map[string]string{}
		for _, step := range s.Steps {
			if step.Barrier == "" || !Takes(step, role) {
				continue
			}
			if other := met[step.Barrier]; other != "" {
				return slipway.Errorf(slipway.Invalid, "role %s meets the barrier %q twice, in the steps %s and %s", role, step.Barrier, other, step.ID).Try("give the second one another name")
			}
			met[step.Barrier] = step.ID
		}
	}
	return nil
}

func validID(id string) bool {
	for _, r := range id {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.' {
			return false
		}
	}
	return id != "" && id[0] != '.' && len(id) <= 64
}

// Takes reports whether nodes of the role have the step: it is the role's own, or everybody's.
func Takes(step spec.ExperimentStep, role string) bool { return step.Role == "" || step.Role == role }

// byRole orders members by role, then node.
func byRole(members []Member) []Member {
	out := slices.Clone(members)
	slices.SortFunc(out, func(a, b Member) int { return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(a.Node, b.Node)) })
	return out
}

// finishedData is the payload of ExperimentFinished.
type finishedData struct {
	Outcome slipway.Outcome `json:"outcome"`
	Reason  string          `json:"reason"`
	ID      string          `json:"id"`
	Attempt int             `json:"attempt"`
}

func (e Experiment) finished() json.RawMessage {
	b, err := json.Marshal(finishedData{e.Outcome, e.Reason, e.Request.ID, e.Attempt})
	if err != nil {
		return nil // strings and numbers always encode
	}
	return b
}
