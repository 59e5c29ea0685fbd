package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

// Event is one line of the ledger, as 'slipway events -o json' prints it.
type Event struct {
	Seq     int64
	Type    string
	Subject string
	Product string
	Reason  string
	Links   []string
	Time    time.Time
	Data    json.RawMessage
}

// about reports whether the event's subject or a link is what.
func (e Event) about(what string) bool { return e.Subject == what || slices.Contains(e.Links, what) }

// ledger is all events so far.
type ledger struct {
	start time.Time
	out   io.Writer

	mu     sync.Mutex
	events []Event
	news   chan struct{} // closed and replaced when an event has come or the stream has ended
	ended  error
}

func newLedger(out io.Writer) *ledger {
	return &ledger{start: time.Now(), out: out, news: make(chan struct{})}
}

// shown are the events that are printed as they come.
var shown = []string{
	"change.", "integration.entry.", "build.action.started", "build.action.finished", "lab.experiment.started", "lab.experiment.finished",
	"gating.waiver.", "release.", "compose.", "deploy.version.", "deploy.model.broken", "catalog.product.", "source.ref.rejected", "lab.node.joined",
}

// follow reads events, one JSON object a line, until the stream ends.
func (l *ledger) follow(r io.Reader) {
	in := bufio.NewScanner(r)
	in.Buffer(nil, 64<<20)
	for in.Scan() {
		var e Event
		if err := json.Unmarshal(in.Bytes(), &e); err != nil {
			l.add(nil, fmt.Errorf("the ledger says %q: %w", in.Text(), err))
			return
		}
		l.add(&e, nil)
	}
	err := in.Err()
	if err == nil {
		err = fmt.Errorf("the ledger's stream has ended")
	}
	l.add(nil, err)
}

func (l *ledger) add(e *Event, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e != nil {
		l.events = append(l.events, *e)
		if slices.ContainsFunc(shown, func(prefix string) bool { return strings.HasPrefix(e.Type, prefix) }) {
			fmt.Fprintf(l.out, "  %s  %-30s %-28s %s\n", clock(e.Time.Sub(l.start)), e.Type, e.Subject, firstLine(e.Reason))
		}
	} else {
		l.ended = err
	}
	close(l.news)
	l.news = make(chan struct{})
}

// last returns the number of the newest event.
func (l *ledger) last() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.events) == 0 {
		return 0
	}
	return l.events[len(l.events)-1].Seq
}

// fatal are events after which what is waited for will not come.
var fatal = []string{"compose.failed", "deploy.model.broken", "catalog.product.broken", "source.ref.rejected"}

// wait returns the first event after seq for which is holds, or an error at the first fatal one.
func (l *ledger) wait(ctx context.Context, what string, seq int64, is func(Event) bool) (Event, error) {
	for {
		l.mu.Lock()
		for _, e := range l.events {
			if e.Seq <= seq {
				continue
			}
			if is(e) {
				l.mu.Unlock()
				return e, nil
			}
			if slices.Contains(fatal, e.Type) {
				l.mu.Unlock()
				return e, fmt.Errorf("waiting for %s: %s: %s: %s", what, e.Subject, e.Type, e.Reason)
			}
		}
		news, ended := l.news, l.ended
		l.mu.Unlock()
		if ended != nil {
			return Event{}, fmt.Errorf("waiting for %s: %w", what, ended)
		}
		select {
		case <-news:
		case <-ctx.Done():
			return Event{}, fmt.Errorf("waiting for %s: %w", what, context.Cause(ctx))
		}
	}
}

func clock(d time.Duration) string {
	return fmt.Sprintf("%02d:%04.1f", int(d.Minutes()), (d % time.Minute).Seconds())
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	if r := []rune(s); len(r) > 150 {
		s = string(r[:150]) + "…"
	}
	return s
}
