package store

import (
	"context"

	"slipway.dev/slipway/internal/slipway"
)

// Last returns the last event about a subject or linked to it; ok is false when there is none.
func (db *DB) Last(ctx context.Context, subject string) (e slipway.Event, ok bool, err error) {
	events, err := db.Events(ctx, EventQuery{Subject: subject, Newest: true, Limit: 1})
	if err != nil || len(events) == 0 {
		return slipway.Event{}, false, err
	}
	return events[0], true, nil
}
