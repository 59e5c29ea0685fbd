package speculate

import (
	"cmp"
	"container/heap"
	"fmt"
	"slices"
	"sort"
	"strings"
)

// task is a run that would be worth while.
type task struct {
	entry, need int
	order       int
	edge        Edge
	flips       []int // undecided entries whose less likely outcome it assumes
	needed      float64
	value       float64
	minutes     float64
	pool        int
	control     bool
	why         string
}

// likelier is the chance of being needed below which the likeliest world of an entry far back comes behind the other worlds of those near the front.
const likelier = 0.4

// work chooses what to start, keep and cancel.
func (w *world) work(p *Plan) {
	free := make([]int, len(w.Pools))
	for i := range w.Pools {
		free[i] = w.Pools[i].Free
	}
	done := map[ID]bool{} // leaves with this plan
	for _, l := range p.Land {
		for _, id := range l.Entries {
			done[id] = true
		}
	}
	for _, e := range p.Evict {
		done[e.Entry] = true
	}
	var tasks []task
	var open []stream
	moved := map[ID]bool{}
	window := 0 // place in it
	for n, i := range w.order {
		e, v := &w.Entries[i], &w.views[i]
		if !v.yields {
			window++
		}
		if done[e.ID] {
			continue
		}
		if w.yield(i, moved) {
			moved[e.ID] = true
			p.Yield = append(p.Yield, e.ID)
		}
		if reason := w.barred(window, i); reason != "" {
			if v.yields && w.Frozen == "" && !w.waitsFor(e) {
				tasks = w.mend(tasks, n, i)
			}
			w.wait(p, i, reason)
			continue
		}
		reason := ""
		tier, clear, next := 0, true, true // whether lower tiers, and this one so far, let it go on
		for k := range e.Needs {
			nv, need := &v.needs[k], e.Needs[k]
			c := &w.Checks[need.Check]
			if c.Tier > tier {
				tier, clear = c.Tier, clear && next
				next = true
			}
			pool, known := w.pools[c.Label]
			if !known {
				next, reason = false, cmp.Or(reason, "there is nothing of the kind "+c.Label+" to run "+c.Name+" on")
				continue
			}
			single := task{entry: i, need: k, order: n, edge: w.edge(need.Check, nv), needed: nv.path, minutes: need.Minutes, pool: pool}
			if nv.run >= 0 && nv.status != proven {
				if !(v.refuted >= 0 && v.refuted != k && w.Pools[pool].Weight > 1) { // refuted: rigs are for others
					w.needed[nv.run] = max(w.needed[nv.run], nv.path)
				}
				reason = cmp.Or(reason, c.Name+" runs on its candidate")
			}
			if nv.status == passed && nv.ahead == 0 {
				tasks = w.test(tasks, task{entry: i, need: k, order: n, needed: 1, minutes: need.Minutes, pool: pool, why: "nobody has tested the base that " + c.Name + " passed on"})
			}
			if nv.status == passed {
				w.support(need.Check, nv.to, nv.path, 8)
			}
			switch {
			case nv.status == failing:
				next = next && need.Passed && nv.suspects > 1
				rerun := nv.suspects == 1 && !w.confirmed(nv) || nv.suspects > 1 && nv.flake >= again
				switch {
				case nv.run >= 0 || nv.suspects == 1 && w.again[member{i, need.Check}]:
				case !w.base[need.Check] && nv.ahead == 0 && nv.suspects == 1:
					tasks = w.test(tasks, task{entry: i, need: k, order: n, needed: 1, minutes: need.Minutes, pool: pool,
						why: c.Name + " failed on a base that nobody has tested; the base alone tells who is to blame"})
				case rerun:
					single.edge, single.why = nv.edge, mayBeFlake(c.Name, nv.fails)
					tasks = append(tasks, single)
				}
				reason = c.Name + " failed on its candidate; decided when what stands before it is"
			case nv.status >= passed || nv.run >= 0:
				if nv.status < passed {
					next = next && need.Passed
				}
				if clear && v.refuted < 0 {
					open = append(open, stream{task: single, doubts: nv.doubts})
				}
			case v.yields && k == v.refuted && !w.again[member{i, need.Check}]:
				single.why = mayBeFlake(c.Name, need.Failed)
				tasks = append(tasks, single)
			case v.refuted >= 0 || need.Failed > 0 && w.again[member{i, need.Check}]:
				next = false
			case !clear:
				next = false
			case nv.doomed:
				next = false
				reason = "stands on a batch whose " + c.Name + " failed; which entry is to blame is being found out"
			default:
				next = next && need.Passed
				if nv.path < w.o.floor(w.Pools[pool].Weight) {
					reason = cmp.Or(reason, "too many undecided entries before it for "+c.Name)
					break
				}
				tasks = append(tasks, single)
				reason = cmp.Or(reason, "waits for a slot for "+c.Name)
			}
		}
		w.wait(p, i, cmp.Or(reason, "passed its checks; waits for what stands before it"))
	}
	left := w.left()
	w.judgeRuns(left)
	likely, rest := tasks, []task(nil)
	if !w.o.Coin && !w.o.Known {
		slices.SortStableFunc(tasks, func(a, b task) int { return cmp.Compare(b.needed, a.needed) })
		cut := sort.Search(len(tasks), func(i int) bool { return tasks[i].needed < likelier })
		likely, rest = tasks[:cut], tasks[cut:]
	}
	w.fill(p, likely, free, &open)
	w.explore(p, open, free, left)
	w.fill(p, rest, free, &open)
	w.sweep(p)
}

// test adds a control run of the base to the tasks, unless it is known to pass, or the run is there already.
func (w *world) test(tasks []task, t task) []task {
	check := w.Entries[t.entry].Needs[t.need].Check
	t.edge, t.control = w.control(check), true
	if r := w.running(t.edge); r >= 0 {
		w.needed[r] = max(w.needed[r], t.needed)
		return tasks
	}
	if w.base[check] || slices.ContainsFunc(tasks, func(o task) bool { return o.edge == t.edge }) {
		return tasks
	}
	return append(tasks, t)
}

const (
	mends    = 0.2 // chance that an entry mends what fails on the base, or that the failure was a flake after all
	stubborn = 8   // runs that fail on the base until nobody asks again
)

// mend adds the runs that tell whether an entry that waits for the base to be mended is what mends it: each check once, alone on the base. If all of them
// pass it can land, and the base is good again. The base itself is run again a few times too..
func (w *world) mend(tasks []task, n, i int) []task {
	e, v := &w.Entries[i], &w.views[i]
	chance := mends
	if e.Urgent {
		chance = 1
	}
	for k, need := range e.Needs {
		c := &w.Checks[need.Check]
		if pool, known := w.pools[c.Label]; known && w.baseFails(need.Check) && w.Ledger.Of(w.control(need.Check)).Fails < stubborn {
			tasks = w.test(tasks, task{entry: i, need: k, order: n, needed: mends, minutes: need.Minutes, pool: pool,
				why: c.Name + " fails on the base; run again, since nothing goes on until it passes"})
		}
	}
	var tries []task
	tier := 0
	for k := range e.Needs {
		nv, need := &v.needs[k], &e.Needs[k]
		c := &w.Checks[need.Check]
		if c.Tier > tier && len(tries) > 0 {
			break
		}
		tier = c.Tier
		pool, known := w.pools[c.Label]
		if !known {
			break
		}
		try := task{entry: i, need: k, order: n, edge: w.edge(need.Check, nv), needed: chance, minutes: need.Minutes, pool: pool,
			why: "a check fails on the base; this tells whether the entry mends it"}
		if !w.base[need.Check] {
			try.edge.From = Nothing // a step from what fails proves nothing
		}
		if verdict := w.Ledger.Of(try.edge); verdict.Fails > 0 || verdict.Lost+verdict.Late > w.o.Retries {
			return tasks
		} else if verdict.Passes == 0 && !w.Ledger.Proven(need.Check, nv.to) {
			tries = append(tries, try)
		}
	}
	for _, t := range tries {
		if r := v.needs[t.need].run; r >= 0 {
			w.needed[r] = max(w.needed[r], chance)
		} else {
			tasks = append(tasks, t)
		}
	}
	return tasks
}

// support keeps the runs that the proof of a state hangs on, so many steps down.
func (w *world) support(t int, at State, path float64, steps int) {
	n := w.Ledger.nodes[place{t, at}]
	if n == nil || n.proven || steps == 0 {
		return
	}
	for _, from := range n.passed {
		if r, runs := w.runs[place{t, from}]; runs && w.needed[r] < path && !w.Ledger.Proven(t, from) {
			w.needed[r] = path
			w.support(t, w.Runs[r].Edge.From, path, steps-1)
		}
		w.support(t, from, path, steps-1)
	}
}

// yield reports whether an entry is to stand last from now on, since anybody would wait for it: one that failed on the base alone. What depends on one
// that is moved goes with it.
func (w *world) yield(i int, moved map[ID]bool) bool {
	e, v := &w.Entries[i], &w.views[i]
	if slices.ContainsFunc(e.DependsOn, func(d ID) bool { return moved[d] }) {
		return true
	}
	if !v.yields || v.stuck != "" {
		return false
	}
	for k := range v.needs {
		for _, m := range w.lists[e.Needs[k].Check][v.needs[k].pos+1:] {
			if !w.views[m.entry].yields {
				return true
			}
		}
	}
	return false
}

// barred says why nothing starts for an entry that is the n-th in the window.
func (w *world) barred(n, i int) string {
	e, v := &w.Entries[i], &w.views[i]
	switch {
	case w.Frozen != "" && !e.Begun:
		return "the queue is frozen: " + w.Frozen
	case v.stuck != "":
		return v.stuck
	case w.o.Window > 0 && n > w.o.Window && !v.yields:
		return "behind the window"
	}
	return ""
}

func (w *world) wait(p *Plan, i int, reason string) {
	if w.o.Terse {
		return
	}
	ahead := 0
	for k := range w.views[i].needs {
		ahead = max(ahead, w.views[i].needs[k].pos)
	}
	for _, id := range w.ids(i) {
		p.Wait = append(p.Wait, Wait{id, ahead, w.views[i].p, reason})
	}
}

func (w *world) running(e Edge) int {
	if r, ok := w.runs[place{e.Check, e.To}]; ok && w.Runs[r].Edge == e {
		return r
	}
	return -1
}

// judgeRuns finds how much what runs for no likely task is needed.
func (w *world) judgeRuns(left []float64) {
	for r := range w.Runs {
		run := &w.Runs[r]
		switch {
		case w.Ledger.Proven(run.Edge.Check, run.Edge.To):
			w.needed[r] = -2
		case w.needed[r] < 0:
			w.needed[r] = w.chance(run, left)
		}
	}
}

// sweep cancels what is hardly needed, and keeps the rest.
func (w *world) sweep(p *Plan) {
	for r := range w.Runs {
		run := &w.Runs[r]
		weight := 1.0
		if i, ok := w.pools[w.Checks[run.Edge.Check].Label]; ok {
			weight = w.Pools[i].Weight
		}
		switch need := w.needed[r]; {
		case need == displaced:
		case need < 0:
			p.Cancel = append(p.Cancel, Cancel{run.ID, "what it would prove is proven"})
		case need == 0:
			p.Cancel = append(p.Cancel, Cancel{run.ID, "its tuple can no longer be what lands"})
		case need < w.o.floor(weight)/3:
			p.Cancel = append(p.Cancel, Cancel{run.ID, fmt.Sprintf("its tuple will hardly be what lands (%.0f %%)", 100*need)})
		default:
			p.Keep = append(p.Keep, Keep{run.ID, need})
		}
	}
}

const displaced = -3 // instead of a chance: its run has been cancelled in favour of another

// chance is how likely the outcome is that a run of no task assumes: its tuple has to be the base and live entries, and every live entry that
// its check depends on, up to its last one, has to end as it assumes.
func (w *world) chance(r *Run, left []float64) float64 {
	t := r.Edge.Check
	if len(r.Covers) == 1 {
		if i, live := w.index[r.Covers[0]]; live && w.again[member{i, t}] {
			for k := range w.Entries[i].Needs {
				if w.Entries[i].Needs[k].Check == t && w.views[i].needs[k].suspects == 1 {
					return 1 // on whatever base: it tells whether a failure was a flake
				}
			}
		}
	}
	at, last, refuted := w.Base[t], -1, false
	in := make(map[int]bool, len(r.Set))
	for _, id := range r.Set {
		i, live := w.index[id]
		if !live {
			continue
		}
		k := w.need(i, t)
		if !in[i] && k >= 0 {
			at = at.Plus(w.Entries[i].digest(k))
			if w.views[i].needs[k].pos > last {
				last, refuted = w.views[i].needs[k].pos, w.views[i].refuted >= 0
			}
		}
		in[i] = true
	}
	if at != r.Edge.To || last < 0 {
		if at == r.Edge.To && at == w.Base[t] && !w.base[t] {
			return 1 // a control run
		}
		return 0
	}
	if refuted && w.Checks[t].Tier > 0 {
		return 0
	}
	chance, slow := 1.0, 0.0
	for _, m := range w.lists[t][:last] {
		v := &w.views[m.entry]
		if v.yields && !in[m.entry] {
			continue
		}
		if in[m.entry] {
			chance *= v.p
		} else {
			chance *= 1 - v.p
		}
		if in[m.entry] != v.in {
			slow = max(slow, left[m.entry])
		}
	}
	if w.o.Bypass > 0 && last <= bypassable && slow > r.Left {
		return max(chance, w.o.Bypass)
	}
	return chance
}

// fill starts tasks, most valuable first, where there is room, and where something far less valuable makes room.
func (w *world) fill(p *Plan, tasks []task, free []int, open *[]stream) {
	for i := range tasks {
		t := &tasks[i]
		// Minutes of waiting that it ends, for each minute that it takes.
		t.value = (w.Now - w.Entries[t.entry].Arrived + t.minutes) / t.minutes * float64(max(1, len(w.units[t.entry])))
		t.value *= t.needed / w.Pools[t.pool].Weight
	}
	slices.SortStableFunc(tasks, func(a, b task) int { return cmp.Or(cmp.Compare(b.value, a.value), cmp.Compare(a.order, b.order)) })
	for _, t := range tasks {
		if free[t.pool] == 0 && !w.displace(p, t) {
			continue
		}
		if free[t.pool] > 0 {
			free[t.pool]--
		}
		w.start(p, t)
		if !t.control && w.views[t.entry].needs[t.need].status == unknown {
			*open = append(*open, stream{task: t, doubts: w.views[t.entry].needs[t.need].doubts})
		}
	}
}

// displace cancels the run of a pool that is least likely to be needed, if the task is far likelier.
func (w *world) displace(p *Plan, t task) bool {
	worst, least := -1, 0.0 // by what a minute more of it is worth
	for r := range w.Runs {
		if w.needed[r] < 0 || w.pools[w.Checks[w.Runs[r].Edge.Check].Label] != t.pool {
			continue
		}
		if d := w.needed[r] / max(w.Runs[r].Left, 1); worst < 0 || d < least {
			worst, least = r, d
		}
	}
	if worst < 0 || w.needed[worst] >= 0.2 || t.needed/t.minutes < least*w.o.Sticky || t.needed < w.needed[worst]*w.o.Sticky {
		return false
	}
	p.Cancel = append(p.Cancel, Cancel{w.Runs[worst].ID, fmt.Sprintf("gives way: needed with %.0f %%, against %.0f %%", 100*w.needed[worst], 100*t.needed)})
	w.needed[worst] = displaced
	return true
}

func (w *world) start(p *Plan, t task) {
	c := &w.Checks[t.edge.Check]
	s := Start{Edge: t.edge, Minutes: t.minutes, Needed: t.needed, Value: t.value, Control: t.control, Reason: t.why,
		Avoid: w.Ledger.Of(t.edge).Avoid}
	if !t.control {
		s.Set = w.tuple(t)
		s.Covers = w.movers(nil, t.entry, t.edge.Check)
	}
	if s.Reason == "" && !w.o.Terse {
		s.Reason = w.reason(t, c, s)
	}
	p.Start = append(p.Start, s)
}

// tuple lists the entries beyond the base that a task's run depends on.
func (w *world) tuple(t task) []ID {
	var set []ID
	if w.views[t.entry].yields {
		return w.movers(set, t.entry, t.edge.Check) // alone
	}
	for _, m := range w.lists[t.edge.Check][:w.views[t.entry].needs[t.need].pos] {
		if w.views[m.entry].in != slices.Contains(t.flips, m.entry) {
			set = w.movers(set, m.entry, t.edge.Check)
		}
	}
	return w.movers(set, t.entry, t.edge.Check)
}

func (w *world) reason(t task, c *Check, s Start) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s of entry %d", c.Name, w.Entries[t.entry].ID)
	if n := len(w.units[t.entry]); n > 1 {
		fmt.Fprintf(&b, " and %d more together, since capacity is short", n-1)
	}
	switch n := len(s.Set) - len(s.Covers); {
	case n == 0:
		b.WriteString(" on the base")
	default:
		fmt.Fprintf(&b, " on the base and %d before it", n)
	}
	for _, f := range t.flips {
		verb := "fails"
		if !w.views[f].in {
			verb = "lands after all"
		}
		fmt.Fprintf(&b, ", in case entry %d %s", w.Entries[f].ID, verb)
	}
	fmt.Fprintf(&b, "; needed with %.0f %%", 100*t.needed)
	return b.String()
}

// stream yields the less likely worlds of one check of one entry, likeliest first.
type stream struct {
	task   task
	doubts [doubts]doubt
	worlds []alternative // made when the first is taken
	next   int
	value  float64
}

type alternative struct {
	flips []int
	ratio float64
}

// streams is a heap by value.
type streams []*stream

func (h streams) Len() int { return len(h) }
func (h streams) Less(a, b int) bool {
	if h[a].value != h[b].value {
		return h[a].value > h[b].value
	}
	if h[a].task.order != h[b].task.order {
		return h[a].task.order < h[b].task.order
	}
	return h[a].task.edge.Check < h[b].task.edge.Check
}
func (h streams) Swap(a, b int) { h[a], h[b] = h[b], h[a] }

// Push implements [heap.Interface].
func (h *streams) Push(x any) { *h = append(*h, x.(*stream)) }

// Pop implements [heap.Interface].
func (h *streams) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// explore spends what is left on other outcomes of the entries before: the tree of assumptions, best first. A stream is expanded only when its best
// world is the best of all.
func (w *world) explore(p *Plan, open []stream, free []int, left []float64) {
	spare := false
	for _, n := range free {
		spare = spare || n > 0
	}
	if !spare {
		return
	}
	var h streams
	for i := range open {
		s := &open[i]
		if free[s.task.pool] == 0 || s.doubts[0].ratio == 0 {
			continue
		}
		if s.value = w.worth(s, []int{s.doubts[0].entry}, s.doubts[0].ratio, left); s.value >= w.o.floor(w.Pools[s.task.pool].Weight) {
			h = append(h, s)
		}
	}
	heap.Init(&h)
	for h.Len() > 0 {
		s := h[0]
		if s.worlds == nil {
			s.worlds = alternatives(s.doubts)
		}
		if free[s.task.pool] > 0 {
			w.speculate(p, s, free, left)
		}
		s.next++
		if s.next < len(s.worlds) && free[s.task.pool] > 0 {
			a := s.worlds[s.next]
			s.value = min(s.value, w.worth(s, a.flips, a.ratio, left))
		} else {
			s.value = 0
		}
		if s.value < w.o.floor(w.Pools[s.task.pool].Weight) {
			heap.Pop(&h)
		} else {
			heap.Fix(&h, 0)
		}
	}
}

// worth is the chance that a world comes true, or more if its verdict would let the entry pass a slow one.
func (w *world) worth(s *stream, flips []int, ratio float64, left []float64) float64 {
	chance := s.task.needed * ratio
	if pool := w.Pools[s.task.pool]; pool.Weight > 1 || w.o.Bypass <= 0 || w.views[s.task.entry].needs[s.task.need].pos > bypassable {
		return chance
	}
	slow := 0.0
	for _, f := range flips {
		slow = max(slow, left[f])
	}
	if slow > s.task.minutes*1.2 {
		return max(chance, w.o.Bypass)
	}
	return chance
}

// left is how many minutes each entry still needs at least.
func (w *world) left() []float64 {
	left := make([]float64, len(w.Entries))
	for i := range w.views {
		tiers, tier, most := 0.0, 0, 0.0
		for k := range w.views[i].needs {
			nv, n := &w.views[i].needs[k], &w.Entries[i].Needs[k]
			if w.Checks[n.Check].Tier != tier {
				tiers, tier, most = tiers+most, w.Checks[n.Check].Tier, 0
			}
			switch {
			case nv.status >= passed:
			case nv.run >= 0:
				most = max(most, w.Runs[nv.run].Left)
			default:
				most = max(most, n.Minutes)
			}
		}
		left[i] = tiers + most
	}
	return left
}

// speculate starts the run of a stream's next world unless it is there already.
func (w *world) speculate(p *Plan, s *stream, free []int, left []float64) {
	a := s.worlds[s.next]
	t := s.task
	nv := &w.views[t.entry].needs[t.need]
	e := &w.Entries[t.entry]
	at := nv.from
	for _, f := range a.flips {
		if slices.Contains(e.DependsOn, w.Entries[f].ID) || slices.Contains(e.Clashes, w.Entries[f].ID) || w.views[f].gone != "" || w.views[f].stuck != "" {
			return
		}
		if w.views[f].in {
			at = at.Minus(w.Entries[f].digest(w.need(f, t.edge.Check)))
		} else {
			at = at.Plus(w.Entries[f].digest(w.need(f, t.edge.Check)))
		}
	}
	t.edge = Edge{t.edge.Check, at, at.Plus(e.digest(t.need))}
	if w.Checks[t.edge.Check].Whole {
		t.edge.From = Nothing
	}
	t.flips = a.flips
	t.needed = w.worth(s, a.flips, a.ratio, left)
	if v := w.Ledger.Of(t.edge); v.Passes+v.Fails > 0 || w.Ledger.Proven(t.edge.Check, t.edge.To) {
		return
	}
	if r, runs := w.runs[place{t.edge.Check, t.edge.To}]; runs {
		if w.needed[r] >= 0 {
			w.needed[r] = max(w.needed[r], t.needed)
		}
		return
	}
	if e.Needs[t.need].Minutes <= 0 {
		return
	}
	t.minutes = e.Needs[t.need].Minutes
	t.value = t.needed / w.Pools[t.pool].Weight
	free[t.pool]--
	w.start(p, t)
}

// alternatives lists the combinations of flips of some doubts, likeliest first.
func alternatives(list [doubts]doubt) []alternative {
	n := 0
	for n < len(list) && list[n].ratio > 0 {
		n++
	}
	var all []alternative
	for mask := 1; mask < 1<<n; mask++ {
		a := alternative{ratio: 1}
		for b, d := range list[:n] {
			if mask&(1<<b) != 0 {
				a.flips = append(a.flips, d.entry)
				a.ratio *= d.ratio
			}
		}
		all = append(all, a)
	}
	slices.SortStableFunc(all, func(a, b alternative) int { return cmp.Compare(b.ratio, a.ratio) })
	return all
}

// mayBeFlake says why a check that has failed so often runs again.
func mayBeFlake(check string, fails int) string {
	often := fmt.Sprintf("%d times", fails)
	if fails == 1 {
		often = "once"
	}
	return fmt.Sprintf("%s failed %s, which may be a flake; run again before anybody is blamed", check, often)
}
