package client

import (
	"bufio"
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"strconv"
	"strings"
	"time"

	"slipway.dev/slipway/internal/platform/jobs"
	"slipway.dev/slipway/internal/slipway"
)

// Job is one piece of work in the background.
type Job = jobs.Job

// EventFilter selects events of the ledger.
type EventFilter struct {
	Subject string // "change/12": about it, or linked to it
	Product string
	Type    string // a type, or a prefix that ends in a dot
	Newest  bool   // newest first
	After   int64  // go on after the event with this number
	Limit   int    // 0: all
}

// Events reads the ledger.
func (c *Client) Events(ctx context.Context, f EventFilter) iter.Seq2[Event, error] {
	q := values("subject", f.Subject, "product", f.Product, "type", f.Type)
	if f.Newest {
		q.Set("newest", "true")
	}
	if f.After > 0 {
		q.Set("after", strconv.FormatInt(f.After, 10))
	}
	return list[Event](ctx, c, "/api/v1/events", q, f.Limit)
}

// Follow yields the events after number after as they happen; -1 means those from now on. It connects again by itself when
// the connection is lost, without losing an event, and ends when ctx does or on an error that would come again.
func (c *Client) Follow(ctx context.Context, f EventFilter, after int64) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		wait := 100 * time.Millisecond
		for first := true; ; first = false {
			begin := after
			err := c.stream(ctx, f, &after, func(e Event) bool { return yield(e, nil) })
			switch {
			case ctx.Err() != nil || err == errStop: //nolint:errorlint // our own
				return
			case err != nil && (first || !slipway.Is(err, slipway.Unavailable)):
				yield(Event{}, err)
				return
			}
			if after != begin {
				wait = 100 * time.Millisecond
			}
			timer := time.NewTimer(wait)
			select {
			case <-ctx.Done():
				timer.Stop()
				return
			case <-timer.C:
			}
			wait = min(2*wait, 5*time.Second)
		}
	}
}

var errStop = &Error{Kind: slipway.Internal, Message: "the reader has enough"}

// stream reads one connection's events and keeps after at the last one's number.
func (c *Client) stream(ctx context.Context, f EventFilter, after *int64, take func(Event) bool) error {
	q := values("subject", f.Subject, "product", f.Product, "type", f.Type)
	if *after >= 0 {
		q.Set("after", strconv.FormatInt(*after, 10))
	}
	body, err := c.raw(ctx, "/api/v1/events/stream", q, "text/event-stream")
	if err != nil {
		return err
	}
	defer body.Close()
	lines := bufio.NewReader(body)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return nil //nolint:nilerr // the connection ended; the caller connects again
		}
		if n, ok := strings.CutPrefix(line, ": the ledger after "); ok && *after < 0 {
			if at, err := strconv.ParseInt(strings.TrimSpace(n), 10, 64); err == nil {
				*after = at // so that a lost connection loses nothing
			}
		}
		data, ok := strings.CutPrefix(line, "data:")
		if !ok {
			continue
		}
		var e Event
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			return slipway.Errorf(slipway.Internal, "read an event: %w", err)
		}
		*after = e.Seq
		if !take(e) {
			return errStop
		}
	}
}

// Jobs lists the work in the background, dead letters first; state may be waiting, running, backing-off, dead or empty
// for all.
func (c *Client) Jobs(ctx context.Context, state string) ([]Job, error) {
	q := values("state", state)
	q.Set("limit", "1000")
	p, err := get[page[Job]](ctx, c, "/api/v1/jobs", q)
	return p.Items, err
}

// RetryJob runs a dead or waiting job again now.
func (c *Client) RetryJob(ctx context.Context, kind, key string) error {
	_, err := do[none](ctx, c, http.MethodPost, "/api/v1/jobs/retry", nil, map[string]string{"kind": kind, "key": key})
	return err
}
