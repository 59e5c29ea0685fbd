package farm

import (
	"context"
	"slices"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build/farm/plan"
)

// maxWait is how long a claim waits for a task at most.
const maxWait = 30 * time.Second

// uncommitted is how long a claim may take to be written; its lease begins after that.
const uncommitted = 24 * time.Hour

// Claim implements [Server].
func (f *Farm[T]) Claim(ctx context.Context, r ClaimRequest) (*Claim, error) {
	if r.Worker == "" || r.Worker == f.cfg.Local && !r.local {
		return nil, slipway.Errorf(slipway.Invalid, "a worker needs a name of its own, not %q", r.Worker).Try("give one with --name")
	}
	until := f.cfg.Clock.Now().Add(min(max(r.Wait, 0), maxWait))
	for {
		f.mu.Lock()
		w := f.meet(r)
		s := f.snapshot()
		i := s.Next(w.Worker)
		if i < 0 {
			changed := f.changed
			f.mu.Unlock()
			if !f.waitFor(ctx, changed, s.Queued, until) {
				return nil, ctx.Err()
			}
			continue
		}
		p := f.queue[i]
		f.queue = slices.Delete(f.queue, i, i+1)
		f.usageOf(p.Product).running++ // so that the next claim sees it
		f.mu.Unlock()
		c, err := f.take(ctx, p, r)
		if c != nil {
			return c, nil
		}
		f.mu.Lock()
		f.usageOf(p.Product).running--
		if err != nil {
			if t, e := f.Task(context.WithoutCancel(ctx), p.ID); e != nil || t.State == Queued {
				f.queue = slices.Insert(f.queue, min(i, len(f.queue)), p)
				f.wake()
			}
		}
		f.mu.Unlock()
		if err != nil {
			return nil, err
		}
	}
}

// waitFor blocks until something changed, a retry is due, or the time is over, which is false.
func (f *Farm[T]) waitFor(ctx context.Context, changed <-chan struct{}, queued []plan.Task, until time.Time) bool {
	now := f.cfg.Clock.Now()
	wait := until.Sub(now)
	if wait <= 0 {
		return false
	}
	for _, t := range queued {
		if d := t.NotBefore.Sub(now); d > 0 {
			wait = min(wait, d)
		}
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-changed:
	case <-timer.C:
	}
	return true
}

// take makes the claim: nil without an error when the task is no longer to be had.
func (f *Farm[T]) take(ctx context.Context, p plan.Task, r ClaimRequest) (*Claim, error) {
	var t Task
	var hit CachedResult
	err := f.store.View(ctx, func(tx T) (err error) {
		hit = CachedResult{}
		if t, err = tx.Tasks().Get(ctx, p.ID); err != nil || t.State != Queued || t.NoCache {
			return err
		}
		if hit, err = tx.ActionResults().Get(ctx, t.Action); slipway.Is(err, slipway.NotFound) {
			err = nil
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if t.State != Queued {
		return nil, nil
	}
	if hit.Key != "" && complete(ctx, f.cas, hit.Result) == nil {
		return nil, f.endCached(ctx, t.ID, hit)
	}
	log, err := f.Logs.begin(t.ID, t.Header, f.cfg.Secrets(ctx), r.local)
	if err != nil {
		return nil, err
	}
	// It is held from before the commit on, so that whoever stops it right after finds it.
	t.Worker, t.Local, t.Claimed, t.Header0, t.Epoch = r.Worker, r.local, f.cfg.Clock.Now(), log.base, t.Epoch+1
	h := &held{hold: t.hold(), task: t.planned(), local: r.local, since: t.Claimed, expires: f.cfg.Clock.Now().Add(uncommitted), log: log, stop: make(chan struct{})}
	f.mu.Lock()
	f.held[t.ID] = h
	f.mu.Unlock()
	taken := false
	err = f.store.Update(ctx, func(tx T) error {
		taken = false
		now, err := tx.Tasks().Get(ctx, p.ID)
		if err != nil || now.State != Queued || now.Epoch+1 != h.hold.Epoch {
			return err
		}
		t = now
		t.State, t.Worker, t.Local, t.Claimed, t.Header0, t.Epoch = Claimed, r.Worker, r.local, tx.Now(), log.base, h.hold.Epoch
		t.Reason = "runs on " + r.Worker
		if err := tx.Tasks().Put(ctx, t); err != nil {
			return err
		}
		taken = true
		return f.tell(t, func(o Owner[T], id string) error { return o.Started(ctx, tx, id, t) })
	})
	if err != nil || !taken {
		f.mu.Lock()
		delete(f.held, p.ID)
		f.mu.Unlock()
		log.close()
		f.Logs.remove(p.ID)
		return nil, err
	}
	f.mu.Lock()
	h.expires = f.cfg.Clock.Now().Add(f.cfg.Lease)
	f.mu.Unlock()
	f.started(t)
	return &Claim{Hold: h.hold, Name: t.Name, Action: t.Action, Limits: t.Limits, Lease: f.cfg.Lease}, nil
}

// gone is what a worker is told whose claim is no longer in force.
func gone(h Hold) error {
	return slipway.Errorf(slipway.Conflict, "the claim of task %s by %s under epoch %d is gone", h.Task, h.Worker, h.Epoch).Try("drop the task")
}

// claimed returns a claim in force, and notes that its worker is there.
func (f *Farm[T]) claimed(hold Hold) (*held, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.held[hold.Task]
	if h == nil || h.hold != hold {
		return nil, gone(hold)
	}
	now := f.cfg.Clock.Now()
	if w := f.workers[hold.Worker]; w != nil {
		w.seen = now
	}
	h.expires = now.Add(f.cfg.Lease)
	return h, nil
}

// Renew implements [Server].
func (f *Farm[T]) Renew(ctx context.Context, hold Hold) (Order, error) {
	h, err := f.claimed(hold)
	if err != nil {
		return Order{}, err
	}
	timer := time.NewTimer(f.cfg.Lease / 3)
	defer timer.Stop()
	select {
	case <-h.stop:
	case <-timer.C:
	case <-ctx.Done():
		return Order{}, context.Cause(ctx)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.held[hold.Task] != h {
		return Order{}, gone(hold)
	}
	return Order{Stop: h.reason}, nil
}

// Append implements [Server].
func (f *Farm[T]) Append(_ context.Context, hold Hold, offset int64, data []byte) (int64, error) {
	h, err := f.claimed(hold)
	if err != nil {
		return 0, err
	}
	h.log.mu.Lock()
	defer h.log.mu.Unlock()
	return h.log.append(offset, data)
}

// watch ends claims that were not renewed.
func (f *Farm[T]) watch(ctx context.Context) {
	tick := time.NewTicker(max(f.cfg.Lease/6, 10*time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := f.cfg.Clock.Now()
		var late []*held
		f.mu.Lock()
		for _, h := range f.held {
			if !h.local && now.After(h.expires) {
				late = append(late, h)
			}
		}
		for name, w := range f.workers {
			if !w.local && now.Sub(w.seen) > forget {
				delete(f.workers, name)
			}
		}
		f.mu.Unlock()
		for _, h := range late {
			if err := f.expire(ctx, h); err != nil && ctx.Err() == nil {
				f.cfg.Log.Error("ending a claim that was not renewed; tried again", "task", h.hold.Task, "worker", h.hold.Worker, "err", err)
			}
		}
	}
}
