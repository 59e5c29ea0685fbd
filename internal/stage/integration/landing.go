package integration

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/integration/speculate"
)

// prepareLanding makes the candidate of a landing on the base as it is now.
func (s *Service) prepareLanding(ctx context.Context, p *pass, snap *speculate.Snapshot, l speculate.Landing, todo *prepared) error {
	t, err := s.compose(ctx, p.product, p.base, p.set(back(l.Entries))...)
	if slipway.Is(err, slipway.Invalid) {
		return fmt.Errorf("entries %s were proven, but no candidate can be made of them: %w", numbers(l.Entries), err)
	}
	if err != nil {
		return err
	}
	g := Going{Candidate: t.ID, Base: p.base, Reason: l.Reason, Bypassed: back(l.Certificate.Bypassed)}
	for _, e := range p.set(back(l.Entries)) {
		g.Entries = append(g.Entries, e.Number)
	}
	for _, proof := range l.Certificate.Proofs {
		g.Proofs = append(g.Proofs, p.proof(proof.Check, proof.To))
	}
	for _, edge := range l.Certificate.Agreed {
		g.Agreed = append(g.Agreed, p.proof(edge.Check, edge.To))
	}
	todo.going = &g
	todo.making = append(todo.making, t.Candidate)
	return nil
}

// proof names the trial by which a check is known to pass.
func (p *pass) proof(check int, to speculate.State) Proof {
	proof := Proof{Check: p.checks[check].Check, To: to}
	for _, t := range p.trials {
		if t.State == TrialEnded && t.Check == proof.Check && t.To == to && (t.Outcome == slipway.Pass || proof.Trial == 0) {
			proof.Trial = t.Number
		}
	}
	return proof
}

// land writes down a landing.
func (a *acting) land(ctx context.Context, todo prepared) error {
	if todo.going == nil || a.q.Going != nil {
		return nil
	}
	for _, number := range todo.going.Entries {
		if e := a.entries[number]; e == nil || !e.Phase.Open() {
			return nil
		}
	}
	for _, c := range todo.making {
		if err := a.tx.Candidates().Put(ctx, c); err != nil {
			return err
		}
	}
	number, err := a.tx.Next(ctx, "trial")
	if err != nil {
		return err
	}
	g := *todo.going
	g.Wave = fmt.Sprintf("candidate-%s.%d", g.Candidate, number)
	a.q.Going = &g
	a.changed = true
	return nil
}

// carryOn goes on with the landing under way. The whole candidate is held against its gate before main moves: whatever the planner took
// for proven, nothing lands whose exact tuple has not passed.
func (s *Service) carryOn(ctx context.Context, p *pass) (bool, error) {
	g := p.queue.Going
	if g == nil {
		return false, nil
	}
	entries := p.set(g.Entries)
	decided := len(entries) == len(g.Entries) && !slices.ContainsFunc(entries, func(e Entry) bool { return e.Phase != Landing })
	if len(entries) < len(g.Entries) {
		return true, s.callOff(ctx, p, "part of it has left the queue", nil)
	}
	c, err := s.Candidate(ctx, g.Candidate)
	if err != nil {
		return false, err
	}
	c.Base = g.Base
	if !decided {
		base, err := s.baseOf(ctx, p.product)
		if err != nil {
			return false, err
		}
		if base != g.Base {
			return true, s.callOff(ctx, p, "", nil)
		}
		gone, err := s.withdrawn(ctx, entries)
		if err != nil {
			return false, err
		}
		if len(gone) > 0 {
			return true, s.callOff(ctx, p, "part of it may not land any more", nil)
		}
	}
	w, err := s.waveOf(ctx, p, c, Trial{Wave: g.Wave, Targets: c.components(), Tests: true, Why: "lands"})
	if slipway.Is(err, slipway.Invalid) {
		return true, s.callOff(ctx, p, err.Error(), p.allProofs(g))
	}
	if err != nil || w.State == slipway.WaveRunning {
		return false, err
	}
	d, runs, advisory, err := s.hold(ctx, c, w)
	if err != nil {
		return false, err
	}
	if !decided {
		if !d.OK || !complete(c, w) {
			return true, s.callOff(ctx, p, d.Reason, p.disproved(g, c, w, d))
		}
		reason := fmt.Sprintf("passed its gate: %s; %s", d.Reason, g.Reason)
		return true, s.eachGoing(ctx, g, func(tx Tx, e *Entry) error {
			e.Candidate, e.Base, e.Wave, e.Experiments, e.Assumes = g.Candidate, g.Base, g.Wave, runs, others(g.Entries, e.Number)
			e.Ahead, e.Chance, e.Estimate = 0, 1, tx.Now().Truncate(time.Minute)
			e.enter(Landing, reason, tx.Now())
			return nil
		})
	}
	r, err := s.releaser.Cut(ctx, slipway.ReleaseRequest{
		Product: c.Product, Repo: c.Repo, Base: g.Base, Entry: slipway.Ref("entry", entries[len(entries)-1].ID()), Candidate: slipway.Ref("candidate", c.ID),
		Title: titles(entries), Manifests: c.manifests(w), Moved: c.Moved,
	})
	if slipway.Is(err, slipway.Conflict) {
		return s.landAgain(ctx, p, err)
	}
	if err != nil {
		return false, err
	}
	return true, s.landed(ctx, p, c, r, d, advisory)
}

func others(all []int64, number int64) []int64 {
	rest := slices.DeleteFunc(slices.Clone(all), func(n int64) bool { return n == number })
	if len(rest) == 0 {
		return nil
	}
	return rest
}

func titles(entries []Entry) string {
	var all []string
	for _, e := range entries {
		all = append(all, e.Title)
	}
	return strings.Join(all, "; ")
}

// complete reports whether every component has an output.
func complete(c Candidate, w slipway.WaveStatus) bool {
	return !slices.ContainsFunc(c.components(), func(name string) bool { return w.Components[name].State != "built" })
}

// hold holds a whole candidate against its gate: builds and tests by its wave, experiments by what is known of exactly what they depend on. It
// also lists the experiments that the verdicts came from, and those without a vote that nobody has run.
func (s *Service) hold(ctx context.Context, c Candidate, w slipway.WaveStatus) (d slipway.Decision, runs []Run, advisory []Check, err error) {
	for _, r := range c.results(w) {
		if err := s.gate.Record(ctx, r); err != nil {
			return d, nil, nil, err
		}
	}
	for _, cc := range c.Configurations {
		for _, x := range cc.Experiments {
			check := Check{Kind: kindExperiment, Item: x.Name, Configuration: cc.Name}
			if slices.ContainsFunc(x.Uses, func(name string) bool { return w.Components[name].State != "built" }) {
				continue
			}
			req, err := c.experiment(cc, x, w)
			if err != nil {
				return d, nil, nil, err
			}
			st, err := s.known(ctx, req.ID)
			switch {
			case slipway.Is(err, slipway.NotFound) && !c.asksFor(check):
				advisory = append(advisory, check)
			case slipway.Is(err, slipway.NotFound):
			case err != nil:
				return d, nil, nil, err
			default:
				runs = append(runs, Run{Configuration: cc.Name, Experiment: x.Name, ID: st.ID})
				if err := s.gate.Record(ctx, resultOf(c, check, st)); err != nil {
					return d, nil, nil, err
				}
			}
		}
	}
	d, err = s.gate.Decide(ctx, c.Product, slipway.Ref("candidate", c.ID), c.required(w))
	return d, runs, advisory, err
}

// known returns the verdict on an experiment's exact inputs: a pass before a failure, a failure before what says nothing.
func (s *Service) known(ctx context.Context, id string) (slipway.ExperimentStatus, error) {
	var best slipway.ExperimentStatus
	found := false
	for n := 1; ; n++ {
		name := id
		if n > 1 {
			name = fmt.Sprintf("%s.%d", id, n)
		}
		x, err := s.lab.Experiment(ctx, name)
		if slipway.Is(err, slipway.NotFound) {
			if found {
				return best, nil
			}
			return best, err
		}
		if err != nil {
			return best, err
		}
		x.ID = name
		if x.State == "done" && (!found || x.Outcome == slipway.Pass || x.Outcome == slipway.Fail && best.Outcome != slipway.Pass) {
			best, found = x, true
		}
	}
}

// eachGoing changes all entries of a landing in one transaction, if all of them are still there.
func (s *Service) eachGoing(ctx context.Context, g *Going, f func(tx Tx, e *Entry) error) error {
	return s.store.Update(ctx, func(tx Tx) error {
		var all []Entry
		for _, number := range g.Entries {
			e, err := tx.Entries().Get(ctx, fmt.Sprint(number))
			if err != nil {
				return err
			}
			if !e.Phase.Open() {
				return nil // the next look calls the landing off
			}
			all = append(all, e)
		}
		for _, e := range all {
			if err := f(tx, &e); err != nil {
				return err
			}
			if err := tx.Entries().Put(ctx, e); err != nil {
				return err
			}
		}
		return nil
	})
}

// landed writes down that a landing is done: entries, states of the base, the certificate.
func (s *Service) landed(ctx context.Context, p *pass, c Candidate, r slipway.Release, d slipway.Decision, advisory []Check) error {
	g := p.queue.Going
	return s.store.Update(ctx, func(tx Tx) error {
		q, err := queueOf(ctx, tx, p.product)
		if err != nil {
			return err
		}
		for i, number := range g.Entries {
			e, err := tx.Entries().Get(ctx, fmt.Sprint(number))
			if err != nil {
				return err
			}
			if err := q.count(e, true); err != nil {
				return err
			}
			e.Release = r.ID
			said := "released as " + r.Tag
			if len(g.Entries) > 1 {
				said += fmt.Sprintf(", with entries %s", numbers(others(g.Entries, number)))
			}
			e.enter(Landed, said, tx.Now())
			if err := tx.Entries().Put(ctx, e); err != nil {
				return err
			}
			ev := event(slipway.EntryLanded, e, e.Reason)
			if i < len(g.Entries)-1 {
				ev.Links = append(ev.Links, slipway.Ref("entry", fmt.Sprint(g.Entries[len(g.Entries)-1])))
			}
			if err := tx.Emit(ctx, ev); err != nil {
				return err
			}
		}
		states := map[string]BaseState{}
		for key, state := range q.States {
			states[key] = state
		}
		for _, proof := range g.Proofs {
			content, err := contentOf(c, p.infoOf(proof.Check, c))
			if err != nil {
				return err
			}
			states[proof.Check.key()] = BaseState{State: proof.To, Content: content, Proven: tx.Now()}
		}
		q.Released, q.Main, q.States, q.Going = r.Commit, r.Commit, states, nil
		if err := s.advise(ctx, tx, c, g, advisory); err != nil {
			return err
		}
		if err := tx.Queues().Put(ctx, q); err != nil {
			return err
		}
		return tx.Certificates().Put(ctx, Certificate{
			Release: r.ID, Product: p.product, Entries: g.Entries, Base: g.Base, Commit: r.Commit, Candidate: c.ID, Wave: g.Wave,
			Verdicts: d.Verdicts, Proofs: g.Proofs, Bypassed: g.Bypassed, Agreed: g.Agreed, Time: tx.Now(),
		})
	})
}

// infoOf is what is to be known of a check in a candidate.
func (p *pass) infoOf(check Check, c Candidate) checkInfo {
	info := checkInfo{Check: check, inputs: []string{check.Item}}
	if check.Kind == kindExperiment {
		cc, x, _ := c.find(check)
		info.inputs = union(x.Uses, x.asks(cc.Components))
	}
	return info
}

// advise starts the experiments without a vote that have not seen what landed. Nobody waits for them.
func (s *Service) advise(ctx context.Context, tx Tx, c Candidate, g *Going, advisory []Check) error {
	for _, check := range advisory {
		number, err := tx.Next(ctx, "trial")
		if err != nil {
			return err
		}
		_, x, _ := c.find(check)
		t := Trial{Number: number, Product: c.Product, Check: check, Candidate: c.ID, Base: g.Base, Targets: slices.Sorted(slices.Values(x.Uses)),
			Wave: fmt.Sprintf("candidate-%s.%d", c.ID, number), Advisory: true, Why: "has no vote: run on what has landed", Reason: "asked for",
			State: TrialRunning, Started: tx.Now(), Minutes: rigMinutes}
		if err := tx.Trials().Put(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// allProofs are all that a landing rests on.
func (p *pass) allProofs(g *Going) []Check {
	var all []Check
	for _, proof := range g.Proofs {
		all = append(all, proof.Check)
	}
	return all
}

// disproved lists the checks that the whole candidate did not pass, although the planner took them for proven: a build that is not
// repeatable, a test that says one thing and then another, infrastructure that failed.
func (p *pass) disproved(g *Going, c Candidate, w slipway.WaveStatus, d slipway.Decision) []Check {
	var all []Check
	add := func(check Check) {
		if !slices.Contains(all, check) {
			all = append(all, check)
		}
	}
	for _, v := range d.Of(slipway.CheckFailed, slipway.CheckErrored, slipway.CheckMissing) {
		if v.Check == kindExperiment {
			add(Check{Kind: kindExperiment, Item: v.Item, Configuration: v.Configuration})
		} else {
			add(Check{Kind: kindBuild, Item: v.Item})
		}
	}
	for _, name := range c.components() {
		if w.Components[name].State != "built" {
			add(Check{Kind: kindBuild, Item: name})
		}
	}
	return all
}

// callOff ends the landing under way before main has moved. The verdicts on checks that turned out not to be passed are spent, and
// the checks run again on exactly what was to land.
func (s *Service) callOff(ctx context.Context, p *pass, why string, disproved []Check) error {
	return s.store.Update(ctx, func(tx Tx) error {
		q, err := queueOf(ctx, tx, p.product)
		if err != nil || q.Going == nil {
			return err
		}
		g := *q.Going
		q.Going = nil
		shared := false
		for _, t := range p.trials {
			shared = shared || t.State == TrialRunning && t.Wave == g.Wave
		}
		if !shared {
			q.Stops = append(q.Stops, Stop{Wave: g.Wave, Reason: "its landing was called off"})
		}
		for _, number := range g.Entries {
			e, err := tx.Entries().Get(ctx, fmt.Sprint(number))
			if err != nil {
				return err
			}
			if !e.Phase.Open() || len(disproved) == 0 {
				continue
			}
			if e.Unproven++; e.Unproven > p.landings() {
				e.enter(Rejected, fmt.Sprintf("could not land in %d attempts, although its checks had passed; requeue it when this is mended: %s", e.Unproven, why), tx.Now())
				if err := tx.Emit(ctx, event(slipway.EntryRejected, e, e.Reason)); err != nil {
					return err
				}
			} else {
				e.enter(Queued, "passed its checks, but what was to land did not pass: "+why, tx.Now())
			}
			if err := tx.Entries().Put(ctx, e); err != nil {
				return err
			}
		}
		if err := s.proveAgain(ctx, tx, p, g, disproved); err != nil {
			return err
		}
		return tx.Queues().Put(ctx, q)
	})
}

// landings is how often a landing may turn out not to be proven.
func (p *pass) landings() int { return 3 }

func (s *Service) proveAgain(ctx context.Context, tx Tx, p *pass, g Going, disproved []Check) error {
	for _, check := range disproved {
		to, found := speculate.State{}, false
		for _, proof := range g.Proofs {
			if proof.Check == check {
				to, found = proof.To, true
			}
		}
		if !found { // no entry affects it, as far as anybody could tell: its state is the base's
			state, known := p.queue.States[check.key()]
			if !known {
				continue
			}
			to = state.State
		}
		for _, t := range p.trials {
			if t.State == TrialEnded && t.Check == check && t.To == to {
				t.State = TrialSpent
				if err := tx.Trials().Put(ctx, t); err != nil {
					return err
				}
			}
		}
		number, err := tx.Next(ctx, "trial")
		if err != nil {
			return err
		}
		c, err := tx.Candidates().Get(ctx, g.Candidate)
		if err != nil {
			return err
		}
		t := Trial{Number: number, Product: p.product, Check: check, To: to, Set: g.Entries, Covers: g.Entries, Candidate: g.Candidate, Base: g.Base,
			Wave: fmt.Sprintf("candidate-%s.%d", g.Candidate, number), Targets: []string{check.Item}, Tests: true,
			Why: "what was to land did not pass it", Reason: "asked for", State: TrialRunning, Started: tx.Now(), Minutes: buildMinutes}
		if check.Kind == kindExperiment {
			_, x, _ := c.find(check)
			t.Targets, t.Tests, t.Minutes = slices.Sorted(slices.Values(x.Uses)), false, rigMinutes
		}
		if err := tx.Trials().Put(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// landAgain sends a landing back whose base has gone. When main is where it was, something else is in the way, which testing again would not
// mend: that is for the job to try again and for people to see.
func (s *Service) landAgain(ctx context.Context, p *pass, cause error) (bool, error) {
	g := p.queue.Going
	head, err := s.baseOf(ctx, p.product)
	if err != nil {
		return false, err
	}
	if head == g.Base {
		if err := s.eachGoing(ctx, g, func(_ Tx, e *Entry) error { e.Reason = "cannot land: " + cause.Error(); return nil }); err != nil {
			return false, err
		}
		return false, cause
	}
	again := "main moved before it could land: " + cause.Error()
	return true, s.store.Update(ctx, func(tx Tx) error {
		q, err := queueOf(ctx, tx, p.product)
		if err != nil {
			return err
		}
		q.Going = nil
		for _, number := range g.Entries {
			e, err := tx.Entries().Get(ctx, fmt.Sprint(number))
			if err != nil {
				return err
			}
			e.enter(Queued, again, tx.Now())
			if err := tx.Entries().Put(ctx, e); err != nil {
				return err
			}
			if err := tx.Emit(ctx, event(slipway.EntryQueued, e, again)); err != nil {
				return err
			}
		}
		return tx.Queues().Put(ctx, q)
	})
}
