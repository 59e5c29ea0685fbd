package httpapi

import (
	"context"
	"net/http"

	"slipway.dev/slipway/internal/edge/httpapi/wire"
	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/stage/build/buildroot"
)

func (a *API) buildroots() {
	type name struct {
		Product string `path:"product"`
		Name    string `path:"name"`
	}
	view := func(r buildroot.Root, err error) (*One[wire.BuildrootView], error) {
		return one(wire.BuildrootView{Lock: r.Lock, Digest: r.Digest}, err)
	}
	register(a, op{Method: http.MethodGet, Path: "/api/v1/products/{product}/buildroots", Role: auth.Viewer, Summary: "List the names of a product's buildroots"},
		func(ctx context.Context, in *struct {
			Product string `path:"product"`
		}) (*One[[]string], error) {
			return one(a.Build.Buildroots(ctx, in.Product))
		})
	register(a, op{Method: http.MethodGet, Path: "/api/v1/products/{product}/buildroots/{name}", Role: auth.Developer, Summary: "Show what is in a buildroot",
		About: "By its committed lock if there is one. The first time it is fetched and unpacked, which may take a while."},
		func(ctx context.Context, in *name) (*One[wire.BuildrootView], error) {
			return view(a.Build.Buildroot(ctx, in.Product, in.Name, false))
		})
	register(a, op{Method: http.MethodPost, Path: "/api/v1/products/{product}/buildroots/{name}/lock", Role: auth.Developer, Summary: "Resolve a buildroot anew, to lock it",
		About: "Whatever its committed lock says. Nothing changes for builds before the answer is committed."},
		func(ctx context.Context, in *name) (*One[wire.BuildrootView], error) {
			return view(a.Build.Buildroot(ctx, in.Product, in.Name, true))
		})
}
