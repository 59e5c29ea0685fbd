package notify_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"slipway.dev/slipway/internal/notify"
	"slipway.dev/slipway/internal/platform/bus"
	"slipway.dev/slipway/internal/platform/jobs/jobstest"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/store"
	"slipway.dev/slipway/internal/store/storetest"
)

// receiver is a webhook that answers with the statuses in turn, the last one for ever.
type receiver struct {
	mu       sync.Mutex
	statuses []int
	got      []request
	url      string
}

type request struct {
	header http.Header
	body   []byte
}

func newReceiver(t *testing.T, statuses ...int) *receiver {
	r := &receiver{statuses: statuses}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			t.Error(err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.got = append(r.got, request{req.Header, body})
		w.WriteHeader(r.statuses[min(len(r.got), len(r.statuses))-1])
	}))
	t.Cleanup(srv.Close)
	r.url = srv.URL
	return r
}

type files map[string]spec.Product

func (f files) Product(_ context.Context, name string) (spec.Product, string, error) {
	p, ok := f[name]
	if !ok {
		return p, "", slipway.Errorf(slipway.NotFound, "no product %s", name)
	}
	return p, "1f2e3d4c5b6a", nil
}

func newService(db *store.DB, products notify.Products, smtpURL string) *notify.Service {
	return notify.New(store.Scope(db, func(tx *store.Tx) notify.Tx { return tx }), products,
		notify.Config{Source: "http://slipway.test", SMTP: smtpURL, From: "slipway@example.org"})
}

func emit(t *testing.T, db *store.DB, events ...slipway.Event) {
	t.Helper()
	err := db.Update(t.Context(), func(tx *store.Tx) error {
		for _, e := range events {
			if err := tx.Emit(t.Context(), e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func landed(n, product string) slipway.Event {
	return slipway.Event{Type: slipway.ChangeLanded, Subject: "change/" + n, Product: product, Actor: "ann", Reason: "all checks passed – größer", Links: []string{"repo/components/tide"}}
}

// TestWebhook follows a subscription by the API: only what it asks for, only from then on, signed, once.
func TestWebhook(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		r := newReceiver(t, http.StatusAccepted)
		s := newService(db, files{}, "")
		emit(t, db, landed("1", "ferry"))
		sub, err := s.Subscribe(ctx, "ann", notify.Subscription{Product: "ferry", Events: []string{"change.", "release.created"}, Webhook: r.url})
		if err != nil {
			t.Fatal(err)
		}
		emit(t, db, landed("2", "ferry"), landed("3", "barge"), slipway.Event{Type: slipway.NodeOnline, Subject: "node/x", Product: "ferry"},
			slipway.Event{Type: slipway.ReleaseCreated, Subject: "release/ferry-v1", Product: "ferry"})
		jobstest.Drain(t, db, s.Handlers()...)
		jobstest.Drain(t, db, s.Handlers()...)
		if len(r.got) != 2 {
			t.Fatalf("%d requests, want 2: the change of the product and the release", len(r.got))
		}
		first := r.got[0]
		var ce bus.CloudEvent
		if err := json.Unmarshal(first.body, &ce); err != nil || ce.SpecVersion != "1.0" || ce.Source != "http://slipway.test" {
			t.Errorf("not a CloudEvent of ours: %s %v", first.body, err)
		}
		if got := first.header.Get("Content-Type"); got != "application/cloudevents+json" {
			t.Errorf("content type %q", got)
		}
		signature := first.header.Get(notify.SignatureHeader)
		if !notify.Verify(sub.Secret, signature, first.body, time.Now(), time.Minute) {
			t.Errorf("signature %q does not verify", signature)
		}
		for what, ok := range map[string]bool{
			"another secret": notify.Verify("x", signature, first.body, time.Now(), time.Minute),
			"another body":   notify.Verify(sub.Secret, signature, append([]byte{' '}, first.body...), time.Now(), time.Minute),
			"an old one":     notify.Verify(sub.Secret, signature, first.body, time.Now().Add(time.Hour), time.Minute),
			"none":           notify.Verify(sub.Secret, "", first.body, time.Now(), time.Minute),
		} {
			if ok {
				t.Errorf("%s verifies", what)
			}
		}
		list, err := s.Deliveries(ctx, slipway.Query{Key: sub.ID})
		if err != nil || len(list) != 2 || list[0].State != notify.Delivered || list[0].Attempts != 1 || !strings.HasPrefix(list[0].Reason, "202") ||
			list[0].ID != first.header.Get(notify.DeliveryHeader) {
			t.Errorf("deliveries: %+v %v", list, err)
		}
		if _, err := s.Redeliver(ctx, list[0].ID, "ann"); err != nil {
			t.Fatal(err)
		}
		jobstest.Drain(t, db, s.Handlers()...)
		if len(r.got) != 3 || r.got[2].header.Get(notify.DeliveryHeader) != list[0].ID {
			t.Errorf("redelivered: %d requests", len(r.got))
		}
	}, notify.Routes()...)
}

// TestRetry tries what may pass again, and what may not never.
func TestRetry(t *testing.T) {
	ctx := t.Context()
	db := storetest.Open(t, notify.Routes()...)
	s := newService(db, files{}, "")
	shaky, refusing := newReceiver(t, 503, 429, 200), newReceiver(t, 404)
	for _, url := range []string{shaky.url, refusing.url} {
		if _, err := s.Subscribe(ctx, "ann", notify.Subscription{Events: []string{"change."}, Webhook: url}); err != nil {
			t.Fatal(err)
		}
	}
	emit(t, db, landed("1", "ferry"))
	failures := 0
	for jobstest.DrainErr(ctx, db, s.Handlers()...) != nil {
		if failures++; failures > 10 {
			t.Fatal("it never gets through")
		}
	}
	if failures != 2 || len(shaky.got) != 3 || len(refusing.got) != 1 {
		t.Errorf("%d failed runs, %d and %d requests; want 2, 3 and 1", failures, len(shaky.got), len(refusing.got))
	}
	list, err := s.Deliveries(ctx, slipway.Query{})
	if err != nil || len(list) != 2 || list[0].State != notify.Delivered || list[0].Attempts != 3 || list[1].State != notify.Failed || !strings.Contains(list[1].Reason, "404") {
		t.Errorf("deliveries: %+v %v", list, err)
	}
}

// TestFile makes and removes subscriptions with the product's file.
func TestFile(t *testing.T) {
	ctx := t.Context()
	db := storetest.Open(t, notify.Routes()...)
	r := newReceiver(t, 200)
	f := files{"ferry": {Notify: []spec.Subscription{{Events: []string{"change.landed"}, Webhook: r.url}, {Mail: "crew@example.org", Events: []string{"release."}}}}}
	s := newService(db, f, "")
	loaded := slipway.Event{Type: slipway.ProductLoaded, Subject: "product/ferry", Product: "ferry"}
	emit(t, db, loaded)
	jobstest.Drain(t, db, s.Handlers()...)
	before, err := s.Subscriptions(ctx, slipway.Query{})
	if err != nil || len(before) != 2 || before[0].Origin != "file" {
		t.Fatalf("subscriptions: %+v %v", before, err)
	}
	emit(t, db, landed("1", "ferry"), loaded)
	jobstest.Drain(t, db, s.Handlers()...)
	if len(r.got) != 1 {
		t.Errorf("%d requests, want 1", len(r.got))
	}
	if err := s.Unsubscribe(ctx, "ann", before[0].ID); !slipway.Is(err, slipway.Conflict) {
		t.Errorf("unsubscribe what a file has: %v", err)
	}
	f["ferry"] = spec.Product{Notify: f["ferry"].Notify[1:]}
	emit(t, db, loaded)
	jobstest.Drain(t, db, s.Handlers()...)
	after, err := s.Subscriptions(ctx, slipway.Query{})
	if err != nil || len(after) != 1 || after[0].ID != before[1].ID || after[0].Secret != before[1].Secret {
		t.Errorf("subscriptions: %+v %v", after, err)
	}
	emit(t, db, landed("2", "ferry"))
	jobstest.Drain(t, db, s.Handlers()...)
	if len(r.got) != 1 {
		t.Errorf("an event went to a subscription that is gone")
	}
}

func TestSubscribeRefuses(t *testing.T) {
	s := newService(storetest.Open(t, notify.Routes()...), files{}, "")
	for _, sub := range []notify.Subscription{{}, {Webhook: "ftp://x"}, {Webhook: "nonsense"}, {Mail: "Ann <ann@example.org>"}, {Mail: "x"}, {Mail: "a@example.org", Webhook: "http://x"}} {
		if _, err := s.Subscribe(t.Context(), "ann", sub); !slipway.Is(err, slipway.Invalid) {
			t.Errorf("%+v: %v", sub, err)
		}
	}
}

// mailbox is a real SMTP server that keeps what it gets and refuses one address.
type mailbox struct {
	mu   sync.Mutex
	got  []string
	to   string
	from string
}

func (m *mailbox) NewSession(*smtp.Conn) (smtp.Session, error) { return m, nil }
func (m *mailbox) Mail(from string, _ *smtp.MailOptions) error { m.from = from; return nil }
func (m *mailbox) Rcpt(to string, _ *smtp.RcptOptions) error {
	if strings.HasPrefix(to, "nobody@") {
		return &smtp.SMTPError{Code: 550, Message: "no such user"}
	}
	m.to = to
	return nil
}
func (m *mailbox) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.got = append(m.got, string(text))
	return err
}
func (m *mailbox) Reset()        {}
func (m *mailbox) Logout() error { return nil }

// TestMail sends to a real SMTP server, which is away at first.
func TestMail(t *testing.T) {
	ctx := t.Context()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	db := storetest.Open(t, notify.Routes()...)
	s := newService(db, files{}, "smtp://"+addr)
	for _, to := range []string{"crew@example.org", "nobody@example.org"} {
		if _, err := s.Subscribe(ctx, "ann", notify.Subscription{Events: []string{"change."}, Mail: to}); err != nil {
			t.Fatal(err)
		}
	}
	emit(t, db, landed("1", "ferry"))
	if err := jobstest.DrainErr(ctx, db, s.Handlers()...); !slipway.Is(err, slipway.Unavailable) {
		t.Fatalf("without a server: %v", err)
	}
	box := &mailbox{}
	srv := smtp.NewServer(box)
	if l, err = net.Listen("tcp", addr); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	t.Cleanup(func() {
		srv.Close()
		if err := <-served; err != nil && !errors.Is(err, smtp.ErrServerClosed) {
			t.Error(err)
		}
	})
	jobstest.Drain(t, db, s.Handlers()...)
	box.mu.Lock()
	defer box.mu.Unlock()
	if len(box.got) != 1 || box.from != "slipway@example.org" || box.to != "crew@example.org" {
		t.Fatalf("%d mails from %s to %s", len(box.got), box.from, box.to)
	}
	m, err := mail.ReadMessage(strings.NewReader(box.got[0]))
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Header.Get("Subject"); got != "[ferry] change.landed change/1" {
		t.Errorf("subject %q", got)
	}
	if !strings.Contains(m.Header.Get("Message-ID"), "3-s-") {
		t.Errorf("message id %q", m.Header.Get("Message-ID"))
	}
	if !strings.Contains(box.got[0], "why: all checks passed =E2=80=93 gr=C3=B6=C3=9Fer") {
		t.Errorf("mail:\n%s", box.got[0])
	}
	list, err := s.Deliveries(ctx, slipway.Query{})
	if err != nil || list[0].State != notify.Delivered || list[1].State != notify.Failed || !strings.Contains(list[1].Reason, "550") {
		t.Errorf("deliveries: %+v %v", list, err)
	}
}
