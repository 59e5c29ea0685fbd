package httpapi

import (
	"context"
	"net/http"

	"slipway.dev/slipway/internal/edge/httpapi/wire"
	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/gating"
)

func (a *API) gating() {
	register(a, op{Method: http.MethodGet, Path: "/api/v1/results", Role: auth.Viewer, Summary: "List the results of a subject"},
		func(ctx context.Context, in *struct {
			Subject string `query:"subject" required:"true" example:"candidate/ab12cd34ab12cd34"`
		}) (*List[slipway.Result], error) {
			results, err := a.Gating.Results(ctx, in.Subject)
			if err != nil {
				return nil, err
			}
			return &List[slipway.Result]{Body: Items[slipway.Result]{Items: results}}, nil
		})
	register(a, op{Method: http.MethodGet, Path: "/api/v1/waivers", Role: auth.Viewer, Summary: "List waivers, newest first"},
		func(ctx context.Context, in *struct {
			Product string `query:"product"`
		}) (*List[gating.Waiver], error) {
			waivers, err := a.Gating.Waivers(ctx, in.Product)
			if err != nil {
				return nil, err
			}
			return &List[gating.Waiver]{Body: Items[gating.Waiver]{Items: waivers}}, nil
		})
	register(a, op{Method: http.MethodPost, Path: "/api/v1/waivers", Role: auth.Gatekeeper, Status: http.StatusCreated, Summary: "Excuse a check",
		About: "It counts at once for everything that it matches and that has not been decided yet."},
		func(ctx context.Context, in *struct{ Body wire.NewWaiver }) (*One[gating.Waiver], error) {
			b := in.Body
			if _, err := a.Catalog.Get(ctx, b.Product); err != nil {
				return nil, err
			}
			return one(a.Gating.Waive(ctx, gating.Waiver{Product: b.Product, Check: b.Check, Item: b.Item, Configuration: b.Configuration,
				Subject: b.Subject, Reason: b.Reason, Until: b.Until, Author: auth.Actor(ctx)}))
		})
	register(a, op{Method: http.MethodPost, Path: "/api/v1/waivers/{id}/revoke", Role: auth.Gatekeeper, Summary: "End a waiver"},
		func(ctx context.Context, in *struct {
			ID   string `path:"id"`
			Body struct {
				Reason string `json:"reason,omitempty" maxLength:"1000"`
			}
		}) (*None, error) {
			return nil, a.Gating.Revoke(ctx, in.ID, auth.Actor(ctx), in.Body.Reason)
		})
}
