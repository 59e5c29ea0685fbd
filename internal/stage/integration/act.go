package integration

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/integration/speculate"
)

// prepared is what a plan asks for, with the candidates made that it needs.
type prepared struct {
	starts []start
	going  *Going
	making []Candidate
}

type start struct {
	speculate.Start
	tuple Candidate
	cause error // why there is no candidate
}

// act does what a plan says. Candidates are made first; all that the plan decides is then written in one transaction, and what that asks for is
// started by the next look.
func (s *Service) act(ctx context.Context, p *pass, snap *speculate.Snapshot, plan speculate.Plan) (bool, error) {
	var todo prepared
	for _, st := range plan.Start {
		t, err := s.compose(ctx, p.product, p.base, p.set(back(st.Set))...)
		if err != nil && !slipway.Is(err, slipway.Invalid) {
			return false, err
		}
		todo.starts = append(todo.starts, start{st, t.Candidate, err})
	}
	if p.queue.Going == nil && len(plan.Land) > 0 {
		if err := s.prepareLanding(ctx, p, snap, plan.Land[0], &todo); err != nil {
			return false, err
		}
	}
	changed := false
	err := s.store.Update(ctx, func(tx Tx) error {
		a := acting{p: p, tx: tx, snap: snap}
		err := a.all(ctx, plan, todo)
		changed = a.changed
		return err
	})
	return changed, err
}

// acting is one transaction that does what a plan says.
type acting struct {
	p       *pass
	tx      Tx
	snap    *speculate.Snapshot
	q       Queue
	entries map[int64]*Entry
	touched map[int64]bool
	tips    map[int64]int // by entry: how many stand before it in the candidate that it shows
	changed bool
}

func (a *acting) all(ctx context.Context, plan speculate.Plan, todo prepared) (err error) {
	if a.q, err = queueOf(ctx, a.tx, a.p.product); err != nil {
		return err
	}
	before := a.q
	a.entries, a.touched, a.tips = map[int64]*Entry{}, map[int64]bool{}, map[int64]int{}
	for _, e := range a.p.entries {
		now, err := a.tx.Entries().Get(ctx, e.ID())
		if err != nil {
			return err
		}
		if now.Phase.Open() && now.content() == e.content() {
			a.entries[e.Number] = &now
		}
	}
	held := a.held(plan)
	for _, c := range plan.Cancel {
		if err := a.cancel(ctx, c, held); err != nil {
			return err
		}
	}
	for _, ev := range plan.Evict {
		if !held[int64(ev.Entry)] {
			if err := a.evict(ctx, ev); err != nil {
				return err
			}
		}
	}
	if err := a.start(ctx, todo.starts); err != nil {
		return err
	}
	if err := a.land(ctx, todo); err != nil {
		return err
	}
	if err := a.freeze(ctx, plan.Freeze); err != nil {
		return err
	}
	a.tell(plan)
	a.q.Memory = plan.Memory
	for _, e := range a.p.entries {
		if a.touched[e.Number] {
			a.changed = true
			if err := a.tx.Entries().Put(ctx, *a.entries[e.Number]); err != nil {
				return err
			}
		}
	}
	if reflect.DeepEqual(a.q, before) {
		return nil
	}
	if !reflect.DeepEqual(a.q.Memory, before.Memory) || !reflect.DeepEqual(a.q.Stops, before.Stops) || !reflect.DeepEqual(a.q.Going, before.Going) {
		a.changed = true
	}
	return a.tx.Queues().Put(ctx, a.q)
}

// held are entries that are to be rejected, while another trial of them alone still runs: it is let finish, because it tells the author
// more.
func (a *acting) held(plan speculate.Plan) map[int64]bool {
	held := map[int64]bool{}
	for _, ev := range plan.Evict {
		number := int64(ev.Entry)
		if ev.Why == speculate.Culprit && slices.ContainsFunc(a.p.trials, func(t Trial) bool { return a.tells(t, number) }) {
			held[number] = true
		}
	}
	return held
}

// tells reports whether a trial runs on an entry alone.
func (a *acting) tells(t Trial, number int64) bool {
	e, ok := a.p.entry(number)
	return ok && t.State == TrialRunning && !t.Advisory && t.covers(number) &&
		t.To == a.p.queue.States[t.Check.key()].State.Plus(e.state())
}

func (a *acting) cancel(ctx context.Context, c speculate.Cancel, held map[int64]bool) error {
	i := slices.IndexFunc(a.p.trials, func(t Trial) bool { return t.Number == c.Run })
	t := a.p.trials[i]
	for number := range held {
		if a.tells(t, number) {
			return nil
		}
	}
	reason := c.Reason
	for _, number := range t.Covers {
		if _, open := a.entries[number]; open {
			continue
		}
		e, err := a.tx.Entries().Get(ctx, fmt.Sprint(number))
		if err != nil {
			return err
		}
		reason = fmt.Sprintf("entry %d: %s", number, e.Reason)
	}
	a.changed = true
	return cancel(ctx, a.tx, &a.q, t, reason)
}

func (a *acting) evict(ctx context.Context, ev speculate.Eviction) error {
	e := a.entries[int64(ev.Entry)]
	if e == nil || e.Phase == Landing || a.goes(e.Number) {
		return nil
	}
	phase, reason, said := Rejected, ev.Reason, slipway.EntryRejected
	switch ev.Why {
	case speculate.Superseded:
		phase, said = Dequeued, slipway.EntryDequeued
	case speculate.Culprit:
		reason = a.verdicts(*e, ev)
		if err := a.q.count(*e, false); err != nil {
			return err
		}
	case speculate.NoVerdict:
		reason = a.lost(*e, ev)
	}
	e.enter(phase, reason, a.tx.Now())
	e.Ahead, e.Chance, e.Estimate = 0, 0, time.Time{}
	a.touched[e.Number] = true
	return a.tx.Emit(ctx, event(said, *e, reason))
}

// goes reports whether an entry is part of the landing under way.
func (a *acting) goes(number int64) bool {
	return a.q.Going != nil && slices.Contains(a.q.Going.Entries, number)
}

// verdicts says what refutes an entry: everything that failed with it alone.
func (a *acting) verdicts(e Entry, ev speculate.Eviction) string {
	var parts []string
	runs := map[string]int{}
	for _, t := range a.p.trials {
		if t.State == TrialEnded && t.Outcome == slipway.Fail && t.To == a.p.queue.States[t.Check.key()].State.Plus(e.state()) && t.covers(e.Number) {
			if runs[t.Check.key()]++; runs[t.Check.key()] == 1 {
				parts = append(parts, t.Reason)
			}
		}
	}
	if len(parts) == 0 {
		return ev.Reason
	}
	said := strings.Join(slices.Compact(parts), "; ")
	if n := runs[a.p.checks[ev.Edge.Check].key()]; n > 1 {
		said += fmt.Sprintf("; failed in all of %d runs", n)
	}
	return said
}

func (a *acting) lost(e Entry, ev speculate.Eviction) string {
	last, n := ev.Reason, 0
	runs := map[string]int{}
	for _, t := range a.p.trials {
		if t.State == TrialEnded && t.Outcome != slipway.Pass && t.Outcome != slipway.Fail && t.covers(e.Number) {
			runs[t.Check.key()]++
			last, n = t.Reason, max(n, runs[t.Check.key()])
		}
	}
	return fmt.Sprintf("no verdict after %d attempts, which says nothing about the change; requeue it when this is mended: %s", n, last)
}

// count remembers how an entry ended.
func (q *Queue) count(e Entry, good bool) (err error) {
	q.Forecast, err = q.Forecast.learned(e, good)
	return err
}

// start writes down the trials that a plan starts. Those of one tuple whose checks are builds share a wave.
func (a *acting) start(ctx context.Context, starts []start) error {
	shared := map[string]*Trial{}
	var begun []*Trial
	for _, st := range starts {
		if slices.ContainsFunc(st.Set, func(id speculate.ID) bool { return a.entries[int64(id)] == nil }) {
			continue // somebody took it out meanwhile
		}
		number, err := a.tx.Next(ctx, "trial")
		if err != nil {
			return err
		}
		check := a.p.checks[st.Edge.Check]
		t := &Trial{Number: number, Product: a.p.product, Check: check.Check, To: st.Edge.To, Set: a.ordered(st.Set), Covers: back(st.Covers),
			Candidate: st.tuple.ID, Base: a.p.base, Control: st.Control, Avoid: st.Avoid, Why: st.Reason, Reason: "asked for", Minutes: st.Minutes,
			State: TrialRunning, Started: a.tx.Now()}
		for _, o := range a.p.trials {
			if o.Check == t.Check && o.To == t.To && o.State == TrialEnded && (o.Outcome == slipway.Fail || o.Doubted) {
				t.Fresh, t.Forget = true, append(t.Forget, o.Failed...)
			}
		}
		t.Fresh = t.Fresh || t.Control
		a.changed = true
		if st.cause != nil {
			t.Candidate, t.Final = "", true
			t.end(slipway.Fail, st.cause.Error(), a.tx.Now())
			if err := a.tx.Trials().Put(ctx, *t); err != nil {
				return err
			}
			continue
		}
		if err := a.tx.Candidates().Put(ctx, st.tuple); err != nil {
			return err
		}
		a.provide(t, st.tuple, shared)
		begun = append(begun, t)
		a.begin(t, st.tuple)
	}
	for _, t := range begun {
		if w := shared[t.Wave]; w != nil {
			t.Targets = w.Targets
		}
		if err := a.tx.Trials().Put(ctx, *t); err != nil {
			return err
		}
	}
	return a.announce(ctx, begun)
}

// ordered sorts a set as the queue is.
func (a *acting) ordered(set []speculate.ID) []int64 {
	var numbers []int64
	for _, e := range a.p.entries {
		if slices.Contains(set, speculate.ID(e.Number)) {
			numbers = append(numbers, e.Number)
		}
	}
	return numbers
}

// provide says which wave a trial needs.
func (a *acting) provide(t *Trial, c Candidate, shared map[string]*Trial) {
	if t.Check.Kind == kindExperiment {
		if _, x, ok := c.find(t.Check); ok {
			t.Targets = slices.Clone(x.Uses)
			slices.Sort(t.Targets)
		}
		t.Wave = fmt.Sprintf("candidate-%s.%d", c.ID, t.Number)
		return
	}
	t.Tests = true
	key := fmt.Sprint(c.ID, " ", t.Fresh, " ", t.Control)
	first := shared[key]
	if first == nil {
		t.Wave = fmt.Sprintf("candidate-%s.%d", c.ID, t.Number)
		shared[key], shared[t.Wave] = t, t
		first = t
	}
	t.Wave = first.Wave
	first.Forget = union(first.Forget, t.Forget)
	first.Targets = union(first.Targets, []string{t.Check.Item})
}

// begin tells the entries that a trial speaks for.
func (a *acting) begin(t *Trial, c Candidate) {
	for _, number := range t.Covers {
		e := a.entries[number]
		a.touched[number] = true
		if e.Candidate == "" || a.tips[number] <= len(t.Set) { // different checks of one entry depend on different others: the fullest tuple is shown
			a.tips[number] = len(t.Set)
			if e.Candidate != c.ID || e.Base != t.Base {
				e.Candidate, e.Base, e.Experiments = c.ID, t.Base, nil
				e.Attempt++
				e.Wave = t.Wave
			}
			e.Assumes = others(t.Set, number)
			if t.Check.Kind == kindBuild {
				e.Wave = t.Wave
			}
		}
		phase := Building
		if t.Check.Kind == kindExperiment {
			phase = Testing
		}
		if e.Phase == Queued || e.Phase == Building && phase == Testing {
			e.enter(phase, t.Why, a.tx.Now())
		}
	}
}

// announce emits one event for each entry and candidate that begins.
func (a *acting) announce(ctx context.Context, begun []*Trial) error {
	said := map[string]bool{}
	for _, t := range begun {
		for _, number := range t.Covers {
			key := fmt.Sprint(number, t.Candidate, t.Check.Kind)
			if said[key] {
				continue
			}
			said[key] = true
			e := *a.entries[number]
			e.Candidate = t.Candidate
			verb := "building candidate " + t.Candidate
			if t.Check.Kind == kindExperiment {
				verb = "experiments of candidate " + t.Candidate
			}
			if err := a.tx.Emit(ctx, event(slipway.EntryTesting, e, verb+": "+t.Why)); err != nil {
				return err
			}
		}
	}
	return nil
}

// freeze writes down which checks fail on the base itself.
func (a *acting) freeze(ctx context.Context, frozen []speculate.Freeze) error {
	var lanes []Lane
	for _, f := range frozen {
		check := a.p.checks[f.Check].String()
		lane := Lane{Check: check, Reason: f.Reason, Since: a.tx.Now()}
		i := slices.IndexFunc(a.q.Lanes, func(l Lane) bool { return l.Check == check })
		if i >= 0 {
			lane = a.q.Lanes[i]
		} else {
			if err := a.lane(ctx, slipway.QueueFrozen, f.Reason); err != nil {
				return err
			}
		}
		lanes = append(lanes, lane)
	}
	for _, l := range a.q.Lanes {
		if !slices.ContainsFunc(lanes, func(n Lane) bool { return n.Check == l.Check }) {
			if err := a.lane(ctx, slipway.QueueResumed, l.Check+" no longer keeps its lane frozen"); err != nil {
				return err
			}
		}
	}
	a.q.Lanes = lanes
	closed := ""
	if open, next := a.p.rules.Open(a.p.now); !open {
		closed = "nothing begins outside its hours, until " + next.Format("Mon 15:04 MST")
	}
	a.q.Closed = closed
	return nil
}

func (a *acting) lane(ctx context.Context, t slipway.EventType, reason string) error {
	return a.tx.Emit(ctx, slipway.Event{Type: t, Subject: slipway.Ref("product", a.p.product), Product: a.p.product, Actor: "queue", Reason: reason})
}

// tell writes down what the entries that stay wait for.
func (a *acting) tell(plan speculate.Plan) {
	at := a.p.estimates(a.snap)
	told := map[int64]bool{}
	for _, w := range plan.Wait {
		number := int64(w.Entry)
		told[number] = true
		e := a.entries[number]
		if e == nil || !e.Phase.Open() || e.Phase == Landing || a.goes(number) {
			continue
		}
		w.Reason = a.p.serially(w.Reason)
		detail := ""
		if a.p.runs(number) {
			detail = a.p.details[number]
		}
		if e.Said == nil {
			e.Features = a.p.features(*e)
			e.Said = a.q.Forecast.predict(*e)
			a.touched[number] = true
		}
		if e.waiting(w, detail, at[number]) {
			a.touched[number] = true
		}
	}
	for _, e := range a.p.entries {
		why := a.p.deps.waits[e.Number]
		if now := a.entries[e.Number]; why != "" && now != nil && !told[e.Number] && now.Phase.Open() && now.Reason != why {
			now.Reason = why
			a.touched[e.Number] = true
		}
	}
}

// runs reports whether a trial for an entry runs.
func (p *pass) runs(number int64) bool {
	return slices.ContainsFunc(p.trials, func(t Trial) bool { return t.State == TrialRunning && !t.Advisory && t.covers(number) })
}
