package speculate

import "fmt"

// freeze reports the checks that fail on the base itself.
func (w *world) freeze(p *Plan) {
	for t := range w.Checks {
		if !w.base[t] && len(w.lists[t]) > 0 && w.baseFails(t) {
			p.Freeze = append(p.Freeze, Freeze{t, fmt.Sprintf("%s fails on the base without any entry, %d times; nobody is evicted for it until the base is mended",
				w.Checks[t].Name, w.Ledger.Of(w.control(t)).Fails)})
		}
	}
}

// evict takes out what cannot stay. An entry is blamed only when the failing tuple is the base and the entry alone, the base itself passes, and
// flakes are ruled out; what failed in a speculation waits until the speculation has come true.
func (w *world) evict(p *Plan) {
	landing := map[ID]bool{}
	for _, l := range p.Land {
		for _, id := range l.Entries {
			landing[id] = true
		}
	}
	for _, i := range w.order {
		e, v := &w.Entries[i], &w.views[i]
		if landing[e.ID] || w.units[i] != nil { // a batch is never blamed: it comes apart
			continue
		}
		if v.gone != "" {
			p.Evict = append(p.Evict, Eviction{Entry: e.ID, Why: v.why, Reason: v.gone})
			continue
		}
		for k := range v.needs {
			nv, t := &v.needs[k], e.Needs[k].Check
			if v.yields && k != v.refuted || nv.ahead != 0 {
				continue // what stands before it is not decided
			}
			name := w.Checks[t].Name
			if nv.suspects == 1 && w.base[t] && w.confirmed(nv) {
				p.Evict = append(p.Evict, Eviction{Entry: e.ID, Why: Culprit, Edge: nv.edge,
					Reason: fmt.Sprintf("%s fails with it and passes without it: %d of %d runs failed on exactly its tuple", name, nv.fails, nv.fails)})
				break
			}
			if verdict := w.Ledger.Of(w.edge(t, nv)); nv.status == unknown && verdict.Lost+verdict.Late > w.o.Retries {
				p.Evict = append(p.Evict, Eviction{Entry: e.ID, Why: NoVerdict,
					Reason: fmt.Sprintf("%s gave no verdict in %d runs (%d lost, %d timed out), which says nothing about the entry; requeue it when that is mended",
						name, verdict.Lost+verdict.Late, verdict.Lost, verdict.Late)})
				break
			}
		}
	}
}

// confirmed reports whether flakes are ruled out.
func (w *world) confirmed(nv *needView) bool {
	return 1-nv.bad <= w.o.Doubt || nv.fails >= w.o.MaxFails
}

// edge is the run that an entry's check asks for in the likeliest world, for this entry alone.
func (w *world) edge(t int, nv *needView) Edge {
	if w.Checks[t].Whole {
		return Edge{t, Nothing, nv.to}
	}
	return Edge{t, nv.from, nv.to}
}
