package client

import (
	"context"
	"net/http"

	"slipway.dev/slipway/internal/edge/httpapi/wire"
)

// Buildroot is a resolved buildroot: its lock, and the lock's digest.
type Buildroot = wire.BuildrootView

// Buildroots lists the names of a product's buildroots.
func (c *Client) Buildroots(ctx context.Context, product string) ([]string, error) {
	return get[[]string](ctx, c, "/api/v1/products/"+segment(product)+"/buildroots", nil)
}

// Buildroot shows what is in a buildroot, by its committed lock if there is one.
func (c *Client) Buildroot(ctx context.Context, product, name string) (Buildroot, error) {
	return get[Buildroot](ctx, c, "/api/v1/products/"+segment(product)+"/buildroots/"+segment(name), nil)
}

// LockBuildroot resolves a buildroot anew.
func (c *Client) LockBuildroot(ctx context.Context, product, name string) (Buildroot, error) {
	return do[Buildroot](ctx, c, http.MethodPost, "/api/v1/products/"+segment(product)+"/buildroots/"+segment(name)+"/lock", nil, nil)
}
