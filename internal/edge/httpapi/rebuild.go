package httpapi

import (
	"context"
	"net/http"

	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build"
)

// RebuildID is the input that names a rebuild.
type RebuildID struct {
	ID string `path:"id" example:"3"`
}

// RebuildOf is the input that says what of a product changed.
type RebuildOf struct {
	Product string `path:"product" example:"ferry"`
	Body    build.RebuildCause
}

func (a *API) rebuilds() {
	register(a, op{Method: http.MethodPost, Path: "/api/v1/products/{product}/rebuild-plan", Role: auth.Viewer, Summary: "Plan a rebuild, tier by tier",
		About: "Says which components are built for certain, because their own inputs changed, and which may be cut off, because only an output that they need may change. Nothing is started."},
		func(ctx context.Context, in *RebuildOf) (*One[build.RebuildPlan], error) {
			return one(a.Build.PlanRebuild(ctx, in.Product, in.Body))
		})
	register(a, op{Method: http.MethodPost, Path: "/api/v1/products/{product}/rebuilds", Role: auth.Operator, Summary: "Start a rebuild", Status: http.StatusCreated},
		func(ctx context.Context, in *RebuildOf) (*One[build.Rebuild], error) {
			return one(a.Build.StartRebuild(ctx, in.Product, in.Body, auth.Actor(ctx)))
		})
	register(a, op{Method: http.MethodGet, Path: "/api/v1/rebuilds", Role: auth.Viewer, Summary: "List rebuilds, newest first"},
		func(ctx context.Context, in *struct {
			Page
			Product string `query:"product"`
			State   string `query:"state" enum:"running,paused,stuck,passed,cancelled"`
		}) (*List[build.Rebuild], error) {
			q := slipway.Query{Product: in.Product, Newest: true, After: in.After, Limit: in.more()}
			if in.State != "" {
				q.States = []string{in.State}
			}
			all, err := a.Build.Rebuilds(ctx, q)
			if err != nil {
				return nil, err
			}
			return list(ctx, in.Page, all, func(r build.Rebuild) string { return r.ID }), nil
		})
	register(a, op{Method: http.MethodGet, Path: "/api/v1/rebuilds/{id}", Role: auth.Viewer, Summary: "Show a rebuild with its attempts",
		About: "Each attempt is a wave, which tells how far each component is."},
		func(ctx context.Context, in *RebuildID) (*One[build.Rebuild], error) {
			return one(a.Build.Rebuild(ctx, in.ID))
		})
	type reasoned struct {
		RebuildID
		Body struct {
			Reason string `json:"reason" minLength:"1" doc:"Why, for the ledger"`
		}
	}
	register(a, op{Method: http.MethodPost, Path: "/api/v1/rebuilds/{id}/pause", Role: auth.Operator, Summary: "Let a rebuild start nothing new; what runs goes on"},
		func(ctx context.Context, in *reasoned) (*None, error) {
			return nil, a.Build.PauseRebuild(ctx, in.ID, auth.Actor(ctx), in.Body.Reason)
		})
	register(a, op{Method: http.MethodPost, Path: "/api/v1/rebuilds/{id}/resume", Role: auth.Operator, Summary: "Let a paused rebuild go on"},
		func(ctx context.Context, in *RebuildID) (*None, error) {
			return nil, a.Build.ResumeRebuild(ctx, in.ID, auth.Actor(ctx))
		})
	register(a, op{Method: http.MethodPost, Path: "/api/v1/rebuilds/{id}/retry", Role: auth.Operator, Summary: "Try what failed in a stuck rebuild again, and what was skipped because of it"},
		func(ctx context.Context, in *RebuildID) (*None, error) {
			return nil, a.Build.RetryRebuild(ctx, in.ID, auth.Actor(ctx))
		})
	register(a, op{Method: http.MethodPost, Path: "/api/v1/rebuilds/{id}/cancel", Role: auth.Operator, Summary: "End a rebuild"},
		func(ctx context.Context, in *reasoned) (*None, error) {
			return nil, a.Build.CancelRebuild(ctx, in.ID, auth.Actor(ctx), in.Body.Reason)
		})
	register(a, op{Method: http.MethodGet, Path: "/api/v1/affected", Role: auth.Viewer, Summary: "Find what was made from a commit",
		About: "The builds that were made from the commit that a ref of a repository names, those made with their outputs, and the modules that hold the components."},
		func(ctx context.Context, in *struct {
			Repo    string `query:"repo" required:"true" example:"components/libwire"`
			Ref     string `query:"ref" required:"true" doc:"main, main@{1} for one move ago, main@{TIME}, or a commit" example:"main@{1}"`
			Product string `query:"product"`
		}) (*One[build.Affected], error) {
			return one(a.Build.Affected(ctx, in.Product, in.Repo, in.Ref))
		})
	register(a, op{Method: http.MethodGet, Path: "/api/v1/builds/{id}/why", Role: auth.Viewer, Summary: "Explain why a build was made",
		About: "Its inputs by name and digest, each dependency with the build that made it, and what differs from the build of the same action before it. " +
			"The id is a build's number, an action's key, or the digest of an output."},
		func(ctx context.Context, in *BuildID) (*One[build.Explanation], error) {
			return one(a.Build.Explain(ctx, in.ID))
		})
}
