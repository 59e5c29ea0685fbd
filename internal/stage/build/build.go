package build

import (
	"slices"
	"time"

	"slipway.dev/slipway/internal/slipway"
)

// State is where a build stands.
type State string

// The states of a build.
const (
	Queued  State = "queued"
	Running State = "running"
	Done    State = "done"
)

// Build is one run of an action, and what came of it.
type Build struct {
	ID        string `json:"id"`  // a number, counted up
	Key       string `json:"key"` // digest of the Action message
	Product   string `json:"product"`
	Component string `json:"component"`
	Check     string `json:"check,omitempty"` // name of the test; empty: the build itself
	Repo      string `json:"repo"`
	Path      string `json:"path,omitempty"`
	Version   string `json:"version"`
	Commit    string `json:"commit"`

	State   State           `json:"state"`
	Outcome slipway.Outcome `json:"outcome,omitempty"` // once done
	Reason  string          `json:"reason"`            // why it was started while it waits and runs, how it ended once done
	Why     string          `json:"why"`               // why it was started, kept
	Task    string          `json:"task,omitempty"`    // the farm's, which runs it
	Stop    string          `json:"stop,omitempty"`    // why it shall end early; nobody joins it any more
	Before  string          `json:"before,omitempty"`  // the build of the same action that came before it
	Waves   []string        `json:"waves"`             // those that wait for it
	For     []string        `json:"for"`               // the subjects of all waves that asked for it while it ran

	Source string            `json:"source"`          // digest of src/
	Inputs map[string]string `json:"inputs"`          // needed component -> digest of its output tree
	Own    string            `json:"own,omitempty"`   // of a test: digest of the component's own output tree
	Host   string            `json:"host"`            // fingerprint of the host's tools; "" with a buildroot
	Extra  string            `json:"extra,omitempty"` // digest of repo/, what it sees of its repository besides src/

	Buildroot  string `json:"buildroot,omitempty"`  // name of its buildroot; "" for the host's tools
	Root       string `json:"root,omitempty"`       // digest of the buildroot's tree, shown as /
	Lock       string `json:"lock,omitempty"`       // digest of the buildroot's lock
	Unconfined bool   `json:"unconfined,omitempty"` // runs without a sandbox, as the product allows

	Run    Run  `json:"run"`              // the command
	Forgot bool `json:"forgot,omitempty"` // its failure is not reused

	Queued   time.Time `json:"queued"`
	Started  time.Time `json:"started,omitzero"`
	Finished time.Time `json:"finished,omitzero"`
	Faults   int       `json:"faults,omitempty"` // how often Slipway or its host failed it
	Worker   string    `json:"worker,omitempty"` // host that ran it
	Log      string    `json:"log,omitempty"`    // digest of its log, once done
	LogBytes int64     `json:"logBytes,omitempty"`
	Output   string    `json:"output,omitempty"` // digest of its output tree, once it passed
}

// Run is the command of a build.
type Run struct {
	Script  string            `json:"script"`
	Env     map[string]string `json:"env"`
	Timeout time.Duration     `json:"timeout"`
	Outputs []string          `json:"outputs,omitempty"` // must exist below $OUT
	Tools   []string          `json:"tools,omitempty"`   // must exist on the host
}

// Row implements [slipway.Record]; the key is the action's.
func (b Build) Row() slipway.Row {
	return slipway.Row{ID: b.ID, Product: b.Product, State: string(b.State), Key: b.Key}
}

// Name is how people call the action: "libwire", "libwire:unit".
func (b Build) Name() string {
	if b.Check == "" {
		return b.Component
	}
	return b.Component + ":" + b.Check
}

// usable reports whether a wave can take the build's outcome for its own.
func (b Build) usable() bool {
	return b.State == Done && (b.Outcome == slipway.Pass || b.Outcome == slipway.Fail && !b.Forgot)
}

// joinable reports whether a wave can wait for the build.
func (b Build) joinable() bool { return b.State != Done && b.Stop == "" }

// event starts an event about the build. Its ID makes a repeated one harmless.
func (b Build) event(t slipway.EventType, what, reason string) slipway.Event {
	links := []string{slipway.Ref("component", b.Component), slipway.Ref("commit", b.Commit)}
	for _, f := range b.For {
		if !slices.Contains(links, f) && f != "" {
			links = append(links, f)
		}
	}
	for _, w := range b.Waves {
		links = append(links, slipway.Ref("wave", w))
	}
	return slipway.Event{ID: "build/" + b.ID + "/" + what, Type: t, Subject: slipway.Ref("build", b.ID), Product: b.Product,
		Actor: "build", Reason: b.Name() + ": " + reason, Links: links}
}
