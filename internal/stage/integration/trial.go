package integration

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/integration/speculate"
)

// Check is one test of a product. A build check builds one component and runs its tests; its outcome is the same in all configurations that have
// the component. An experiment belongs to one configuration.
type Check struct {
	Kind          string `json:"kind"` // "build" or "experiment"
	Item          string `json:"item"` // the component, or the experiment's name
	Configuration string `json:"configuration,omitempty"`
}

const (
	kindBuild      = "build"
	kindExperiment = "experiment"
)

// key names the check in rows.
func (c Check) key() string { return c.Kind + "/" + c.Configuration + "/" + c.Item }

// String writes a check as people say it: "build of libwire", "experiment smoke (shore)".
func (c Check) String() string {
	if c.Kind == kindBuild {
		return "build of " + c.Item
	}
	return fmt.Sprintf("experiment %s (%s)", c.Item, c.Configuration)
}

// Trial is one run of one check on one candidate. What has ended is a verdict as long as its tuple can still come true; after that it
// is spent, and kept for the record.
type Trial struct {
	Number     int64                 `json:"number"`
	Product    string                `json:"product"`
	Check      Check                 `json:"check"`
	To         speculate.State       `json:"to"`                  // the state of the tuple, as far as the check depends on it
	Set        []int64               `json:"set,omitempty"`       // entries of the tuple beyond the base, in order, as far as the check depends on them
	Covers     []int64               `json:"covers,omitempty"`    // those of Set that it speaks for
	Candidate  string                `json:"candidate"`           // id
	Base       string                `json:"base"`                // the commit that the candidate was made on
	Targets    []string              `json:"targets,omitempty"`   // components that its wave builds
	Tests      bool                  `json:"tests,omitempty"`     // its wave runs their tests
	Wave       string                `json:"wave,omitempty"`      // id; trials of one tuple share it
	Requested  string                `json:"requested,omitempty"` // id of the experiment, once chosen
	Fresh      bool                  `json:"fresh,omitempty"`     // a verdict that is known does not count: run again
	Forget     []string              `json:"forget,omitempty"`    // failed builds that are not to be reused for it
	Avoid      []string              `json:"avoid,omitempty"`     // nodes that lost it before
	Control    bool                  `json:"control,omitempty"`   // it tests the base itself
	Advisory   bool                  `json:"advisory,omitempty"`  // nobody waits for it
	State      TrialState            `json:"state"`
	Outcome    slipway.Outcome       `json:"outcome,omitempty"` // once ended
	Missing    []slipway.Requirement `json:"missing,omitempty"` // what it failed; a waiver may excuse it
	Final      bool                  `json:"final,omitempty"`   // the failure follows from the inputs; running it again is no use
	Doubted    bool                  `json:"doubted,omitempty"` // it failed while the base failed, too: that says nothing
	Why        string                `json:"why"`               // why it was started
	Reason     string                `json:"reason,omitempty"`  // how it stands, or how it ended
	Failed     []string              `json:"failed,omitempty"`  // builds that failed in it
	Nodes      []string              `json:"nodes,omitempty"`
	Minutes    float64               `json:"minutes"` // predicted
	Started    time.Time             `json:"started"`
	Ended      time.Time             `json:"ended,omitzero"`
	Experiment int64                 `json:"experiment,omitempty"` // number, once it runs
}

// TrialState is where a trial stands.
type TrialState string

// The states of a trial.
const (
	TrialRunning TrialState = "running"
	TrialEnded   TrialState = "ended" // its outcome is evidence
	TrialSpent   TrialState = "spent" // ended, and of no use any more
)

// ID is the number as a string.
func (t Trial) ID() string { return strconv.FormatInt(t.Number, 10) }

// Row implements [slipway.Record]; the key is the candidate.
func (t Trial) Row() slipway.Row {
	return slipway.Row{ID: t.ID(), Product: t.Product, State: string(t.State), Key: t.Candidate}
}

// edge is what the planner calls the trial. Each proves its whole tuple.
func (t Trial) edge(check int) speculate.Edge {
	return speculate.Edge{Check: check, From: speculate.Nothing, To: t.To}
}

func (t Trial) covers(number int64) bool { return slices.Contains(t.Covers, number) }

// doubt takes back what a failure says: the base failed the check, too.
func (t *Trial) doubt() {
	t.Doubted, t.Outcome, t.Missing = true, slipway.Infra, nil
	t.Reason += "; the base failed it then, too"
}

// doubtful reports whether a failure says nothing since the base failed the same check.
func (t Trial) doubtful(check Check) bool {
	return t.State == TrialEnded && !t.Control && t.Check == check && t.Outcome == slipway.Fail && !t.Final
}

// mends reports whether a control run passed after another of the same base failed: what failed until then says nothing of entries.
func (t Trial) mends(failed Trial) bool {
	return t.Control && t.State == TrialEnded && t.Outcome == slipway.Pass && t.Check == failed.Check && t.To == failed.To && t.Number > failed.Number
}

// end writes down how the trial ended.
func (t *Trial) end(o slipway.Outcome, reason string, at time.Time) {
	t.State, t.Outcome, t.Reason, t.Ended = TrialEnded, o, reason, at
}

// Going is a landing under way. It is written down before anything of it is done, so that it can be gone on with.
type Going struct {
	Entries   []int64 `json:"entries"` // in order
	Candidate string  `json:"candidate"`
	Base      string  `json:"base"`
	Wave      string  `json:"wave"` // of the whole candidate: everything in it is reused, or is built now
	Reason    string  `json:"reason"`
	Proofs    []Proof `json:"proofs"`
	Bypassed  []int64 `json:"bypassed,omitempty"`
	Agreed    []Proof `json:"agreed,omitempty"`
}

// Proof says by which trial a check is known to pass on a state.
type Proof struct {
	Check Check           `json:"check"`
	To    speculate.State `json:"to"`
	Trial int64           `json:"trial,omitempty"` // 0: the base itself, which landed so
}

// Certificate is why a landing was sound. It is kept for good; [Service.Verify] re-checks it.
type Certificate struct {
	Release   string            `json:"release"` // id
	Product   string            `json:"product"`
	Entries   []int64           `json:"entries"`
	Base      string            `json:"base"`      // the commit that main was moved from
	Commit    string            `json:"commit"`    // and to
	Candidate string            `json:"candidate"` // the exact tuple
	Wave      string            `json:"wave"`
	Verdicts  []slipway.Verdict `json:"verdicts"` // of everything that the gate asks for
	Proofs    []Proof           `json:"proofs"`
	Bypassed  []int64           `json:"bypassed,omitempty"` // entries that stood before and were undecided
	Agreed    []Proof           `json:"agreed,omitempty"`   // that it passes with each combination of those
	Time      time.Time         `json:"time"`
}

// Row implements [slipway.Record].
func (c Certificate) Row() slipway.Row {
	return slipway.Row{ID: c.Release, Product: c.Product, Key: c.Candidate}
}

func numbers[T ~int64](ids []T) string {
	var parts []string
	for _, id := range ids {
		parts = append(parts, strconv.FormatInt(int64(id), 10))
	}
	return strings.Join(parts, ", ")
}
