// Package lifecycle starts the parts of a process in order, says which of them are ready, and stops them in the opposite
// order.
//
// A [Part] has a name, a Start that returns when the part can be used, and a Stop that returns when it has ended. What
// runs in the background reports a failure with [Group.Fail]; that ends [Group.Run] as a signal or the end of its
// context does: with an orderly stop of everything that was started. A part that does not stop in its time is told
// of and left; the next one is stopped all the same, so that a late part cannot keep the database from closing.
//
// The package also sets up what a process needs beside its parts: logs ([NewLogger]), traces ([Tracing]), an HTTP server
// as a part ([HTTP]).
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// Part is one thing that a process consists of. Start and Stop may be nil.
type Part struct {
	Name string
	// Start returns when the part can be used. Its context holds for the start alone.
	Start func(ctx context.Context) error
	// Stop ends the part and returns when it has ended, or ctx has.
	Stop func(ctx context.Context) error
	// Ready returns nil while the part does its work; nil itself means ready whenever it is started.
	Ready func(ctx context.Context) error
	// Grace is how long Stop may take; default 10 s.
	Grace time.Duration
}

// Health is which parts are ready.
type Health struct {
	Ready bool         `json:"ready"`
	Parts []PartHealth `json:"parts"`
}

// PartHealth is the health of one part.
type PartHealth struct {
	Name  string `json:"name"`
	State string `json:"state"` // waiting, starting, ready, failing, stopping, stopped
	Error string `json:"error,omitempty"`
}

// Group is the parts of one process, in the order in which they start.
type Group struct {
	log   *slog.Logger
	parts []Part
	fail  chan error

	mu     sync.Mutex
	states []string
}

// New makes an empty group.
func New(log *slog.Logger) *Group {
	return &Group{log: log, fail: make(chan error, 1)}
}

// Add appends a part. It is started after, and stopped before, those added earlier.
func (g *Group) Add(parts ...Part) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range parts {
		g.parts = append(g.parts, p)
		g.states = append(g.states, "waiting")
	}
}

// Fail reports that something in the background failed for good; the group stops. Only the first report counts.
func (g *Group) Fail(part string, err error) {
	select {
	case g.fail <- fmt.Errorf("%s: %w", part, err):
	default:
	}
}

// Run starts the parts, calls started (which may be nil), and waits until ctx ends, SIGINT or SIGTERM arrives, or a part
// fails; then it stops what was started. It returns why it ended, nil for an orderly end. A second signal ends the process
// at once.
func (g *Group) Run(ctx context.Context, started func()) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	n, err := g.start(ctx)
	if err == nil {
		if started != nil {
			started()
		}
		select {
		case <-ctx.Done():
			g.log.Info("stopping")
		case err = <-g.fail:
			g.log.Error("stopping because a part failed", "err", err)
		}
	} else if ctx.Err() != nil {
		err = nil // asked to end while starting
	}
	stop() // from here on a signal has its usual effect
	return errors.Join(err, g.stop(n))
}

// start returns how many parts were started.
func (g *Group) start(ctx context.Context) (int, error) {
	for i, p := range g.parts {
		g.set(i, "starting")
		begin := time.Now()
		if p.Start != nil {
			if err := p.Start(ctx); err != nil {
				g.set(i, "stopped")
				return i, fmt.Errorf("start %s: %w", p.Name, err)
			}
		}
		g.set(i, "ready")
		g.log.Debug("started", "part", p.Name, "took", time.Since(begin))
		if ctx.Err() != nil {
			return i + 1, ctx.Err()
		}
	}
	return len(g.parts), nil
}

func (g *Group) stop(n int) error {
	var errs []error
	for i := n - 1; i >= 0; i-- {
		p := g.parts[i]
		g.set(i, "stopping")
		begin := time.Now()
		if p.Stop != nil {
			grace := p.Grace
			if grace <= 0 {
				grace = 10 * time.Second
			}
			if err := stopWithin(p.Stop, grace); err != nil {
				errs = append(errs, fmt.Errorf("stop %s: %w", p.Name, err))
			}
		}
		g.set(i, "stopped")
		g.log.Debug("stopped", "part", p.Name, "took", time.Since(begin))
	}
	return errors.Join(errs...)
}

// stopWithin gives up on a Stop that does not heed its context.
func stopWithin(stop func(context.Context) error, grace time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- stop(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select { // it may have heeded the same end
	case err := <-done:
		return err
	case <-time.After(time.Second):
		return fmt.Errorf("it did not end in %s", grace)
	}
}

func (g *Group) set(i int, state string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.states[i] = state
}

// Health asks every part.
func (g *Group) Health(ctx context.Context) Health {
	g.mu.Lock()
	parts, states := g.parts, append([]string(nil), g.states...)
	g.mu.Unlock()
	h := Health{Ready: true, Parts: make([]PartHealth, len(parts))}
	for i, p := range parts {
		ph := PartHealth{Name: p.Name, State: states[i]}
		if ph.State == "ready" && p.Ready != nil {
			if err := p.Ready(ctx); err != nil {
				ph.State, ph.Error = "failing", err.Error()
			}
		}
		h.Ready = h.Ready && ph.State == "ready"
		h.Parts[i] = ph
	}
	return h
}
