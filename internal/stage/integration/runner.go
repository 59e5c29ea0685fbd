package integration

import (
	"context"
	"fmt"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/integration/plan"
)

// retries is how often a candidate is run again after a failure that blames nobody.
const retries = 2

// advance moves a product's queue as far as it goes: snapshot, plan, act, until the plan is to wait.
func (s *Service) advance(ctx context.Context, product string) error {
	for {
		entries, snap, err := s.snapshot(ctx, product)
		if err != nil {
			return err
		}
		acted := false
		for _, step := range plan.Next(snap) {
			did, err := s.act(ctx, entries[step.Entry], step, snap.Base)
			if err != nil {
				return fmt.Errorf("entry %d, %s: %w", step.Entry, step.Verb, err)
			}
			acted = acted || did
		}
		if !acted {
			return nil
		}
	}
}

// snapshot gathers what the planner looks at. It asks for the waves and experiments of entries that have begun, which
// starts those that a crash kept from being asked for.
func (s *Service) snapshot(ctx context.Context, product string) (map[int64]Entry, plan.Snapshot, error) {
	var open []Entry
	var q Queue
	err := s.store.View(ctx, func(tx Tx) (err error) {
		if q, err = queueOf(ctx, tx, product); err != nil {
			return err
		}
		open, err = tx.Entries().Find(ctx, slipway.Query{Product: product,
			States: []string{string(plan.Queued), string(plan.Building), string(plan.Testing), string(plan.Landing)}})
		return err
	})
	snap := plan.Snapshot{Frozen: q.Frozen, Retries: retries}
	if err != nil || len(open) == 0 {
		return nil, snap, err
	}
	if snap.Base, err = s.source.Resolve(ctx, productRepo(product), "refs/heads/main"); err != nil {
		return nil, snap, err
	}
	current, err := s.pinsAt(ctx, product, snap.Base)
	if err != nil {
		return nil, snap, err
	}
	entries := map[int64]Entry{}
	for _, e := range open {
		known, err := s.inspect(ctx, &e, current)
		if err != nil {
			return nil, snap, fmt.Errorf("entry %d: %w", e.Number, err)
		}
		entries[e.Number] = e
		snap.Entries = append(snap.Entries, known)
	}
	return entries, snap, nil
}

// inspect tells the planner how an entry stands.
func (s *Service) inspect(ctx context.Context, e *Entry, current map[string]slipway.Pin) (plan.Entry, error) {
	known := plan.Entry{Number: e.Number, Priority: e.Priority, Phase: e.Phase, Base: e.Base, Attempt: e.Attempt}
	var err error
	if known.Moot, err = s.moot(ctx, *e, current); err != nil {
		return known, err
	}
	if e.Phase == plan.Queued || e.Candidate == "" {
		return known, nil
	}
	c, err := s.Candidate(ctx, e.Candidate)
	if err != nil {
		return known, err
	}
	w, err := s.builder.StartWave(ctx, c.wave(e.Attempt))
	if slipway.Is(err, slipway.Invalid) {
		known.Invalid = err.Error()
		return known, nil
	}
	if err != nil {
		return known, err
	}
	known.Wave = &w
	if w.State == slipway.WaveRunning {
		return known, nil
	}
	for _, r := range c.results(w) {
		if err := s.gate.Record(ctx, r); err != nil {
			return known, err
		}
	}
	requests, err := c.experiments(w, e.Attempt)
	if err != nil {
		return known, err
	}
	known.Planned = len(requests)
	if e.Phase == plan.Testing || e.Phase == plan.Landing {
		for i, req := range requests {
			x, err := s.lab.Run(ctx, req)
			if slipway.Is(err, slipway.Invalid) {
				known.Invalid = err.Error()
				return known, nil
			}
			if err != nil {
				return known, err
			}
			known.Experiments = append(known.Experiments, x)
			if x.State != "done" {
				continue
			}
			err = s.gate.Record(ctx, slipway.Result{Product: c.Product, Subject: slipway.Ref("candidate", c.ID), Check: "experiment",
				Item: e.Experiments[i].Experiment, Configuration: req.Configuration, Outcome: x.Outcome, Reason: x.Reason,
				Link: slipway.Ref("experiment", fmt.Sprint(x.Number))})
			if err != nil {
				return known, err
			}
		}
	}
	d, err := s.gate.Decide(ctx, c.Product, slipway.Ref("candidate", c.ID), c.required(w))
	known.Decision = &d
	return known, err
}

// moot says why an entry has nothing left to move.
func (s *Service) moot(ctx context.Context, e Entry, current map[string]slipway.Pin) (string, error) {
	if len(e.Pins) == 0 || len(current) == 0 {
		return "", nil
	}
	for _, pin := range e.Pins {
		now, ok := current[pin.Component]
		if !ok {
			return "", nil
		}
		if now.Commit == pin.Commit {
			continue
		}
		behind, err := s.source.IsAncestor(ctx, pin.Repo, pin.Commit, now.Commit)
		if err != nil || !behind {
			return "", err
		}
	}
	return "the manifest has all of it already, or newer", nil
}

// pinsAt returns the pins of all manifests at a commit of the integration repository, by component.
func (s *Service) pinsAt(ctx context.Context, product, commit string) (map[string]slipway.Pin, error) {
	p, _, err := s.catalog.Product(ctx, product)
	if err != nil {
		return nil, err
	}
	return s.current(ctx, product, p, commit)
}

// act does one step. It reports whether the snapshot has changed by it.
func (s *Service) act(ctx context.Context, e Entry, step plan.Step, base string) (bool, error) {
	switch step.Verb {
	case plan.Start:
		return true, s.start(ctx, e, step.Reason, base)
	case plan.Test:
		return true, s.test(ctx, e, step.Reason)
	case plan.Land:
		return true, s.land(ctx, e, step.Reason)
	case plan.Reject:
		return true, s.finish(ctx, e, plan.Rejected, step.Reason, slipway.EntryRejected)
	case plan.Dequeue:
		return true, s.finish(ctx, e, plan.Dequeued, step.Reason, slipway.EntryDequeued)
	}
	if e.Reason == step.Reason {
		return false, nil
	}
	_, err := s.open(ctx, e, func(_ Tx, e *Entry) error { e.Reason = step.Reason; return nil })
	return false, err
}

// open changes an entry unless it has left the queue meanwhile; then it reports false.
func (s *Service) open(ctx context.Context, e Entry, f func(tx Tx, e *Entry) error) (bool, error) {
	open := true
	_, err := s.change(ctx, e.Number, func(tx Tx, e *Entry) error {
		if open = e.Phase.Open(); !open {
			return nil
		}
		return f(tx, e)
	})
	return open, err
}

// start makes the entry's candidate on base. What still runs for an older one is cancelled.
func (s *Service) start(ctx context.Context, e Entry, reason, base string) error {
	c, err := s.compose(ctx, e, base)
	if slipway.Is(err, slipway.Invalid) {
		return s.finish(ctx, e, plan.Rejected, err.Error(), slipway.EntryRejected)
	}
	if err != nil {
		return err
	}
	if err := s.cancel(ctx, e, reason); err != nil {
		return err
	}
	_, err = s.open(ctx, e, func(tx Tx, e *Entry) error {
		if err := tx.Candidates().Put(ctx, c); err != nil {
			return err
		}
		e.Attempt++
		e.Candidate, e.Base, e.Experiments = c.ID, base, nil
		e.Wave = c.wave(e.Attempt).ID
		e.Phase = plan.Queued // so that a new attempt is a new stamp
		e.enter(plan.Building, reason, tx.Now())
		return tx.Emit(ctx, event(slipway.EntryTesting, *e, "building candidate "+c.ID+": "+reason))
	})
	return err
}

// test moves the entry on to its experiments; the next snapshot asks for them.
func (s *Service) test(ctx context.Context, e Entry, reason string) error {
	c, err := s.Candidate(ctx, e.Candidate)
	if err != nil {
		return err
	}
	w, err := s.builder.StartWave(ctx, c.wave(e.Attempt))
	if err != nil {
		return err
	}
	requests, err := c.experiments(w, e.Attempt)
	if err != nil {
		return err
	}
	var runs []Run
	for _, cc := range c.Configurations {
		for _, x := range cc.Experiments {
			runs = append(runs, Run{Configuration: cc.Name, Experiment: x.Name, ID: requests[len(runs)].ID})
		}
	}
	_, err = s.open(ctx, e, func(tx Tx, e *Entry) error {
		e.Experiments = runs
		e.enter(plan.Testing, reason, tx.Now())
		return tx.Emit(ctx, event(slipway.EntryTesting, *e, "experiments: "+reason))
	})
	return err
}

// land moves the manifest. When main has moved meanwhile, the entry goes back to be tested on that.
func (s *Service) land(ctx context.Context, e Entry, reason string) error {
	open, err := s.open(ctx, e, func(tx Tx, e *Entry) error { e.enter(plan.Landing, reason, tx.Now()); return nil })
	if err != nil || !open {
		return err
	}
	c, err := s.Candidate(ctx, e.Candidate)
	if err != nil {
		return err
	}
	w, err := s.builder.StartWave(ctx, c.wave(e.Attempt))
	if err != nil {
		return err
	}
	r, err := s.releaser.Cut(ctx, slipway.ReleaseRequest{
		Product: c.Product, Repo: c.Repo, Base: c.Base, Entry: slipway.Ref("entry", e.ID()), Candidate: slipway.Ref("candidate", c.ID),
		Title: e.Title, Manifests: c.manifests(w), Moved: c.Moved,
	})
	if slipway.Is(err, slipway.Conflict) {
		again := "main moved before it could land: " + err.Error()
		_, err = s.open(ctx, e, func(tx Tx, e *Entry) error { e.enter(plan.Queued, again, tx.Now()); return nil })
		return err
	}
	if err != nil {
		return err
	}
	_, err = s.open(ctx, e, func(tx Tx, e *Entry) error {
		e.Release = r.ID
		e.enter(plan.Landed, "released as "+r.Tag, tx.Now())
		return tx.Emit(ctx, event(slipway.EntryLanded, *e, e.Reason))
	})
	return err
}

// finish takes the entry out of the queue.
func (s *Service) finish(ctx context.Context, e Entry, phase plan.Phase, reason string, t slipway.EventType) error {
	_, err := s.open(ctx, e, func(tx Tx, e *Entry) error {
		e.enter(phase, reason, tx.Now())
		return tx.Emit(ctx, event(t, *e, reason))
	})
	return err
}
