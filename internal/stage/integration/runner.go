package integration

import (
	"context"
	"fmt"
	"slices"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
)

// pass is what one look at a queue has found. Everything in it comes from rows and from the repositories; nothing is kept from one look to the next.
type pass struct {
	product string
	now     time.Time
	queue   Queue
	base    string  // the commit that main of the integration repository is at
	entries []Entry // open ones, in order
	trials  []Trial // that run, or whose verdicts count

	root    tuple // the base alone
	broken  error // why there is none
	rules   spec.Queue
	alone   map[int64]composed // each entry alone on the base
	deps    dependencies
	checks  []checkInfo
	index   map[string]int // by the key of a check
	hits    map[int64][]int
	waves   map[string]slipway.WaveStatus // asked for in this look
	details map[int64]string              // by entry: how its first running trial stands
	phases  map[int64]Phase               // of entries that have left
}

// advance moves a product's queue as far as it goes: look, take in what has ended, go on with a landing, plan, act; until nothing
// changes. It alone starts and stops what runs for entries, and it stops first.
func (s *Service) advance(ctx context.Context, product string) error {
	for {
		if err := s.stop(ctx, product); err != nil {
			return err
		}
		p, err := s.look(ctx, product)
		if err != nil {
			return err
		}
		if len(p.entries) == 0 && len(p.trials) == 0 && p.queue.Going == nil {
			return nil
		}
		acted := false
		for _, step := range []struct {
			verb string
			do   func(context.Context, *pass) (bool, error)
		}{{"observe", s.observe}, {"land", s.carryOn}, {"survey", s.survey}, {"join", s.join}, {"plan", s.decide}} {
			if acted, err = step.do(ctx, p); err != nil {
				return fmt.Errorf("%s: %w", step.verb, err)
			}
			if acted {
				break
			}
		}
		if !acted {
			return s.sleep(ctx, p)
		}
	}
}

// sleep has the queue looked at again when time alone changes something: when its hours begin, and when a base that failed is to be tried again.
func (s *Service) sleep(ctx context.Context, p *pass) error {
	var at time.Time
	if open, next := p.rules.Open(p.now); !open {
		at = next
	}
	for _, t := range p.trials {
		if again := t.Ended.Add(tryAgain); t.Control && t.State == TrialEnded && t.Outcome != slipway.Pass && (at.IsZero() || again.Before(at)) {
			at = again
		}
	}
	if at.IsZero() {
		return nil
	}
	return s.store.Update(ctx, func(tx Tx) error { return tx.Wake(ctx, kindAdvance, p.product, at) })
}

// look reads the rows of a queue.
func (s *Service) look(ctx context.Context, product string) (*pass, error) {
	p := &pass{product: product, alone: map[int64]composed{}, index: map[string]int{}, hits: map[int64][]int{}, waves: map[string]slipway.WaveStatus{},
		details: map[int64]string{}, phases: map[int64]Phase{}}
	err := s.store.View(ctx, func(tx Tx) (err error) {
		p.now = tx.Now()
		if p.queue, err = queueOf(ctx, tx, product); err != nil {
			return err
		}
		if p.entries, err = tx.Entries().Find(ctx, slipway.Query{Product: product, States: OpenPhases()}); err != nil {
			return err
		}
		p.trials, err = tx.Trials().Find(ctx, slipway.Query{Product: product, States: []string{string(TrialRunning), string(TrialEnded)}})
		return err
	})
	slices.SortStableFunc(p.entries, byRank)
	return p, err
}

func (p *pass) entry(number int64) (Entry, bool) {
	i := slices.IndexFunc(p.entries, func(e Entry) bool { return e.Number == number })
	if i < 0 {
		return Entry{}, false
	}
	return p.entries[i], true
}

// set returns open entries by number, in the order of the queue.
func (p *pass) set(ids []int64) []Entry {
	var set []Entry
	for _, e := range p.entries {
		if slices.Contains(ids, e.Number) {
			set = append(set, e)
		}
	}
	return set
}

// cancel ends a trial that nobody wants, and writes down what has to be stopped with it. Trials may share a wave or an experiment with it.
func cancel(ctx context.Context, tx Tx, q *Queue, t Trial, reason string) error {
	running, err := tx.Trials().Find(ctx, slipway.Query{Product: t.Product, States: []string{string(TrialRunning)}})
	if err != nil {
		return err
	}
	t.end(slipway.Cancelled, reason, tx.Now())
	t.State = TrialSpent
	if err := tx.Trials().Put(ctx, t); err != nil {
		return err
	}
	stop := Stop{Reason: reason}
	shared := func(same func(o Trial) bool) bool {
		return slices.ContainsFunc(running, func(o Trial) bool { return o.Number != t.Number && same(o) })
	}
	if t.Wave != "" && !shared(func(o Trial) bool { return o.Wave == t.Wave }) && (q.Going == nil || q.Going.Wave != t.Wave) {
		stop.Wave = t.Wave
	}
	if t.Requested != "" && !shared(func(o Trial) bool { return o.Requested == t.Requested }) {
		stop.Experiments = []string{t.Requested}
	}
	if stop.Wave != "" || len(stop.Experiments) > 0 {
		q.Stops = append(q.Stops, stop)
	}
	return nil
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
	for _, stop := range q.Stops {
		if stop.Wave != "" {
			if err := s.builder.CancelWave(ctx, stop.Wave, stop.Reason); !over(err) {
				return err
			}
		}
		for _, id := range stop.Experiments {
			if err := s.lab.Cancel(ctx, id, stop.Reason); !over(err) {
				return err
			}
		}
	}
	done := len(q.Stops) // only this run of the handler adds to them, and at the end
	return s.store.Update(ctx, func(tx Tx) error {
		q, err := queueOf(ctx, tx, product)
		if err != nil {
			return err
		}
		q.Stops = q.Stops[min(done, len(q.Stops)):]
		return tx.Queues().Put(ctx, q)
	})
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
		behind, err := s.ancestor(ctx, pin.Repo, pin.Commit, now.Commit)
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
	repo, _ := slipway.Integration(product)
	return s.source.IsAncestor(ctx, repo, file, released)
}

// pinsAt returns the pins of all manifests at a commit of the integration repository, by component.
func (s *Service) pinsAt(ctx context.Context, product, commit string) (map[string]slipway.Pin, error) {
	p, _, err := s.catalog.Product(ctx, product)
	if err != nil {
		return nil, err
	}
	return s.current(ctx, product, p, commit)
}
