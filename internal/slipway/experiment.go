package slipway

// QueueExperiments begins the ids of the integration queue's experiments. Such an id follows from what is tested, and the queue
// takes whatever has it for its own verdict; so nobody else may choose one.
const QueueExperiments = "x-"

// ExperimentRequest asks the lab to run one experiment. Asking again with the same ID returns the same one.
type ExperimentRequest struct {
	ID            string            `json:"id"` // chosen by who asks: "candidate-ab12cd34-edge-smoke"
	Product       string            `json:"product"`
	Configuration string            `json:"configuration"`
	For           string            `json:"for"`           // subject; in the Links of the experiment's events
	File          string            `json:"file"`          // where the text came from: "experiments/smoke.yaml"
	Text          string            `json:"text"`          // the experiment's YAML
	Artifacts     map[string]string `json:"artifacts"`     // component -> output tree digest
	Env           map[string]string `json:"env,omitempty"` // seen by every step: the configuration's params, VERSION_COMPONENT of what its text asks for
	Priority      int               `json:"priority,omitempty"`
	Avoid         []string          `json:"avoid,omitempty"` // nodes that lost it before; taken only if no others will do
}

// ExperimentStatus is what has become of an experiment.
type ExperimentStatus struct {
	ID      string   `json:"id"`
	Number  int64    `json:"number"`            // short name for people: experiment/4
	State   string   `json:"state"`             // queued, reserved, running, cleaning, done
	Outcome Outcome  `json:"outcome,omitempty"` // once done
	Reason  string   `json:"reason"`            // why it waits, or how it ended
	Nodes   []string `json:"nodes,omitempty"`
}

// Node is a machine under test or in service, as other stages see it.
type Node struct {
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels"`
	Facts  map[string]string `json:"facts"` // told by its agent: os, arch, address, port, root, ...
	Online bool              `json:"online"`
}
