package client

import (
	"context"
	"iter"

	"slipway.dev/slipway/internal/slipway"
)

// Release is a tagged manifest commit: exactly what was tested.
type Release = slipway.Release

// Releases lists the releases of a product, or of all, newest first.
func (c *Client) Releases(ctx context.Context, product string, limit int) iter.Seq2[Release, error] {
	return list[Release](ctx, c, "/api/v1/releases", values("product", product), limit)
}

// Release shows one release ("ferry-v2026.11.3").
func (c *Client) Release(ctx context.Context, id string) (Release, error) {
	return get[Release](ctx, c, "/api/v1/releases/"+segment(id), nil)
}
