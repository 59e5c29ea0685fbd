package httpapi

import (
	"context"
	"net/http"

	"slipway.dev/slipway/internal/edge/httpapi/wire"
	"slipway.dev/slipway/internal/notify"
	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/slipway"
)

func (a *API) notify() {
	register(a, op{
		Method: http.MethodGet, Path: "/api/v1/subscriptions", Role: auth.Viewer, Summary: "List who wants which events",
		About: "The secret that signs webhooks, and all of a webhook's URL, are shown to operators.",
	},
		func(ctx context.Context, in *struct {
			Page
			Product string `query:"product"`
		}) (*List[notify.Subscription], error) {
			subs, err := a.Notify.Subscriptions(ctx, slipway.Query{Product: in.Product, After: in.After, Limit: in.more()})
			if err != nil {
				return nil, err
			}
			if auth.Require(ctx, auth.Operator) != nil {
				for i := range subs {
					subs[i] = subs[i].Shown()
				}
			}
			return list(ctx, in.Page, subs, func(s notify.Subscription) string { return s.ID }), nil
		})
	register(a, op{
		Method: http.MethodPost, Path: "/api/v1/subscriptions", Role: auth.Operator, Status: http.StatusCreated, Summary: "Subscribe to events",
		About: "Events from now on go to a webhook, as a CloudEvent by POST, or to a mail address. Subscriptions of a product are better kept in its product.yaml.",
	},
		func(ctx context.Context, in *struct{ Body wire.Subscribe }) (*One[notify.Subscription], error) {
			id, _ := auth.From(ctx)
			return one(a.Notify.Subscribe(ctx, id.User, notify.Subscription{
				Product: in.Body.Product, Events: in.Body.Events, Webhook: in.Body.Webhook, Mail: in.Body.Mail, Secret: in.Body.Secret,
			}))
		})
	register(a, op{Method: http.MethodDelete, Path: "/api/v1/subscriptions/{id}", Role: auth.Operator, Summary: "Remove a subscription that was made here"},
		func(ctx context.Context, in *struct {
			ID string `path:"id"`
		}) (*None, error) {
			return nil, a.Notify.Unsubscribe(ctx, auth.Actor(ctx), in.ID)
		})
	register(a, op{Method: http.MethodGet, Path: "/api/v1/deliveries", Role: auth.Viewer, Summary: "List what was sent to subscribers, newest first"},
		func(ctx context.Context, in *struct {
			Page
			Subscription string `query:"subscription"`
			State        string `query:"state" enum:"pending,delivered,failed"`
		}) (*List[notify.Delivery], error) {
			q := slipway.Query{Key: in.Subscription, After: in.After, Limit: in.more(), Newest: true}
			if in.State != "" {
				q.States = []string{in.State}
			}
			deliveries, err := a.Notify.Deliveries(ctx, q)
			if err != nil {
				return nil, err
			}
			return list(ctx, in.Page, deliveries, func(d notify.Delivery) string { return d.ID }), nil
		})
	register(a, op{Method: http.MethodPost, Path: "/api/v1/deliveries/{id}/retry", Role: auth.Operator, Summary: "Send a delivery once more"},
		func(ctx context.Context, in *struct {
			ID string `path:"id"`
		}) (*One[notify.Delivery], error) {
			id, _ := auth.From(ctx)
			return one(a.Notify.Redeliver(ctx, in.ID, id.User))
		})
}
