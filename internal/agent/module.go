package agent

import (
	"context"
	"encoding/json"
)

// Module is one kind of work that the agent does. Report and Apply are called by one goroutine, in turns, and return soon;
// long work belongs to goroutines of the module.
type Module interface {
	// Name is the module's name on the wire.
	Name() string
	// Report returns what the server should know, as a level: saying it twice is harmless.
	Report(ctx context.Context) (json.RawMessage, error)
	// Apply takes the server's answer to the last report.
	Apply(ctx context.Context, orders json.RawMessage) error
}

// Changer is a [Module] that may have something new to report between two syncs.
type Changer interface {
	// Changed delivers a value when a sync would be worth while.
	Changed() <-chan struct{}
}

// Runner is a [Module] with work of its own.
type Runner interface {
	// Run works until ctx ends, and returns when everything it started has ended.
	Run(ctx context.Context) error
}
