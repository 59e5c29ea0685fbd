package spec

import "time"

// Experiment is a test on nodes: an execution graph over roles.
type Experiment struct {
	Name    string            `json:"experiment" yaml:"experiment"`
	Summary string            `json:"summary,omitempty" yaml:"summary,omitempty"`
	Roles   map[string]Role   `json:"roles" yaml:"roles"`
	Steps   []ExperimentStep  `json:"steps" yaml:"steps"`
	Cleanup []ExperimentStep  `json:"cleanup,omitempty" yaml:"cleanup,omitempty"` // always run, on every role's nodes, in order
	Timeout time.Duration     `json:"timeout,omitempty" yaml:"timeout,omitempty"` // of all steps together; default 10m
	Env     map[string]string `json:"env,omitempty" yaml:"env,omitempty"`
	Tier    int               `json:"tier,omitempty" yaml:"tier,omitempty"` // the queue runs lower tiers first, and higher ones only for what they have not refuted; default [LastTier]
}

// LastTier is the tier of an experiment that does not name one. Builds and their tests are tier 0.
const LastTier = 100

// Role is a part that nodes play in an experiment.
type Role struct {
	Labels    map[string]string `json:"labels,omitempty" yaml:"labels,omitempty"`       // a node must have all of them
	Nodes     int               `json:"nodes,omitempty" yaml:"nodes,omitempty"`         // how many; default 1
	Artifacts []string          `json:"artifacts,omitempty" yaml:"artifacts,omitempty"` // components whose outputs are laid out at $ARTIFACTS/NAME
}

// ExperimentStep is one vertex of the graph. Exactly one of Run and Barrier is set.
type ExperimentStep struct {
	ID         string        `json:"id" yaml:"id"`
	Role       string        `json:"role,omitempty" yaml:"role,omitempty"`             // which nodes run it; empty with Barrier: all roles
	Run        string        `json:"run,omitempty" yaml:"run,omitempty"`               // script for `sh -eu`
	Background bool          `json:"background,omitempty" yaml:"background,omitempty"` // goes on while later steps run; stopped before cleanup
	Barrier    string        `json:"barrier,omitempty" yaml:"barrier,omitempty"`       // all nodes that have this step wait here for each other
	After      []string      `json:"after,omitempty" yaml:"after,omitempty"`           // ids of steps that must have passed; ParseExperiment fills in the default: the step before of the same role
	Timeout    time.Duration `json:"timeout,omitempty" yaml:"timeout,omitempty"`       // default 1m
	Retries    int           `json:"retries,omitempty" yaml:"retries,omitempty"`       // how often a failed run is tried again, a second apart
}
