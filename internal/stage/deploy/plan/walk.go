package plan

import "fmt"

// Walk leads through resources in the order of their requirements. It is not safe for concurrent use.
//
// Take gives what is ready; Done tells how it ended, which makes others ready or skips them. The walk has
// ended when Take gives nothing and everything taken is done.
type Walk struct {
	resources  []Resource
	index      map[string]int
	missing    []int
	dependents [][]int
	ended      []bool
	ready      []int
	open       int
}

// NewWalk starts a walk. held names resources that must wait for another node, with the reason; they and
// what requires them come out as skipped. Requirements outside the list count as met otherwise.
func NewWalk(resources []Resource, held map[string]string) (w *Walk, skipped []Status) {
	w = &Walk{
		resources: resources, index: make(map[string]int, len(resources)), open: len(resources),
		missing: make([]int, len(resources)), dependents: make([][]int, len(resources)), ended: make([]bool, len(resources)),
	}
	for i, r := range resources {
		w.index[r.ID] = i
	}
	for i, r := range resources {
		for _, id := range r.Requires {
			if j, ok := w.index[id]; ok {
				w.missing[i]++
				w.dependents[j] = append(w.dependents[j], i)
			}
		}
	}
	for i, r := range resources {
		if reason, ok := held[r.ID]; ok && !w.ended[i] {
			skipped = append(skipped, w.skip(i, reason)...)
		}
	}
	for i := range resources {
		if w.missing[i] == 0 && !w.ended[i] {
			w.ready = append(w.ready, i)
		}
	}
	return w, skipped
}

// Take returns a resource that is ready, or false when none is at the moment.
func (w *Walk) Take() (Resource, bool) {
	for len(w.ready) > 0 {
		i := w.ready[0]
		w.ready = w.ready[1:]
		if !w.ended[i] {
			return w.resources[i], true
		}
	}
	return Resource{}, false
}

// Open returns how many resources have not ended.
func (w *Walk) Open() int { return w.open }

// Done says how a resource ended. It returns the resources that are skipped because of it, directly or
// through others, each with the requirement that stopped it.
func (w *Walk) Done(id string, state State, reason string) (skipped []Status) {
	i, ok := w.index[id]
	if !ok || w.ended[i] {
		return nil
	}
	w.ended[i] = true
	w.open--
	for _, d := range w.dependents[i] {
		if w.ended[d] {
			continue
		}
		if state != Deployed {
			skipped = append(skipped, w.skip(d, Because(id, state, reason))...)
			continue
		}
		if w.missing[d]--; w.missing[d] == 0 {
			w.ready = append(w.ready, d)
		}
	}
	return skipped
}

func (w *Walk) skip(i int, reason string) []Status {
	r := w.resources[i]
	out := []Status{{ID: r.ID, Hash: r.Hash, State: Skipped, Reason: reason}}
	return append(out, w.Done(r.ID, Skipped, reason)...)
}

// Because says why a resource is skipped whose requirement is not deployed.
func Because(id string, state State, reason string) string {
	if reason == "" || state == Skipped {
		return fmt.Sprintf("requires %s, which is %s", id, state)
	}
	return fmt.Sprintf("requires %s, which is %s: %s", id, state, reason)
}
