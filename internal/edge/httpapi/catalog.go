package httpapi

import (
	"context"
	"net/http"
	"time"

	"slipway.dev/slipway/internal/catalog"
	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/slipway"
)

func (a *API) catalog() {
	register(a, op{Method: http.MethodGet, Path: "/api/v1/products", Role: auth.Viewer, Summary: "List products"},
		func(ctx context.Context, in *struct{ Page }) (*List[catalog.Product], error) {
			products, err := a.Catalog.Products(ctx, in.After, in.more())
			if err != nil {
				return nil, err
			}
			return list(ctx, in.Page, products, func(p catalog.Product) string { return p.Name }), nil
		})
	register(a, op{Method: http.MethodGet, Path: "/api/v1/products/{product}", Role: auth.Viewer, Summary: "Show a product with its file in force"},
		func(ctx context.Context, in *ProductPath) (*One[catalog.Product], error) {
			return one(a.Catalog.Get(ctx, in.Product))
		})
	register(a, op{
		Method: http.MethodGet, Path: "/api/v1/products/{product}/components", Role: auth.Viewer,
		Summary: "List a product's components as they are at the heads of their branches",
	},
		func(ctx context.Context, in *ProductPath) (*One[Items[catalog.Component]], error) {
			components, err := a.Catalog.Components(ctx, in.Product)
			return one(Items[catalog.Component]{Items: components}, err)
		})
	register(a, op{Method: http.MethodGet, Path: "/api/v1/products/{product}/components/{component}", Role: auth.Viewer, Summary: "Show a component with its recipe"},
		func(ctx context.Context, in *struct {
			Product   string `path:"product" example:"ferry"`
			Component string `path:"component" example:"timetable"`
		}) (*One[catalog.Component], error) {
			return one(a.Catalog.Component(ctx, in.Product, in.Component))
		})
	register(a, op{
		Method: http.MethodGet, Path: "/api/v1/products/{product}/components/{component}/dependents", Role: auth.Viewer,
		Summary: "List what needs a component, directly or through others, nearest first",
	},
		func(ctx context.Context, in *struct {
			Product   string    `path:"product" example:"ferry"`
			Component string    `path:"component" example:"timetable"`
			At        time.Time `query:"at" doc:"As it was then; default now"`
		}) (*One[Items[catalog.Dependent]], error) {
			dependents, err := a.Catalog.DependentsAt(ctx, in.Product, in.Component, in.At)
			if dependents == nil {
				dependents = []catalog.Dependent{}
			}
			return one(Items[catalog.Dependent]{Items: dependents}, err)
		})
	register(a, op{Method: http.MethodGet, Path: "/api/v1/products/{product}/needs", Role: auth.Viewer, Summary: "List who needs whom"},
		func(ctx context.Context, in *struct {
			Product string    `path:"product" example:"ferry"`
			At      time.Time `query:"at" doc:"As it was then; default now"`
		}) (*One[Items[catalog.Edge]], error) {
			edges, err := a.Catalog.NeedsAt(ctx, in.Product, in.At)
			return one(Items[catalog.Edge]{Items: edges}, err)
		})
	register(a, op{
		Method: http.MethodGet, Path: "/api/v1/products/{product}/problems", Role: auth.Viewer,
		Summary: "List unknown and circular needs",
	},
		func(ctx context.Context, in *ProductPath) (*One[Items[catalog.Problem]], error) {
			problems, err := a.Catalog.Problems(ctx, in.Product)
			if problems == nil {
				problems = []catalog.Problem{}
			}
			return one(Items[catalog.Problem]{Items: problems}, err)
		})
	register(a, op{Method: http.MethodGet, Path: "/api/v1/products/{product}/heads", Role: auth.Viewer, Summary: "List the pins at the heads of the components' branches"},
		func(ctx context.Context, in *ProductPath) (*One[Items[slipway.Pin]], error) {
			pins, err := a.Catalog.Heads(ctx, in.Product)
			return one(Items[slipway.Pin]{Items: pins}, err)
		})
}
