package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"slipway.dev/slipway/internal/slipway"
)

// Topic reports whether an event is about a topic:
//
//	change/12        that subject, or an event linked to it
//	build.           all events whose type begins so
//	ferry:build.     those of product ferry
//	ferry:           all events of product ferry
func Topic(topic string, e slipway.Event) bool {
	product, rest, scoped := strings.Cut(topic, ":")
	if !scoped {
		rest = topic
	} else if e.Product != product {
		return false
	}
	if strings.Contains(rest, "/") {
		return e.Subject == rest || slices.Contains(e.Links, rest)
	}
	return strings.HasPrefix(string(e.Type), rest)
}

const (
	beat     = 15 * time.Second // a comment this often keeps proxies from closing the stream
	poll     = time.Second      // how often to look for events of other servers on the same database
	patience = 30 * time.Second // a reader that takes longer for one write is dropped
)

// sse writes server-sent events.
type sse struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

func newSSE(w http.ResponseWriter) sse {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no")
	return sse{w, http.NewResponseController(w)}
}

func (s sse) write(text string) error {
	if err := s.rc.SetWriteDeadline(time.Now().Add(patience)); err != nil && err != http.ErrNotSupported { //nolint:errorlint // compared as documented
		return err
	}
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.rc.Flush()
}

// stream tells a page when something that it shows has changed. The data is the event's line for the ledger page.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	topics := r.URL.Query()["topic"]
	from := r.Header.Get("Last-Event-ID")
	if from == "" {
		from = r.URL.Query().Get("after")
	}
	after, err := strconv.ParseInt(from, 10, 64)
	if err != nil || after < 0 || len(topics) == 0 || len(topics) > 50 {
		http.Error(w, "give topics, and the number of the last event that is known", http.StatusUnprocessableEntity)
		return
	}
	out := newSSE(w)
	if out.write("retry: 2000\n\n") != nil {
		return
	}
	look, live := time.NewTicker(poll), time.NewTicker(beat)
	defer look.Stop()
	defer live.Stop()
	for {
		appended := s.Ledger.Appended() // taken before the look, so that an event in between is seen
		events, err := s.Ledger.Events(ctx, EventQuery{After: after, Limit: 500})
		if err != nil {
			if ctx.Err() == nil {
				s.Log.ErrorContext(ctx, "reading the ledger for a stream", "err", err)
			}
			return // the reader comes back
		}
		for _, e := range events {
			after = e.Seq
			if !slices.ContainsFunc(topics, func(t string) bool { return Topic(t, e) }) {
				continue
			}
			data, err := json.Marshal(map[string]string{"type": string(e.Type), "subject": e.Subject})
			if err != nil || out.write(fmt.Sprintf("id: %d\ndata: %s\n\n", e.Seq, data)) != nil {
				return
			}
		}
		if len(events) == 500 {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-s.closing:
			return
		case <-appended:
		case <-look.C:
		case <-live.C:
			if out.write(": beat\n\n") != nil {
				return
			}
		}
	}
}
