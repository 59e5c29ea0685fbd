package httpapi

import (
	"context"
	"net/http"

	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/stage/compose"
)

// composeID names a compose in a path.
type composeID struct {
	ID string `path:"id" example:"ferry-v2026.11.3"`
}

func (a *API) composes() {
	register(a, op{Method: http.MethodGet, Path: "/api/v1/composes", Role: auth.Viewer, Summary: "List composes, newest first"},
		func(ctx context.Context, in *struct {
			Page
			Product string `query:"product"`
		}) (*List[compose.Compose], error) {
			composes, err := a.Compose.Composes(ctx, in.Product, in.After, in.more())
			if err != nil {
				return nil, err
			}
			return list(ctx, in.Page, composes, func(c compose.Compose) string { return c.ID }), nil
		})
	register(a, op{Method: http.MethodGet, Path: "/api/v1/composes/{id}", Role: auth.Viewer, Summary: "Show a compose with its variants and packages",
		About: "The files are served below `/composes/{id}/`, those of a product's newest compose below `/composes/{product}/latest/`."},
		func(ctx context.Context, in *composeID) (*One[compose.Compose], error) {
			return one(a.Compose.Compose(ctx, in.ID))
		})
	register(a, op{Method: http.MethodPost, Path: "/api/v1/composes/{id}/verify", Role: auth.Viewer, Summary: "Compare every file of a finished compose with what was recorded"},
		func(ctx context.Context, in *composeID) (*One[compose.Verification], error) {
			return one(a.Compose.Verify(ctx, in.ID))
		})
	register(a, op{Method: http.MethodPost, Path: "/api/v1/composes/{id}/retry", Role: auth.Gatekeeper, Summary: "Make a failed compose again",
		About: "Also makes the compose of a release that has none. A finished compose does not change: that is a conflict."},
		func(ctx context.Context, in *composeID) (*One[compose.Compose], error) {
			return one(a.Compose.Retry(ctx, in.ID, auth.Actor(ctx)))
		})
}
