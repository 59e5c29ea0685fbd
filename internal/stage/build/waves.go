package build

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build/plan"
)

// Wave is a request and how far it has come.
//
// Its row is small and written at each step. What was asked for is in its [Order], what has become of each action in an [Item];
// reading a wave puts them together. Rows of old waves hold everything themselves.
type Wave struct {
	Request    slipway.WaveRequest               `json:"request"` // in the row and in lists without pins, targets and tests
	State      slipway.WaveState                 `json:"state"`
	Reason     string                            `json:"reason"`
	Paused     string                            `json:"paused,omitempty"` // why it starts nothing new
	Counts     slipway.WaveCounts                `json:"counts"`           // once it has ended
	Components map[string]slipway.ComponentBuild `json:"components"`       // not in lists
	Created    time.Time                         `json:"created"`
	Finished   time.Time                         `json:"finished,omitzero"`
	Rev        int64                             `json:"rev,omitempty"`   // raised by every write
	Laid       bool                              `json:"laid,omitempty"`  // its items are all there
	Again      int                               `json:"again,omitempty"` // how often it was begun anew, after what was known of it had been cleared away
}

// Row implements [slipway.Record]; the key is the subject that the wave is for.
func (w Wave) Row() slipway.Row {
	return slipway.Row{ID: w.Request.ID, Product: w.Request.Product, State: string(w.State), Key: w.Request.For}
}

// Status is what others see of the wave.
func (w Wave) Status() slipway.WaveStatus {
	return slipway.WaveStatus{ID: w.Request.ID, For: w.Request.For, State: w.State, Reason: w.Reason, Counts: w.Counts, Components: w.Components}
}

func (w Wave) event(t slipway.EventType, what string) slipway.Event {
	e := slipway.Event{ID: "wave/" + w.Request.ID + "/" + what, Type: t, Subject: slipway.Ref("wave", w.Request.ID), Product: w.Request.Product,
		Actor: "build", Reason: w.Reason}
	if w.Request.For != "" {
		e.Links = []string{w.Request.For}
	}
	if w.Again > 0 {
		e.ID += fmt.Sprintf("/%d", w.Again)
	}
	return e
}

// end tells that the wave has ended, and wakes the rebuild that it was for.
func (w Wave) end(ctx context.Context, tx Tx) error {
	if err := tx.Emit(ctx, w.event(slipway.WaveFinished, "finished")); err != nil {
		return err
	}
	if kind, id, _ := slipway.SplitRef(w.Request.For); kind == "rebuild" {
		return tx.Wake(ctx, "build.rebuild", id, time.Time{})
	}
	return nil
}

// bare is a request without what only the planner needs.
func bare(r slipway.WaveRequest) slipway.WaveRequest {
	r.Pins, r.Targets, r.Tests = []slipway.Pin{}, []string{}, nil
	return r
}

// StartWave begins the wave, or returns the one that has the request's ID.
func (s *Service) StartWave(ctx context.Context, req slipway.WaveRequest) (slipway.WaveStatus, error) {
	if err := checkRequest(req); err != nil {
		return slipway.WaveStatus{}, err
	}
	if req.Rules == "" && s.cfg.Products != nil {
		_, commit, err := s.cfg.Products.Product(ctx, req.Product)
		if err != nil && !slipway.Is(err, slipway.NotFound) {
			return slipway.WaveStatus{}, err
		}
		req.Rules = commit
	}
	var w Wave
	err := s.store.Update(ctx, func(tx Tx) (err error) {
		w, err = begin(ctx, tx, req)
		return err
	})
	return w.Status(), err
}

func checkRequest(req slipway.WaveRequest) error {
	if req.ID == "" || len(req.Targets) == 0 {
		return slipway.Errorf(slipway.Invalid, "a wave needs an id and at least one target")
	}
	seen := make(map[string]bool, len(req.Pins))
	for _, p := range req.Pins {
		if seen[p.Component] {
			return slipway.Errorf(slipway.Invalid, "the wave %s has two pins for %s", req.ID, p.Component)
		}
		seen[p.Component] = true
	}
	return nil
}

// begin writes a new wave, or finds the one that is there.
func begin(ctx context.Context, tx Tx, req slipway.WaveRequest) (Wave, error) {
	w, err := tx.Waves().Get(ctx, req.ID)
	if err != nil && !slipway.Is(err, slipway.NotFound) {
		return Wave{}, err
	}
	before := w
	w = Wave{Request: bare(req), State: slipway.WaveRunning, Reason: "is being planned", Created: tx.Now()}
	if err == nil {
		gone, err := cleared(ctx, tx, before)
		if err != nil {
			return Wave{}, err
		}
		if !gone {
			return assemble(ctx, tx, before)
		}
		w.Rev, w.Again = before.Rev+1, before.Again+1
	}
	if err := tx.Orders().Put(ctx, Order{Request: req}); err != nil {
		return Wave{}, err
	}
	if err := tx.Waves().Put(ctx, w); err != nil {
		return Wave{}, err
	}
	started := w.event(slipway.WaveStarted, "started")
	started.Reason = req.Reason
	if err := tx.Emit(ctx, started); err != nil {
		return Wave{}, err
	}
	if err := tx.Wake(ctx, "build.wave", req.ID, time.Time{}); err != nil {
		return Wave{}, err
	}
	return assemble(ctx, tx, w)
}

// cleared reports whether a wave that has ended was so long ago that nothing but its row is kept (see package retain). What it built may be gone.
func cleared(ctx context.Context, tx Tx, w Wave) (bool, error) {
	if w.State == slipway.WaveRunning || w.Components != nil { // the latter is an old row, which holds everything
		return false, nil
	}
	_, err := tx.Orders().Get(ctx, w.Request.ID)
	if slipway.Is(err, slipway.NotFound) {
		return true, nil
	}
	return false, err
}

// assemble puts a wave's row, its order and its items together.
func assemble(ctx context.Context, tx Tx, w Wave) (Wave, error) {
	order, err := tx.Orders().Get(ctx, w.Request.ID)
	if slipway.Is(err, slipway.NotFound) {
		return w, nil // an old row, or what is kept of one
	}
	if err != nil {
		return Wave{}, err
	}
	items, err := tx.Items().Find(ctx, slipway.Query{Key: w.Request.ID})
	if err != nil {
		return Wave{}, err
	}
	w.Request, w.Components = order.Request, components(items)
	for _, t := range order.Request.Targets {
		if _, ok := w.Components[t]; ok {
			continue
		}
		w.Components[t] = slipway.ComponentBuild{State: waiting, Reason: "the wave is being planned"}
		switch w.State {
		case slipway.WaveRunning:
		case slipway.WaveCancelled:
			w.Components[t] = slipway.ComponentBuild{State: skipped, Reason: w.Reason}
		default:
			w.Components[t] = slipway.ComponentBuild{State: skipped, Reason: "skipped because the wave could not be planned"}
		}
	}
	return w, nil
}

// Wave returns a wave's status.
func (s *Service) Wave(ctx context.Context, id string) (slipway.WaveStatus, error) {
	w, err := s.WaveRecord(ctx, id)
	return w.Status(), err
}

// WaveRecord returns a wave with its request and times.
func (s *Service) WaveRecord(ctx context.Context, id string) (w Wave, err error) {
	err = s.store.View(ctx, func(tx Tx) error {
		head, err := tx.Waves().Get(ctx, id)
		if err == nil {
			w, err = assemble(ctx, tx, head)
		}
		return err
	})
	return w, err
}

// Waves lists waves without what they consist of; the query's Key is the subject that they are for.
func (s *Service) Waves(ctx context.Context, q slipway.Query) (all []Wave, err error) {
	err = s.store.View(ctx, func(tx Tx) error { all, err = tx.Waves().Find(ctx, q); return err })
	for i := range all {
		all[i].Request, all[i].Components = bare(all[i].Request), map[string]slipway.ComponentBuild{}
	}
	return all, err
}

// CancelWave ends a running wave. Its builds end too, unless another wave waits for them.
func (s *Service) CancelWave(ctx context.Context, id, reason string) error {
	reason = cmp.Or(reason, "cancelled")
	return s.store.Update(ctx, func(tx Tx) error { return s.cancelWave(ctx, tx, id, reason) })
}

// cancelWave ends a running wave inside a transaction.
func (s *Service) cancelWave(ctx context.Context, tx Tx, id, reason string) error {
	w, err := tx.Waves().Get(ctx, id)
	if err != nil {
		return err
	}
	if w.State != slipway.WaveRunning {
		return slipway.Errorf(slipway.Conflict, "the wave %s is %s already", id, w.State)
	}
	items, err := tx.Items().Find(ctx, slipway.Query{Key: id})
	if err != nil {
		return err
	}
	if _, err := tx.Orders().Get(ctx, id); slipway.Is(err, slipway.NotFound) {
		items = itemsOf(w) // an old row
		if err := tx.Orders().Put(ctx, Order{Request: w.Request}); err != nil {
			return err
		}
		w.Request, w.Components = bare(w.Request), nil
	} else if err != nil {
		return err
	}
	for k := range items {
		i := &items[k]
		switch i.status() {
		case plan.Passed, plan.Failed, plan.Skipped:
			continue
		}
		if i.State != waiting && i.Build != "" {
			b, err := tx.Builds().Get(ctx, i.Build)
			if err != nil {
				return err
			}
			if err := s.leave(ctx, tx, b, id, reason); err != nil {
				return err
			}
		}
		i.State, i.Reason, i.Outcome = skipped, reason, ""
		if err := tx.Items().Put(ctx, *i); err != nil {
			return err
		}
	}
	w.State, w.Reason, w.Finished = slipway.WaveCancelled, reason, tx.Now()
	w.Rev++
	w.Counts = count(items)
	if err := tx.Waves().Put(ctx, w); err != nil {
		return err
	}
	return w.end(ctx, tx)
}

// leave takes a wave off a build, which ends when nobody waits for it any more.
func (s *Service) leave(ctx context.Context, tx Tx, b Build, wave, reason string) error {
	if b.State == Done || !slices.Contains(b.Waves, wave) {
		return nil
	}
	b.Waves = slices.DeleteFunc(b.Waves, func(w string) bool { return w == wave })
	if len(b.Waves) == 0 {
		return s.quit(ctx, tx, b, reason)
	}
	return tx.Builds().Put(ctx, b)
}

// PauseWave keeps a running wave from starting anything new; what runs goes on. An empty reason lets it go on.
func (s *Service) PauseWave(ctx context.Context, id, reason string) error {
	return s.store.Update(ctx, func(tx Tx) error { return pause(ctx, tx, id, reason) })
}

func pause(ctx context.Context, tx Tx, id, reason string) error {
	w, err := tx.Waves().Get(ctx, id)
	if err != nil || w.Paused == reason {
		return err
	}
	if w.State != slipway.WaveRunning {
		return slipway.Errorf(slipway.Conflict, "the wave %s is %s already", id, w.State)
	}
	w.Paused = reason
	w.Rev++
	if err := tx.Waves().Put(ctx, w); err != nil {
		return err
	}
	return tx.Wake(ctx, "build.wave", id, time.Time{})
}
