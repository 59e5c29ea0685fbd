package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"slipway.dev/slipway/internal/platform/bus"
	"slipway.dev/slipway/internal/slipway"
)

const (
	syncTimeout  = 10 * time.Second
	maxFailures  = 3 // syncs in a row without an answer before the agent dials again
	dialTimeout  = 10 * time.Second
	pingInterval = 5 * time.Second
)

// session finds the bus, connects, and syncs until the connection is lost or the bus does not answer.
func (a *Agent) session(ctx context.Context) error {
	req, err := a.signed(ctx, "/agent/v1/session")
	if err != nil {
		return err
	}
	var where struct {
		Bus string `json:"bus"`
	}
	if err := a.call(req, &where); err != nil {
		return err
	}
	closed := make(chan struct{})
	secure := func(*nats.Options) error { return nil }
	if strings.HasPrefix(where.Bus, "tls:") {
		secure = nats.Secure(a.cfg.TLS.Clone())
	}
	conn, err := nats.Connect(where.Bus, secure,
		nats.Nkey(a.public, a.key.Sign), nats.Name("slipway agent "+a.cfg.Name), nats.CustomInboxPrefix(bus.InboxPrefix(a.cfg.Name)),
		nats.NoReconnect(), nats.Timeout(dialTimeout), nats.PingInterval(pingInterval), nats.MaxPingsOutstanding(2),
		nats.ClosedHandler(func(*nats.Conn) { close(closed) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { a.cfg.Log.Warn("the bus complains", "error", err) }))
	if err != nil {
		return slipway.Errorf(slipway.Unavailable, "connect to the bus: %w", err).At(where.Bus)
	}
	defer conn.Close()
	pokes := make(chan *nats.Msg, 16)
	if _, err := conn.ChanSubscribe(bus.PokeSubject(a.cfg.Name), pokes); err != nil {
		return slipway.Errorf(slipway.Unavailable, "listen for pokes: %w", err)
	}
	a.cfg.Log.Info("connected", "node", a.cfg.Name, "bus", where.Bus)

	tick := time.NewTicker(a.cfg.Every)
	defer tick.Stop()
	for failures := 0; ; {
		err := a.sync(ctx, conn)
		if a.cfg.Notified != nil {
			a.cfg.Notified(err == nil, err)
		}
		switch {
		case err == nil:
			failures = 0
		case ctx.Err() != nil:
			return nil
		case slipway.Is(err, slipway.Forbidden):
			return err
		default:
			if failures++; failures >= maxFailures {
				return err
			}
			a.cfg.Log.Warn("sync failed", "error", err)
		}
		wake := a.wake
		if failures > 0 {
			wake = nil // wait for the next tick rather than hammer
		}
		select {
		case <-ctx.Done():
			return nil
		case <-closed:
			if err := conn.LastError(); err != nil {
				return slipway.Errorf(slipway.Unavailable, "connection lost: %w", err)
			}
			return slipway.Errorf(slipway.Unavailable, "connection lost")
		case <-tick.C:
		case <-pokes:
		case <-wake:
		}
		for len(pokes) > 0 {
			<-pokes
		}
	}
}

// sync is one exchange. A module that cannot report or apply is logged; the others go on.
func (a *Agent) sync(ctx context.Context, conn *nats.Conn) error {
	req := bus.SyncRequest{Version: a.cfg.Version, Labels: a.cfg.Labels, Facts: a.facts, Modules: map[string]json.RawMessage{}}
	for _, m := range a.modules {
		report, err := m.Report(ctx)
		if err != nil {
			a.cfg.Log.Error("module cannot report", "module", m.Name(), "error", err)
			continue
		}
		if report == nil {
			report = json.RawMessage("null")
		}
		req.Modules[m.Name()] = report
	}
	body, err := json.Marshal(req)
	if err != nil {
		return slipway.Errorf(slipway.Internal, "write the sync request: %w", err)
	}
	msg := nats.NewMsg(bus.SyncSubject(a.cfg.Name))
	msg.Data = body
	sig, err := bus.SignMessage(a.key, msg.Subject, body)
	if err != nil {
		return slipway.Errorf(slipway.Internal, "sign the sync request: %w", err)
	}
	msg.Header.Set(bus.KeyHeader, a.public)
	msg.Header.Set(bus.SignatureHeader, sig)
	rctx, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	resp, err := conn.RequestMsgWithContext(rctx, msg)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("no answer in %s", syncTimeout)
		}
		return slipway.Errorf(slipway.Unavailable, "sync: %w", err)
	}
	var reply bus.SyncReply
	if err := json.Unmarshal(resp.Data, &reply); err != nil {
		return slipway.Errorf(slipway.Unavailable, "the sync answer cannot be read: %w", err)
	}
	if reply.Fault != nil {
		return reply.Fault.Err()
	}
	for _, m := range a.modules {
		if f, ok := reply.Faults[m.Name()]; ok {
			a.cfg.Log.Warn("the server cannot serve a module", "module", m.Name(), "error", f.Err())
			continue
		}
		orders, ok := reply.Modules[m.Name()]
		if !ok {
			continue
		}
		if err := m.Apply(ctx, orders); err != nil {
			a.cfg.Log.Error("module cannot apply its orders", "module", m.Name(), "error", err)
		}
	}
	return nil
}
