package bus_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"slipway.dev/slipway/internal/platform/bus"
	"slipway.dev/slipway/internal/slipway"
)

// rig is a bus with two agents known to it, front and rear.
type rig struct {
	url   string
	conn  *nats.Conn
	front nkeys.KeyPair
	rear  nkeys.KeyPair
}

// each runs f on an embedded bus and on an external one.
func each(t *testing.T, f func(t *testing.T, r rig)) {
	t.Run("embedded", func(t *testing.T) {
		front, rear := key(t), key(t)
		known := map[string]string{public(t, front): "front", public(t, rear): "rear"}
		b, err := bus.StartEmbedded(bus.EmbeddedConfig{Dir: t.TempDir(), Lookup: func(_ context.Context, k string) (string, bool, error) {
			n, ok := known[k]
			return n, ok, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		if err := b.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		f(t, rig{b.URL(), b.Conn, front, rear})
	})
	t.Run("external", func(t *testing.T) {
		front, rear := key(t), key(t)
		dir := t.TempDir()
		own, err := bus.ServerKey(dir)
		if err != nil {
			t.Fatal(err)
		}
		again, err := bus.ServerKey(dir)
		if err != nil || public(t, again) != public(t, own) {
			t.Fatalf("the server's key changed: %v", err)
		}
		conf := filepath.Join(dir, "nats.conf")
		w, err := os.Create(conf)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(w, "listen: 127.0.0.1:-1\njetstream { store_dir: %q }\n", filepath.Join(dir, "js"))
		if err := bus.Authorization(w, public(t, own), map[string]string{"front": public(t, front), "rear": public(t, rear)}); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		opts, err := server.ProcessConfigFile(conf)
		if err != nil {
			t.Fatal(err)
		}
		opts.NoLog, opts.NoSigs = true, true
		ns, err := server.NewServer(opts)
		if err != nil {
			t.Fatal(err)
		}
		ns.Start()
		t.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
		if !ns.ReadyForConnections(20 * time.Second) {
			t.Fatal("external server is not ready")
		}
		b, err := bus.DialExternal(ns.ClientURL(), own)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		f(t, rig{b.URL(), b.Conn, front, rear})
	})
}

func TestAgentAsksAndIsPoked(t *testing.T) {
	each(t, func(t *testing.T, r rig) {
		if _, err := r.conn.QueueSubscribe(bus.SyncSubject("*"), "servers", func(m *nats.Msg) {
			node, _ := bus.NodeOf(m.Subject)
			if !bus.OwnsInbox(node, m.Reply) {
				return
			}
			_ = m.Respond([]byte("hello " + node))
		}); err != nil {
			t.Fatal(err)
		}
		if err := r.conn.Flush(); err != nil {
			t.Fatal(err)
		}
		front, _ := agent(t, r.url, "front", r.front)
		reply, err := front.Request(bus.SyncSubject("front"), []byte("x"), 5*time.Second)
		if err != nil || string(reply.Data) != "hello front" {
			t.Fatalf("got %v, %v", reply, err)
		}
		poked, err := front.SubscribeSync(bus.PokeSubject("front"))
		if err != nil {
			t.Fatal(err)
		}
		if err := front.Flush(); err != nil {
			t.Fatal(err)
		}
		if err := r.conn.Publish(bus.PokeSubject("front"), nil); err != nil {
			t.Fatal(err)
		}
		if _, err := poked.NextMsg(5 * time.Second); err != nil {
			t.Fatalf("no poke: %v", err)
		}
	})
}

func TestAgentIsLimitedToItsOwnSubjects(t *testing.T) {
	each(t, func(t *testing.T, r rig) {
		all, err := r.conn.SubscribeSync(">")
		if err != nil {
			t.Fatal(err)
		}
		if err := r.conn.Flush(); err != nil {
			t.Fatal(err)
		}
		front, violations := agent(t, r.url, "front", r.front)
		for _, subject := range []string{bus.SyncSubject("rear"), bus.PokeSubject("rear"), "slipway.events.change.landed", "_INBOX.server.x", bus.InboxPrefix("rear") + ".x", "$JS.API.INFO"} {
			if err := front.Publish(subject, []byte("forged")); err != nil {
				t.Fatal(err)
			}
			violation(t, violations, "publish to "+subject)
		}
		for _, subject := range []string{">", "slipway.>", "slipway.node.*.poke", bus.SyncSubject("rear"), "_INBOX.>", bus.InboxPrefix("rear") + ".>"} {
			if _, err := front.SubscribeSync(subject); err != nil {
				t.Fatal(err)
			}
			violation(t, violations, "subscription to "+subject)
		}
		// What it may do arrives, and nothing before it did.
		if err := front.Publish(bus.SyncSubject("front"), []byte("honest")); err != nil {
			t.Fatal(err)
		}
		for {
			m, err := all.NextMsg(5 * time.Second)
			if err != nil {
				t.Fatal(err)
			}
			if string(m.Data) == "forged" {
				t.Fatalf("a forged message passed on %s", m.Subject)
			}
			if string(m.Data) == "honest" {
				return
			}
		}
	})
}

func TestUnknownKeyIsRefused(t *testing.T) {
	each(t, func(t *testing.T, r rig) {
		stranger := key(t)
		if _, err := dial(t, r.url, "front", stranger, nil); !errors.Is(err, nats.ErrAuthorization) {
			t.Fatalf("a stranger got in: %v", err)
		}
		// The right public key without the private one.
		_, err := nats.Connect(r.url, nats.Nkey(public(t, r.front), stranger.Sign), nats.NoReconnect())
		if !errors.Is(err, nats.ErrAuthorization) {
			t.Fatalf("a stolen public key got in: %v", err)
		}
		if _, err := nats.Connect(r.url, nats.NoReconnect()); !errors.Is(err, nats.ErrAuthorization) {
			t.Fatalf("nobody got in: %v", err)
		}
		if _, err := nats.Connect(r.url, nats.UserInfo("slipway-server", "guess"), nats.NoReconnect()); !errors.Is(err, nats.ErrAuthorization) {
			t.Fatalf("a guessed password got in: %v", err)
		}
	})
}

func TestEventsLeaveOnceInOrder(t *testing.T) {
	each(t, func(t *testing.T, r rig) {
		box := &ledger{}
		for i := range 450 { // more than two batches
			box.add(slipway.ChangeLanded, fmt.Sprintf("change/%d", i))
		}
		p := bus.NewPublisher(r.conn, box, bus.PublisherConfig{Source: "/test"})
		if err := p.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if c, _ := box.Cursor(t.Context()); c != 450 {
			t.Fatalf("cursor %d", c)
		}
		// A crash between the acknowledgement and the cursor publishes again; nobody sees it twice.
		if err := box.SetCursor(t.Context(), 120); err != nil {
			t.Fatal(err)
		}
		box.add(slipway.NodeJoined, "node/front")
		if err := p.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := stream(t, r.conn, 451)
		for i, ce := range got[:450] {
			if ce.Subject != fmt.Sprintf("change/%d", i) || ce.Type != "dev.cdevents.change.merged.0.2.0" {
				t.Fatalf("message %d is %+v", i, ce)
			}
		}
		if got[450].Type != "dev.slipway.lab.node.joined" {
			t.Fatalf("last is %+v", got[450])
		}
	})
}

func TestCursorStaysWithoutAcknowledgement(t *testing.T) {
	box := &ledger{}
	box.add(slipway.NodeJoined, "node/front")
	b, err := bus.StartEmbedded(bus.EmbeddedConfig{Dir: t.TempDir(), Lookup: nobody})
	if err != nil {
		t.Fatal(err)
	}
	p := bus.NewPublisher(b.Conn, box, bus.PublisherConfig{})
	b.Close()
	if err := p.Drain(t.Context()); err == nil {
		t.Fatal("published into a closed bus")
	}
	if c, _ := box.Cursor(t.Context()); c != 0 {
		t.Fatalf("cursor moved to %d", c)
	}
}

func TestRunPublishesWhenWoken(t *testing.T) {
	b, err := bus.StartEmbedded(bus.EmbeddedConfig{Dir: t.TempDir(), Lookup: nobody})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	sub, err := b.Conn.SubscribeSync("slipway.events.>")
	if err != nil {
		t.Fatal(err)
	}
	box, wake := &ledger{}, make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- bus.NewPublisher(b.Conn, box, bus.PublisherConfig{Every: time.Hour, Wake: wake}).Run(ctx)
	}()
	box.add(slipway.NodeJoined, "node/front")
	wake <- struct{}{}
	if _, err := sub.NextMsg(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestRevokedKeyIsKickedAndRefused(t *testing.T) {
	front := key(t)
	var mu sync.Mutex
	revoked := false
	b, err := bus.StartEmbedded(bus.EmbeddedConfig{Dir: t.TempDir(), Lookup: func(context.Context, string) (string, bool, error) {
		mu.Lock()
		defer mu.Unlock()
		return "front", !revoked, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	closed := make(chan struct{})
	if _, err := dial(t, b.URL(), "front", front, func(o *nats.Options) error {
		o.ClosedCB = func(*nats.Conn) { close(closed) }
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	revoked = true
	mu.Unlock()
	if err := b.Kick(public(t, front)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Fatal("the revoked agent is still connected")
	}
	if _, err := dial(t, b.URL(), "front", front, nil); !errors.Is(err, nats.ErrAuthorization) {
		t.Fatalf("the revoked key got in: %v", err)
	}
}

func TestRestartKeepsPortAndEvents(t *testing.T) {
	dir := t.TempDir()
	first, err := bus.StartEmbedded(bus.EmbeddedConfig{Dir: dir, Lookup: nobody})
	if err != nil {
		t.Fatal(err)
	}
	box := &ledger{}
	box.add(slipway.NodeJoined, "node/front")
	if err := bus.NewPublisher(first.Conn, box, bus.PublisherConfig{}).Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	url := first.URL()
	first.Close()
	second, err := bus.StartEmbedded(bus.EmbeddedConfig{Dir: dir, Lookup: nobody})
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if second.URL() != url {
		t.Fatalf("%s became %s", url, second.URL())
	}
	stream(t, second.Conn, 1)
}

func nobody(context.Context, string) (string, bool, error) { return "", false, nil }

// ledger is an outbox in memory.
type ledger struct {
	mu     sync.Mutex
	events []slipway.Event
	cursor int64
}

func (l *ledger) add(typ slipway.EventType, subject string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := int64(len(l.events) + 1)
	l.events = append(l.events, slipway.Event{Seq: n, ID: fmt.Sprintf("e%d", n), Type: typ, Subject: subject, Time: time.Unix(n, 0)})
}

func (l *ledger) After(_ context.Context, seq int64, limit int) ([]slipway.Event, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	rest := l.events[min(int(seq), len(l.events)):]
	return append([]slipway.Event(nil), rest[:min(limit, len(rest))]...), nil
}

func (l *ledger) Cursor(context.Context) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cursor, nil
}

func (l *ledger) SetCursor(_ context.Context, seq int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cursor = seq
	return nil
}

// stream reads the event stream from its start; it must hold exactly n messages.
func stream(t *testing.T, conn *nats.Conn, n int) []bus.CloudEvent {
	t.Helper()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), bus.EventStream)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.CachedInfo().State.Msgs; got != uint64(n) {
		t.Fatalf("the stream holds %d messages, want %d", got, n)
	}
	c, err := s.OrderedConsumer(t.Context(), jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	batch, err := c.Fetch(n, jetstream.FetchMaxWait(10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	var out []bus.CloudEvent
	for m := range batch.Messages() {
		var ce bus.CloudEvent
		if err := json.Unmarshal(m.Data(), &ce); err != nil {
			t.Fatal(err)
		}
		out = append(out, ce)
	}
	if len(out) != n {
		t.Fatalf("read %d of %d messages: %v", len(out), n, batch.Error())
	}
	return out
}

func key(t *testing.T) nkeys.KeyPair {
	t.Helper()
	kp, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	return kp
}

func public(t *testing.T, kp nkeys.KeyPair) string {
	t.Helper()
	pub, err := kp.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return pub
}

func dial(t *testing.T, url, node string, kp nkeys.KeyPair, more nats.Option) (*nats.Conn, error) {
	t.Helper()
	opts := []nats.Option{nats.Nkey(public(t, kp), kp.Sign), nats.NoReconnect(), nats.CustomInboxPrefix(bus.InboxPrefix(node))}
	if more != nil {
		opts = append(opts, more)
	}
	nc, err := nats.Connect(url, opts...)
	if err == nil {
		t.Cleanup(nc.Close)
	}
	return nc, err
}

// agent connects as a node; permission violations arrive on the channel.
func agent(t *testing.T, url, node string, kp nkeys.KeyPair) (*nats.Conn, chan error) {
	t.Helper()
	violations := make(chan error, 16)
	nc, err := dial(t, url, node, kp, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { violations <- err }))
	if err != nil {
		t.Fatal(err)
	}
	return nc, violations
}

func violation(t *testing.T, c chan error, what string) {
	t.Helper()
	select {
	case err := <-c:
		if !errors.Is(err, nats.ErrPermissionViolation) {
			t.Fatalf("%s: %v", what, err)
		}
	case <-time.After(5 * time.Second):
		t.Fatalf("%s was allowed", what)
	}
}
