package integration

import (
	"context"
	"fmt"
	"slices"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/integration/plan"
)

// retries is how often a candidate is run again after a failure that blames nobody.
const retries = 2

// advance moves a product's queue as far as it goes: snapshot, plan, act, until the plan is to wait. It alone starts and
// stops what runs for entries, and it stops first.
func (s *Service) advance(ctx context.Context, product string) error {
	for {
		if err := s.stop(ctx, product); err != nil {
			return err
		}
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
	if err != nil && !slipway.Is(err, slipway.Invalid) { // a broken manifest makes nothing moot; the head's candidate will say what is wrong
		return nil, snap, err
	}
	entries := map[int64]Entry{}
	for _, e := range open {
		known, err := s.inspect(ctx, e, snap.Base, current, q.Released)
		if err != nil {
			return nil, snap, fmt.Errorf("entry %d: %w", e.Number, err)
		}
		entries[e.Number] = e
		snap.Entries = append(snap.Entries, known)
	}
	return entries, snap, nil
}

// inspect tells the planner how an entry stands.
func (s *Service) inspect(ctx context.Context, e Entry, base string, current map[string]slipway.Pin, released string) (plan.Entry, error) {
	known := plan.Entry{Number: e.Number, Priority: e.Priority, Phase: e.Phase, Base: e.Base, Attempt: e.Tries}
	if e.Phase == plan.Landing {
		return known, nil // decided
	}
	var err error
	if known.Moot, err = s.moot(ctx, e, current, released); err != nil {
		return known, err
	}
	if e.Phase == plan.Queued || e.Base != base || known.Moot != "" {
		return known, nil // nothing that runs for it matters any more
	}
	c, err := s.Candidate(ctx, e.Candidate)
	if err != nil {
		return known, err
	}
	w, err := s.builder.StartWave(ctx, c.wave(e.Wave))
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
	requests, err := c.experiments(w)
	if err != nil {
		return known, err
	}
	known.Planned = len(requests)
	if e.Phase == plan.Testing {
		for i, req := range requests {
			req.ID = e.Experiments[i].ID
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
func (s *Service) moot(ctx context.Context, e Entry, current map[string]slipway.Pin, released string) (string, error) {
	if e.File != "" {
		has, err := s.hasFile(ctx, e.Product, e.File, released)
		if err != nil || !has {
			return "", err
		}
	}
	if len(e.Pins) == 0 {
		if e.File == "" {
			return "", nil
		}
		return "the last release has this product file already, or a newer one", nil
	}
	for _, pin := range e.Pins {
		now, ok := current[pin.Component]
		if !ok || now.Repo != pin.Repo || now.Path != pin.Path {
			return "", nil
		}
		if now.Commit == pin.Commit {
			continue
		}
		if e.Exact {
			return "", nil
		}
		behind, err := s.source.IsAncestor(ctx, pin.Repo, pin.Commit, now.Commit)
		if slipway.Is(err, slipway.NotFound) {
			return "", nil
		}
		if err != nil || !behind {
			return "", err
		}
	}
	return "the manifest has all of it already, or newer", nil
}

// hasFile reports whether the release that landed last was made on the product file of a commit, or a newer one.
func (s *Service) hasFile(ctx context.Context, product, file, released string) (bool, error) {
	if released == "" {
		return false, nil
	}
	return s.source.IsAncestor(ctx, productRepo(product), file, released)
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

// unwanted writes down that what runs for the entry has to be cancelled.
func (s *Service) unwanted(ctx context.Context, tx Tx, e Entry, reason string) error {
	if e.Wave == "" {
		return nil
	}
	q, err := queueOf(ctx, tx, e.Product)
	if err != nil {
		return err
	}
	stop := Stop{Wave: e.Wave, Reason: reason}
	for _, run := range e.Experiments {
		stop.Experiments = append(stop.Experiments, run.ID)
	}
	q.Stops = append(q.Stops, stop)
	return tx.Queues().Put(ctx, q)
}

// stop cancels what nobody wants any more.
func (s *Service) stop(ctx context.Context, product string) error {
	q, err := s.Queue(ctx, product)
	if err != nil || len(q.Stops) == 0 {
		return err
	}
	over := func(err error) bool { // it never began, or has ended
		return err == nil || slipway.Is(err, slipway.NotFound) || slipway.Is(err, slipway.Conflict)
	}
	stopped := map[string]bool{}
	for _, stop := range q.Stops {
		if err := s.builder.CancelWave(ctx, stop.Wave, stop.Reason); !over(err) {
			return err
		}
		for _, id := range stop.Experiments {
			if err := s.lab.Cancel(ctx, id, stop.Reason); !over(err) {
				return err
			}
		}
		stopped[stop.Wave] = true
	}
	return s.store.Update(ctx, func(tx Tx) error {
		q, err := queueOf(ctx, tx, product)
		if err != nil {
			return err
		}
		q.Stops = slices.DeleteFunc(q.Stops, func(stop Stop) bool { return stopped[stop.Wave] })
		return tx.Queues().Put(ctx, q)
	})
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
	_, err = s.open(ctx, e, func(tx Tx, e *Entry) error {
		if err := tx.Candidates().Put(ctx, c); err != nil {
			return err
		}
		if err := s.unwanted(ctx, tx, *e, reason); err != nil {
			return err
		}
		if e.Candidate != c.ID {
			e.Tries = 0
		}
		e.Attempt++
		e.Tries++
		e.Candidate, e.Base, e.Experiments = c.ID, base, nil
		e.Wave = fmt.Sprintf("candidate-%d.%d", e.Number, e.Attempt)
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
	w, err := s.builder.Wave(ctx, e.Wave)
	if err != nil {
		return err
	}
	requests, err := c.experiments(w)
	if err != nil {
		return err
	}
	var runs []Run
	for _, cc := range c.Configurations {
		for _, x := range cc.Experiments {
			id, err := s.fresh(ctx, requests[len(runs)].ID)
			if err != nil {
				return err
			}
			runs = append(runs, Run{Configuration: cc.Name, Experiment: x.Name, ID: id})
		}
	}
	_, err = s.open(ctx, e, func(tx Tx, e *Entry) error {
		e.Experiments = runs
		e.enter(plan.Testing, reason, tx.Now())
		return tx.Emit(ctx, event(slipway.EntryTesting, *e, "experiments: "+reason))
	})
	return err
}

// fresh returns the id under which an experiment runs, or has come to a verdict. One that ended without a verdict says nothing of
// its subject; the next one of the same inputs gets a number.
func (s *Service) fresh(ctx context.Context, id string) (string, error) {
	for n := 1; ; n++ {
		name := id
		if n > 1 {
			name = fmt.Sprintf("%s.%d", id, n)
		}
		x, err := s.lab.Experiment(ctx, name)
		switch {
		case slipway.Is(err, slipway.NotFound):
			return name, nil
		case err != nil:
			return "", err
		case x.State != "done" || x.Outcome == slipway.Pass || x.Outcome == slipway.Fail:
			return name, nil
		}
	}
}

// land moves the manifest. When main has moved meanwhile, the entry goes back to be tested on that.
func (s *Service) land(ctx context.Context, e Entry, reason string) error {
	if e.Phase != plan.Landing { // from then on nobody can take it out
		open, err := s.open(ctx, e, func(tx Tx, e *Entry) error { e.enter(plan.Landing, reason, tx.Now()); return nil })
		if err != nil || !open {
			return err
		}
	}
	c, err := s.Candidate(ctx, e.Candidate)
	if err != nil {
		return err
	}
	w, err := s.builder.Wave(ctx, e.Wave)
	if err != nil {
		return err
	}
	r, err := s.releaser.Cut(ctx, slipway.ReleaseRequest{
		Product: c.Product, Repo: c.Repo, Base: c.Base, Entry: slipway.Ref("entry", e.ID()), Candidate: slipway.Ref("candidate", c.ID),
		Title: e.Title, Manifests: c.manifests(w), Moved: c.Moved,
	})
	if slipway.Is(err, slipway.Conflict) {
		return s.landAgain(ctx, e, c.Base, err)
	}
	if err != nil {
		return err
	}
	_, err = s.open(ctx, e, func(tx Tx, e *Entry) error {
		q, err := queueOf(ctx, tx, e.Product)
		if err != nil {
			return err
		}
		q.Released = r.Commit
		if err := tx.Queues().Put(ctx, q); err != nil {
			return err
		}
		e.Release = r.ID
		e.enter(plan.Landed, "released as "+r.Tag, tx.Now())
		return tx.Emit(ctx, event(slipway.EntryLanded, *e, e.Reason))
	})
	return err
}

// landAgain sends an entry back whose base has gone. When main is where it was, something else is in the way, which testing
// again would not mend: that is for the job to try again and for people to see.
func (s *Service) landAgain(ctx context.Context, e Entry, base string, cause error) error {
	head, err := s.source.Resolve(ctx, productRepo(e.Product), "refs/heads/main")
	if err != nil {
		return err
	}
	if head == base {
		if _, err := s.open(ctx, e, func(_ Tx, e *Entry) error { e.Reason = "cannot land: " + cause.Error(); return nil }); err != nil {
			return err
		}
		return cause
	}
	again := "main moved before it could land: " + cause.Error()
	_, err = s.open(ctx, e, func(tx Tx, e *Entry) error {
		e.enter(plan.Queued, again, tx.Now())
		return tx.Emit(ctx, event(slipway.EntryQueued, *e, again))
	})
	return err
}

// finish takes the entry out of the queue, and has cancelled what still runs for it.
func (s *Service) finish(ctx context.Context, e Entry, phase plan.Phase, reason string, t slipway.EventType) error {
	_, err := s.open(ctx, e, func(tx Tx, e *Entry) error {
		e.enter(phase, reason, tx.Now())
		if err := s.unwanted(ctx, tx, *e, reason); err != nil {
			return err
		}
		return tx.Emit(ctx, event(t, *e, reason))
	})
	return err
}
