package httpapi

import (
	"context"
	"net/http"

	"slipway.dev/slipway/internal/edge/httpapi/wire"
	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/stage/change"
)

// ChangePath names a change. It is exported because huma does not look into embedded structs that are not.
// ChangePath names a change; it is embedded in inputs, which is why it is exported.
type ChangePath struct {
	Number int64 `path:"number" minimum:"1"`
}

// voter is the caller as the change stage sees one.
func voter(ctx context.Context) change.Voter {
	id, _ := auth.From(ctx)
	return change.Voter{Name: auth.Actor(ctx), Gatekeeper: id.Role.Covers(auth.Gatekeeper)}
}

func (a *API) changes() {
	register(a, op{Method: http.MethodGet, Path: "/api/v1/changes", Role: auth.Viewer, Summary: "List changes, newest first"},
		func(ctx context.Context, in *struct {
			Page
			Product string `query:"product"`
			Repo    string `query:"repo" example:"components/libwire"`
			State   string `query:"state" enum:"open,testing,tested,failed,approved,landing,landed,conflict,abandoned" doc:"Only these"`
		}) (*List[change.Change], error) {
			f := change.Filter{Product: in.Product, Repo: in.Repo, After: in.After, Limit: in.more()}
			if in.State != "" {
				f.States = []string{in.State}
			}
			found, err := a.Change.Changes(ctx, f)
			if err != nil {
				return nil, err
			}
			return list(ctx, in.Page, found, change.Change.ID), nil
		})
	register(a, op{Method: http.MethodGet, Path: "/api/v1/changes/{number}", Role: auth.Viewer, Summary: "Show a change"},
		func(ctx context.Context, in *ChangePath) (*One[change.Change], error) {
			return one(a.Change.Change(ctx, in.Number))
		})
	register(a, op{Method: http.MethodPost, Path: "/api/v1/changes/{number}/votes", Role: auth.Developer, Summary: "Vote on a change",
		About: "A vote replaces the voter's earlier one on the same patchset. A gatekeeper's +2 approves, a gatekeeper's -2 holds back."},
		func(ctx context.Context, in *struct {
			ChangePath
			Body wire.NewVote
		}) (*One[change.Change], error) {
			return one(a.Change.Vote(ctx, in.Number, voter(ctx), in.Body.Value, in.Body.Patchset, in.Body.Message))
		})
	register(a, op{Method: http.MethodPost, Path: "/api/v1/changes/{number}/abandon", Role: auth.Developer, Summary: "Give a change up",
		About: "Its author may, and gatekeepers."},
		func(ctx context.Context, in *struct {
			ChangePath
			Body struct {
				Reason string `json:"reason,omitempty" maxLength:"1000"`
			}
		}) (*One[change.Change], error) {
			return one(a.Change.Abandon(ctx, in.Number, voter(ctx), in.Body.Reason))
		})
	register(a, op{Method: http.MethodPost, Path: "/api/v1/changes/{number}/retest", Role: auth.Developer, Summary: "Run a change's tests again"},
		func(ctx context.Context, in *ChangePath) (*One[change.Change], error) {
			return one(a.Change.Retest(ctx, in.Number, auth.Actor(ctx)))
		})
}
