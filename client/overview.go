package client

import (
	"context"

	"slipway.dev/slipway/internal/overview"
)

// Nouns of the overview.
type (
	Item   = overview.Item   // one thing, of whatever kind, as it stands
	Reason = overview.Reason // an item with the reasons that it follows from
)

// Where tells where something is: a subject ("change/12") or a bare name that only one thing has.
func (c *Client) Where(ctx context.Context, thing string) (Item, error) {
	return get[Item](ctx, c, "/api/v1/where", values("thing", thing))
}

// Why tells why something is as it is, down to the commits.
func (c *Client) Why(ctx context.Context, thing string) (Reason, error) {
	return get[Reason](ctx, c, "/api/v1/why", values("thing", thing))
}
