package httpapi

import (
	"context"
	"net/http"

	"slipway.dev/slipway/internal/overview"
	"slipway.dev/slipway/internal/platform/auth"
)

func (a *API) overview() {
	const what = "A subject such as change/12, node/edge-1 or component/timetable; or a bare name that only one thing has."
	register(a, op{
		Method: http.MethodGet, Path: "/api/v1/where", Role: auth.Viewer, Summary: "Tell where something is",
		About: "Answers in one form for every kind of thing: its stage, its state, why it is in it, and what would move it on.",
	},
		func(ctx context.Context, in *struct {
			Thing string `query:"thing" required:"true" minLength:"1" doc:"A subject or a bare name"`
		}) (*One[overview.Item], error) {
			return one(a.Overview.Where(ctx, in.Thing))
		})
	register(a, op{
		Method: http.MethodGet, Path: "/api/v1/why", Role: auth.Viewer, Summary: "Tell why something is as it is",
		About: "Follows the reasons: from a node through model line, release, queue entry and builds to the change and its commit. " + what,
	},
		func(ctx context.Context, in *struct {
			Thing string `query:"thing" required:"true" minLength:"1" doc:"A subject or a bare name"`
		}) (*One[overview.Reason], error) {
			return one(a.Overview.Why(ctx, in.Thing))
		})
}
