package notify

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/mail"
	"net/url"
	"strings"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
)

// Config tunes the service.
type Config struct {
	Source  string        // this server's URL, the source of its CloudEvents
	SMTP    string        // "smtp://[USER:PASSWORD@]HOST:PORT"; empty: mail waits until there is one
	From    string        // sender of mail
	Timeout time.Duration // of one attempt; default 15 s
	Client  *http.Client  // posts webhooks; default one that follows no redirects
}

// Service keeps subscriptions and sends what they ask for.
type Service struct {
	st       slipway.Store[Tx]
	products Products
	cfg      Config
}

// New makes the service.
func New(st slipway.Store[Tx], products Products, cfg Config) *Service {
	if cfg.Timeout <= 0 {
		cfg.Timeout = 15 * time.Second
	}
	if cfg.From == "" {
		cfg.From = "slipway@localhost"
	}
	if cfg.Client == nil {
		cfg.Client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	return &Service{st: st, products: products, cfg: cfg}
}

// Subscribe adds a subscription, for events from now on. Errors: Invalid.
func (s *Service) Subscribe(ctx context.Context, actor string, sub Subscription) (Subscription, error) {
	if err := check(sub); err != nil {
		return Subscription{}, err
	}
	sub.ID = "s-" + strings.ToLower(rand.Text()[:12])
	sub.Origin, sub.Creator = "api", actor
	if sub.Secret == "" {
		sub.Secret = rand.Text()
	}
	err := s.st.Update(ctx, func(tx Tx) (err error) {
		sub.Created = tx.Now()
		if err := tx.Emit(ctx, sub.event(slipway.Subscribed, actor, "asked for by "+actor)); err != nil {
			return err
		}
		if sub.After, err = tx.LastTold(ctx); err != nil {
			return err
		}
		return tx.Subscriptions().Put(ctx, sub)
	})
	return sub, err
}

func check(sub Subscription) error {
	switch {
	case (sub.Webhook == "") == (sub.Mail == ""):
		return slipway.Errorf(slipway.Invalid, "a subscription needs a webhook or a mail address, and not both")
	case sub.Webhook != "":
		u, err := url.Parse(sub.Webhook)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return slipway.Errorf(slipway.Invalid, "%q is no URL to post to", sub.Webhook).At("webhook").Try("write an http or https URL")
		}
	default:
		if a, err := mail.ParseAddress(sub.Mail); err != nil || a.Address != sub.Mail {
			return slipway.Errorf(slipway.Invalid, "%q is no mail address", sub.Mail).At("mail").Try("write it as name@example.org")
		}
	}
	return nil
}

// Unsubscribe removes a subscription that was made by the API. Conflict for one of a product's file.
func (s *Service) Unsubscribe(ctx context.Context, actor, id string) error {
	return s.st.Update(ctx, func(tx Tx) error {
		sub, err := tx.Subscriptions().Get(ctx, id)
		if err != nil {
			return err
		}
		if sub.Origin == "file" {
			return slipway.Errorf(slipway.Conflict, "the subscription %s is in the file of the product %s", id, sub.Product).Try("remove it from product.yaml")
		}
		if err := tx.Subscriptions().Delete(ctx, id); err != nil {
			return err
		}
		return tx.Emit(ctx, sub.event(slipway.Unsubscribed, actor, "removed by "+actor))
	})
}

// Subscriptions lists them, oldest first.
func (s *Service) Subscriptions(ctx context.Context, q slipway.Query) (found []Subscription, err error) {
	err = s.st.View(ctx, func(tx Tx) error {
		found, err = tx.Subscriptions().Find(ctx, q)
		return err
	})
	return found, err
}

// Deliveries lists them.
func (s *Service) Deliveries(ctx context.Context, q slipway.Query) (found []Delivery, err error) {
	err = s.st.View(ctx, func(tx Tx) error {
		found, err = tx.Deliveries().Find(ctx, q)
		return err
	})
	return found, err
}

// Redeliver sends a delivery once more.
func (s *Service) Redeliver(ctx context.Context, id, actor string) (d Delivery, err error) {
	err = s.st.Update(ctx, func(tx Tx) error {
		if d, err = tx.Deliveries().Get(ctx, id); err != nil {
			return err
		}
		d.State, d.Reason = Pending, "asked for again by "+actor
		if err := tx.Deliveries().Put(ctx, d); err != nil {
			return err
		}
		return tx.Wake(ctx, deliverKind, id, time.Time{})
	})
	return d, err
}

// fileID names a subscription of a product's file by what it says, so that it stays the same one while the file does.
func fileID(product string, sub spec.Subscription) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%q\n%s\n%s", product, sub.Events, sub.Webhook, sub.Mail))
	return "f-" + hex.EncodeToString(sum[:8])
}
