package speculate

import (
	"math"
	"slices"
)

// merge replaces the entries of each batch by one unit that stands where its last entry does: it needs what any of them needs, and moves what all
// of them move. A batch is no more of which an entry has left, or cannot land with the others, or depends on something that depends on the batch.
func merge(s *Snapshot, batches [][]ID) (merged *Snapshot, units [][]*Entry, order, circular []int) {
	for {
		merged, units = unify(s, batches)
		order, circular = inOrder(merged.Entries, units)
		apart := slices.DeleteFunc(slices.Clone(circular), func(i int) bool { return units[i] == nil })
		if len(apart) == 0 {
			return merged, units, order, circular
		}
		batches = slices.DeleteFunc(slices.Clone(batches), func(b []ID) bool {
			return slices.ContainsFunc(apart, func(i int) bool { return slices.ContainsFunc(units[i], func(e *Entry) bool { return e.ID == b[0] }) })
		})
	}
}

func unify(s *Snapshot, batches [][]ID) (*Snapshot, [][]*Entry) {
	if len(batches) == 0 {
		return s, make([][]*Entry, len(s.Entries))
	}
	index := make(map[ID]int, len(s.Entries))
	for i := range s.Entries {
		index[s.Entries[i].ID] = i
	}
	of := map[int][]*Entry{} // by the last entry of a batch
	gone := map[int]bool{}
	for _, b := range batches {
		var unit []*Entry
		last := -1
		for _, id := range b {
			i, live := index[id]
			if !live || s.Entries[i].Invalid != "" || slices.ContainsFunc(s.Entries[i].DependsOn, func(d ID) bool {
				_, there := index[d]
				return !there && (s.Landed == nil || !s.Landed(d))
			}) {
				last = -1
				break
			}
			unit = append(unit, &s.Entries[i])
			if last < 0 || byRank(s.Entries[last], s.Entries[i]) < 0 {
				last = i
			}
		}
		if last >= 0 && len(unit) == len(b) && len(unit) > 1 {
			of[last] = unit
			for _, e := range unit {
				gone[index[e.ID]] = true
			}
		}
	}
	merged := *s
	merged.Entries = make([]Entry, 0, len(s.Entries))
	var units [][]*Entry
	for i := range s.Entries {
		switch unit := of[i]; {
		case unit != nil:
			merged.Entries = append(merged.Entries, unite(s, unit, s.Entries[i]))
			units = append(units, unit)
		case !gone[i]:
			merged.Entries = append(merged.Entries, s.Entries[i])
			units = append(units, nil)
		}
	}
	return &merged, units
}

// unite makes one entry of several; last is the one that stands last.
func unite(s *Snapshot, unit []*Entry, last Entry) Entry {
	u := last
	u.P, u.Needs, u.DependsOn, u.Clashes = 1, nil, nil, nil
	at := map[int]int{}
	for _, e := range unit {
		u.P *= e.P
		u.Arrived = min(u.Arrived, e.Arrived)
		u.Begun = u.Begun || e.Begun
		u.Clashes = append(u.Clashes, e.Clashes...)
		for _, d := range e.DependsOn {
			if !slices.ContainsFunc(unit, func(o *Entry) bool { return o.ID == d }) {
				u.DependsOn = append(u.DependsOn, d)
			}
		}
		for _, n := range e.Needs {
			k, has := at[n.Check]
			if !has {
				k = len(u.Needs)
				at[n.Check] = k
				u.Needs = append(u.Needs, Need{Check: n.Check, Passed: true})
			}
			m := &u.Needs[k]
			m.Minutes = max(m.Minutes, n.Minutes)
			m.Passed = m.Passed && n.Passed
			m.moves = m.moves.Plus(e.Digest)
		}
	}
	slices.SortStableFunc(u.Needs, func(a, b Need) int { return s.Checks[a.Check].Tier - s.Checks[b.Check].Tier })
	return u
}

// ids lists the entries of a unit.
func (w *world) ids(i int) []ID {
	if w.units[i] == nil {
		return []ID{w.Entries[i].ID}
	}
	list := make([]ID, 0, len(w.units[i]))
	for _, e := range w.units[i] {
		list = append(list, e.ID)
	}
	return list
}

// movers appends the entries of a unit that a check depends on.
func (w *world) movers(list []ID, i, t int) []ID {
	if w.units[i] == nil {
		return append(list, w.Entries[i].ID)
	}
	for _, e := range w.units[i] {
		if slices.ContainsFunc(e.Needs, func(n Need) bool { return n.Check == t }) {
			list = append(list, e.ID)
		}
	}
	return list
}

// batches lists the batches there are, in order.
func (w *world) batches() [][]ID {
	var list [][]ID
	for _, i := range w.order {
		if w.units[i] != nil {
			list = append(list, w.ids(i))
		}
	}
	return list
}

// split takes batches apart that are probably bad: a failed one in two parts that carry the same blame, so that testing the first tells the most
// and may land; one that gave no verdict entry by entry, since time-outs and lost runs cannot be halved.
func (w *world) split() (batches [][]ID, changed bool) {
	for _, i := range w.order {
		unit := w.units[i]
		if unit == nil {
			continue
		}
		v := &w.views[i]
		lost, failed := false, v.refuted >= 0 || v.p < 0.5
		for k := range v.needs {
			nv := &v.needs[k]
			verdict := w.Ledger.Of(w.edge(w.Entries[i].Needs[k].Check, nv))
			lost = lost || nv.status == unknown && verdict.Lost+verdict.Late > w.o.Retries
			failed = failed || nv.status == failing && nv.suspects == 1 && w.confirmed(nv) // however likely it was to pass
		}
		switch {
		case lost || v.stuck != "" || v.gone != "":
			changed = true
		case failed:
			changed = true
			blame, sum := make([]float64, len(unit)), 0.0
			for n, e := range unit {
				blame[n] = max(1-e.P, 1e-6)
				sum += blame[n]
			}
			cut, most := 1, math.Inf(1)
			for n, part := 1, blame[0]; n < len(unit); n++ {
				if d := math.Abs(2*part - sum); d < most {
					cut, most = n, d
				}
				part += blame[n]
			}
			for _, half := range [][]*Entry{unit[:cut], unit[cut:]} {
				if len(half) > 1 {
					ids := make([]ID, 0, len(half))
					for _, e := range half {
						ids = append(ids, e.ID)
					}
					batches = append(batches, ids)
				}
			}
		default:
			batches = append(batches, w.ids(i))
		}
	}
	return batches, changed
}

// join makes batches where more waits for a pool than has room: of neighbours that both wait there, will probably pass together, and have
// nothing between them that would see their order change. It makes pairs; called again, it makes pairs of these.
func (w *world) join() (batches [][]ID, changed bool) {
	if w.o.MaxBatch < 2 {
		return nil, false
	}
	ready := w.ready()
	with := make(pairs, len(w.units))
	for pool := range w.Pools {
		free := w.Pools[pool].Free
		if free == 0 || len(ready[pool]) <= free {
			continue
		}
		waits := make(map[member]bool, len(ready[pool]))
		for _, m := range ready[pool] {
			waits[m] = true
		}
		for spare := len(ready[pool]) - free; spare > 0 && len(ready[pool]) > 0; ready[pool] = ready[pool][1:] {
			m := ready[pool][0]
			t := w.Entries[m.entry].Needs[m.need].Check
			for _, next := range w.lists[t][w.views[m.entry].needs[m.need].pos+1:] {
				if w.views[next.entry].yields {
					continue
				}
				if waits[next] && with[m.entry] == 0 && with[next.entry] == 0 && w.joinable(m.entry, next.entry) && !w.entangled(m.entry, next.entry, with) {
					with[m.entry], with[next.entry] = next.entry+1, -m.entry-1
					spare--
					changed = true
				}
				break
			}
		}
	}
	for _, i := range w.order {
		switch {
		case with[i] > 0:
			batches = append(batches, append(w.ids(i), w.ids(with[i]-1)...))
		case with[i] == 0 && w.units[i] != nil:
			batches = append(batches, w.ids(i))
		}
	}
	return batches, changed
}

// pairs holds for each unit the one that follows it in its pair, plus one; or the one that it follows, plus one, below zero; or 0.
type pairs []int

// entangled reports whether a pair of two units would depend on itself: by way of a third unit, or of a pair that is to be made.
func (w *world) entangled(a, b int, with pairs) bool {
	if len(w.Entries[a].DependsOn)+len(w.Entries[b].DependsOn) == 0 {
		return false
	}
	seen := map[int]bool{}
	var leads func(i int, start bool) bool
	leads = func(i int, start bool) bool {
		if i == a || i == b {
			if !start {
				return true
			}
		} else if seen[i] {
			return false
		} else {
			seen[i] = true
			if n := with[i]; n != 0 && leads(max(n, -n)-1, false) {
				return true
			}
		}
		return slices.ContainsFunc(w.Entries[i].DependsOn, func(d ID) bool {
			j, live := w.index[d]
			return live && !(start && (j == a || j == b)) && leads(j, false)
		})
	}
	return leads(a, true) || leads(b, true)
}

// ready lists, by pool, what could start there: in order, whatever waits for nothing but room.
func (w *world) ready() [][]member {
	ready := make([][]member, len(w.Pools))
	n := 0 // place in the window
	for _, i := range w.order {
		v := &w.views[i]
		if v.yields {
			continue
		}
		if n++; !v.in || w.barred(n, i) != "" || v.gone != "" {
			continue
		}
		tier, clear, next := 0, true, true
		for k := range v.needs {
			nv, need := &v.needs[k], &w.Entries[i].Needs[k]
			if c := w.Checks[need.Check]; c.Tier > tier {
				tier, clear, next = c.Tier, clear && next, true
			}
			if nv.status < passed {
				next = next && need.Passed
			}
			if pool, known := w.pools[w.Checks[need.Check].Label]; known && clear && nv.status == unknown && nv.run < 0 && !nv.doomed && need.Failed == 0 {
				ready[pool] = append(ready[pool], member{i, k})
			}
		}
	}
	return ready
}

// joinable reports whether two units may become one: nothing runs for them that it would waste, nothing is known against what would be tested, and no live
// entry between them shares a check with the first, which moves back to the second.
func (w *world) joinable(a, b int) bool {
	size := max(1, len(w.units[a])) + max(1, len(w.units[b]))
	if !w.dear(a) && !w.dear(b) {
		return false
	}
	if size > w.o.MaxBatch || w.views[a].p*w.views[b].p < w.o.BatchPass || len(w.Entries[a].Clashes)+len(w.Entries[b].Clashes) > 0 ||
		w.Entries[a].Urgent != w.Entries[b].Urgent {
		return false
	}
	for k := range w.views[a].needs {
		nv, t := &w.views[a].needs[k], w.Entries[a].Needs[k].Check
		edge := w.edge(t, nv)
		for _, m := range w.lists[t][nv.pos+1:] {
			if m.entry == b {
				edge.To = w.views[b].needs[m.need].to
			}
			if m.entry == b || w.at[m.entry] > w.at[b] {
				break
			}
			return false
		}
		if nv.run >= 0 && nv.status < passed || !w.open(edge) {
			return false
		}
	}
	for k := range w.views[b].needs {
		if nv := &w.views[b].needs[k]; nv.run >= 0 && nv.status < passed || !w.open(w.edge(w.Entries[b].Needs[k].Check, nv)) {
			return false
		}
	}
	return true
}

// dear reports whether a unit has a check in a dear pool. Where all is cheap a batch saves little, and if it fails all in it wait for its parts.
func (w *world) dear(i int) bool {
	return slices.ContainsFunc(w.Entries[i].Needs, func(n Need) bool {
		pool, known := w.pools[w.Checks[n.Check].Label]
		return known && w.Pools[pool].Weight > 1
	})
}

// open reports whether a run may still pass: none of it failed, nor was it lost too often.
func (w *world) open(e Edge) bool {
	v := w.Ledger.Of(e)
	return v.Passes > 0 || v.Fails == 0 && v.Lost+v.Late <= w.o.Retries
}
