package build

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build/plan"
)

// advance moves a wave on as far as it goes now: it takes over what builds have come to, looks up the keys of what can start, and
// queues what nobody has built. A wave of known keys passes all its tiers in one call.
func (s *Service) advance(ctx context.Context, id string) error {
	for {
		again, err := s.advanceOnce(ctx, id)
		if err != nil || !again {
			return err
		}
	}
}

func (s *Service) advanceOnce(ctx context.Context, id string) (again bool, err error) {
	var w Wave
	if err := s.store.View(ctx, func(tx Tx) (err error) {
		if w, err = tx.Waves().Get(ctx, id); err != nil {
			return err
		}
		return w.refresh(ctx, tx)
	}); err != nil {
		return false, err
	}
	if w.State != slipway.WaveRunning {
		return false, nil
	}
	found, p, err := s.recipes.graph(ctx, w.Request)
	if err != nil {
		return false, s.refuse(ctx, id, err)
	}
	w.lay(p)
	ready := []prepared{}
	for _, a := range p.Decide(w.statuses(p)).Start {
		one, err := s.prepare(ctx, a, w.Request, found[a.Component], w.outputs())
		if err != nil {
			return false, s.refuse(ctx, id, err)
		}
		if err := s.lookAhead(ctx, &one); err != nil {
			return false, err
		}
		ready = append(ready, one)
	}
	err = s.store.Update(ctx, func(tx Tx) (err error) {
		again = false
		if w, err = tx.Waves().Get(ctx, id); err != nil || w.State != slipway.WaveRunning {
			return err
		}
		if err := w.refresh(ctx, tx); err != nil {
			return err
		}
		w.lay(p)
		for _, one := range ready {
			reused, err := s.place(ctx, tx, &w, one)
			if err != nil {
				return err
			}
			again = again || reused
		}
		d := p.Decide(w.statuses(p))
		again = again || len(d.Start) > 0 // something ended between the look and now
		for a, why := range d.Skip {
			w.set(a, func(c *slipway.ComponentBuild) { c.State, c.Reason = "skipped", why },
				func(t *slipway.ComponentTest) { t.State, t.Reason = "skipped", why })
		}
		for a, why := range d.Waits {
			w.set(a, func(c *slipway.ComponentBuild) { c.Reason = why }, func(t *slipway.ComponentTest) { t.Reason = why })
		}
		if !d.Done || again {
			w.Reason = w.progress(p)
			return tx.Waves().Put(ctx, w)
		}
		w.finish(tx.Now(), d)
		if err := tx.Waves().Put(ctx, w); err != nil {
			return err
		}
		return tx.Emit(ctx, w.event(slipway.WaveFinished, "finished"))
	})
	return again, err
}

// refuse ends a wave whose request or recipes are wrong; other errors are for the job to try again.
func (s *Service) refuse(ctx context.Context, id string, cause error) error {
	switch slipway.KindOf(cause) {
	case slipway.Invalid, slipway.TooLarge:
	case slipway.NotFound: // a repository or commit that a pin names
	default:
		return cause
	}
	return s.store.Update(ctx, func(tx Tx) error {
		w, err := tx.Waves().Get(ctx, id)
		if err != nil || w.State != slipway.WaveRunning {
			return err
		}
		w.State, w.Reason, w.Finished = slipway.WaveFailed, cause.Error(), tx.Now()
		for name, c := range w.Components {
			if c.State == "waiting" {
				c.State, c.Reason = "skipped", "skipped because the wave could not be planned"
				w.Components[name] = c
			}
		}
		if err := tx.Waves().Put(ctx, w); err != nil {
			return err
		}
		return tx.Emit(ctx, w.event(slipway.WaveFinished, "finished"))
	})
}

// lookAhead does what must not be done inside the transaction that queues: if the key seems unknown, the messages that define it
// are kept.
func (s *Service) lookAhead(ctx context.Context, one *prepared) error {
	known, err := s.Builds(ctx, slipway.Query{Key: one.build.Key, Newest: true, Limit: 1})
	if err != nil || len(known) > 0 {
		return err
	}
	for _, m := range one.messages {
		data, err := artifact.Marshal(m)
		if err != nil {
			return err
		}
		if _, _, err := s.artifacts.Put(ctx, bytes.NewReader(data)); err != nil {
			return err
		}
	}
	return nil
}

// place finds or makes the build of an action that can start, and reports whether it was there and done.
func (s *Service) place(ctx context.Context, tx Tx, w *Wave, one prepared) (reused bool, err error) {
	same, err := tx.Builds().Find(ctx, slipway.Query{Key: one.build.Key, Newest: true})
	if err != nil {
		return false, err
	}
	for _, b := range same {
		if b.usable() {
			if b.Output != "" {
				if _, err := s.artifacts.Stat(ctx, b.Output); err != nil {
					continue // its output was lost: build it again
				}
			}
			w.take(b, true)
			e := b.event(slipway.BuildReused, "reused/"+w.Request.ID+"/"+one.action.String(), "reused, the same inputs were built before")
			e.Links = append([]string{slipway.Ref("component", b.Component), w.Request.For}, slipway.Ref("wave", w.Request.ID))
			e.Links = slices.DeleteFunc(e.Links, func(l string) bool { return l == "" })
			e.Product = w.Request.Product
			return true, tx.Emit(ctx, e)
		}
		if b.joinable() {
			if !slices.Contains(b.Waves, w.Request.ID) {
				b.Waves = append(b.Waves, w.Request.ID)
			}
			if !slices.Contains(b.For, w.Request.For) {
				b.For = append(b.For, w.Request.For)
			}
			w.take(b, false)
			return false, tx.Builds().Put(ctx, b)
		}
	}
	b := one.build
	if b.Why, err = why(ctx, tx, b, same); err != nil {
		return false, err
	}
	n, err := tx.Next(ctx, "build")
	if err != nil {
		return false, err
	}
	b.ID, b.Queued, b.Reason = strconv.FormatInt(n, 10), tx.Now(), b.Why
	if err := tx.Builds().Put(ctx, b); err != nil {
		return false, err
	}
	w.take(b, false)
	if err := tx.Emit(ctx, b.event(slipway.BuildQueued, "queued", b.Why)); err != nil {
		return false, err
	}
	return false, tx.Wake(ctx, "build.run", b.ID, time.Time{})
}

// why says what makes b another than the last build of the same action.
func why(ctx context.Context, tx Tx, b Build, same []Build) (string, error) {
	if len(same) > 0 {
		return fmt.Sprintf("build %s of the same inputs ended with %s", same[0].ID, same[0].Outcome), nil
	}
	recent, err := tx.Builds().Find(ctx, slipway.Query{Product: b.Product, Newest: true, Limit: 500})
	if err != nil {
		return "", err
	}
	for _, old := range recent {
		if old.Name() == b.Name() {
			return Difference(old, b), nil
		}
	}
	return "was never built", nil
}

// Difference says, for a person, what differs between the inputs of two builds of one action.
func Difference(old, b Build) string {
	var what []string
	if old.Source != b.Source {
		what = append(what, fmt.Sprintf("the source changed (%.10s)", b.Commit))
	}
	for need, d := range b.Inputs {
		switch was, ok := old.Inputs[need]; {
		case !ok:
			what = append(what, need+" is needed now")
		case was != d:
			what = append(what, need+" has another output")
		}
	}
	for need := range old.Inputs {
		if _, ok := b.Inputs[need]; !ok {
			what = append(what, need+" is no longer needed")
		}
	}
	if old.Own != b.Own {
		what = append(what, "its own output changed")
	}
	if old.Host != b.Host {
		what = append(what, "the host's tools changed")
	}
	for name, v := range b.Run.Env {
		if old.Run.Env[name] != v {
			what = append(what, name+" is "+v)
		}
	}
	slices.Sort(what)
	if len(what) == 0 {
		return "another recipe than build " + old.ID
	}
	return strings.Join(what, ", ") + " since build " + old.ID
}

// lay gives every planned action a place in the wave.
func (w *Wave) lay(p *plan.Plan) {
	if w.Components == nil {
		w.Components = map[string]slipway.ComponentBuild{}
	}
	for _, a := range p.Actions {
		c := w.Components[a.Component]
		if c.State == "" {
			c.State = "waiting"
		}
		c.Tier = p.Tier[a.Component]
		if a.Check != "" && !slices.ContainsFunc(c.Tests, func(t slipway.ComponentTest) bool { return t.Check == a.Check }) {
			c.Tests = append(c.Tests, slipway.ComponentTest{Check: a.Check, State: "waiting"})
		}
		w.Components[a.Component] = c
	}
}

// set changes an action's place: c for a build, t for a test.
func (w *Wave) set(a plan.Action, build func(*slipway.ComponentBuild), test func(*slipway.ComponentTest)) {
	c := w.Components[a.Component]
	if a.Check == "" {
		build(&c)
	}
	for i := range c.Tests {
		if c.Tests[i].Check == a.Check {
			test(&c.Tests[i])
		}
	}
	w.Components[a.Component] = c
}

// take writes where a build stands into the action's place.
func (w *Wave) take(b Build, reused bool) {
	reason := b.Reason
	if b.State == Done && b.Outcome == slipway.Pass {
		reason = ""
	}
	if reused && b.Outcome == slipway.Fail {
		reason = fmt.Sprintf("the same inputs failed before: %s (slipway build forget %s lets it be tried again)", b.Reason, b.ID)
	}
	if reused && b.Outcome == slipway.Pass {
		reason = "build " + b.ID + " had the same inputs"
	}
	w.set(plan.Action{Component: b.Component, Check: b.Check}, func(c *slipway.ComponentBuild) {
		c.Key, c.Build, c.Reason, c.Reused = b.Key, b.ID, reason, c.Reused || reused
		switch {
		case b.State != Done:
			c.State = string(b.State)
		case b.Outcome == slipway.Pass:
			c.State, c.Outcome, c.Artifact = "built", slipway.Pass, b.Output
		default:
			c.State, c.Outcome = "failed", b.Outcome
		}
	}, func(t *slipway.ComponentTest) {
		t.Build, t.Reason, t.Reused = b.ID, reason, t.Reused || reused
		switch {
		case b.State != Done:
			t.State = string(b.State)
		default:
			t.State, t.Outcome = "finished", b.Outcome
		}
	})
}

// refresh takes over what the wave's active builds have come to.
func (w *Wave) refresh(ctx context.Context, tx Tx) error {
	ids := []string{}
	for _, c := range w.Components {
		if c.State == string(Queued) || c.State == string(Running) {
			ids = append(ids, c.Build)
		}
		for _, t := range c.Tests {
			if t.State == string(Queued) || t.State == string(Running) {
				ids = append(ids, t.Build)
			}
		}
	}
	for _, id := range ids {
		b, err := tx.Builds().Get(ctx, id)
		if err != nil {
			return err
		}
		w.take(b, false)
	}
	return nil
}

// statuses translates the wave's places for the planner.
func (w *Wave) statuses(p *plan.Plan) map[plan.Action]plan.Status {
	all := map[plan.Action]plan.Status{}
	for _, a := range p.Actions {
		c := w.Components[a.Component]
		state, outcome := c.State, c.Outcome
		for _, t := range c.Tests {
			if t.Check == a.Check {
				state, outcome = t.State, t.Outcome
			}
		}
		switch {
		case state == "queued" || state == "running":
			all[a] = plan.Active
		case state == "built" || state == "finished" && outcome == slipway.Pass:
			all[a] = plan.Passed
		case state == "failed" || state == "finished":
			all[a] = plan.Failed
		case state == "skipped":
			all[a] = plan.Skipped
		default:
			all[a] = plan.Waiting
		}
	}
	return all
}

// outputs are the output trees of what was built.
func (w *Wave) outputs() map[string]string {
	all := map[string]string{}
	for name, c := range w.Components {
		if c.State == "built" {
			all[name] = c.Artifact
		}
	}
	return all
}

// progress says what a running wave waits for.
func (w *Wave) progress(p *plan.Plan) string {
	var active []string
	passed := 0
	for _, a := range p.Actions {
		switch w.statuses(p)[a] {
		case plan.Active:
			active = append(active, a.String())
		case plan.Passed:
			passed++
		}
	}
	text := fmt.Sprintf("%d of %d done", passed, len(p.Actions))
	if len(active) > 0 {
		text += ", waits for " + strings.Join(active, ", ")
	}
	return text
}

// finish ends the wave by what its actions have come to.
func (w *Wave) finish(now time.Time, d plan.Decision) {
	w.Finished = now
	if len(d.Failed) == 0 && len(d.Skipped) == 0 {
		w.State = slipway.WavePassed
		ran, reused := 0, 0
		for _, c := range w.Components {
			count := func(was bool) {
				if was {
					reused++
				} else {
					ran++
				}
			}
			count(c.Reused)
			for _, t := range c.Tests {
				count(t.Reused)
			}
		}
		w.Reason = fmt.Sprintf("all passed: %d ran, %d reused", ran, reused)
		return
	}
	w.State = slipway.WaveFailed
	var said []string
	for _, a := range d.Failed {
		c := w.Components[a.Component]
		reason := c.Reason
		for _, t := range c.Tests {
			if t.Check == a.Check {
				reason = t.Reason
			}
		}
		said = append(said, a.String()+": "+reason)
	}
	w.Reason = strings.Join(said, "; ")
	if n := len(d.Skipped); n > 0 {
		names := make([]string, n)
		for i, a := range d.Skipped {
			names[i] = a.String()
		}
		w.Reason += fmt.Sprintf("; skipped because of that: %s", strings.Join(names, ", "))
	}
}
