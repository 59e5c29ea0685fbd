package plan

import (
	"container/heap"
	"slices"
	"strings"
)

// Progress is how far a plan has come. It is not safe for concurrent use.
type Progress struct {
	p      *Plan
	status []Status
	open   []int32 // needs that have not passed
	ready  indexes // waiting, with all needs passed; lower tiers first
	gate   int32   // the lowest tier with actions that have not ended
	left   []int32 // by tier: actions that have not ended
	counts map[Status]int
}

// Skip is an action that will not start, and why.
type Skip struct {
	Action Action
	Why    string
}

// Begin takes up a plan whose actions stand as status says; those without a status are waiting. It also returns those that are
// waiting there and never will start.
func (p *Plan) Begin(status map[Action]Status) (*Progress, []Skip) {
	n := len(p.Actions)
	r := &Progress{p: p, status: make([]Status, n), open: make([]int32, n), counts: map[Status]int{}}
	for i, tier := range p.tier {
		for int(tier) >= len(r.left) {
			r.left = append(r.left, 0)
		}
		r.left[tier]++
		r.status[i] = Waiting
		r.open[i] = int32(len(p.needs[i]))
	}
	r.counts[Waiting] = n
	for i := range p.Actions {
		if r.open[i] == 0 {
			r.ready = append(r.ready, int32(i))
		}
	}
	heap.Init(&r.ready)
	r.pass()
	var skips []Skip
	for i, a := range p.Actions { // needs come before those that need them
		if s := status[a]; s != "" && s != r.status[i] && !ended(r.status[i]) {
			skips = append(skips, r.set(int32(i), s)...)
		}
	}
	// What is skipped there already is not told again.
	return r, slices.DeleteFunc(skips, func(s Skip) bool { return status[s.Action] == Skipped })
}

// Set says where an action stands now, and returns the waiting actions that will therefore never start. An action that has ended
// stays so.
func (r *Progress) Set(a Action, s Status) []Skip {
	i, ok := r.p.index[a]
	if !ok || r.status[i] == s || ended(r.status[i]) {
		return nil
	}
	return r.set(i, s)
}

func ended(s Status) bool { return s == Passed || s == Failed || s == Skipped }

func (r *Progress) set(i int32, s Status) (skips []Skip) {
	for todo := []int32{i}; len(todo) > 0; todo = todo[1:] { // breadth first, so that each is told the nearest cause
		i := todo[0]
		if r.status[i] == Waiting || r.status[i] == Active {
			r.move(i, s)
		}
		s := r.status[i] // the first as it was set, those behind it skipped
		if !ended(s) {
			continue
		}
		for _, user := range r.p.users[i] {
			if s == Passed {
				if r.open[user]--; r.open[user] == 0 && r.status[user] == Waiting {
					heap.Push(&r.ready, user)
				}
				continue
			}
			if r.status[user] == Waiting {
				a := r.p.Actions[user]
				skips = append(skips, Skip{a, because(a, r.p.Actions[i], s)})
				r.move(user, Skipped)
				todo = append(todo, user)
			}
		}
	}
	return skips
}

// move changes one status and what is counted by it.
func (r *Progress) move(i int32, s Status) {
	r.counts[r.status[i]]--
	r.counts[s]++
	if ended(s) {
		r.left[r.p.tier[i]]--
	}
	r.status[i] = s
	r.pass()
}

func (r *Progress) pass() {
	for int(r.gate) < len(r.left) && r.left[r.gate] == 0 {
		r.gate++
	}
}

// Ready returns actions that can start now, at most limit (0: all), lower tiers first. They stay ready until [Progress.Set] says
// otherwise.
func (r *Progress) Ready(limit int) []Action {
	var found []int32
	for len(r.ready) > 0 && (limit == 0 || len(found) < limit) {
		i := r.ready[0]
		if r.p.validate && r.p.tier[i] > r.gate {
			break // and so are all behind it
		}
		heap.Pop(&r.ready)
		if r.status[i] == Waiting {
			found = append(found, i)
		}
	}
	all := make([]Action, len(found))
	for k, i := range found {
		heap.Push(&r.ready, i)
		all[k] = r.p.Actions[i]
	}
	return all
}

// Status returns where an action stands.
func (r *Progress) Status(a Action) Status {
	if i, ok := r.p.index[a]; ok {
		return r.status[i]
	}
	return ""
}

// Count returns how many actions stand so.
func (r *Progress) Count(s Status) int { return r.counts[s] }

// Done reports whether all has ended.
func (r *Progress) Done() bool { return r.counts[Waiting] == 0 && r.counts[Active] == 0 }

// Gate is the lowest tier in which something has not ended.
func (r *Progress) Gate() int { return int(r.gate) }

// Waits says what a waiting action waits for; empty when it can start.
func (r *Progress) Waits(a Action) string {
	i, ok := r.p.index[a]
	if !ok || r.status[i] != Waiting {
		return ""
	}
	var names []string
	for _, need := range r.p.needs[i] {
		if r.status[need] != Passed {
			names = append(names, called(a, r.p.Actions[need]))
		}
	}
	if len(names) > 0 {
		return "waits for " + strings.Join(names, ", ")
	}
	if r.p.validate && r.p.tier[i] > r.gate {
		return "waits for the tiers before it"
	}
	return ""
}

// indexes is a heap of actions by their order in the plan.
type indexes []int32

func (h indexes) Len() int           { return len(h) }
func (h indexes) Less(i, j int) bool { return h[i] < h[j] }
func (h indexes) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *indexes) Push(x any)        { *h = append(*h, x.(int32)) }
func (h *indexes) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}
