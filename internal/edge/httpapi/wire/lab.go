package wire

import "time"

// Drain keeps a node out of new experiments.
type Drain struct {
	Reason string `json:"reason" minLength:"1" maxLength:"200" doc:"Why, for who wonders"`
}

// NewJoinToken asks for a join token.
type NewJoinToken struct {
	Name    string            `json:"name,omitempty" doc:"The only name that it is good for; default any"`
	Labels  map[string]string `json:"labels,omitempty" doc:"The node gets these, whatever it says of itself"`
	Expires int64             `json:"expires_seconds,omitempty" minimum:"0" maximum:"31536000" doc:"Seconds from now; default a day"`
}

// JoinToken is a new join token, which is told only this once.
type JoinToken struct {
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
}

// NewExperiment asks for an experiment.
type NewExperiment struct {
	ID        string            `json:"id" minLength:"1" maxLength:"200" doc:"Chosen by who asks; the same id is the same experiment"`
	Product   string            `json:"product,omitempty"`
	File      string            `json:"file,omitempty" doc:"The file's name, for messages"`
	Text      string            `json:"text" minLength:"1" doc:"The experiment, in YAML"`
	Artifacts map[string]string `json:"artifacts,omitempty" doc:"Component to output tree digest"`
	Env       map[string]string `json:"env,omitempty" doc:"Seen by every step"`
	Priority  int               `json:"priority,omitempty" doc:"Higher first"`
}

// Cancel says why something is cancelled.
type Cancel struct {
	Reason string `json:"reason,omitempty" maxLength:"200"`
}

// LogPart is a piece of a log.
type LogPart struct {
	Text string `json:"text"`
	Next int64  `json:"next" doc:"Offset to go on from"`
	More bool   `json:"more" doc:"More may come"`
}
