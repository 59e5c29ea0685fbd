package notify

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"slipway.dev/slipway/internal/platform/jobs"
	"slipway.dev/slipway/internal/slipway"
)

const (
	productKind = "notify.product"
	fanKind     = "notify.fan"
	deliverKind = "notify.deliver"
	cursor      = "notify"
	batch       = 200 // events in one transaction of notify.fan
)

// Handlers returns the reconcilers.
func (s *Service) Handlers() []jobs.Handler {
	return []jobs.Handler{
		{Kind: productKind, Do: s.follow},
		{Kind: fanKind, Do: s.fan, Rest: 200 * time.Millisecond}, // every event wakes it
		{Kind: deliverKind, Slots: 4, Do: s.deliver},
	}
}

// Routes says what wakes them.
func Routes() []jobs.Route {
	return []jobs.Route{
		{On: slipway.ProductLoaded, Kind: productKind, Key: jobs.SubjectID},
		{On: "", Kind: fanKind, Key: func(slipway.Event) (string, bool) { return "ledger", true }},
	}
}

// follow makes the subscriptions of a product's file so.
func (s *Service) follow(ctx context.Context, product string) error {
	file, commit, err := s.products.Product(ctx, product)
	if err != nil {
		return err
	}
	return s.st.Update(ctx, func(tx Tx) error {
		old, err := tx.Subscriptions().Find(ctx, slipway.Query{Product: product, Key: "file"})
		if err != nil {
			return err
		}
		have := map[string]Subscription{}
		for _, sub := range old {
			have[sub.ID] = sub
		}
		last, err := tx.LastTold(ctx)
		if err != nil {
			return err
		}
		for _, wanted := range file.Notify {
			id := fileID(product, wanted)
			if _, ok := have[id]; ok {
				delete(have, id)
				continue
			}
			sub := Subscription{
				ID: id, Product: product, Events: wanted.Events, Webhook: wanted.Webhook, Mail: wanted.Mail, Secret: rand.Text(),
				Origin: "file", Creator: fmt.Sprintf("product.yaml at %.12s", commit), Created: tx.Now(), After: last,
			}
			if err := tx.Subscriptions().Put(ctx, sub); err != nil {
				return err
			}
			if err := tx.Emit(ctx, sub.event(slipway.Subscribed, "notify", sub.Creator+" asks for it")); err != nil {
				return err
			}
		}
		for _, id := range slices.Sorted(maps.Keys(have)) {
			if err := tx.Subscriptions().Delete(ctx, id); err != nil {
				return err
			}
			if err := tx.Emit(ctx, have[id].event(slipway.Unsubscribed, "notify", fmt.Sprintf("product.yaml at %.12s no longer asks for it", commit))); err != nil {
				return err
			}
		}
		return nil
	})
}

// fan writes the deliveries of the events that it has not seen.
func (s *Service) fan(ctx context.Context, _ string) error {
	for {
		more := false
		err := s.st.Update(ctx, func(tx Tx) error {
			after, err := tx.Cursor(ctx, cursor)
			if err != nil {
				return err
			}
			events, err := tx.Told(ctx, after, batch)
			if err != nil || len(events) == 0 {
				more = false
				return err
			}
			more = len(events) == batch
			subs, err := tx.Subscriptions().Find(ctx, slipway.Query{})
			if err != nil {
				return err
			}
			for _, e := range events {
				for _, sub := range append(maintainers(e, subs), subs...) {
					if !sub.Wants(e) {
						continue
					}
					d := Delivery{
						ID: fmt.Sprintf("%d-%s", e.Seq, sub.ID), Subscription: sub.ID, Target: sub.Target(), Product: e.Product,
						Event: e.Seq, Type: e.Type, Subject: e.Subject, State: Pending, Reason: "to be sent", Created: tx.Now(),
					}
					if err := tx.Deliveries().Put(ctx, d); err != nil {
						return err
					}
					if err := tx.Wake(ctx, deliverKind, d.ID, time.Time{}); err != nil {
						return err
					}
				}
			}
			return tx.SetCursor(ctx, cursor, events[len(events)-1].Seq)
		})
		if err != nil || !more {
			return err
		}
	}
}

// maintainerPrefix begins the id of the subscription that a component's file stands for.
const maintainerPrefix = "maintainer-"

// maintainers are the addresses that an event itself says are to be told, as far as they have not subscribed to it anyway.
func maintainers(e slipway.Event, subs []Subscription) []Subscription {
	if e.Type != slipway.RebuildBroken {
		return nil
	}
	var data struct {
		Maintainers []string `json:"maintainers"`
	}
	if json.Unmarshal(e.Data, &data) != nil {
		return nil
	}
	var all []Subscription
	for _, address := range data.Maintainers {
		if !slices.ContainsFunc(subs, func(s Subscription) bool { return s.Mail == address && s.Wants(e) }) {
			all = append(all, Subscription{ID: maintainerPrefix + address, Product: e.Product, Mail: address})
		}
	}
	return all
}

// deliver sends one event to one subscriber. What may pass is returned as an error, so that the job is tried again.
func (s *Service) deliver(ctx context.Context, id string) error {
	var d Delivery
	var sub Subscription
	var event slipway.Event
	var gone bool
	err := s.st.View(ctx, func(tx Tx) (err error) {
		if d, err = tx.Deliveries().Get(ctx, id); err != nil {
			return err
		}
		if address, ok := strings.CutPrefix(d.Subscription, maintainerPrefix); ok {
			sub = Subscription{ID: d.Subscription, Mail: address, Product: d.Product, Origin: "component"}
		} else if sub, err = tx.Subscriptions().Get(ctx, d.Subscription); slipway.Is(err, slipway.NotFound) {
			gone = true
			return nil
		} else if err != nil {
			return err
		}
		events, err := tx.Told(ctx, d.Event-1, 1)
		if err == nil && (len(events) == 0 || events[0].Seq != d.Event) {
			return slipway.Errorf(slipway.NotFound, "no event %d", d.Event)
		}
		if err == nil {
			event = events[0]
		}
		return err
	})
	if err != nil || d.State != Pending {
		return err
	}
	if gone {
		return s.note(ctx, id, Failed, "the subscription is gone")
	}
	attempt, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	send := s.post
	if sub.Mail != "" {
		send = s.mail
	}
	answer, err := send(attempt, sub, d, event)
	switch {
	case ctx.Err() != nil:
		return ctx.Err() // shutting down: whether it arrived is not known
	case err == nil:
		return s.note(ctx, id, Delivered, answer)
	case slipway.Is(err, slipway.Invalid):
		return s.note(ctx, id, Failed, "refused for good: "+err.Error())
	}
	if noted := s.note(ctx, id, Pending, "the last attempt failed: "+err.Error()); noted != nil {
		return noted
	}
	return err
}

func (s *Service) note(ctx context.Context, id, state, reason string) error {
	return s.st.Update(ctx, func(tx Tx) error {
		d, err := tx.Deliveries().Get(ctx, id)
		if err != nil {
			return err
		}
		d.State, d.Reason, d.Tried = state, reason, tx.Now()
		d.Attempts++
		return tx.Deliveries().Put(ctx, d)
	})
}
