package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"slipway.dev/slipway/internal/platform/clock"
)

// Config tunes a [Runner].
type Config struct {
	Owner string        // names this process; unique among those that share the database
	Lease time.Duration // how long a claim holds without renewal; default 30 s, renewed at a third
	Poll  time.Duration // how often to look for wakes of other processes; default 1 s
	Clock clock.Clock   // default the system's
	Log   *slog.Logger  // default slog.Default()
	// Around, when set, runs each handler; metrics and traces are hung here.
	Around func(ctx context.Context, c Claim, do func(context.Context) error) error
}

// Runner claims due jobs and runs their handlers.
type Runner struct {
	queue    Queue
	handlers map[string]Handler
	kinds    []string
	cfg      Config

	stop context.CancelFunc
	done chan struct{}
}

// NewRunner makes a runner for the given handlers. Two handlers of one kind are a mistake of the program.
func NewRunner(q Queue, handlers []Handler, cfg Config) (*Runner, error) {
	if cfg.Lease <= 0 {
		cfg.Lease = 30 * time.Second
	}
	if cfg.Poll <= 0 {
		cfg.Poll = time.Second
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.System{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	r := &Runner{queue: q, handlers: map[string]Handler{}, cfg: cfg}
	for _, h := range handlers {
		if _, twice := r.handlers[h.Kind]; twice {
			return nil, fmt.Errorf("jobs: two handlers of kind %q", h.Kind)
		}
		h.Slots = max(h.Slots, 1)
		if h.All != nil {
			h.Slots = max(h.Batch, 1)
		}
		r.handlers[h.Kind] = h
		r.kinds = append(r.kinds, h.Kind)
	}
	return r, nil
}

// Start begins to run jobs in the background until [Runner.Stop].
func (r *Runner) Start(context.Context) error {
	ctx, cancel := context.WithCancel(context.Background())
	r.stop, r.done = cancel, make(chan struct{})
	go func() {
		defer close(r.done)
		r.loop(ctx)
	}()
	return nil
}

// Stop cancels the running handlers and waits until they have returned, or ctx ends. Their jobs stay due.
func (r *Runner) Stop(ctx context.Context) error {
	if r.stop == nil {
		return nil
	}
	r.stop()
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *Runner) loop(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	busy := map[string]int{}
	newest := map[job]chan struct{}{} // closed when the newest run of the job here has returned
	finished := make(chan ended, 64)
	rested := map[string]time.Time{} // when a kind may run again
	account := func(e ended) {
		if busy[e.job.kind]--; r.handlers[e.job.kind].Rest > 0 {
			rested[e.job.kind] = time.Now().Add(r.handlers[e.job.kind].Rest)
		}
		if newest[e.job] == e.done {
			delete(newest, e.job)
		}
	}
	for {
		changed := r.queue.Changed() // taken before the look, so that a wake in between is seen
		free := map[string]int{}
		rest := r.cfg.Poll // until the first of the kinds that rest may run again
		for kind, h := range r.handlers {
			if d := time.Until(rested[kind]); d > 0 {
				rest = min(rest, d)
			} else if n := h.Slots - busy[kind]; n > 0 && (h.All == nil || busy[kind] == 0) {
				free[kind] = n
			}
		}
		claims, err := r.queue.Claim(ctx, r.cfg.Owner, free, r.cfg.Lease)
		if err != nil && ctx.Err() == nil {
			r.cfg.Log.Error("claiming jobs", "err", err)
		}
		batches := map[string]*batch{}
		for _, c := range claims {
			busy[c.Kind]++
			e := ended{job{c.Kind, c.Key}, make(chan struct{})}
			before := newest[e.job]
			newest[e.job] = e.done
			do := r.handlers[c.Kind].Do
			if r.handlers[c.Kind].All != nil && before == nil {
				if batches[c.Kind] == nil {
					batches[c.Kind] = newBatch(ctx)
				}
				do = batches[c.Kind].add(c.Key, do)
			}
			running.Go(func() {
				r.run(ctx, c, before, do)
				close(e.done)
				select {
				case finished <- e:
				case <-ctx.Done():
				}
			})
		}
		for kind, b := range batches {
			running.Go(func() { b.run(r.handlers[kind].All) })
		}
		timer := time.NewTimer(min(r.pause(ctx), rest))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case e := <-finished:
			account(e)
			for more := true; more; {
				select {
				case e := <-finished:
					account(e)
				default:
					more = false
				}
			}
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
	}
}

type job struct{ kind, key string }

// ended tells the loop that a run has returned.
type ended struct {
	job  job
	done chan struct{}
}

// pause is how long to wait for the next due job, at most the polling interval.
func (r *Runner) pause(ctx context.Context) time.Duration {
	at, ok, err := r.queue.Due(ctx, r.kinds)
	if err != nil || !ok {
		return r.cfg.Poll
	}
	// A job that is due already waits for a slot; its kind's handler says when one is free.
	if d := at.Sub(r.cfg.Clock.Now()); d > 0 {
		return min(d, r.cfg.Poll)
	}
	return r.cfg.Poll
}

// run runs one claim. Before is closed when an earlier run of the same job in this process has returned, nil if there is
// none: one that lost its lease (the machine slept, the database did not answer) must not overlap with the next.
func (r *Runner) run(ctx context.Context, c Claim, before <-chan struct{}, do func(context.Context, string) error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		r.keep(ctx, c, cancel)
	}()
	err := r.do(ctx, c, before, do)
	lost := errors.Is(context.Cause(ctx), errLeaseLost)
	stopped := ctx.Err() != nil
	cancel(nil)
	<-kept
	if lost {
		r.cfg.Log.Warn("lost the lease of a job; another runs it", "kind", c.Kind, "key", c.Key)
		return
	}
	// The outcome is written even while shutting down: it is short, and saves the next process a run.
	finish, done := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer done()
	now := r.cfg.Clock.Now()
	switch {
	case err == nil:
		err = r.queue.Finish(finish, c, nil, time.Time{}, false)
	case stopped: // not the handler's fault: due at once for whoever comes next, without counting as a failure
		c.Attempts--
		err = r.queue.Finish(finish, c, err, now, false)
	default:
		attempt := c.Attempts + 1
		dead := attempt >= MaxAttempts
		r.cfg.Log.Warn("job failed", "kind", c.Kind, "key", c.Key, "attempt", attempt, "dead", dead, "err", err)
		err = r.queue.Finish(finish, c, err, now.Add(Backoff(attempt)), dead)
	}
	if err != nil {
		r.cfg.Log.Error("recording the end of a job; it will run again", "kind", c.Kind, "key", c.Key, "err", err)
	}
}

var errLeaseLost = errors.New("the lease was lost")

// keep renews the lease until ctx ends, and ends ctx when the lease is lost.
func (r *Runner) keep(ctx context.Context, c Claim, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(r.cfg.Lease / 3)
	defer tick.Stop()
	held := r.cfg.Clock.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		ok, err := r.queue.Renew(ctx, c, r.cfg.Lease)
		switch {
		case err == nil && ok:
			held = r.cfg.Clock.Now()
		case err == nil, r.cfg.Clock.Now().Sub(held) >= r.cfg.Lease:
			cancel(errLeaseLost)
			return
		}
	}
}

func (r *Runner) do(ctx context.Context, c Claim, before <-chan struct{}, do func(context.Context, string) error) (err error) {
	if before != nil {
		select {
		case <-before:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	work := func(ctx context.Context) error { return do(ctx, c.Key) }
	if r.cfg.Around != nil {
		return r.cfg.Around(ctx, c, work)
	}
	return work(ctx)
}
