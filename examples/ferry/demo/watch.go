package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/colorprofile"

	"slipway.dev/slipway/client"
)

// watch follows the ledger: it prints what a person wants to see, and keeps everything for those who wait.
type watch struct {
	out   io.Writer
	start time.Time

	mu     sync.Mutex
	events []client.Event
	more   chan struct{} // closed and replaced when an event arrives
	failed error
}

func newWatch(start time.Time) *watch {
	return &watch{out: colorprofile.NewWriter(os.Stdout, os.Environ()), start: start, more: make(chan struct{})}
}

// follow reads the ledger until ctx ends.
func (w *watch) follow(ctx context.Context, c *client.Client) {
	for e, err := range c.Follow(ctx, client.EventFilter{}, 0) {
		w.mu.Lock()
		if err != nil {
			w.failed = err
		} else {
			w.events = append(w.events, e)
		}
		close(w.more)
		w.more = make(chan struct{})
		w.mu.Unlock()
		if err == nil {
			w.show(e)
		}
	}
}

// wait returns the first event that fits, also one that came before.
func (w *watch) wait(ctx context.Context, what string, fits func(client.Event) bool) (client.Event, error) {
	for seen := 0; ; {
		w.mu.Lock()
		events, more, failed := w.events[seen:], w.more, w.failed
		seen = len(w.events)
		w.mu.Unlock()
		if i := slices.IndexFunc(events, fits); i >= 0 {
			return events[i], nil
		}
		if failed != nil {
			return client.Event{}, failed
		}
		select {
		case <-more:
		case <-ctx.Done():
			return client.Event{}, fmt.Errorf("waiting for %s: %w", what, ctx.Err())
		}
	}
}

// first returns the time of the first event of a type about a subject or linked to it.
func (w *watch) first(kind, subject string) (time.Time, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		if is(e, kind, subject) {
			return e.Time, true
		}
	}
	return time.Time{}, false
}

func is(e client.Event, kind, subject string) bool {
	return string(e.Type) == kind && (e.Subject == subject || slices.Contains(e.Links, subject))
}

// shown are the events that are printed, with their colour: good, bad or under way.
var shown = map[string]lipgloss.ANSIColor{
	"lab.node.online": 2, "change.created": 4, "change.tested": 7, "change.landed": 2, "change.rejected": 1,
	"build.action.finished": 7, "integration.entry.queued": 4, "integration.entry.testing": 4, "integration.entry.landed": 2, "integration.entry.rejected": 1,
	"lab.experiment.started": 4, "lab.experiment.finished": 7, "release.created": 2, "compose.finished": 2, "compose.failed": 1,
	"deploy.version.released": 4, "deploy.version.deployed": 2, "deploy.version.failed": 1, "deploy.model.broken": 1, "catalog.product.broken": 1,
	"source.ref.rejected": 1,
}

// show prints one line: when, which stage, what, and why.
func (w *watch) show(e client.Event) {
	colour, ok := shown[string(e.Type)]
	if !ok {
		return
	}
	if strings.Contains(e.Reason, "fail") && colour == 7 {
		colour = 1
	}
	stage, what, _ := strings.Cut(string(e.Type), ".")
	if i := strings.LastIndexByte(what, '.'); i >= 0 {
		what = what[i+1:]
	}
	faint, tint := lipgloss.NewStyle().Faint(true), lipgloss.NewStyle().Foreground(colour)
	fmt.Fprintf(w.out, "%s  %s  %s  %s\n", faint.Render(fmt.Sprintf("%5.1fs", e.Time.Sub(w.start).Seconds())),
		lipgloss.NewStyle().Width(11).Render(stage), tint.Width(36).Render(clip(e.Subject+" "+what, 36)), clip(e.Reason, 100))
}

// clip keeps a text on one line of n characters.
func clip(s string, n int) string {
	r := []rune(strings.ReplaceAll(strings.TrimSpace(s), "\n", " "))
	if len(r) <= n {
		return string(r)
	}
	return string(r[:n-1]) + "…"
}
