package notify_test

import (
	"net"
	"strings"
	"testing"

	"slipway.dev/slipway/internal/notify"
	"slipway.dev/slipway/internal/platform/jobs/jobstest"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/store"
	"slipway.dev/slipway/internal/store/storetest"
)

// The URLs of chats' webhooks are secrets: everybody reads deliveries, their reasons and the ledger, and none of them tells it.
func TestAWebhooksURLStaysSecret(t *testing.T) {
	ctx, db := t.Context(), storetest.Open(t, notify.Routes()...)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := l.Addr().String()
	l.Close() // nobody answers there
	s := newService(db, files{}, "")
	sub, err := s.Subscribe(ctx, "ann", notify.Subscription{Webhook: "http://" + host + "/services/T0/s3cr3t"})
	if err != nil {
		t.Fatal(err)
	}
	if sub.Shown().Webhook != "http://"+host+"/..." || sub.Shown().Secret != "" {
		t.Errorf("shown as %+v", sub.Shown())
	}
	emit(t, db, landed("1", "ferry"))
	if err := jobstest.DrainErr(ctx, db, s.Handlers()...); !slipway.Is(err, slipway.Unavailable) || strings.Contains(err.Error(), "s3cr3t") {
		t.Errorf("the job's error is %v", err)
	}
	all, err := s.Deliveries(ctx, slipway.Query{})
	if err != nil || len(all) != 1 { // not of its own beginning
		t.Fatal(all, err)
	}
	if d := all[0]; !strings.Contains(d.Reason, host) || strings.Contains(d.Reason+d.Target, "s3cr3t") {
		t.Errorf("the delivery says %q about %q", d.Reason, d.Target)
	}
	if err := s.Unsubscribe(ctx, "bob", sub.ID); err != nil {
		t.Fatal(err)
	}
	events, err := db.Events(ctx, store.EventQuery{Subject: "subscription/" + sub.ID})
	if err != nil || len(events) != 2 || events[0].Type != slipway.Subscribed || events[1].Type != slipway.Unsubscribed || events[1].Actor != "bob" {
		t.Errorf("the ledger tells %+v, %v", events, err)
	}
	for _, e := range events {
		if strings.Contains(e.Reason, "s3cr3t") {
			t.Errorf("the ledger tells the URL: %s", e.Reason)
		}
	}
}
