package httpapi

import (
	"context"
	"net/http"

	"slipway.dev/slipway/internal/edge/httpapi/wire"
	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/stage/deploy"
)

// VersionID names a version. It is exported because huma does not look into embedded structs that are not.
type VersionID struct {
	ID string `path:"id" example:"ferry-7"`
}

// DeployedProduct names a product. It is exported because huma does not look into embedded structs that are not.
type DeployedProduct struct {
	Product string `path:"product" example:"ferry"`
}

func (a *API) deployments() {
	register(a, op{Method: http.MethodGet, Path: "/api/v1/deployments/{product}", Role: auth.Viewer, Summary: "Show how a product stands on its nodes",
		About: "The version in force, the last try to compile the model, and for each node what it last reported."},
		func(ctx context.Context, in *DeployedProduct) (*One[deploy.Status], error) {
			return one(a.Deploy.Status(ctx, in.Product))
		})
	register(a, op{Method: http.MethodPost, Path: "/api/v1/deployments/{product}/rollback", Role: auth.Operator, Status: http.StatusCreated,
		Summary: "Put an older version's resources in force again",
		About:   "They become a new version, since agents never take a lower number. The product is held at that version's release until a newer release arrives."},
		func(ctx context.Context, in *struct {
			DeployedProduct
			Body wire.NewRollback
		}) (*One[deploy.Version], error) {
			return one(a.Deploy.Rollback(ctx, in.Product, in.Body.To, auth.Actor(ctx), in.Body.Reason))
		})
	register(a, op{Method: http.MethodPost, Path: "/api/v1/deployments/{product}/compile", Role: auth.Operator, Summary: "Have the model compiled again"},
		func(ctx context.Context, in *DeployedProduct) (*None, error) {
			return nil, a.Deploy.Recompile(ctx, in.Product)
		})
	register(a, op{Method: http.MethodGet, Path: "/api/v1/versions", Role: auth.Viewer, Summary: "List compiled versions, newest first"},
		func(ctx context.Context, in *struct {
			Page
			Product string `query:"product"`
		}) (*List[deploy.Version], error) {
			versions, err := a.Deploy.Versions(ctx, in.Product, in.After, in.more())
			if err != nil {
				return nil, err
			}
			return list(ctx, in.Page, versions, func(v deploy.Version) string { return v.ID }), nil
		})
	register(a, op{Method: http.MethodGet, Path: "/api/v1/versions/{id}", Role: auth.Viewer, Summary: "Show a version"},
		func(ctx context.Context, in *VersionID) (*One[deploy.Version], error) {
			return one(a.Deploy.Version(ctx, in.ID))
		})
	register(a, op{Method: http.MethodGet, Path: "/api/v1/versions/{id}/resources", Role: auth.Viewer, Summary: "List what a version asks of its nodes",
		About: "Each resource has its attributes, its requirements and the model line that asks for it."},
		func(ctx context.Context, in *struct {
			VersionID
			Node string `query:"node" doc:"Only of this node"`
		}) (*List[deploy.Slice], error) {
			found, err := a.Deploy.Slices(ctx, in.ID, in.Node)
			if err != nil {
				return nil, err
			}
			return &List[deploy.Slice]{Body: Items[deploy.Slice]{Items: found}}, nil
		})
	register(a, op{Method: http.MethodPost, Path: "/api/v1/versions/{id}/release", Role: auth.Operator, Summary: "Put a compiled version in force",
		About: "A version older than the one in force is a conflict: roll back instead."},
		func(ctx context.Context, in *VersionID) (*One[deploy.Version], error) {
			return one(a.Deploy.Release(ctx, in.ID, auth.Actor(ctx)))
		})
	register(a, op{Method: http.MethodPost, Path: "/api/v1/versions/{id}/dry-runs", Role: auth.Operator, Status: http.StatusCreated,
		Summary: "Ask the agents what a version would change", About: "Nothing is written on nodes. Read the answer until its state is done."},
		func(ctx context.Context, in *VersionID) (*One[deploy.DryRun], error) {
			return one(a.Deploy.StartDryRun(ctx, in.ID, auth.Actor(ctx)))
		})
	register(a, op{Method: http.MethodGet, Path: "/api/v1/dry-runs/{id}", Role: auth.Viewer, Summary: "Show what a version would change"},
		func(ctx context.Context, in *struct {
			ID string `path:"id" example:"ferry-7.1"`
		}) (*One[deploy.DryRun], error) {
			return one(a.Deploy.DryRun(ctx, in.ID))
		})
	register(a, op{Method: http.MethodGet, Path: "/api/v1/nodes/{node}/deployments", Role: auth.Viewer, Summary: "List what is deployed on a node, resource by resource"},
		func(ctx context.Context, in *struct {
			Node string `path:"node" example:"edge-1"`
		}) (*List[deploy.OnNode], error) {
			found, err := a.Deploy.Node(ctx, in.Node)
			if err != nil {
				return nil, err
			}
			return &List[deploy.OnNode]{Body: Items[deploy.OnNode]{Items: found}}, nil
		})
}
