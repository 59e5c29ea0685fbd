// Package worker runs the tasks of a farm.
//
// A worker has slots. Each claims a task, fetches what the task needs, runs it with an [execution.Executor], sends its log as it
// grows, uploads its outputs, and says how it ended. Meanwhile it renews its claim. When the farm says that the claim is gone, or when it
// cannot be reached for a lease (counted from when the last renewal was asked for, so that the worker gives up before the farm
// does), the run is stopped and dropped: nothing of it is told.
//
// A slot whose command has ended claims the next task while the outputs of the last are kept and its end is told; at most one task a slot is ended that
// way beside the one that runs.
//
// The slots of a server are a worker too: they share the server's artifact store, so there is nothing to fetch or
// upload. A worker elsewhere has a store of its own, which is only a cache.
package worker

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/execution"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build/farm"
)

// Config says what a worker is.
type Config struct {
	Name   string // unique in the farm
	Host   func(ctx context.Context) (string, error)
	Labels map[string]string
	Slots  int           // tasks at once; default 1
	Spool  string        // folder for logs that are under way; empty: they are sent as they are written, and the writer waits
	Wait   time.Duration // how long one claim waits for a task; default 20 s
	Log    *slog.Logger  // default slog.Default()
	// Transfer moves inputs and outputs; nil: the executor works on the farm's own store.
	Transfer Transfer
}

// Transfer moves blobs between a worker's store and the farm's.
type Transfer interface {
	// Fetch brings everything that an action needs.
	Fetch(ctx context.Context, action artifact.Digest) error
	// Upload sends everything that a result names.
	Upload(ctx context.Context, r farm.Result) error
}

// Worker runs tasks. See the package comment.
type Worker struct {
	server farm.Server
	exec   execution.Executor
	cfg    Config
}

// New makes a worker of a farm.
func New(server farm.Server, exec execution.Executor, cfg Config) *Worker {
	cfg.Slots = max(cfg.Slots, 1)
	if cfg.Wait <= 0 {
		cfg.Wait = 20 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return &Worker{server, exec, cfg}
}

// Run works until drain ends and what runs by then has ended, or until ctx ends, which stops what runs. It returns an error when
// the farm refuses the worker.
func (w *Worker) Run(ctx, drain context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	claims, stop := context.WithCancel(drain)
	defer stop()
	defer context.AfterFunc(ctx, stop)()
	var slots sync.WaitGroup
	var once sync.Once
	var refused error
	for range w.cfg.Slots {
		slots.Go(func() {
			if err := w.slot(ctx, claims); err != nil {
				once.Do(func() { refused = err })
				stop() // the others end what they run
			}
		})
	}
	slots.Wait()
	return refused
}

// slot runs one task after the other.
func (w *Worker) slot(ctx, claims context.Context) error {
	last := make(chan struct{}) // closed when the task before has ended
	close(last)
	defer func() { <-last }()
	for failures := 0; claims.Err() == nil; {
		host, err := w.cfg.Host(claims)
		var c *farm.Claim
		if err == nil {
			c, err = w.server.Claim(claims, farm.ClaimRequest{Worker: w.cfg.Name, Host: host, Labels: w.cfg.Labels, Slots: w.cfg.Slots, Wait: w.cfg.Wait})
		}
		switch {
		case claims.Err() != nil && c == nil:
			return nil
		case err == nil && c != nil:
			failures = 0
			free, done := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(done)
				w.work(ctx, *c, sync.OnceFunc(func() { close(free) }))
			}()
			select {
			case <-free:
			case <-done:
			}
			<-last
			last = done
		case err == nil:
			failures = 0
		case slipway.Is(err, slipway.Unauthenticated), slipway.Is(err, slipway.Forbidden), slipway.Is(err, slipway.Invalid):
			return err
		default:
			if failures++; failures == 1 {
				w.cfg.Log.Warn("the farm cannot be asked for work; trying again", "err", err)
			}
			pause(claims, min(time.Second<<min(failures-1, 4), 10*time.Second))
		}
	}
	return nil
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// Why a run ends early.
var (
	errGone    = errors.New("the claim is gone")
	errStopped = errors.New("the farm wants it stopped")
)

// work brings one claim to its end. It calls ended when its command has ended, if it can tell.
func (w *Worker) work(parent context.Context, c farm.Claim, ended func()) {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	renewing := make(chan struct{})
	// A claim is kept also while a stopped run is told, so it does not end with the run.
	keep, end := context.WithCancelCause(parent)
	go func() {
		defer close(renewing)
		w.renew(keep, c, cancel, end)
	}()
	defer func() { end(nil); <-renewing }()
	log := w.openLog(keep, c)
	r, err := w.run(ctx, c, log, ended)
	logErr := log.close()
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errGone):
		w.cfg.Log.Warn("dropped a task whose claim is gone", "task", c.Task, "name", c.Name)
		return
	case errors.Is(cause, errStopped):
		w.finish(keep, c, farm.Report{})
	case parent.Err() != nil:
		return // the claim expires, or ends with the server
	case err != nil:
		w.finish(keep, c, fault(err))
	case logErr != nil:
		w.finish(keep, c, fault(logErr))
	default:
		w.finish(keep, c, farm.Report{Result: r})
	}
}

func fault(err error) farm.Report { return farm.Report{Fault: err.Error(), Kind: slipway.KindOf(err)} }

// run runs the action, from its inputs to its outputs.
func (w *Worker) run(ctx context.Context, c farm.Claim, log *taskLog, ended func()) (*farm.Result, error) {
	if w.cfg.Transfer != nil {
		if err := w.cfg.Transfer.Fetch(ctx, c.Action); err != nil {
			return nil, err
		}
	}
	res, err := w.exec.Execute(ctx, execution.Request{Action: c.Action, Limits: c.Limits, Log: log, Ended: ended})
	if err != nil {
		return nil, err
	}
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(res.Action)
	if err != nil {
		return nil, slipway.Errorf(slipway.Internal, "encode the result: %w", err)
	}
	r := &farm.Result{Status: res.Status, Reason: res.Reason, Action: data, Output: res.Output, Wall: res.Wall}
	if w.cfg.Transfer != nil {
		if err := w.cfg.Transfer.Upload(ctx, *r); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// renew keeps the claim until ctx ends. It ends the run when the claim is gone or the farm wants it stopped, and then in the first
// case all talk about it too.
func (w *Worker) renew(ctx context.Context, c farm.Claim, stop, end context.CancelCauseFunc) {
	held := time.Now()
	for ctx.Err() == nil {
		asked := time.Now()
		call, done := context.WithTimeout(ctx, c.Lease)
		order, err := w.server.Renew(call, c.Hold)
		done()
		switch {
		case err == nil && order.Stop != "":
			stop(errStopped)
			held = asked
			pause(ctx, c.Lease/3) // an order comes at once from now on
		case err == nil:
			held = asked
		case ctx.Err() != nil:
			return
		case slipway.Is(err, slipway.Conflict), time.Since(held) >= c.Lease:
			stop(errGone)
			end(errGone)
			return
		default:
			pause(ctx, min(c.Lease/10, time.Second))
		}
	}
}

// finish tells the end of a claim until the farm has heard it, or it does not matter any more.
func (w *Worker) finish(ctx context.Context, c farm.Claim, r farm.Report) {
	for ctx.Err() == nil {
		err := w.server.Finish(ctx, c.Hold, r)
		switch {
		case err == nil:
			return
		case slipway.Is(err, slipway.Conflict):
			w.cfg.Log.Warn("the farm did not take a result", "task", c.Task, "name", c.Name, "err", err)
			return
		case slipway.Is(err, slipway.Invalid), slipway.Is(err, slipway.NotFound):
			if r.Result == nil {
				w.cfg.Log.Error("the farm refuses the end of a task", "task", c.Task, "err", err)
				return
			}
			r = fault(err)
		default:
			w.cfg.Log.Warn("telling the end of a task; trying again", "task", c.Task, "err", err)
			pause(ctx, min(c.Lease/10, time.Second))
		}
	}
}
