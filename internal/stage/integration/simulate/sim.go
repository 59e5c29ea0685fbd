package simulate

import (
	"cmp"
	"container/heap"
	"fmt"
	"math"
	"slices"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/integration/speculate"
)

// tick is how long, in minutes, the controller gathers what happens before it plans again.
const tick = 0.25

// failEarliest is the share of its length after which a failing run fails at the earliest; it is uniform from there to the end.
const failEarliest = 0.3

// run is a check under way.
type run struct {
	speculate.Run
	start, end float64
	outcome    slipway.Outcome
	where      string
	slots      int // index of its pool
	index      int // in the heap
}

type runHeap []*run

func (h runHeap) Len() int { return len(h) }
func (h runHeap) Less(a, b int) bool {
	return cmp.Or(cmp.Compare(h[a].end, h[b].end), cmp.Compare(h[a].ID, h[b].ID)) < 0
}
func (h runHeap) Swap(a, b int) { h[a], h[b] = h[b], h[a]; h[a].index, h[b].index = a, b }

// Push implements [heap.Interface].
func (h *runHeap) Push(x any) { r := x.(*run); r.index = len(*h); *h = append(*h, r) }

// Pop implements [heap.Interface].
func (h *runHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// ended is how a change ended.
type ended struct {
	at     float64
	landed bool
	why    speculate.Why
}

// world is one simulation under way.
type world struct {
	w       *Workload
	planner speculate.Planner
	predict func(*Change) float64
	learn   func(*Change, bool)

	now      float64
	next     int // change that arrives next
	ledger   *speculate.Ledger
	base     []speculate.State
	live     []speculate.Entry
	runs     runHeap
	running  map[int64]*run
	free     []int
	memory   speculate.Memory
	landed   map[speculate.ID]bool
	ended    []ended
	tries    map[speculate.Edge]int
	pools    map[string]int
	lastRun  int64
	started  int
	busy     []float64 // minutes by pool
	used     map[speculate.Edge]bool
	rigs     map[speculate.Edge]float64 // rig minutes by edge
	edges    []speculate.Edge           // its keys, in the order in which they came
	plans    int
	seed     uint64
	bypassed int
	wrong    int                  // evictions of innocents
	again    map[speculate.ID]int // how often each came again after that
	digest   map[speculate.ID]speculate.State
	atClose  []float64 // minutes that each pool was busy until the last arrival
	oldest   float64
	pushed   int          // of the workload's pushes
	broken   map[int]bool // checks that fail on the base
	wakes    []float64    // when something happens besides arrivals and ends of runs
}

// simulate runs a policy over the workload until every change has ended. It checks what it is told: an error says that the policy landed
// what was not tested, landed twice, or left an entry behind.
func simulate(w *Workload, planner speculate.Planner, predict func(*Change) float64, learn func(*Change, bool), seed uint64, progress func(done, all int)) (*world, error) {
	s := &world{w: w, planner: planner, predict: predict, learn: learn, ledger: speculate.NewLedger(), running: map[int64]*run{},
		landed: map[speculate.ID]bool{}, ended: make([]ended, len(w.Changes)), tries: map[speculate.Edge]int{}, pools: map[string]int{},
		busy: make([]float64, len(w.Pools)), used: map[speculate.Edge]bool{}, again: map[speculate.ID]int{}, digest: map[speculate.ID]speculate.State{}, rigs: map[speculate.Edge]float64{}, seed: seed,
		broken: map[int]bool{}, wakes: w.wakes()}
	for t, c := range w.Checks {
		s.base = append(s.base, speculate.Digest("base of "+c.Name))
		s.ledger.Prove(t, s.base[t])
		s.ledger.Base(t, s.base[t])
	}
	for i, p := range w.Pools {
		s.free = append(s.free, p.Total)
		s.pools[p.Label] = i
	}
	for i := range s.ended {
		s.ended[i].at = -1
	}
	open := len(w.Changes)
	close := w.Changes[open-1].At
	for open > 0 {
		at := math.Inf(1)
		if s.next < len(w.Changes) {
			at = w.Changes[s.next].At
		}
		if len(s.runs) > 0 {
			at = min(at, s.runs[0].end)
		}
		for len(s.wakes) > 0 && s.wakes[0] <= s.now {
			s.wakes = s.wakes[1:]
		}
		if len(s.wakes) > 0 {
			at = min(at, s.wakes[0])
		}
		if math.IsInf(at, 1) {
			return nil, fmt.Errorf("minute %.0f: nothing runs and nothing comes, but %d entries wait, first %d", s.now, len(s.live), s.live[0].ID)
		}
		s.now = max(s.now, math.Ceil(at/tick)*tick)
		if s.now > close && s.atClose == nil {
			s.atClose = s.busyUntil(close)
		}
		s.arrive()
		s.finish()
		s.push()
		before := len(s.live)
		s.leave()
		if err := s.act(); err != nil {
			return nil, fmt.Errorf("minute %.2f: %w", s.now, err)
		}
		open -= before - len(s.live)
		if progress != nil {
			progress(len(w.Changes)-open, len(w.Changes))
		}
	}
	return s, nil
}

// busyUntil is how long each pool was busy until a moment that is not after the next event.
func (s *world) busyUntil(at float64) []float64 {
	busy := slices.Clone(s.busy)
	for _, r := range s.runs {
		busy[r.slots] += max(0, min(at, r.end)-r.start)
	}
	return busy
}

func (s *world) arrive() {
	for s.next < len(s.w.Changes) && s.w.Changes[s.next].At <= s.now {
		c := s.w.Changes[s.next]
		s.next++
		s.enter(c)
	}
}

// enter puts a change at the end of the queue; one that was thrown out and comes again is a new patchset.
func (s *world) enter(c *Change) {
	s.digest[c.ID] = speculate.Digest(fmt.Sprint("entry ", c.ID, " ", s.again[c.ID]))
	e := speculate.Entry{ID: c.ID, Digest: s.digest[c.ID], Needs: slices.Clone(c.Needs), DependsOn: c.DependsOn,
		Arrived: c.At, P: s.predict(c)}
	for k := range e.Needs { // predicted within 10 %
		e.Needs[k].Minutes *= 0.9 + 0.2*chance(s.seed, "length", c.ID, k)
	}
	e.Urgent, e.Priority = c.Urgent, c.Priority
	e.Rank = speculate.Place(s.live, e)
	at := slices.IndexFunc(s.live, func(o speculate.Entry) bool { return o.Rank > e.Rank })
	if at < 0 {
		at = len(s.live)
	}
	s.live = slices.Insert(slices.Clone(s.live), at, e)
}

// push moves the base past the queue.
func (s *world) push() {
	for ; s.pushed < len(s.w.Pushes) && s.w.Pushes[s.pushed].At <= s.now; s.pushed++ {
		p := s.w.Pushes[s.pushed]
		s.base[p.Check] = s.base[p.Check].Plus(speculate.Digest(fmt.Sprint("push ", s.pushed)))
		s.ledger.Base(p.Check, s.base[p.Check])
		s.broken[p.Check] = p.Bad
	}
}

// leave takes out what its authors want out.
func (s *world) leave() {
	for _, e := range slices.Clone(s.live) {
		if c := s.w.Changes[e.ID-1]; c.Leaves > 0 && c.Leaves <= s.now {
			s.live = slices.DeleteFunc(slices.Clone(s.live), func(o speculate.Entry) bool { return o.ID == e.ID })
			s.end(c, ended{at: s.now, why: dequeued})
		}
	}
}

// dequeued is why an entry left that its author took out.
const dequeued speculate.Why = "dequeued"

func (s *world) frozen() string {
	for _, f := range s.w.Freezes {
		if f.From <= s.now && s.now < f.Until {
			return fmt.Sprintf("until minute %.0f", f.Until)
		}
	}
	return ""
}

// wakes lists when something happens besides arrivals and ends of runs.
func (w *Workload) wakes() []float64 {
	var at []float64
	for _, f := range w.Freezes {
		at = append(at, f.From, f.Until)
	}
	for _, p := range w.Pushes {
		at = append(at, p.At)
	}
	for _, c := range w.Changes {
		if c.Leaves > 0 {
			at = append(at, max(c.At, c.Leaves))
		}
	}
	slices.Sort(at)
	return at
}

// finish takes in the runs that have ended.
func (s *world) finish() {
	for len(s.runs) > 0 && s.runs[0].end <= s.now {
		r := heap.Pop(&s.runs).(*run)
		delete(s.running, r.ID)
		s.free[r.slots]++
		s.account(r, r.end)
		s.ledger.Record(r.Edge, r.outcome, r.where)
		s.learnt(r)
	}
}

// learnt keeps with the entries what a run says of them on whatever tuple.
func (s *world) learnt(r *run) {
	for i := range s.live {
		e := &s.live[i]
		if !slices.Contains(r.Covers, e.ID) {
			continue
		}
		for k := range e.Needs {
			switch n := &e.Needs[k]; {
			case n.Check != r.Edge.Check:
			case r.outcome == slipway.Pass:
				n.Passed, n.Failed = true, 0
			case r.outcome == slipway.Fail && len(r.Covers) == 1 && s.ledger.Alone(r.Edge.Check, r.Edge.To, e.Digest):
				n.Failed++
			}
		}
	}
}

func (s *world) account(r *run, until float64) {
	s.busy[r.slots] += until - r.start
	if s.w.Pools[r.slots].Weight > 1 {
		if _, has := s.rigs[r.Edge]; !has {
			s.edges = append(s.edges, r.Edge)
		}
		s.rigs[r.Edge] += until - r.start
	}
}

// act plans and does what the plan says until there is nothing more to do at this time.
func (s *world) act() error {
	for range 10000 {
		snap := speculate.Snapshot{Now: s.now, Checks: s.w.Checks, Base: s.base, Entries: s.live, Pools: slices.Clone(s.w.Pools), Ledger: s.ledger,
			Landed: func(id speculate.ID) bool { return s.landed[id] }, Frozen: s.frozen(), Memory: s.memory}
		for i := range snap.Pools {
			snap.Pools[i].Free = s.free[i]
		}
		ids := make([]int64, 0, len(s.running))
		for _, r := range s.runs {
			ids = append(ids, r.ID)
		}
		slices.Sort(ids)
		for _, id := range ids {
			r := s.running[id]
			r.Left = r.end - s.now
			if r.outcome != slipway.Pass { // nobody knows that it will end early
				r.Left = max(1, r.end-r.start-(s.now-r.start))
			}
			snap.Runs = append(snap.Runs, r.Run)
		}
		p := s.planner.Plan(&snap)
		s.plans++
		for _, st := range p.Start {
			if err := s.whole(st); err != nil {
				return err
			}
		}
		s.memory = p.Memory
		for _, c := range p.Cancel {
			s.cancel(c.Run)
		}
		for _, l := range p.Land {
			if err := s.land(l); err != nil {
				return err
			}
		}
		for _, e := range p.Evict {
			if err := s.evict(e); err != nil {
				return err
			}
		}
		for _, id := range p.Yield {
			s.yield(id)
		}
		for _, st := range p.Start {
			if err := s.start(st); err != nil {
				return err
			}
		}
		if len(p.Land)+len(p.Evict)+len(p.Cancel)+len(p.Yield) == 0 {
			return nil
		}
	}
	return fmt.Errorf("the policy does not come to rest")
}

func (s *world) yield(id speculate.ID) {
	i := slices.IndexFunc(s.live, func(e speculate.Entry) bool { return e.ID == id })
	if i < 0 || i == len(s.live)-1 {
		return
	}
	e := s.live[i]
	e.Rank = s.live[len(s.live)-1].Rank + 1
	s.live = append(slices.Delete(slices.Clone(s.live), i, i+1), e)
}

func (s *world) cancel(id int64) {
	r := s.running[id]
	if r == nil {
		return
	}
	heap.Remove(&s.runs, r.index)
	delete(s.running, id)
	s.free[r.slots]++
	s.account(r, s.now)
}

// whole looks whether a run is for the tuple that it says.
func (s *world) whole(st speculate.Start) error {
	to := s.base[st.Edge.Check]
	for _, id := range st.Set {
		to = to.Plus(s.digest[id])
	}
	if to != st.Edge.To {
		return fmt.Errorf("a run of %s is for another tuple than the base and %v", s.w.Checks[st.Edge.Check].Name, st.Set)
	}
	return nil
}

func (s *world) start(st speculate.Start) error {
	pool := s.pools[s.w.Checks[st.Edge.Check].Label]
	if s.free[pool] == 0 {
		return fmt.Errorf("a run was started on %s without a free slot", s.w.Pools[pool].Label)
	}
	s.free[pool]--
	s.started++
	s.lastRun++
	s.tries[st.Edge]++
	for i := range s.live {
		if slices.Contains(st.Covers, s.live[i].ID) {
			s.live[i].Begun = true
		}
	}
	r := &run{Run: speculate.Run{ID: s.lastRun, Edge: st.Edge, Set: st.Set, Covers: st.Covers}, start: s.now, slots: pool}
	minutes := 0.0
	for _, id := range st.Covers {
		c := s.w.Changes[id-1]
		k, has := c.need[st.Edge.Check]
		if !has {
			return fmt.Errorf("a run of %s covers entry %d, which does not need it", s.w.Checks[st.Edge.Check].Name, id)
		}
		minutes = max(minutes, c.Needs[k].Minutes)
	}
	if st.Control {
		minutes = st.Minutes
	}
	try := s.tries[st.Edge]
	draw := func(what string) float64 {
		return chance(s.seed, what, st.Edge.Check, try, fmt.Sprint(st.Edge.From, st.Edge.To))
	}
	switch u := draw("luck"); {
	case u < s.w.Infra:
		r.outcome, minutes = slipway.Infra, minutes*draw("part")
	case s.bad(st):
		r.outcome, minutes = slipway.Fail, minutes*(failEarliest+(1-failEarliest)*draw("part"))
	case u < s.w.Infra+s.w.Flake:
		r.outcome, minutes = slipway.Fail, minutes*(failEarliest+(1-failEarliest)*draw("part"))
	default:
		r.outcome = slipway.Pass
	}
	r.where = fmt.Sprint(s.w.Pools[pool].Label, "-", s.lastRun%int64(s.w.Pools[pool].Total))
	r.end = s.now + minutes
	s.running[r.ID] = r
	heap.Push(&s.runs, r)
	return nil
}

// mended reports whether some entries mend what fails on the base.
func (s *world) mended(check int, by []speculate.ID) bool {
	return slices.ContainsFunc(by, func(id speculate.ID) bool { return slices.Contains(s.w.Changes[id-1].Mends, check) })
}

// bad is the truth about a tuple: something in it fails the check by itself, or two things do together.
func (s *world) bad(st speculate.Start) bool {
	if s.broken[st.Edge.Check] && !s.mended(st.Edge.Check, st.Set) {
		return true
	}
	for _, id := range st.Set {
		c := s.w.Changes[id-1]
		if c.Fails == st.Edge.Check {
			return true
		}
		for _, x := range c.Conflicts {
			if x.Check == st.Edge.Check && (s.landed[x.With] || slices.Contains(st.Set, x.With)) {
				return true
			}
		}
	}
	return false
}

func (s *world) take(id speculate.ID) (*Change, error) {
	i := slices.IndexFunc(s.live, func(e speculate.Entry) bool { return e.ID == id })
	if i < 0 {
		return nil, fmt.Errorf("entry %d is not in the queue, so it can neither land nor be evicted", id)
	}
	s.live = slices.Delete(slices.Clone(s.live), i, i+1)
	return s.w.Changes[id-1], nil
}

// land moves the base, after a look at everything that has to hold.
func (s *world) land(l speculate.Landing) error {
	moves := map[int]speculate.State{}
	var checks []int
	for _, id := range l.Entries {
		c, err := s.take(id)
		if err != nil {
			return err
		}
		for _, d := range c.DependsOn {
			if !s.landed[d] && !slices.Contains(l.Entries, d) {
				return fmt.Errorf("entry %d landed before %d, which it depends on", id, d)
			}
		}
		for _, n := range c.Needs {
			if _, has := moves[n.Check]; !has {
				checks = append(checks, n.Check)
			}
			moves[n.Check] = moves[n.Check].Plus(s.digest[id])
		}
	}
	slices.Sort(checks)
	for _, t := range checks {
		if s.broken[t] && !s.mended(t, l.Entries) {
			return fmt.Errorf("entries %v landed although %s fails on the base", l.Entries, s.w.Checks[t].Name)
		}
		to := s.base[t].Plus(moves[t])
		if !s.ledger.Proven(t, to) {
			return fmt.Errorf("entries %v landed on a tuple on which %s was not proven", l.Entries, s.w.Checks[t].Name)
		}
		s.base[t], s.broken[t] = to, false
		s.ledger.Base(t, to)
	}
	if why := speculate.Verify(l.Certificate, s.w.Checks, s.ledger); why != "" {
		return fmt.Errorf("the certificate of %v does not hold: %s", l.Entries, why)
	}
	for _, id := range l.Entries {
		c := s.w.Changes[id-1]
		if c.Fails >= 0 {
			return fmt.Errorf("entry %d landed although it fails", id)
		}
		for _, x := range c.Conflicts {
			if s.landed[x.With] {
				return fmt.Errorf("entries %d and %d landed although they fail together", x.With, id)
			}
		}
		s.landed[id] = true
		s.end(c, ended{at: s.now, landed: true})
	}
	if len(l.Certificate.Bypassed) > 0 {
		s.bypassed += len(l.Entries)
	}
	for _, t := range checks {
		s.used[speculate.Edge{Check: t, To: s.base[t]}] = true // rig checks are whole: their edges come from nothing
	}
	return nil
}

func (s *world) evict(e speculate.Eviction) error {
	c, err := s.take(e.Entry)
	if err != nil {
		return err
	}
	s.used[e.Edge] = true
	innocent := c.Fails < 0
	for _, x := range c.Conflicts {
		innocent = innocent && !s.landed[x.With]
	}
	for _, d := range c.DependsOn {
		innocent = innocent && s.landed[d]
	}
	if innocent {
		s.wrong++
		s.again[c.ID]++
		s.enter(c)
		return nil
	}
	s.end(c, ended{at: s.now, why: e.Why})
	return nil
}

func (s *world) end(c *Change, how ended) {
	s.ended[c.ID-1] = how
	s.oldest = max(s.oldest, s.now-c.At)
	if s.learn != nil {
		s.learn(c, how.landed)
	}
}
