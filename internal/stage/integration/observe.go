package integration

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"

	"slipway.dev/slipway/internal/slipway"
)

// observe asks for what running trials need (which starts what a crash kept from being asked for), and takes in what has ended.
func (s *Service) observe(ctx context.Context, p *pass) (bool, error) {
	changed := false
	for i := range p.trials {
		t := p.trials[i]
		if t.State != TrialRunning {
			continue
		}
		next := t
		if err := s.progress(ctx, p, &next); err != nil {
			return changed, fmt.Errorf("trial %d, %s: %w", t.Number, t.Check, err)
		}
		if next.State == TrialRunning {
			for _, number := range next.Covers {
				p.details[number] = cmp.Or(p.details[number], next.Reason)
			}
		}
		if reflect.DeepEqual(next, t) {
			continue
		}
		p.trials[i] = next
		changed = changed || next.State != t.State
		err := s.store.Update(ctx, func(tx Tx) error {
			now, err := tx.Trials().Get(ctx, t.ID())
			if err != nil || now.State != TrialRunning {
				return err
			}
			if err := tx.Trials().Put(ctx, next); err != nil || next.Outcome != slipway.Pass {
				return err
			}
			q, err := queueOf(ctx, tx, p.product)
			if err != nil {
				return err
			}
			q.learn(next)
			return tx.Queues().Put(ctx, q)
		})
		if err != nil {
			return changed, err
		}
	}
	return changed, nil
}

// learn takes the length of a run into account: new ones count for a third.
func (q *Queue) learn(t Trial) {
	took := t.Ended.Sub(t.Started).Minutes()
	if q.Minutes == nil {
		q.Minutes = map[string]float64{}
	}
	if before, ok := q.Minutes[t.Check.key()]; ok {
		took = before + (took-before)/3
	}
	q.Minutes[t.Check.key()] = took
}

// progress moves a trial on: its wave first, its experiment then.
func (s *Service) progress(ctx context.Context, p *pass, t *Trial) error {
	c, err := s.Candidate(ctx, t.Candidate)
	if err != nil {
		return err
	}
	c.Base = t.Base
	w, err := s.waveOf(ctx, p, c, *t)
	if slipway.Is(err, slipway.Invalid) {
		t.Final = true
		t.end(slipway.Fail, err.Error(), p.now)
		return nil
	}
	if err != nil {
		return err
	}
	if t.Check.Kind == kindBuild {
		return s.progressBuild(ctx, p, c, w, t)
	}
	for _, name := range t.Targets {
		if w.Components[name].State == "built" {
			continue
		}
		return s.unbuilt(w, name, t, p)
	}
	return s.progressExperiment(ctx, p, c, w, t)
}

// waveOf asks for the wave of a trial.
func (s *Service) waveOf(ctx context.Context, p *pass, c Candidate, t Trial) (slipway.WaveStatus, error) {
	if len(t.Targets) == 0 {
		return slipway.WaveStatus{State: slipway.WavePassed}, nil
	}
	if w, ok := p.waves[t.Wave]; ok {
		return w, nil
	}
	w, err := s.builder.Wave(ctx, t.Wave)
	if slipway.Is(err, slipway.NotFound) {
		for _, build := range t.Forget {
			if err := s.builder.Forget(ctx, build, "the queue: "+t.Why); err != nil && !slipway.Is(err, slipway.NotFound) && !slipway.Is(err, slipway.Conflict) {
				return w, err
			}
		}
		w, err = s.builder.StartWave(ctx, c.wave(t.Wave, t.Targets, t.Tests, "candidate "+c.ID+" of the integration queue: "+t.Why))
	}
	if err == nil {
		p.waves[t.Wave] = w
	}
	return w, err
}

// unbuilt ends a trial whose component has no output, or says what it waits for.
func (s *Service) unbuilt(w slipway.WaveStatus, name string, t *Trial, p *pass) error {
	b := w.Components[name]
	if w.State == slipway.WaveRunning && b.State != "failed" && b.State != "skipped" {
		t.Reason = fmt.Sprintf("build of %s is %s", name, cmp.Or(b.State, "waiting"))
		if w.Reason != "" {
			t.Reason += "; of what its candidate needs: " + w.Reason
		}
		return nil
	}
	reason := fmt.Sprintf("%s not built: %s", name, cmp.Or(b.Reason, w.Reason))
	outcome := b.Outcome
	switch {
	case w.State == slipway.WaveCancelled:
		outcome, reason = slipway.Infra, cmp.Or(w.Reason, "its builds were cancelled")
	case b.State == "failed":
		reason = fmt.Sprintf("build of %s failed: %s", name, b.Reason)
		t.Failed = append(t.Failed, b.Build)
	case refused(w):
		outcome, reason = slipway.Fail, cmp.Or(w.Reason, "its builds could not be planned")
	default: // something that it needs failed
		if w.State == slipway.WaveRunning {
			t.Reason = cmp.Or(w.Reason, "building")
			return nil // wait until all that failed is known
		}
		outcome = slipway.Infra
		for _, other := range sorted(w.Components) {
			if o := w.Components[other]; o.State == "failed" {
				if o.Outcome == slipway.Fail || o.Outcome == "" {
					outcome = slipway.Fail
				} else if outcome != slipway.Fail {
					outcome = o.Outcome
				}
			}
		}
	}
	if outcome == "" {
		outcome = slipway.Fail
	}
	t.Final = outcome == slipway.Fail // builds are hermetic
	t.end(outcome, reason, p.now)
	return nil
}

// refused reports whether the wave ended because it could not be planned: a cycle, an unknown component, a broken file.
func refused(w slipway.WaveStatus) bool {
	if w.State != slipway.WaveFailed {
		return false
	}
	built := len(w.Components) > 0
	for _, c := range w.Components {
		if c.State == "failed" {
			return false
		}
		built = built && c.State == "built"
	}
	return !built
}

func (s *Service) progressBuild(ctx context.Context, p *pass, c Candidate, w slipway.WaveStatus, t *Trial) error {
	name := t.Check.Item
	b := w.Components[name]
	if b.State != "built" {
		if b.State == "failed" {
			if err := s.record(ctx, c, w, name); err != nil {
				return err
			}
		}
		return s.unbuilt(w, name, t, p)
	}
	for _, test := range b.Tests {
		if w.State == slipway.WaveRunning && test.State != "finished" && test.State != "skipped" {
			t.Reason = fmt.Sprintf("%s of %s is %s", test.Check, name, cmp.Or(test.State, "waiting"))
			return nil
		}
	}
	if err := s.record(ctx, c, w, name); err != nil {
		return err
	}
	required := slices.DeleteFunc(c.required(w), func(r slipway.Requirement) bool { return r.Check == kindExperiment || r.Item != name })
	for _, test := range b.Tests {
		if test.Outcome != slipway.Pass && test.Build != "" {
			t.Failed = append(t.Failed, test.Build)
		}
	}
	return s.settle(ctx, p, c, required, t)
}

// record tells the gate how a component's builds and tests ended.
func (s *Service) record(ctx context.Context, c Candidate, w slipway.WaveStatus, name string) error {
	for _, r := range c.results(w) {
		if r.Item == name {
			if err := s.gate.Record(ctx, r); err != nil {
				return err
			}
		}
	}
	return nil
}

// settle ends a trial as the gate says.
func (s *Service) settle(ctx context.Context, p *pass, c Candidate, required []slipway.Requirement, t *Trial) error {
	d, err := s.gate.Decide(ctx, c.Product, slipway.Ref("candidate", c.ID), required)
	if err != nil {
		return err
	}
	t.Missing = nil
	failed, late := false, false
	for _, v := range d.Of(slipway.CheckFailed, slipway.CheckErrored, slipway.CheckMissing) {
		t.Missing = append(t.Missing, v.Requirement)
		failed = failed || v.State == slipway.CheckFailed
		late = late || t.Outcome == slipway.Timeout
	}
	switch {
	case d.OK:
		t.end(slipway.Pass, d.Reason, p.now)
	case failed:
		t.end(slipway.Fail, slipway.Decision{Verdicts: d.Of(slipway.CheckFailed)}.Summarize(), p.now)
	case late:
		t.end(slipway.Timeout, d.Reason, p.now)
	default:
		t.end(slipway.Infra, d.Reason, p.now)
	}
	return nil
}

func (s *Service) progressExperiment(ctx context.Context, p *pass, c Candidate, w slipway.WaveStatus, t *Trial) error {
	cc, x, ok := c.find(t.Check)
	if !ok {
		return fmt.Errorf("the candidate %s has no %s", c.ID, t.Check)
	}
	req, err := c.experiment(cc, x, w)
	if err != nil {
		return err
	}
	if t.Requested == "" {
		id, err := s.choose(ctx, req.ID, t.Fresh)
		if err != nil {
			return err
		}
		t.Requested = id
		if err := s.store.Update(ctx, func(tx Tx) error { return request(ctx, tx, *t) }); err != nil { // before it is asked for
			return err
		}
	}
	req.ID, req.Avoid = t.Requested, t.Avoid
	st, err := s.lab.Run(ctx, req)
	if slipway.Is(err, slipway.Invalid) {
		t.Final = true
		t.end(slipway.Fail, err.Error(), p.now)
		return nil
	}
	if err != nil {
		return err
	}
	t.Experiment, t.Nodes = st.Number, st.Nodes
	if st.State != "done" {
		t.Reason = fmt.Sprintf("experiment/%d is %s: %s", st.Number, st.State, st.Reason)
		return nil
	}
	if err := s.gate.Record(ctx, resultOf(c, t.Check, st)); err != nil {
		return err
	}
	t.Outcome = st.Outcome
	if !c.asksFor(t.Check) {
		t.end(st.Outcome, st.Reason, p.now)
		return nil
	}
	return s.settle(ctx, p, c, []slipway.Requirement{{Check: kindExperiment, Item: x.Name, Configuration: cc.Name}}, t)
}

func resultOf(c Candidate, check Check, st slipway.ExperimentStatus) slipway.Result {
	return slipway.Result{Product: c.Product, Subject: slipway.Ref("candidate", c.ID), Check: kindExperiment, Item: check.Item, Configuration: check.Configuration,
		Outcome: st.Outcome, Reason: st.Reason, Link: slipway.Ref("experiment", fmt.Sprint(st.Number))}
}

// asksFor reports whether the gate asks for an experiment.
func (c Candidate) asksFor(check Check) bool {
	return c.votes(kindExperiment) && !slices.Contains(c.Advisory, check.Item)
}

// choose returns the id under which an experiment of some inputs runs now, or has come to a verdict: a pass before a failure. One that ended without
// a verdict says nothing, and a fresh one takes no verdict that is there; the next of the same inputs gets a number.
func (s *Service) choose(ctx context.Context, id string, fresh bool) (string, error) {
	best := ""
	for n := 1; ; n++ {
		name := id
		if n > 1 {
			name = fmt.Sprintf("%s.%d", id, n)
		}
		x, err := s.lab.Experiment(ctx, name)
		switch {
		case slipway.Is(err, slipway.NotFound):
			return cmp.Or(best, name), nil
		case err != nil:
			return "", err
		case x.State != "done":
			return name, nil
		case fresh:
		case x.Outcome == slipway.Pass:
			return name, nil
		case x.Outcome == slipway.Fail:
			best = name
		}
	}
}

// request writes down which experiment a trial asks for, and tells the entries that it speaks for.
func request(ctx context.Context, tx Tx, t Trial) error {
	if err := tx.Trials().Put(ctx, t); err != nil {
		return err
	}
	for _, number := range t.Covers {
		e, err := tx.Entries().Get(ctx, fmt.Sprint(number))
		if err != nil {
			return err
		}
		run := Run{Configuration: t.Check.Configuration, Experiment: t.Check.Item, ID: t.Requested}
		if !e.Phase.Open() || e.Candidate != t.Candidate || slices.Contains(e.Experiments, run) {
			continue
		}
		e.Experiments = append(e.Experiments, run)
		if err := tx.Entries().Put(ctx, e); err != nil {
			return err
		}
	}
	return nil
}
