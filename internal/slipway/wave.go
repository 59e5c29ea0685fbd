package slipway

// WaveRequest asks the build stage for the outputs of some components at given pins.
//
// A request is named by its ID: asking again with the same ID returns the same wave.
type WaveRequest struct {
	ID      string   `json:"id"` // chosen by who asks: "change-12.2", "candidate-ab12cd34"
	Product string   `json:"product"`
	For     string   `json:"for"`             // the subject it is built for: "change/12", "candidate/ab12..."; in the Links of the wave's events
	Pins    []Pin    `json:"pins"`            // of all components that may be needed
	Targets []string `json:"targets"`         // components to build; what they need is implied
	Tests   []string `json:"tests,omitempty"` // components whose tests run too, among the targets and what they need
	Reason  string   `json:"reason"`          // why, for a person
	Class   Class    `json:"class,omitempty"` // how urgent; empty: [ClassCandidate]
	Rules   string   `json:"rules,omitempty"` // commit of the integration repository whose files say how to build; empty: what is known when the wave begins

	Strategy string `json:"strategy,omitempty"` // by-key (default), all, only-changed or changed-and-after
	Before   string `json:"before,omitempty"`   // id of the wave whose outputs the strategy may take over
	Validate bool   `json:"validate,omitempty"` // a tier begins when the checks of all before it have ended; what fails one is not built upon
	Limit    int    `json:"limit,omitempty"`    // actions at once; 0: as many as there are workers
}

// WaveState is where a wave stands.
type WaveState string

// The states of a wave.
const (
	WaveRunning   WaveState = "running"
	WavePassed    WaveState = "passed" // everything asked for was built, all tests passed
	WaveFailed    WaveState = "failed" // some build or test failed; the others were still tried
	WaveCancelled WaveState = "cancelled"
)

// WaveStatus is what has become of a wave.
type WaveStatus struct {
	ID         string                    `json:"id"`
	For        string                    `json:"for"`
	State      WaveState                 `json:"state"`
	Reason     string                    `json:"reason"` // for a person: what failed, or what it waits for
	Counts     WaveCounts                `json:"counts"` // once it has ended
	Components map[string]ComponentBuild `json:"components"`
}

// WaveCounts adds up what the builds of a wave came to.
type WaveCounts struct {
	Built   int `json:"built"`
	Reused  int `json:"reused"`  // the key was built before
	CutOff  int `json:"cutOff"`  // reused although something that they need was built: it came out with the same bytes
	Failed  int `json:"failed"`  // they, not their tests
	Skipped int `json:"skipped"` // because of what failed, or because the wave was cancelled
}

// ComponentBuild is one component's part in a wave.
type ComponentBuild struct {
	Tier     int             `json:"tier"`               // 0 needs nothing
	State    string          `json:"state"`              // waiting, queued, running, built, failed, skipped
	Reason   string          `json:"reason,omitempty"`   // why it is in that state
	Key      string          `json:"key,omitempty"`      // the action's digest, once known
	Build    string          `json:"build,omitempty"`    // id of the build that made or makes it
	Artifact string          `json:"artifact,omitempty"` // the output tree's digest, once built
	Reused   bool            `json:"reused,omitempty"`   // the key was built before
	CutOff   bool            `json:"cutOff,omitempty"`   // reused although something that it needs was built: that came out with the same bytes
	Outcome  Outcome         `json:"outcome,omitempty"`  // once built or failed: Pass; Fail and Timeout blame it, Infra and Cancelled do not
	Tests    []ComponentTest `json:"tests,omitempty"`
}

// ComponentTest is one named test of a component in a wave.
type ComponentTest struct {
	Check   string   `json:"check"`             // "unit"
	State   string   `json:"state"`             // waiting, queued, running, finished, waived (it failed and may), skipped
	Outcome Outcome  `json:"outcome,omitempty"` // once finished or waived
	Build   string   `json:"build,omitempty"`   // id of the build that ran it
	Reason  string   `json:"reason,omitempty"`
	Reused  bool     `json:"reused,omitempty"`
	Notes   []string `json:"notes,omitempty"` // what each default check found
}

// Class says how urgent work of the farm is. More urgent work starts first; waiting makes work more urgent.
type Class string

// The classes, most urgent first.
const (
	ClassInteractive Class = "interactive" // somebody waits: a change's tests, a desk
	ClassCandidate   Class = "candidate"   // the queue waits; the default
	ClassRebuild     Class = "rebuild"     // large, and nobody waits
	ClassIdle        Class = "idle"        // when nothing else is to be done
)

// Rank is 0 for the most urgent class; an unknown one ranks as the default.
func (c Class) Rank() int {
	switch c {
	case ClassInteractive:
		return 0
	case ClassRebuild:
		return 2
	case ClassIdle:
		return 3
	}
	return 1
}
