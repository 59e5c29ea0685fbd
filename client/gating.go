package client

import (
	"context"
	"net/http"

	"slipway.dev/slipway/internal/edge/httpapi/wire"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/gating"
)

// Result is the outcome of one check for one subject.
type Result = slipway.Result

// Waiver is a recorded exception.
type Waiver = gating.Waiver

// NewWaiver asks for one.
type NewWaiver = wire.NewWaiver

// Results lists what is known of a subject ("candidate/ab12...", "change/7.1").
func (c *Client) Results(ctx context.Context, subject string) ([]Result, error) {
	p, err := get[page[Result]](ctx, c, "/api/v1/results", values("subject", subject))
	return p.Items, err
}

// Waivers lists the waivers of a product, or of all, newest first.
func (c *Client) Waivers(ctx context.Context, product string) ([]Waiver, error) {
	p, err := get[page[Waiver]](ctx, c, "/api/v1/waivers", values("product", product))
	return p.Items, err
}

// Waive excuses a check.
func (c *Client) Waive(ctx context.Context, w NewWaiver) (Waiver, error) {
	return do[Waiver](ctx, c, http.MethodPost, "/api/v1/waivers", nil, w)
}

// RevokeWaiver ends a waiver.
func (c *Client) RevokeWaiver(ctx context.Context, id, reason string) error {
	_, err := do[none](ctx, c, http.MethodPost, "/api/v1/waivers/"+segment(id)+"/revoke", nil, map[string]string{"reason": reason})
	return err
}
