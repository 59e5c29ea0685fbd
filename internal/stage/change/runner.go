package change

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"slipway.dev/slipway/internal/platform/jobs"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/change/plan"
)

// The reconcilers: of one change, by its number; of the failed changes of a product, by its name.
const (
	kind       = "change.advance"
	reconsider = "change.reconsider"
)

// Handlers returns the stage's reconcilers.
func (s *Service) Handlers() []jobs.Handler {
	return []jobs.Handler{{Kind: kind, Slots: 4, Do: s.advance}, {Kind: reconsider, Do: s.reconsider}}
}

// Routes says which events move changes on: their waves, results and waivers. Other steps wake themselves.
func Routes() []jobs.Route {
	number := func(id string) (string, bool) {
		n, _, _ := strings.Cut(id, ".")
		return n, n != ""
	}
	linked := jobs.Linked("change")
	byLink := func(e slipway.Event) (string, bool) {
		id, ok := linked(e)
		if !ok {
			return "", false
		}
		return number(id)
	}
	bySubject := func(e slipway.Event) (string, bool) {
		k, id, ok := slipway.SplitRef(e.Subject)
		if !ok || k != "change" {
			return "", false
		}
		return number(id)
	}
	return []jobs.Route{
		{On: slipway.WaveFinished, Kind: kind, Key: byLink},
		{On: slipway.ResultRecorded, Kind: kind, Key: bySubject},
		{On: slipway.WaiverGranted, Kind: kind, Key: byLink},
		{On: slipway.WaiverGranted, Kind: reconsider, Key: jobs.Product},
	}
}

// reconsider has every failed change of a product looked at again: a waiver may cover them.
func (s *Service) reconsider(ctx context.Context, product string) error {
	return s.st.Update(ctx, func(tx Tx) error {
		failed, err := tx.Changes().Find(ctx, slipway.Query{Product: product, States: []string{string(plan.Failed)}})
		if err != nil {
			return err
		}
		for _, c := range failed {
			if err := tx.Wake(ctx, kind, c.ID(), tx.Now()); err != nil {
				return err
			}
		}
		return nil
	})
}

// advance moves one change as far as it can go now.
func (s *Service) advance(ctx context.Context, id string) error {
	for {
		var c Change
		err := s.st.View(ctx, func(tx Tx) (err error) {
			c, err = tx.Changes().Get(ctx, id)
			return err
		})
		if slipway.Is(err, slipway.NotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.cancelStale(ctx, c); err != nil {
			return err
		}
		if c.State.Done() {
			return nil
		}
		ps := c.Current()
		if err := s.src.Keep(ctx, c.Repo, c.PatchsetRef(ps), ps.Commit); err != nil {
			return err
		}
		if again, err := s.step(ctx, c); err != nil || !again {
			return err
		}
	}
}

// step does one thing; it reports whether there may be more to do.
func (s *Service) step(ctx context.Context, c Change) (again bool, err error) {
	if c.Tests == nil && c.State == plan.Open {
		c.Tests = tests(c)
	}
	if c.State == plan.Testing || c.State == plan.Failed {
		if err := s.collect(ctx, &c); err != nil {
			return false, err
		}
	}
	automatic, err := s.automatic(ctx, c)
	if err != nil {
		return false, err
	}
	switch step := plan.Next(snapshot(c, automatic)); step.Act {
	case plan.Ask:
		if err := s.ask(ctx, &c); err != nil {
			return false, err
		}
		return true, s.enter(ctx, c, step)
	case plan.Enter:
		return true, s.enter(ctx, c, step)
	case plan.Perform:
		return s.land(ctx, c)
	default:
		return false, s.enter(ctx, c, step)
	}
}

// dropTests has the reconciler cancel the tests of the current patchset, also those that it is just about to ask for.
func (c *Change) dropTests() {
	for _, t := range tests(*c) {
		c.Stale = append(c.Stale, t.Wave)
	}
}

// cancelStale ends waves that nobody waits for.
func (s *Service) cancelStale(ctx context.Context, c Change) error {
	if len(c.Stale) == 0 {
		return nil
	}
	reason := "change " + c.ID() + " has a newer patchset"
	if c.State == plan.Abandoned {
		reason = "change " + c.ID() + " was " + c.Reason
	}
	for _, wave := range c.Stale {
		err := s.builder.CancelWave(ctx, wave, reason)
		if err != nil && !slipway.Is(err, slipway.NotFound) && !slipway.Is(err, slipway.Conflict) { // never asked for, or over
			return err
		}
	}
	return s.st.Update(ctx, func(tx Tx) error {
		now, err := tx.Changes().Get(ctx, c.ID())
		if err != nil {
			return err
		}
		now.Stale = slices.DeleteFunc(now.Stale, func(w string) bool { return slices.Contains(c.Stale, w) })
		return tx.Changes().Put(ctx, now)
	})
}

// tests is one wave for each product that uses what the patchset touches.
func tests(c Change) []Test {
	list := []Test{}
	ps := c.Current()
	for i, product := range products(c.Uses) {
		wave := fmt.Sprintf("change-%d.%d", c.Number, ps.Number)
		if i > 0 {
			wave += "-" + product
		}
		if ps.Attempt > 0 {
			wave += fmt.Sprintf("-again-%d", ps.Attempt)
		}
		list = append(list, Test{Product: product, Wave: wave})
	}
	return list
}

func products(uses []Use) []string {
	seen := map[string]bool{}
	var names []string
	for _, u := range uses {
		if !seen[u.Product] {
			seen[u.Product] = true
			names = append(names, u.Product)
		}
	}
	return names
}

func snapshot(c Change, automatic bool) plan.Snapshot {
	s := plan.Snapshot{State: c.State, Automatic: automatic, Gate: plan.Gate{OK: true}}
	for _, t := range c.Tests {
		s.Waves = append(s.Waves, plan.Wave{Product: t.Product, Asked: t.State != "", Finished: t.Recorded, Reason: t.Reason})
		if t.Recorded && !t.OK {
			s.Gate.OK = false
			s.Gate.Missing = append(s.Gate.Missing, t.Missing...)
		}
	}
	for _, v := range c.Votes {
		if v.Patchset == c.Current().Number {
			s.Votes = append(s.Votes, plan.Vote{By: v.By, Value: v.Value, Gatekeeper: v.Gatekeeper})
		}
	}
	return s
}

// automatic reports whether all products concerned approve what passes its gate; a change that concerns none needs a person.
func (s *Service) automatic(ctx context.Context, c Change) (bool, error) {
	names := products(c.Uses)
	for _, product := range names {
		r, err := s.catalog.Review(ctx, product)
		if slipway.Is(err, slipway.NotFound) {
			return false, nil // the product is gone: a person decides
		}
		if err != nil {
			return false, err
		}
		if r.Approve != "automatic" {
			return false, nil
		}
	}
	return len(names) > 0, nil
}

// ask starts the waves that were not asked for.
func (s *Service) ask(ctx context.Context, c *Change) error {
	ps := c.Current()
	for i := range c.Tests {
		t := &c.Tests[i]
		if t.State != "" {
			continue
		}
		pins, err := s.catalog.Pins(ctx, t.Product)
		if err != nil {
			return err
		}
		var targets []string
		for _, u := range c.Uses {
			if u.Product != t.Product {
				continue
			}
			targets = append(targets, u.Component)
			pin := slipway.Pin{Component: u.Component, Repo: c.Repo, Path: u.Path, Version: "0.0.0", Commit: ps.Commit}
			at := slices.IndexFunc(pins, func(p slipway.Pin) bool { return p.Component == u.Component })
			if at < 0 {
				pins = append(pins, pin)
				continue
			}
			// Its version is known when it lands; until then it is the one before and, as semver's build metadata, what it would add.
			released, _, _ := strings.Cut(pins[at].Version, "+")
			pin.Version = fmt.Sprintf("%s+change.%d.%d", released, c.Number, ps.Number)
			pins[at] = pin
		}
		st, err := s.builder.StartWave(ctx, slipway.WaveRequest{
			ID: t.Wave, Product: t.Product, For: slipway.Ref("change", c.ID()), Pins: pins, Targets: targets, Tests: targets,
			Reason: fmt.Sprintf("unit tests of change %d, patchset %d: %s", c.Number, ps.Number, c.Title),
			Class:  slipway.ClassInteractive,
		})
		if err != nil {
			return err
		}
		t.State, t.Reason = st.State, st.Reason
	}
	return nil
}

// collect looks at the waves, records the results of those that have finished, and asks the gate.
func (s *Service) collect(ctx context.Context, c *Change) error {
	for i := range c.Tests {
		t := &c.Tests[i]
		if t.State == "" {
			continue
		}
		w, err := s.builder.Wave(ctx, t.Wave)
		if err != nil {
			return err
		}
		t.State, t.Reason = w.State, w.Reason
		if w.State == slipway.WaveRunning {
			continue
		}
		var ran []slipway.Requirement
		for _, r := range results(*c, *t, w) {
			ran = append(ran, slipway.Requirement{Check: r.Check, Item: r.Item})
			if !t.Recorded {
				if err := s.gate.Record(ctx, r); err != nil {
					return err
				}
			}
		}
		if t.OK, t.Missing, err = s.gate.Decide(ctx, t.Product, c.Subject(), ran); err != nil {
			return err
		}
		t.Recorded = true
	}
	return nil
}

// results turns a finished wave into results for the components that the patchset touches. Only what the patchset did wrong
// is a failure: a build that its host failed, or that waited for another which failed, says nothing about it.
func results(c Change, t Test, w slipway.WaveStatus) []slipway.Result {
	var all []slipway.Result
	planned := w.State != slipway.WaveFailed // else: a cycle, an unknown need, a broken recipe
	for _, b := range w.Components {
		planned = planned || b.State == "failed" || b.State == "built"
	}
	for _, u := range c.Uses {
		if u.Product != t.Product {
			continue
		}
		b := w.Components[u.Component]
		r := slipway.Result{Product: t.Product, Subject: c.Subject(), Check: "build", Item: u.Component, Reason: b.Reason, Outcome: slipway.Pass}
		if b.Build != "" {
			r.Link = slipway.Ref("build", b.Build)
		}
		switch {
		case w.State == slipway.WaveCancelled && b.State != "built":
			r.Outcome = slipway.Cancelled
			r.Reason = cmp.Or(b.Reason, w.Reason)
		case b.State == "failed":
			r.Outcome = cmp.Or(b.Outcome, slipway.Fail)
		case !planned:
			r.Outcome, r.Reason = slipway.Fail, w.Reason
		case b.State != "built":
			r.Outcome = slipway.Cancelled
			r.Reason = cmp.Or(b.Reason, w.Reason)
		}
		all = append(all, r)
		for _, test := range b.Tests {
			r := slipway.Result{Product: t.Product, Subject: c.Subject(), Check: test.Check, Item: u.Component, Outcome: test.Outcome, Reason: test.Reason}
			if r.Outcome == "" {
				r.Outcome = slipway.Cancelled // it never ran: its build failed, or the wave was cancelled
			}
			if test.Build != "" {
				r.Link = slipway.Ref("build", test.Build)
			}
			all = append(all, r)
		}
	}
	return all
}

// told are the events of entering a state.
var told = map[plan.State]slipway.EventType{
	plan.Tested: slipway.ChangeTested, plan.Failed: slipway.ChangeRejected, plan.Approved: slipway.ChangeApproved, plan.Conflict: slipway.ChangeRejected,
}

// enter writes what was found out and decided, unless the change moved on meanwhile; then its next run starts from there.
func (s *Service) enter(ctx context.Context, c Change, step plan.Step) error {
	return s.st.Update(ctx, func(tx Tx) error {
		now, err := tx.Changes().Get(ctx, c.ID())
		if err != nil {
			return err
		}
		if now.State != c.State || len(now.Patchsets) != len(c.Patchsets) || now.Current() != c.Current() || !slices.Equal(now.Votes, c.Votes) {
			return nil // it was voted on, pushed or abandoned; that woke this reconciler again
		}
		was := now.State
		same := now.State == step.State && now.Reason == cmp.Or(step.Reason, now.Reason) && slices.EqualFunc(now.Tests, c.Tests, sameTest)
		now.Tests, now.State, now.Reason = c.Tests, step.State, cmp.Or(step.Reason, now.Reason)
		if same {
			return nil
		}
		now.Updated = tx.Now().UTC()
		if err := tx.Changes().Put(ctx, now); err != nil {
			return err
		}
		if what, ok := told[step.State]; ok && was != step.State {
			return s.emit(ctx, tx, now, what, "slipway", step.Reason)
		}
		return nil
	})
}

func sameTest(a, b Test) bool {
	return a.Product == b.Product && a.Wave == b.Wave && a.State == b.State && a.Reason == b.Reason &&
		a.Recorded == b.Recorded && a.OK == b.OK && slices.Equal(a.Missing, b.Missing)
}
