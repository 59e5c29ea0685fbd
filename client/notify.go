package client

import (
	"context"
	"iter"
	"net/http"

	"slipway.dev/slipway/internal/edge/httpapi/wire"
	"slipway.dev/slipway/internal/notify"
)

// Nouns of notifications.
type (
	Subscription = notify.Subscription // who wants which events
	Delivery     = notify.Delivery     // one event on its way to one subscriber
	Subscribe    = wire.Subscribe      // a wish for events
)

// Subscriptions lists who wants which events, of a product or of all.
func (c *Client) Subscriptions(ctx context.Context, product string, limit int) iter.Seq2[Subscription, error] {
	return list[Subscription](ctx, c, "/api/v1/subscriptions", values("product", product), limit)
}

// Subscribe asks for events from now on.
func (c *Client) Subscribe(ctx context.Context, s Subscribe) (Subscription, error) {
	return do[Subscription](ctx, c, http.MethodPost, "/api/v1/subscriptions", nil, s)
}

// Unsubscribe removes a subscription that was made by Subscribe.
func (c *Client) Unsubscribe(ctx context.Context, id string) error {
	_, err := do[none](ctx, c, http.MethodDelete, "/api/v1/subscriptions/"+segment(id), nil, nil)
	return err
}

// Deliveries lists what was sent, newest first, of a subscription and in a state if they are not empty.
func (c *Client) Deliveries(ctx context.Context, subscription, state string, limit int) iter.Seq2[Delivery, error] {
	return list[Delivery](ctx, c, "/api/v1/deliveries", values("subscription", subscription, "state", state), limit)
}

// Redeliver sends a delivery once more.
func (c *Client) Redeliver(ctx context.Context, id string) (Delivery, error) {
	return do[Delivery](ctx, c, http.MethodPost, "/api/v1/deliveries/"+segment(id)+"/retry", nil, nil)
}
