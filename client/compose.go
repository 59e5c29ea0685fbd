package client

import (
	"context"
	"iter"
	"net/http"

	"slipway.dev/slipway/internal/stage/compose"
)

// Compose is the distribution made from one release.
type Compose = compose.Compose

// ComposeVerification says whether a compose is as it was when it was finished.
type ComposeVerification = compose.Verification

// Composes lists the composes of a product, or of all, newest first.
func (c *Client) Composes(ctx context.Context, product string, limit int) iter.Seq2[Compose, error] {
	return list[Compose](ctx, c, "/api/v1/composes", values("product", product), limit)
}

// Compose shows one compose ("ferry-v2026.11.3").
func (c *Client) Compose(ctx context.Context, id string) (Compose, error) {
	return get[Compose](ctx, c, "/api/v1/composes/"+segment(id), nil)
}

// VerifyCompose compares every file of a finished compose with what was recorded.
func (c *Client) VerifyCompose(ctx context.Context, id string) (ComposeVerification, error) {
	return do[ComposeVerification](ctx, c, http.MethodPost, "/api/v1/composes/"+segment(id)+"/verify", nil, nil)
}

// RetryCompose makes a failed compose again, or that of a release which has none. A finished one is a Conflict.
func (c *Client) RetryCompose(ctx context.Context, id string) (Compose, error) {
	return do[Compose](ctx, c, http.MethodPost, "/api/v1/composes/"+segment(id)+"/retry", nil, nil)
}
