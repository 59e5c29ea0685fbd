package speculate

import (
	"cmp"
	"math"
	"slices"
)

// status says what is known of one check of an entry in the likeliest world.
type status uint8

const (
	unknown status = iota
	failing        // it failed, and has not passed
	passed         // its own run passed; what it stands on is still under way
	proven         // everything in the tuple is proven
)

// needView is one check of one entry in the likeliest world: on the entries before it that will probably land.
type needView struct {
	from, to State
	status   status
	whole    bool // the proof of the tuple with every live entry before it is there
	pos      int  // place among the live entries that the check lists
	ahead    int  // how many of those before it do not yield
	run      int  // index of the run on to, or -1
	path     float64
	edge     Edge // that failed
	fails    int
	suspects int           // how many could be to blame for it
	bad      float64       // chance that this entry is
	flake    float64       // chance that nobody is
	doomed   bool          // it stands on a tuple that failed; which entry of that is to blame is not known yet
	doubts   [doubts]doubt // the most doubtful entries before it, most doubtful first; a ratio of 0 ends them
}

// view is one entry in the likeliest world.
type view struct {
	p       float64 // chance that it lands
	in      bool    // the world has it land
	needs   []needView
	refuted int    // index of the need that refutes it, or -1
	gone    string // why it cannot stay
	why     Why
	stuck   string // why nothing can run for it
	out     bool   // of the landing
	batch   bool   // shares the blame of a failed batch
	// yields: it is judged as if it stood last, so that nobody waits for it: it failed on the base alone and is run again to rule out a flake, or it
	// cannot be tested for now.
	yields bool
}

type member struct{ entry, need int }

// doubt is an undecided entry before another, and how likely its less likely outcome is in relation to the other.
type doubt struct {
	entry int
	ratio float64
}

// again is the chance of a flake from which on a failed run is run again before its blame is shared out.
const again = 0.2

const doubts = 3 // so many undecided entries before an entry are speculated on both ways

// world is what a plan is made from.
type world struct {
	*Snapshot            // its entries are units: one entry, or a batch of several
	units     [][]*Entry // by unit: the entries of a batch; nil for one entry
	o         Options
	order     []int
	at        []int // by unit: its place in the order
	index     map[ID]int
	circular  []int // entries that depend on themselves, though they should be one change set
	views     []view
	lists     [][]member // by check: its live entries, in order
	base      []bool     // by check: the base is proven
	forced    map[int]float64
	runs      map[place]int
	pools     map[string]int
	cur       []State
	full      []State
	path      []float64
	since     [][]int // by check: entries of the world since the last prefix that passed
	doubts    [][]doubt
	needed    []float64 // by run: chance that it is needed; -1: not known yet
	ahead     []int
	doomed    []bool
	again     map[member]bool // (entry, check): a run tells whether its failure was a flake
	suspect   []float64       // by entry: share of the blame of a batch
}

func newWorld(s *Snapshot, o Options, batches [][]ID) *world {
	s, units, order, circular := merge(s, batches)
	w := &world{Snapshot: s, o: o, units: units, order: order, index: indexOf(s.Entries, units), circular: circular, at: make([]int, len(order)), views: make([]view, len(s.Entries)),
		lists: make([][]member, len(s.Checks)), base: make([]bool, len(s.Checks)), forced: map[int]float64{}, runs: make(map[place]int, len(s.Runs)),
		pools: make(map[string]int, len(s.Pools)), cur: make([]State, len(s.Checks)), full: make([]State, len(s.Checks)), path: make([]float64, len(s.Checks)),
		since: make([][]int, len(s.Checks)), doubts: make([][]doubt, len(s.Checks)), ahead: make([]int, len(s.Checks)), doomed: make([]bool, len(s.Checks)), again: map[member]bool{}, needed: make([]float64, len(s.Runs)), suspect: make([]float64, len(s.Entries))}
	for i := range s.Runs {
		w.needed[i] = -1
		r := &s.Runs[i]
		if at := (place{r.Edge.Check, r.Edge.To}); !twice(w.runs, at) {
			w.runs[at] = i
		}
	}
	for i := range s.Runs {
		if r := &s.Runs[i]; len(r.Covers) == 1 {
			if e, live := w.index[r.Covers[0]]; live && units[e] == nil && s.Ledger.Alone(r.Edge.Check, r.Edge.To, s.Entries[e].Digest) {
				w.again[member{e, r.Edge.Check}] = true
			}
		}
	}
	for i, p := range s.Pools {
		w.pools[p.Label] = i
	}
	for n, i := range order {
		w.at[i] = n
	}
	count := make([]int, len(s.Checks))
	total := 0
	for _, e := range s.Entries {
		total += len(e.Needs)
		for _, n := range e.Needs {
			count[n.Check]++
		}
	}
	needs := make([]needView, total)
	members := make([]member, total)
	at := 0
	for t, n := range count {
		w.lists[t] = members[at:at:(at + n)]
		at += n
		w.base[t] = s.Ledger.Proven(t, s.Base[t])
	}
	for i := range s.Entries {
		n := len(s.Entries[i].Needs)
		w.views[i].needs, needs = needs[:n:n], needs[n:]
	}
	for _, i := range w.order {
		for k, n := range s.Entries[i].Needs {
			w.views[i].needs[k].pos = len(w.lists[n.Check])
			w.lists[n.Check] = append(w.lists[n.Check], member{i, k})
		}
	}
	return w
}

func twice(runs map[place]int, at place) bool { _, has := runs[at]; return has }

// settle finds the likeliest world: who lands, judged by predictions and by all evidence there is. When a failed run points at an entry
// before the one that failed, the world is judged again without that.
func (w *world) settle() {
	for range 12 {
		if w.judge() {
			return
		}
	}
}

func (w *world) judge() bool {
	for t := range w.Checks {
		w.cur[t], w.full[t], w.path[t] = w.Base[t], w.Base[t], 1
		w.since[t], w.doubts[t], w.ahead[t] = w.since[t][:0], w.doubts[t][:0], 0
	}
	clear(w.suspect)
	clear(w.doomed)
	for _, i := range w.order {
		if !w.judgeEntry(i) {
			return false
		}
	}
	return true
}

func (w *world) judgeEntry(i int) bool {
	e, v := &w.Entries[i], &w.views[i]
	v.refuted, v.stuck, v.gone, v.batch, v.yields = -1, "", "", false, false
	outer := w.outside(i)
	p := e.P
	switch {
	case w.o.Coin:
		p = 0.5
	case !w.o.Known:
		p = min(max(p, 0.001), 0.999)
	}
	prior := math.Log(max(p, 1e-9))
	blames := 0.0
	for _, n := range e.Needs {
		blames += blame(w.Checks[n.Check])
	}
	share, clean := 0.0, 1.0
	certain := true
	if why := w.untestable(i); why != "" && v.gone == "" && !v.yields {
		v.yields, v.stuck = true, why
	}
	if v.yields {
		w.setAside(i)
		return true
	}
	for k, n := range e.Needs {
		if n.Failed == 0 || w.o.Coin || w.Ledger.Proven(n.Check, w.Base[n.Check].Plus(e.digest(k))) {
			continue
		}
		if odds := passOdds(prior * blame(w.Checks[n.Check]) / blames); odds/(odds+math.Pow(w.o.Flake, float64(n.Failed))) >= 0.9 {
			v.yields, v.refuted = true, k
		}
	}
	for k := range e.Needs {
		n, nv := &e.Needs[k], &v.needs[k]
		t := n.Check
		*nv = needView{from: w.cur[t], to: w.cur[t].Plus(e.digest(k)), pos: nv.pos, ahead: w.ahead[t], doomed: w.doomed[t], run: -1, path: w.path[t]}
		if copy(nv.doubts[:], w.doubts[t]); v.yields {
			*nv = needView{from: w.Base[t], to: w.Base[t].Plus(e.digest(k)), pos: nv.pos, run: -1, path: 1}
		}
		if r, ok := w.runs[place{t, nv.to}]; ok {
			nv.run = r
		}
		w.look(t, nv)
		full := w.full[t].Plus(e.digest(k))
		nv.whole = nv.status == proven
		if full != nv.to {
			nv.whole = w.Ledger.Proven(t, full)
		}
		part := blame(w.Checks[t]) / blames
		switch nv.status {
		case unknown:
			certain = false
			if n.Failed > 0 {
				odds := passOdds(prior * part)
				nv.fails, nv.suspects = n.Failed, 1
				nv.bad = odds / (odds + math.Pow(w.o.Flake, float64(n.Failed)))
				clean *= 1 - nv.bad
			}
			if n.Passed && !w.o.Coin {
				part /= 4
			}
			share += part
		case failing:
			certain = false
			if !w.weigh(i, k, prior*part) {
				return false
			}
			clean *= 1 - nv.bad
		}
	}
	v.p = math.Exp(prior*share) * clean * outer
	if bad, ok := w.forced[i]; ok && !certain {
		v.p *= 1 - bad
	}
	if v.gone != "" || v.stuck != "" {
		v.p = 0
	}
	v.in = v.p >= 0.5 && !v.yields
	if v.yields {
		for k := range v.needs {
			v.needs[k].whole = w.Ledger.Proven(e.Needs[k].Check, w.full[e.Needs[k].Check])
		}
		return true // as if it stood at the end
	}
	w.enter(i)
	return true
}

// untestable says why nothing can prove an entry for now: a check fails on the base itself and not with the entry, or there is nothing to run it on.
func (w *world) untestable(i int) string {
	e := &w.Entries[i]
	for k := range e.Needs {
		t := e.Needs[k].Check
		if !w.base[t] && w.baseFails(t) && !w.Ledger.Proven(t, w.Base[t].Plus(e.digest(k))) {
			return w.Checks[t].Name + " fails on the base itself"
		}
	}
	return ""
}

// setAside judges an entry that nobody waits for and that waits for others itself.
func (w *world) setAside(i int) {
	e, v := &w.Entries[i], &w.views[i]
	v.p, v.in = 0, false
	for k := range e.Needs {
		nv, t := &v.needs[k], e.Needs[k].Check
		*nv = needView{from: w.Base[t], to: w.Base[t].Plus(e.digest(k)), pos: nv.pos, run: -1, path: 1, whole: w.Ledger.Proven(t, w.full[t])}
		if r, ok := w.runs[place{t, nv.to}]; ok {
			nv.run = r
		}
	}
}

func blame(c Check) float64 {
	if c.Blame == 0 {
		return 1
	}
	return c.Blame
}

// outside is the chance that nothing but checks keeps the entry from landing, and says what does.
func (w *world) outside(i int) float64 {
	e, v := &w.Entries[i], &w.views[i]
	chance := 1.0
	if e.Invalid != "" {
		v.gone, v.why = e.Invalid, Unmergable
	}
	if slices.Contains(w.circular, i) {
		v.gone, v.why = "it depends on itself by way of others, so none of them can land first; they have to be one change set", Unmergable
	}
	for _, d := range e.DependsOn {
		j, live := w.index[d]
		switch {
		case live:
			chance *= w.views[j].p
			if !w.views[j].in && v.stuck == "" {
				v.stuck = "waits for what it depends on, which will probably not land"
			}
			if w.views[j].yields {
				v.yields, v.stuck = true, cmp.Or(v.stuck, "waits for what it depends on, which is run again")
			}
		case w.Landed == nil || !w.Landed(d):
			v.gone, v.why = "what it depends on has left the queue", Dependent
		}
	}
	for _, c := range e.Clashes {
		if j, live := w.index[c]; live && w.at[j] < w.at[i] && !w.views[j].yields {
			chance *= 1 - w.views[j].p
			if w.views[j].in {
				v.stuck = "does not merge with an entry before it that will probably land"
			}
		}
	}
	if e.Begun || !w.o.Supersede || v.gone != "" {
		return chance
	}
	for j := range w.Entries {
		if slices.Contains(w.Entries[j].Replaces, e.ID) {
			v.gone, v.why = "a newer version of it is in the queue", Superseded
		}
	}
	return chance
}

// look finds what the ledger knows of a check on a tuple.
func (w *world) look(t int, nv *needView) {
	n := w.Ledger.nodes[place{t, nv.to}]
	switch {
	case n == nil:
	case n.proven:
		nv.status = proven
	case slices.ContainsFunc(n.passed, func(from State) bool { return from == nv.from || w.alive(t, from, 8) }):
		nv.status = passed
	case len(n.failed) > 0 && (len(n.passed) == 0 || slices.Contains(n.failed, nv.from)):
		nv.status = failing
		nv.edge = Edge{t, n.failed[0], nv.to}
		for _, from := range n.failed {
			if from == nv.from {
				nv.edge.From = from
			}
		}
		nv.fails = w.Ledger.Of(nv.edge).Fails
	}
}

// alive reports whether a state that a proof hangs on may still be proven, by what runs or has passed, so many steps down.
func (w *world) alive(t int, at State, steps int) bool {
	if w.Ledger.Proven(t, at) {
		return true
	}
	if steps == 0 {
		return false
	}
	if r, runs := w.runs[place{t, at}]; runs && w.alive(t, w.Runs[r].Edge.From, steps-1) {
		return true
	}
	n := w.Ledger.nodes[place{t, at}]
	return n != nil && slices.ContainsFunc(n.passed, func(from State) bool { return w.alive(t, from, steps-1) })
}

// weigh shares the blame for a failed run out among the entries that it could be, and the chance that nothing is wrong (Bayes). It
// reports false when an entry before this one turned out to be the likeliest: then the world has to be judged again.
func (w *world) weigh(i, k int, prior float64) bool {
	v := &w.views[i]
	nv := &v.needs[k]
	t := nv.edge.Check
	since := w.since[t]
	if v.yields {
		since = nil
	}
	if len(since) == 0 {
		nv.fails = max(nv.fails, w.Entries[i].Needs[k].Failed)
	}
	sum := math.Pow(w.o.Flake, float64(nv.fails))
	own := passOdds(prior)
	sum += own
	for _, j := range since {
		sum += passOdds(w.passLog(j, t))
	}
	nv.bad, nv.flake = own/sum, math.Pow(w.o.Flake, float64(nv.fails))/sum
	nv.suspects = 1 + len(since)
	if nv.suspects == 1 {
		if nv.bad >= 0.5 && v.refuted < 0 {
			v.refuted = k
		}
		return true
	}
	worst, most := i, nv.bad
	for _, j := range since {
		bad := passOdds(w.passLog(j, t)) / sum
		w.suspect[j] = max(w.suspect[j], bad)
		if bad > most {
			worst, most = j, bad
		}
	}
	w.suspect[i] = max(w.suspect[i], nv.bad)
	v.batch = true
	if _, did := w.forced[worst]; most >= 0.5 && worst != i && !did {
		w.forced[worst] = most
		return false
	}
	return true
}

// passOdds are the odds against a pass, from the logarithm of its chance.
func passOdds(lnPass float64) float64 {
	p := math.Exp(lnPass)
	return max(1-p, 1e-12) / max(p, 1e-12)
}

// passLog is the logarithm of the predicted chance that an entry passes one check.
func (w *world) passLog(i, t int) float64 {
	e := &w.Entries[i]
	sum, part := 0.0, 0.0
	for _, n := range e.Needs {
		b := blame(w.Checks[n.Check])
		sum += b
		if n.Check == t {
			part = b
		}
	}
	p := e.P
	if w.o.Coin {
		p = 0.5
	}
	if w.o.Known {
		return math.Log(min(max(p, 1e-9), 1)) * part / sum
	}
	return math.Log(min(max(p, 0.001), 0.999)) * part / sum
}

// enter adds a judged entry to the world of those behind it.
func (w *world) enter(i int) {
	e, v := &w.Entries[i], &w.views[i]
	sure := max(v.p, 1-v.p)
	ratio := (1 - sure) / sure
	for k := range e.Needs {
		t := e.Needs[k].Check
		w.full[t] = w.full[t].Plus(e.digest(k))
		w.ahead[t]++
		if sure < 1 {
			w.path[t] *= sure
		}
		if ratio > 0.02 {
			w.doubts[t] = addDoubt(w.doubts[t], doubt{i, ratio})
		}
		if !v.in {
			continue
		}
		w.cur[t] = v.needs[k].to
		switch nv := &v.needs[k]; {
		case nv.status == failing && nv.suspects > 1 && nv.flake < again:
			w.doomed[t] = true
		case nv.status >= passed:
			w.doomed[t] = false
		}
		if s := v.needs[k].status; s == passed || s == proven {
			w.since[t] = w.since[t][:0]
		} else {
			w.since[t] = append(w.since[t], i)
		}
	}
}

// addDoubt keeps the greatest few, in order.
func addDoubt(list []doubt, d doubt) []doubt {
	list = append(list, d)
	for n := len(list) - 1; n > 0 && list[n].ratio > list[n-1].ratio; n-- {
		list[n], list[n-1] = list[n-1], list[n]
	}
	return list[:min(len(list), doubts)]
}

// control is the run that tells whether a base that nobody has proven passes a check.
func (w *world) control(t int) Edge { return Edge{t, Nothing, w.Base[t]} }

// baseFails reports whether the base itself fails a check: more than once, and so often that flakes are ruled out. That somebody broke it is as likely
// beforehand as not, since nobody asks before something has failed on it.
func (w *world) baseFails(t int) bool {
	v := w.Ledger.Of(w.control(t))
	flake := math.Pow(w.o.Flake, float64(v.Fails))
	return v.Passes == 0 && v.Fails >= 2 && (flake/(1+flake) <= w.o.Doubt || v.Fails >= w.o.MaxFails)
}
