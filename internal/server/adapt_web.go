package server

import (
	"context"

	"slipway.dev/slipway/internal/edge/web"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/store"
)

// webLedger is the store's ledger for the dashboard.
type webLedger struct{ *store.DB }

func (l webLedger) Events(ctx context.Context, q web.EventQuery) ([]slipway.Event, error) {
	return l.DB.Events(ctx, store.EventQuery(q))
}
