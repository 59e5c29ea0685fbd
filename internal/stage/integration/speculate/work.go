package speculate

import (
	"cmp"
	"container/heap"
	"fmt"
	"slices"
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
	controls := map[int]bool{}
	for n, i := range w.order {
		e, v := &w.Entries[i], &w.views[i]
		if done[e.ID] {
			continue
		}
		if reason := w.barred(n, i); reason != "" {
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
			if nv.frozen || !known {
				next = false
				continue
			}
			single := task{entry: i, need: k, order: n, edge: w.edge(need.Check, nv), needed: nv.path, minutes: need.Minutes, pool: pool}
			if nv.run >= 0 && nv.status != proven {
				if !(v.refuted >= 0 && v.refuted != k && w.Pools[pool].Weight > 1) { // refuted: rigs are for others
					w.needed[nv.run] = max(w.needed[nv.run], nv.path)
				}
				reason = cmp.Or(reason, c.Name+" runs on its candidate")
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
					if edge := w.control(need.Check); !controls[need.Check] && w.running(edge) < 0 {
						controls[need.Check] = true
						tasks = append(tasks, task{entry: i, need: k, order: n, edge: edge, needed: 1, minutes: need.Minutes, pool: pool, control: true,
							why: c.Name + " failed on a base that nobody has tested; the base alone tells who is to blame"})
					} else if r := w.running(edge); r >= 0 {
						w.needed[r] = 1
					}
				case rerun:
					single.edge, single.why = nv.edge, fmt.Sprintf("%s failed %d times, which may be a flake; run again before anybody is blamed", c.Name, nv.fails)
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
				single.why = fmt.Sprintf("%s failed %d times, which may be a flake; run again before anybody is blamed", c.Name, need.Failed)
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
		if v.yields {
			w.yield(p, i)
		}
		w.wait(p, i, cmp.Or(reason, "passed its checks; waits for what stands before it"))
	}
	left := w.left()
	w.judgeRuns(left)
	w.fill(p, tasks, free, &open)
	w.explore(p, open, free, left)
	w.sweep(p)
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

// yield asks that an entry stand last that failed on the base alone.
func (w *world) yield(p *Plan, i int) {
	for k := range w.views[i].needs {
		if nv := &w.views[i].needs[k]; nv.pos < len(w.lists[w.Entries[i].Needs[k].Check])-1 {
			p.Yield = append(p.Yield, w.Entries[i].ID)
			return
		}
	}
}

// barred says why nothing starts for an entry.
func (w *world) barred(n, i int) string {
	e, v := &w.Entries[i], &w.views[i]
	switch {
	case w.Frozen != "" && !e.Begun:
		return "the queue is frozen: " + w.Frozen
	case v.stuck != "":
		return v.stuck
	case w.o.Window > 0 && n >= w.o.Window:
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
