package bus

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"slipway.dev/slipway/internal/slipway"
)

// Outbox is the ledger, as the publisher reads it.
type Outbox interface {
	// After returns up to limit events with Seq greater than seq, in order.
	After(ctx context.Context, seq int64, limit int) ([]slipway.Event, error)
	// Cursor is the Seq up to which everything was published; 0 at first.
	Cursor(ctx context.Context) (int64, error)
	// SetCursor remembers it.
	SetCursor(ctx context.Context, seq int64) error
}

// PublisherConfig tunes a Publisher.
type PublisherConfig struct {
	Source string          // CloudEvents source; default "/slipway"
	Rest   time.Duration   // how long after one look the next begins at the earliest, so that events go together; default 20ms
	Every  time.Duration   // how often the ledger is looked at without being told; default 1s
	Wake   <-chan struct{} // tells that there may be new events; may be nil
	MaxAge time.Duration   // how long the stream keeps an event; default 7 days
	Log    *slog.Logger    // default slog.Default()
}

// Publisher copies the ledger to the bus, in order and at least once: the cursor moves only over what JetStream has
// acknowledged. Several may run side by side; JetStream drops what it got within its window of duplicates.
type Publisher struct {
	conn   *nats.Conn
	outbox Outbox
	cfg    PublisherConfig
	ready  atomic.Bool // the stream was there when it was last needed
}

// EventStream is the name of the JetStream stream that holds the events.
const EventStream = "SLIPWAY_EVENTS"

const (
	publishBatch    = 200
	duplicateWindow = 10 * time.Minute
	publishTimeout  = 10 * time.Second
)

// NewPublisher makes a publisher; Run does the work.
func NewPublisher(conn *nats.Conn, outbox Outbox, cfg PublisherConfig) *Publisher {
	if cfg.Source == "" {
		cfg.Source = "/slipway"
	}
	if cfg.Every == 0 {
		cfg.Every = time.Second
	}
	if cfg.Rest == 0 {
		cfg.Rest = 20 * time.Millisecond
	}
	if cfg.MaxAge == 0 {
		cfg.MaxAge = 7 * 24 * time.Hour
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return &Publisher{conn: conn, outbox: outbox, cfg: cfg}
}

// Run publishes until ctx ends. A failure is logged once, and tried again at the next look.
func (p *Publisher) Run(ctx context.Context) error {
	tick := time.NewTicker(p.cfg.Every)
	defer tick.Stop()
	failing := false
	for {
		err := p.Drain(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !failing:
			p.cfg.Log.Warn("events wait: the bus does not take them", "error", err)
		case err == nil && failing:
			p.cfg.Log.Info("the bus takes events again")
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-p.cfg.Wake:
		case <-tick.C:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(p.cfg.Rest):
		}
	}
}

// Drain publishes everything that the ledger holds beyond the cursor.
func (p *Publisher) Drain(ctx context.Context) error {
	js, err := jetstream.New(p.conn)
	if err != nil {
		return slipway.Errorf(slipway.Unavailable, "use JetStream: %w", err)
	}
	cursor, err := p.outbox.Cursor(ctx)
	if err != nil {
		return err
	}
	for {
		events, err := p.outbox.After(ctx, cursor, publishBatch)
		if err != nil || len(events) == 0 {
			return err
		}
		if !p.ready.Load() {
			if err := p.ensureStream(ctx, js); err != nil {
				return err
			}
			p.ready.Store(true)
		}
		if err := p.publish(ctx, js, events); err != nil {
			p.ready.Store(false) // somebody may have taken it away
			return err
		}
		cursor = events[len(events)-1].Seq
		if err := p.outbox.SetCursor(ctx, cursor); err != nil {
			return err
		}
	}
}

func (p *Publisher) ensureStream(ctx context.Context, js jetstream.JetStream) error {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	_, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: EventStream, Subjects: []string{EventSubject + ">"}, Storage: jetstream.FileStorage,
		Duplicates: duplicateWindow, MaxAge: p.cfg.MaxAge, MaxBytes: 512 << 20, Discard: jetstream.DiscardOld,
	})
	if err != nil {
		return slipway.Errorf(slipway.Unavailable, "prepare the event stream: %w", err).At(EventStream)
	}
	return nil
}

// publish sends one batch without waiting between messages, then waits for every acknowledgement. The batch bounds what is
// in flight.
func (p *Publisher) publish(ctx context.Context, js jetstream.JetStream, events []slipway.Event) error {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	acks := make([]jetstream.PubAckFuture, 0, len(events))
	for _, e := range events {
		ce, err := Encode(e, p.cfg.Source)
		if err != nil {
			return err
		}
		body, err := json.Marshal(ce)
		if err != nil {
			return slipway.Errorf(slipway.Internal, "encode event %s: %w", e.ID, err)
		}
		msg := nats.NewMsg(EventSubject + string(e.Type))
		msg.Header.Set(nats.MsgIdHdr, e.ID)
		msg.Header.Set("Content-Type", ContentType)
		msg.Data = body
		ack, err := js.PublishMsgAsync(msg)
		if err != nil {
			return slipway.Errorf(slipway.Unavailable, "publish event %s: %w", e.ID, err)
		}
		acks = append(acks, ack)
	}
	for i, ack := range acks {
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			return slipway.Errorf(slipway.Unavailable, "publish event %s: %w", events[i].ID, err)
		case <-ctx.Done():
			return slipway.Errorf(slipway.Unavailable, "publish event %s: %w", events[i].ID, errors.Join(errNoAck, ctx.Err()))
		}
	}
	return nil
}

var errNoAck = errors.New("no acknowledgement from the bus")
