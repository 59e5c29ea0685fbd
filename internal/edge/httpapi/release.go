package httpapi

import (
	"context"
	"net/http"

	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/slipway"
)

func (a *API) releases() {
	register(a, op{Method: http.MethodGet, Path: "/api/v1/releases", Role: auth.Viewer, Summary: "List releases, newest first"},
		func(ctx context.Context, in *struct {
			Page
			Product string `query:"product"`
		}) (*List[slipway.Release], error) {
			releases, err := a.Release.Releases(ctx, slipway.Query{Product: in.Product, After: in.After, Limit: in.more()})
			if err != nil {
				return nil, err
			}
			return list(ctx, in.Page, releases, func(r slipway.Release) string { return r.ID }), nil
		})
	register(a, op{Method: http.MethodGet, Path: "/api/v1/releases/{id}", Role: auth.Viewer, Summary: "Show a release with its manifests"},
		func(ctx context.Context, in *struct {
			ID string `path:"id" example:"ferry-v2026.11.3"`
		}) (*One[slipway.Release], error) {
			return one(a.Release.Release(ctx, in.ID))
		})
}
