package farm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/execution"
	"slipway.dev/slipway/internal/slipway"
)

// verdict is what an ended run comes to, kept so that a Finish which is called again says the same.
type verdict struct {
	outcome slipway.Outcome
	reason  string
	result  *Result
	log     artifact.Digest
	size    int64
}

// Finish implements [Server].
func (f *Farm[T]) Finish(ctx context.Context, hold Hold, r Report) error {
	h, err := f.claimed(hold)
	if err != nil {
		return err
	}
	h.ending.Lock()
	defer h.ending.Unlock()
	if _, err := f.claimed(hold); err != nil { // ended while we waited
		return err
	}
	f.mu.Lock()
	stopped := h.reason
	f.mu.Unlock()
	switch {
	case r.Result == nil && stopped != "":
		return f.conclude(ctx, h, func(context.Context, Task) (verdict, error) {
			return verdict{outcome: slipway.Cancelled, reason: stopped}, nil
		})
	case r.Result == nil && r.Fault == "":
		return f.again(ctx, h, nil)
	case r.Result == nil:
		return f.fault(ctx, h, r.Kind, r.Fault)
	}
	return f.conclude(ctx, h, func(ctx context.Context, t Task) (verdict, error) {
		return f.judged(ctx, h, t, *r.Result)
	})
}

// judged says what a result comes to.
func (f *Farm[T]) judged(ctx context.Context, h *held, t Task, r Result) (verdict, error) {
	if !h.local { // what a worker elsewhere says must be here
		if err := complete(ctx, f.cas, r); err != nil {
			return verdict{}, slipway.Errorf(slipway.Invalid, "the result of task %s is not whole: %w", t.ID, err).Try("upload all outputs first")
		}
	}
	outcome, reason, err := Judge(ctx, f.cas, r, t.Outputs, h.log.said())
	return verdict{outcome: outcome, reason: reason, result: &r}, err
}

// conclude ends a claim and its task.
func (f *Farm[T]) conclude(ctx context.Context, h *held, decide func(context.Context, Task) (verdict, error)) error {
	t, err := f.Task(ctx, h.hold.Task)
	if err != nil {
		return err
	}
	if h.verdict == nil {
		h.log.mu.Lock()
		v, err := decide(ctx, t)
		if err == nil {
			err = h.log.end(fmt.Sprintf("# %s: %s", v.outcome, v.reason))
		}
		h.log.mu.Unlock()
		if err != nil {
			return err
		}
		h.verdict = &v
	}
	v := h.verdict
	if v.log == "" {
		if v.log, v.size, err = h.log.keep(ctx, f.cas); err != nil {
			return err
		}
	}
	err = f.store.Update(ctx, func(tx T) error {
		if t, err = tx.Tasks().Get(ctx, h.hold.Task); err != nil {
			return err
		}
		if t.State != Claimed || t.Epoch != h.hold.Epoch {
			return gone(h.hold)
		}
		t.Result, t.Log, t.LogBytes = v.result, v.log, v.size
		outcome, reason := v.outcome, v.reason
		if t.Stop != "" && v.result == nil {
			reason = t.Stop
		}
		if err := f.end(ctx, tx, &t, outcome, reason); err != nil {
			return err
		}
		if v.result == nil || !cacheable(*v.result) {
			return nil
		}
		return tx.ActionResults().Put(ctx, CachedResult{Key: t.Action, Result: *v.result, By: t.Worker, Stored: tx.Now()})
	})
	if err != nil && !slipway.Is(err, slipway.Conflict) {
		return err
	}
	f.Logs.remove(t.ID)
	f.release(h)
	f.told(t)
	return err
}

// cacheable reports whether the same action would give the same result again.
func cacheable(r Result) bool {
	m, err := r.Message()
	return err == nil && r.Status == execution.Exited && m.ExitCode == 0
}

// endCached ends a waiting task with a result that the cache has.
func (f *Farm[T]) endCached(ctx context.Context, id string, hit CachedResult) error {
	var t Task
	err := f.store.Update(ctx, func(tx T) (err error) {
		if t, err = tx.Tasks().Get(ctx, id); err != nil || t.State != Queued {
			return err
		}
		outcome, _, err := Judge(ctx, f.cas, hit.Result, t.Outputs, "")
		if err != nil {
			return err
		}
		t.Result, t.Worker = &hit.Result, hit.By
		return f.end(ctx, tx, &t, outcome, "the action cache has its result, from "+hit.Stored.UTC().Format(time.DateTime))
	})
	if err == nil {
		f.told(t)
	}
	return err
}

// fault notes that a worker could not run a task: another tries, or it is given up.
func (f *Farm[T]) fault(ctx context.Context, h *held, kind slipway.Kind, reason string) error {
	now := f.cfg.Clock.Now()
	attempt := &Attempt{Worker: h.hold.Worker, Reason: reason, Time: now.UTC()}
	t, err := f.Task(ctx, h.hold.Task)
	if err != nil {
		return err
	}
	hopeless := kind == slipway.NotFound || kind == slipway.Invalid // it would fail everywhere
	if !hopeless && len(t.Failed)+1 < MaxAttempts {
		return f.again(ctx, h, attempt)
	}
	t.Failed = append(t.Failed, *attempt)
	if h.verdict == nil {
		h.log.mu.Lock()
		err := h.log.end(fmt.Sprintf("# %s: %s", slipway.Infra, t.reasons()))
		h.log.mu.Unlock()
		if err != nil {
			f.cfg.Log.Warn("the log of a task is not whole", "task", t.ID, "err", err) // what fails may be the disk
		}
		h.verdict = &verdict{outcome: slipway.Infra, reason: t.reasons()}
	}
	v := h.verdict
	if v.log == "" {
		if v.log, v.size, err = h.log.keep(ctx, f.cas); err != nil {
			return err
		}
	}
	err = f.store.Update(ctx, func(tx T) error {
		if t, err = tx.Tasks().Get(ctx, h.hold.Task); err != nil {
			return err
		}
		if t.State != Claimed || t.Epoch != h.hold.Epoch {
			return gone(h.hold)
		}
		t.Failed, t.Fault, t.Log, t.LogBytes = append(t.Failed, *attempt), kind, v.log, v.size
		return f.end(ctx, tx, &t, slipway.Infra, t.reasons())
	})
	if err != nil && !slipway.Is(err, slipway.Conflict) {
		return err
	}
	f.Logs.remove(t.ID)
	f.release(h)
	f.told(t)
	return err
}

// again puts a task back in the queue: after a failed attempt, or without one when its worker gave it back.
func (f *Farm[T]) again(ctx context.Context, h *held, attempt *Attempt) error {
	var t Task
	err := f.store.Update(ctx, func(tx T) (err error) {
		if t, err = tx.Tasks().Get(ctx, h.hold.Task); err != nil {
			return err
		}
		if t.State != Claimed || t.Epoch != h.hold.Epoch {
			return gone(h.hold)
		}
		if t.Stop != "" {
			return f.end(ctx, tx, &t, slipway.Cancelled, t.Stop)
		}
		t.State, t.Reason = Queued, h.hold.Worker+" gave it back"
		if attempt != nil {
			t.Failed = append(t.Failed, *attempt)
			t.Retry = tx.Now().Add(f.cfg.Backoff(len(t.Failed)))
			t.Reason = fmt.Sprintf("attempt %d of %d came to nothing: %s (on %s)", len(t.Failed), MaxAttempts, attempt.Reason, attempt.Worker)
		}
		if err := tx.Tasks().Put(ctx, t); err != nil {
			return err
		}
		return f.tell(t, func(o Owner[T], id string) error { return o.Requeued(ctx, tx, id, t) })
	})
	if err != nil && !slipway.Is(err, slipway.Conflict) {
		return err
	}
	f.release(h)
	if err != nil {
		return err
	}
	if t.State == Done {
		f.Logs.remove(t.ID)
		f.told(t)
		return nil
	}
	f.mu.Lock()
	f.push(t)
	f.wake()
	f.mu.Unlock()
	return nil
}

// expire ends a claim that was not renewed in time.
func (f *Farm[T]) expire(ctx context.Context, h *held) error {
	h.ending.Lock()
	defer h.ending.Unlock()
	f.mu.Lock()
	late := f.held[h.hold.Task] == h && f.cfg.Clock.Now().After(h.expires)
	f.mu.Unlock()
	if !late {
		return nil
	}
	f.cfg.Log.Warn("a claim was not renewed", "task", h.hold.Task, "worker", h.hold.Worker)
	reason := fmt.Sprintf("the worker was not heard of for %s", f.cfg.Lease)
	err := f.fault(ctx, h, slipway.Unavailable, reason)
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
