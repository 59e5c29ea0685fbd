package speculate

import (
	"fmt"
	"slices"
)

// land finds what can land now: the greatest set of entries, closed under order, whose tuple is proven in every check that it
// affects. For each check the candidates are the prefixes of its live entries whose state is proven; leaving an entry out cuts
// the prefixes of all its checks, until nothing changes. The union of two such sets is one, so there is a greatest.
func (w *world) land(p *Plan) {
	length := make([]int, len(w.Checks))
	var cut []int
	leave := func(i int) {
		if !w.views[i].out {
			w.views[i].out = true
			cut = append(cut, i)
		}
	}
	shorten := func(t, to int) {
		list := w.lists[t]
		for to > 0 && !w.views[list[to-1].entry].needs[list[to-1].need].whole {
			to--
		}
		for _, m := range list[to:length[t]] {
			leave(m.entry)
		}
		length[t] = to
	}
	for i := range w.views {
		w.views[i].out = w.views[i].yields
	}
	for t := range w.lists {
		length[t] = len(w.lists[t])
	}
	for t := range w.lists {
		shorten(t, length[t])
	}
	for i := range w.views {
		if w.views[i].gone != "" || w.views[i].stuck != "" {
			leave(i)
		}
	}
	depends := false
	for i := range w.Entries {
		depends = depends || len(w.Entries[i].DependsOn)+len(w.Entries[i].Clashes) > 0
	}
	for more := true; more; {
		for len(cut) > 0 {
			i := cut[len(cut)-1]
			cut = cut[:len(cut)-1]
			for k, n := range w.Entries[i].Needs {
				if pos := w.views[i].needs[k].pos; pos < length[n.Check] {
					shorten(n.Check, pos)
				}
			}
		}
		if more = depends; !more {
			break
		}
		for i := range w.Entries {
			for _, d := range w.Entries[i].DependsOn {
				if j, live := w.index[d]; live && w.views[j].out {
					leave(i)
				}
			}
			for _, c := range w.Entries[i].Clashes {
				if j, live := w.index[c]; live && w.at[j] < w.at[i] && !w.views[j].yields {
					leave(i)
				}
			}
		}
		more = len(cut) > 0
	}
	w.steps(p)
	if len(p.Land) == 0 && w.o.Bypass >= 0 {
		w.bypass(p)
	}
}

// steps cuts what lands into the smallest steps whose states are proven one after the other.
func (w *world) steps(p *Plan) {
	count := make([]int, len(w.Checks))
	var group []int
	var touched []int
	for _, i := range w.order {
		if w.views[i].out {
			continue
		}
		group = append(group, i)
		for k, n := range w.Entries[i].Needs {
			count[n.Check] = w.views[i].needs[k].pos + 1
			if !slices.Contains(touched, n.Check) {
				touched = append(touched, n.Check)
			}
		}
		whole := true
		for _, t := range touched {
			m := w.lists[t][count[t]-1]
			whole = whole && w.views[m.entry].needs[m.need].whole
		}
		if !whole {
			continue
		}
		landing := Landing{Reason: "every check that it affects passed on exactly this tuple"}
		for _, j := range group {
			landing.Entries = append(landing.Entries, w.ids(j)...)
		}
		if n := len(landing.Entries); n > 1 {
			landing.Reason = fmt.Sprintf("%d entries were proven together: every check that they affect passed on exactly this tuple", n)
		}
		for _, t := range touched {
			base := w.Base[t]
			for _, m := range w.lists[t][:count[t]] {
				if w.views[m.entry].out {
					continue
				}
				base = base.Plus(w.Entries[m.entry].digest(m.need))
			}
			landing.Certificate.Proofs = append(landing.Certificate.Proofs, Proof{t, w.Base[t], base})
		}
		landing.Certificate.Entries = landing.Entries
		p.Land = append(p.Land, landing)
		group, touched = nil, nil
	}
}

const bypassable = 2 // entries that one entry may pass; each doubles the outcomes that have to agree

// bypass lands entries before undecided ones that stand before them, where every outcome of those agrees: the entry passes
// without them and with every combination of them, so landing it first takes nothing from them.
func (w *world) bypass(p *Plan) {
	for _, i := range w.order {
		e, v := &w.Entries[i], &w.views[i]
		if w.units[i] != nil || v.gone != "" || v.stuck != "" || v.refuted >= 0 || len(e.Clashes) > 0 || w.waitsFor(e) {
			continue
		}
		done := true
		for k := range v.needs {
			done = done && v.needs[k].status >= passed
		}
		if !done {
			continue
		}
		before := w.before(i, bypassable)
		if len(before) == 0 || len(before) > bypassable {
			continue
		}
		agreed, proofs, ok := w.agree(i, before)
		if !ok {
			continue
		}
		landing := Landing{Entries: []ID{e.ID}, Certificate: Certificate{Entries: []ID{e.ID}, Proofs: proofs, Agreed: agreed}}
		for _, j := range before {
			landing.Certificate.Bypassed = append(landing.Certificate.Bypassed, w.ids(j)...)
		}
		landing.Reason = fmt.Sprintf("passes whether or not %v lands, so it need not wait", landing.Certificate.Bypassed)
		p.Land = append(p.Land, landing)
		return // it moves the base; others are looked at on that
	}
}

func (w *world) waitsFor(e *Entry) bool {
	return slices.ContainsFunc(e.DependsOn, func(d ID) bool { _, live := w.index[d]; return live })
}

// before returns the live entries that stand before one and share a check with it, or more than most of them.
func (w *world) before(i, most int) []int {
	var list []int
	for k, n := range w.Entries[i].Needs {
		for _, m := range w.lists[n.Check][:w.views[i].needs[k].pos] {
			if !w.views[m.entry].yields && !slices.Contains(list, m.entry) {
				if list = append(list, m.entry); len(list) > most {
					return list
				}
			}
		}
	}
	return list
}

// agree reports whether an entry passes with every combination of those before it, and by which verdicts.
func (w *world) agree(i int, before []int) (agreed []Edge, proofs []Proof, ok bool) {
	e := &w.Entries[i]
	for mask := range 1 << len(before) {
		for _, n := range e.Needs {
			from := w.Base[n.Check]
			for b, j := range before {
				if k := w.need(j, n.Check); mask&(1<<b) != 0 && k >= 0 {
					from = from.Plus(w.Entries[j].digest(k))
				}
			}
			edge := Edge{n.Check, from, from.Plus(e.Digest)}
			if w.Checks[n.Check].Whole {
				edge.From = Nothing
			}
			if w.Ledger.Of(edge).Passes == 0 && !w.Ledger.Proven(edge.Check, edge.To) {
				return nil, nil, false
			}
			if mask == 0 {
				if !w.Ledger.Proven(edge.Check, edge.To) {
					return nil, nil, false
				}
				proofs = append(proofs, Proof{n.Check, w.Base[n.Check], edge.To})
			} else {
				agreed = append(agreed, edge)
			}
		}
	}
	return agreed, proofs, true
}

// need is the place of a check among an entry's needs, or -1.
func (w *world) need(i, t int) int {
	for k := range w.Entries[i].Needs {
		if w.Entries[i].Needs[k].Check == t {
			return k
		}
	}
	return -1
}
