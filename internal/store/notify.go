package store

import (
	"context"
	"fmt"

	"slipway.dev/slipway/internal/notify"
	"slipway.dev/slipway/internal/slipway"
)

// Subscriptions keeps who wants which events.
func (tx *Tx) Subscriptions() slipway.Table[notify.Subscription] {
	return table[notify.Subscription](tx, "subscriptions")
}

// Deliveries keeps what was sent to whom.
func (tx *Tx) Deliveries() slipway.Table[notify.Delivery] {
	return table[notify.Delivery](tx, "deliveries")
}

// Told returns events with higher numbers than after, in order.
func (tx *Tx) Told(ctx context.Context, after int64, limit int) ([]slipway.Event, error) {
	return tx.Events(ctx, EventQuery{After: after, Limit: limit})
}

// LastTold returns the number of the last event; 0 if there is none.
func (tx *Tx) LastTold(ctx context.Context) (seq int64, err error) {
	if err := tx.tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(seq), 0) FROM events`).Scan(&seq); err != nil {
		return 0, fmt.Errorf("read the ledger: %w", err)
	}
	return seq, nil
}
