// Package wire holds the shapes of requests and answers of the REST API that are no noun of a stage. The server and the
// client share them, and the client thereby needs nothing else of the server.
package wire

import (
	"time"

	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/integration"
)

// PutUser is what is set for a user.
type PutUser struct {
	FullName string    `json:"full_name,omitempty" maxLength:"200"`
	Email    string    `json:"email,omitempty" maxLength:"200"`
	Role     auth.Role `json:"role" enum:"worker,viewer,developer,gatekeeper,operator,admin"`
	Disabled bool      `json:"disabled,omitempty" doc:"Refuse the user's tokens and sessions"`
}

// NewToken asks for an API token.
type NewToken struct {
	User    string    `json:"user,omitempty" doc:"Whose; default the caller. Another's needs the role admin"`
	Name    string    `json:"name" minLength:"1" maxLength:"100" doc:"What it is for"`
	Role    auth.Role `json:"role,omitempty" enum:"worker,viewer,developer,gatekeeper,operator,admin" doc:"At most this role; default the user's own"`
	Expires int64     `json:"expires_seconds,omitempty" minimum:"0" doc:"Seconds from now; 0: never"`
}

// IssuedToken is a new token with its secret, which is told only this once.
type IssuedToken struct {
	Secret string `json:"secret"`
	auth.Token
}

// QueueView is a product's queue: its row and its entries.
type QueueView struct {
	integration.Queue
	Entries []integration.Entry `json:"entries" doc:"Open entries, in the order of the queue"`
	Trials  []integration.Trial `json:"trials" doc:"Runs of checks that are under way, or whose verdicts count"`

	Predictions []integration.Calibration `json:"predictions" doc:"How good each predictor has been"`
}

// EntryView is an entry with its candidate and how that stands at its gate.
type EntryView struct {
	integration.Entry
	Tuple    *integration.Candidate `json:"tuple,omitempty" doc:"The exact versions that are tried"`
	Decision *slipway.Decision      `json:"decision,omitempty" doc:"How the candidate stands at its gate"`
	Trials   []integration.Trial    `json:"trials,omitempty" doc:"Runs of checks on the candidate, oldest first"`
}

// NewWaiver asks for an exception. Empty fields match everything.
type NewWaiver struct {
	Product       string    `json:"product" minLength:"1"`
	Check         string    `json:"check" minLength:"1" example:"unit"`
	Item          string    `json:"item,omitempty" doc:"Only this component or experiment"`
	Configuration string    `json:"configuration,omitempty"`
	Subject       string    `json:"subject,omitempty" doc:"Only this subject" example:"candidate/ab12cd34ab12cd34"`
	Reason        string    `json:"reason" minLength:"1" maxLength:"2000"`
	Until         time.Time `json:"until,omitzero" doc:"When it ends; absent: when it is revoked"`
}

// NewRollback asks to go back.
type NewRollback struct {
	To     string `json:"to,omitempty" doc:"The version to go back to; absent: the newest older one that had been deployed everywhere and asked for something else" example:"ferry-5"`
	Reason string `json:"reason,omitempty" maxLength:"1000"`
}
