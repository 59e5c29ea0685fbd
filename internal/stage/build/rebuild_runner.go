package build

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"slipway.dev/slipway/internal/platform/jobs"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build/plan"
)

// Broken is the data of [slipway.RebuildBroken]: what of a component failed in a rebuild, and who is to be told.
type Broken struct {
	Action      string   `json:"action"`
	Maintainers []string `json:"maintainers"`
}

// rebuildHandlers are the reconcilers of rebuilds.
func (s *Service) rebuildHandlers() []jobs.Handler {
	return []jobs.Handler{
		{Kind: "build.rebuild", Slots: 2, Do: s.follow},
		{Kind: "build.fixed", Do: s.fixed},
	}
}

// rebuildRoutes says what wakes them beside the end of a wave: a component that was pushed, a failure that was waived.
func rebuildRoutes() []jobs.Route {
	return []jobs.Route{
		{On: slipway.ComponentSeen, Kind: "build.fixed", Key: jobs.Product},
		{On: slipway.WaiverGranted, Kind: "build.fixed", Key: jobs.Product},
	}
}

// broken tells of a failure in a rebuild, once for each action of a wave.
func (l *live) broken(ctx context.Context, tx Tx, i Item) error {
	kind, _, _ := slipway.SplitRef(l.head.Request.For)
	if i.State != failed || kind != "rebuild" {
		return nil
	}
	component := i.action().Component
	data, err := json.Marshal(Broken{Action: i.Action, Maintainers: l.graph.recipes[component].Maintainers})
	if err != nil {
		return err
	}
	e := slipway.Event{ID: "wave/" + i.Wave + "/broken/" + i.Action, Type: slipway.RebuildBroken, Subject: slipway.Ref("component", component), Product: l.head.Request.Product,
		Actor: "build", Reason: i.Action + ": " + i.Reason, Links: []string{l.head.Request.For, slipway.Ref("wave", i.Wave)}, Data: data}
	if i.Build != "" {
		e.Links = append(e.Links, slipway.Ref("build", i.Build))
	}
	return tx.Emit(ctx, e)
}

// follow takes over what the wave of a rebuild has come to.
func (s *Service) follow(ctx context.Context, id string) error {
	r, err := s.Rebuild(ctx, id)
	if err != nil || r.State != RebuildRunning && r.State != RebuildPaused {
		return err
	}
	last := r.Attempts[len(r.Attempts)-1]
	w, err := s.WaveRecord(ctx, last.Wave)
	if err != nil || w.State == slipway.WaveRunning {
		return err
	}
	if err := s.report(ctx, r, w); err != nil {
		return err
	}
	return s.store.Update(ctx, func(tx Tx) error {
		r, err := tx.Rebuilds().Get(ctx, id)
		if err != nil || r.State != RebuildRunning && r.State != RebuildPaused || r.Attempts[len(r.Attempts)-1].Wave != last.Wave {
			return err
		}
		a := &r.Attempts[len(r.Attempts)-1]
		a.State, a.Reason, a.Counts, a.Finished = w.State, w.Reason, w.Counts, w.Finished
		r.Counts, r.Reason = w.Counts, summary(w)
		var e slipway.Event
		switch w.State {
		case slipway.WavePassed:
			r.State, r.Finished = RebuildPassed, tx.Now()
			e = r.event(slipway.RebuildFinished, "finished", "build")
		case slipway.WaveCancelled:
			r.State, r.Reason, r.Finished = RebuildCancelled, w.Reason, tx.Now()
			e = r.event(slipway.RebuildFinished, "finished", "build")
		default:
			r.State = RebuildStuck
			r.Reason += "; " + w.Reason + " (push a fix, or slipway rebuild retry " + r.ID + ")"
			e = r.event(slipway.RebuildStalled, "stuck", "build")
		}
		if err := tx.Rebuilds().Put(ctx, r); err != nil {
			return err
		}
		if err := tx.Emit(ctx, e); err != nil || r.State != RebuildStuck {
			return err
		}
		return tx.Wake(ctx, "build.fixed", r.Product, time.Time{}) // a fix may have come while it ran
	})
}

func summary(w Wave) string {
	c, excused := w.Counts, 0
	for _, b := range w.Components {
		for _, t := range b.Tests {
			if t.State == waived {
				excused++
			}
		}
	}
	s := fmt.Sprintf("%d built, %d reused, %d cut off early", c.Built, c.Reused, c.CutOff)
	if c.Failed+c.Skipped > 0 {
		s += fmt.Sprintf(", %d failed, %d skipped", c.Failed, c.Skipped)
	}
	if excused > 0 {
		s += fmt.Sprintf(", failed checks waived: %d", excused)
	}
	return s
}

// report records what builds and tests of a rebuild came to; inspections and what is waived were recorded when the gate was asked.
func (s *Service) report(ctx context.Context, r Rebuild, w Wave) error {
	if s.cfg.Results == nil {
		return nil
	}
	var all []slipway.Result
	for name, c := range w.Components {
		one := slipway.Result{Product: r.Product, Subject: r.subject(), Check: "build", Item: name, Outcome: c.Outcome, Reason: c.Reason, Link: slipway.Ref("build", c.Build)}
		if c.Build != "" && c.Outcome != "" {
			all = append(all, one)
		}
		for _, t := range c.Tests {
			if t.State != "finished" || t.Build == "" {
				continue
			}
			one.Check, one.Outcome, one.Reason, one.Link = t.Check, t.Outcome, t.Reason, slipway.Ref("build", t.Build)
			all = append(all, one)
		}
	}
	for part := range slices.Chunk(all, 250) { // so that other writers need not wait for long
		if err := s.cfg.Results.RecordAll(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

// fixed begins the next attempt of each stuck rebuild of a product of which a component was pushed since it was planned, or a failed
// check was waived.
func (s *Service) fixed(ctx context.Context, product string) error {
	stuck, err := s.Rebuilds(ctx, slipway.Query{Product: product, States: []string{RebuildStuck}})
	if err != nil || len(stuck) == 0 || s.cfg.Products == nil {
		return err
	}
	heads, err := s.cfg.Products.Heads(ctx, product)
	if err != nil {
		return err
	}
	for _, r := range stuck {
		w, err := s.WaveRecord(ctx, r.Attempts[len(r.Attempts)-1].Wave)
		if err != nil {
			return err
		}
		pins, moved := slices.Clone(r.Pins), []string{}
		for i, pin := range pins {
			at := slices.IndexFunc(heads, func(h slipway.Pin) bool { return h.Component == pin.Component })
			if _, part := w.Components[pin.Component]; part && at >= 0 && heads[at].Commit != pin.Commit {
				pins[i] = heads[at]
				moved = append(moved, fmt.Sprintf("%s moved to %s", pin.Component, heads[at].Version))
			}
		}
		lifted, err := s.lifted(ctx, r)
		if err != nil {
			return err
		}
		for _, check := range lifted {
			moved = append(moved, check+" is waived")
		}
		if len(moved) == 0 {
			continue
		}
		err = s.again(ctx, r.ID, "catalog", strings.Join(moved, ", "), func(now *Rebuild) bool {
			now.Pins = pins
			return len(now.Attempts) == len(r.Attempts)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// again begins the next attempt of a stuck rebuild, unless prepare says that it is not to be.
func (s *Service) again(ctx context.Context, id, actor, why string, prepare func(*Rebuild) bool) error {
	return s.store.Update(ctx, func(tx Tx) error {
		r, err := tx.Rebuilds().Get(ctx, id)
		if err != nil || r.State != RebuildStuck || !prepare(&r) {
			return err
		}
		if err := r.attempt(ctx, tx, why); err != nil {
			return err
		}
		return tx.Emit(ctx, r.event(slipway.RebuildResumed, "resumed", actor))
	})
}

// RetryRebuild tries a stuck rebuild again: what failed, and what was skipped because of that.
func (s *Service) RetryRebuild(ctx context.Context, id, actor string) error {
	return s.store.Update(ctx, func(tx Tx) error {
		r, err := tx.Rebuilds().Get(ctx, id)
		if err != nil {
			return err
		}
		if r.State != RebuildStuck {
			return slipway.Errorf(slipway.Conflict, "the rebuild %s is %s, not stuck", id, r.State)
		}
		items, err := tx.Items().Find(ctx, slipway.Query{Key: r.Attempts[len(r.Attempts)-1].Wave})
		if err != nil {
			return err
		}
		for _, i := range items {
			if i.status() != plan.Failed || i.Build == "" {
				continue
			}
			b, err := tx.Builds().Get(ctx, i.Build)
			if err != nil {
				return err
			}
			b.Forgot = true
			if err := tx.Builds().Put(ctx, b); err != nil {
				return err
			}
		}
		if err := r.attempt(ctx, tx, "asked for by "+actor); err != nil {
			return err
		}
		return tx.Emit(ctx, r.event(slipway.RebuildResumed, "resumed", actor))
	})
}

// PauseRebuild keeps a running rebuild from starting anything new; what runs goes on.
func (s *Service) PauseRebuild(ctx context.Context, id, actor, reason string) error {
	return s.steer(ctx, id, RebuildRunning, func(tx Tx, r *Rebuild) (slipway.Event, error) {
		r.State, r.Reason = RebuildPaused, fmt.Sprintf("%s: %s", actor, reason)
		e := r.event(slipway.RebuildHeld, fmt.Sprint("paused/", tx.Now().UnixNano()), actor)
		return e, pause(ctx, tx, r.Attempts[len(r.Attempts)-1].Wave, r.Reason)
	})
}

// ResumeRebuild lets a paused rebuild go on.
func (s *Service) ResumeRebuild(ctx context.Context, id, actor string) error {
	return s.steer(ctx, id, RebuildPaused, func(tx Tx, r *Rebuild) (slipway.Event, error) {
		r.State, r.Reason = RebuildRunning, "resumed by "+actor
		e := r.event(slipway.RebuildResumed, fmt.Sprint("resumed/", tx.Now().UnixNano()), actor)
		return e, pause(ctx, tx, r.Attempts[len(r.Attempts)-1].Wave, "")
	})
}

// steer changes a rebuild that must be in a state.
func (s *Service) steer(ctx context.Context, id, state string, f func(Tx, *Rebuild) (slipway.Event, error)) error {
	return s.store.Update(ctx, func(tx Tx) error {
		r, err := tx.Rebuilds().Get(ctx, id)
		if err != nil {
			return err
		}
		if r.State != state {
			return slipway.Errorf(slipway.Conflict, "the rebuild %s is %s, not %s", id, r.State, state)
		}
		e, err := f(tx, &r)
		if err != nil {
			return err
		}
		if err := tx.Rebuilds().Put(ctx, r); err != nil {
			return err
		}
		return tx.Emit(ctx, e)
	})
}

// CancelRebuild ends a rebuild that has not ended. Its builds end too, unless another wave waits for them.
func (s *Service) CancelRebuild(ctx context.Context, id, actor, reason string) error {
	return s.store.Update(ctx, func(tx Tx) error {
		r, err := tx.Rebuilds().Get(ctx, id)
		if err != nil {
			return err
		}
		if r.State == RebuildPassed || r.State == RebuildCancelled {
			return slipway.Errorf(slipway.Conflict, "the rebuild %s is %s already", id, r.State)
		}
		a := &r.Attempts[len(r.Attempts)-1]
		w, err := tx.Waves().Get(ctx, a.Wave)
		if err != nil {
			return err
		}
		if w.State == slipway.WaveRunning {
			if err := s.cancelWave(ctx, tx, a.Wave, reason); err != nil {
				return err
			}
			a.State, a.Reason, a.Finished = slipway.WaveCancelled, reason, tx.Now()
		}
		r.State, r.Reason, r.Finished = RebuildCancelled, actor+": "+reason, tx.Now()
		if err := tx.Rebuilds().Put(ctx, r); err != nil {
			return err
		}
		return tx.Emit(ctx, r.event(slipway.RebuildFinished, "finished", actor))
	})
}
