package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/platform/jobs"
	"slipway.dev/slipway/internal/slipway"
)

// EventFilter selects events of the ledger.
type EventFilter struct {
	Subject string `query:"subject" doc:"About this subject, or linked to it" example:"change/12"`
	Product string `query:"product"`
	Type    string `query:"type" doc:"A type, or a prefix that ends in a dot" example:"build."`
}

func (f EventFilter) query() EventQuery {
	return EventQuery{Subject: f.Subject, Product: f.Product, Type: f.Type}
}

func (a *API) events() {
	register(a, op{Method: http.MethodGet, Path: "/api/v1/events", Role: auth.Viewer, Summary: "Read the ledger",
		About: "Oldest first, or with newest=true newest first. Events have increasing numbers; after is such a number."},
		func(ctx context.Context, in *struct {
			Page
			EventFilter
			Newest bool `query:"newest" doc:"Newest first"`
		}) (*List[slipway.Event], error) {
			q := in.query()
			q.Newest, q.Limit = in.Newest, in.more()
			at, err := position(in.After)
			if err != nil {
				return nil, err
			}
			if in.Newest {
				q.Before = at
			} else {
				q.After = at
			}
			events, err := a.Ledger.Events(ctx, q)
			if err != nil {
				return nil, err
			}
			return list(ctx, in.Page, events, func(e slipway.Event) string { return strconv.FormatInt(e.Seq, 10) }), nil
		})
	register(a, op{Method: http.MethodGet, Path: "/api/v1/events/stream", Role: auth.Viewer, Summary: "Follow the ledger",
		About: "Server-sent events: `id` is the event's number, `event` its type, `data` the event in JSON. Starts with what is " +
			"new, or after the number in after or in the header Last-Event-ID (0: from the beginning)."},
		a.streamEvents)
	register(a, op{Method: http.MethodGet, Path: "/api/v1/jobs", Role: auth.Viewer, Summary: "List the work in the background",
		About: "Dead letters first: jobs that failed ten times and wait for a person, then the others by when they are due."},
		func(ctx context.Context, in *struct {
			Limit int    `query:"limit" default:"100" minimum:"1" maximum:"1000"`
			State string `query:"state" enum:"waiting,running,backing-off,dead" doc:"Only these"`
		}) (*List[jobs.Job], error) {
			all, err := a.Jobs.Jobs(ctx, 1000)
			if err != nil {
				return nil, err
			}
			out := &List[jobs.Job]{Body: Items[jobs.Job]{Items: []jobs.Job{}}}
			for _, j := range all {
				if (in.State == "" || in.State == j.State) && len(out.Body.Items) < in.Limit {
					out.Body.Items = append(out.Body.Items, j)
				}
			}
			return out, nil
		})
	register(a, op{Method: http.MethodPost, Path: "/api/v1/jobs/retry", Role: auth.Operator, Summary: "Run a job again now",
		About: "For one that is dead or waits. Its failures are forgotten."},
		func(ctx context.Context, in *struct {
			Body struct {
				Kind string `json:"kind" minLength:"1"`
				Key  string `json:"key"`
			}
		}) (*None, error) {
			return nil, a.Jobs.RetryJob(ctx, in.Body.Kind, in.Body.Key)
		})
}

// position reads the number of an event; "" is 0.
func position(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return 0, slipway.Errorf(slipway.Invalid, "%q is not the number of an event", s).At("query.after").Try("give the next of the page before")
	}
	return n, nil
}

type streamInput struct {
	EventFilter
	After       string `query:"after" doc:"Number of the last event that is known"`
	LastEventID string `header:"Last-Event-ID" doc:"The same; browsers send it when they connect again"`
}

const (
	streamBeat  = 15 * time.Second // a comment this often keeps proxies from closing the stream
	streamPoll  = time.Second      // how often to look for events of other servers on the same database
	streamWrite = 30 * time.Second // a reader that takes longer for one write is dropped
)

func (a *API) streamEvents(ctx context.Context, in *streamInput) (*huma.StreamResponse, error) {
	after := in.LastEventID
	if after == "" {
		after = in.After
	}
	at, err := position(after)
	if err != nil {
		return nil, err
	}
	if after == "" {
		last, err := a.Ledger.Events(ctx, EventQuery{Newest: true, Limit: 1})
		if err != nil {
			return nil, err
		}
		if len(last) > 0 {
			at = last[0].Seq
		}
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		_, w := humago.Unwrap(hc)
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Accel-Buffering", "no")
		s := stream{w: w, rc: http.NewResponseController(w)}
		if err := s.write(": the ledger after " + strconv.FormatInt(at, 10) + "\n\n"); err == nil {
			a.follow(hc.Context(), in.query(), at, s)
		}
	}}, nil
}

// follow writes events until the reader goes, the server stops, or the ledger cannot be read; the reader comes back then.
func (a *API) follow(ctx context.Context, q EventQuery, after int64, s stream) {
	poll, beat := time.NewTicker(streamPoll), time.NewTicker(streamBeat)
	defer poll.Stop()
	defer beat.Stop()
	for {
		appended := a.Ledger.Appended() // taken before the look, so that an event in between is seen
		q.After, q.Limit = after, 500
		events, err := a.Ledger.Events(ctx, q)
		if err != nil {
			if ctx.Err() == nil {
				a.Log.ErrorContext(ctx, "reading the ledger for a stream", "err", err)
			}
			return
		}
		for _, e := range events {
			if s.event(e) != nil {
				return // the reader is gone
			}
			after = e.Seq
		}
		if len(events) == q.Limit {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-a.closing:
			return
		case <-appended:
		case <-poll.C:
		case <-beat.C:
			if s.write(": beat\n\n") != nil {
				return
			}
		}
	}
}

// stream writes server-sent events.
type stream struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

func (s stream) event(e slipway.Event) error {
	data, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return s.write(fmt.Sprintf("id: %d\nevent: %s\ndata: %s\n\n", e.Seq, e.Type, data))
}

func (s stream) write(text string) error {
	if err := s.rc.SetWriteDeadline(time.Now().Add(streamWrite)); err != nil && err != http.ErrNotSupported { //nolint:errorlint // compared as documented
		return err
	}
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.rc.Flush()
}
