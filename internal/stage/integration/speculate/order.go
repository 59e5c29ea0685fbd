package speculate

import (
	"cmp"
	"slices"
)

// Place returns the rank of an entry that joins: the end of the queue; for one of higher priority before those of lower priority that have not begun,
// never before what has begun, so that it resets no running work; for an urgent one before everything that is not urgent.
func Place(entries []Entry, joining Entry) float64 {
	if len(entries) == 0 {
		return 0
	}
	sorted := slices.Clone(entries)
	slices.SortFunc(sorted, byRank)
	i := len(sorted)
	for i > 0 {
		before := sorted[i-1]
		passes := joining.Urgent && !before.Urgent ||
			joining.Urgent == before.Urgent && joining.Priority > before.Priority && !before.Begun
		if !passes {
			break
		}
		i--
	}
	switch i {
	case 0:
		return sorted[0].Rank - 1
	case len(sorted):
		return sorted[i-1].Rank + 1
	}
	return (sorted[i-1].Rank + sorted[i].Rank) / 2
}

func byRank(a, b Entry) int { return cmp.Or(cmp.Compare(a.Rank, b.Rank), cmp.Compare(a.ID, b.ID)) }

// InOrder returns the indexes of entries by rank, each behind what it depends on.
func InOrder(entries []Entry) []int {
	order, _ := inOrder(entries, make([][]*Entry, len(entries)))
	return order
}

// inOrder sorts units by rank, and behind what they depend on: a dependence on an entry is one on the batch that holds it, which units tells. What it
// returns are indexes, and those that depend on themselves by way of others, for which there is no order. They stand somewhere in it.
func inOrder(entries []Entry, units [][]*Entry) (order, circular []int) {
	order = make([]int, len(entries))
	sorted, depends := true, false
	for i := range entries {
		order[i] = i
		sorted = sorted && (i == 0 || byRank(entries[i-1], entries[i]) < 0)
		depends = depends || len(entries[i].DependsOn) > 0
	}
	if !sorted {
		slices.SortFunc(order, func(a, b int) int { return byRank(entries[a], entries[b]) })
	}
	if !depends {
		return order, nil
	}
	index := indexOf(entries, units)
	const unseen, open, done = 0, 1, 2
	state := make([]uint8, len(entries))
	out := make([]int, 0, len(order))
	var path []int // that is open
	var visit func(i int)
	visit = func(i int) {
		state[i] = open
		path = append(path, i)
		for _, d := range entries[i].DependsOn {
			switch j, live := index[d]; {
			case !live:
			case state[j] == unseen:
				visit(j)
			case state[j] == open:
				circular = append(circular, path[slices.Index(path, j):]...)
			}
		}
		path = path[:len(path)-1]
		state[i] = done
		out = append(out, i)
	}
	for _, i := range order {
		if state[i] == unseen {
			visit(i)
		}
	}
	return out, circular
}

// indexOf finds units by the entries in them.
func indexOf(entries []Entry, units [][]*Entry) map[ID]int {
	index := make(map[ID]int, len(entries))
	for i := range entries {
		index[entries[i].ID] = i
		for _, e := range units[i] {
			index[e.ID] = i
		}
	}
	return index
}

// ChangeSets groups requests that depend on each other in circles: each group has to move as one entry. Groups and their
// members are in order of number. (Tarjan's algorithm.)
func ChangeSets(depends map[ID][]ID) [][]ID {
	var (
		groups  [][]ID
		stack   []ID
		index   = map[ID]int{}
		low     = map[ID]int{}
		stacked = map[ID]bool{}
		connect func(ID)
	)
	connect = func(v ID) {
		index[v] = len(index) + 1
		low[v] = index[v]
		stack = append(stack, v)
		stacked[v] = true
		for _, w := range depends[v] {
			if _, known := depends[w]; !known {
				continue
			}
			if index[w] == 0 {
				connect(w)
				low[v] = min(low[v], low[w])
			} else if stacked[w] {
				low[v] = min(low[v], index[w])
			}
		}
		if low[v] != index[v] {
			return
		}
		i := slices.Index(stack, v)
		group := slices.Clone(stack[i:])
		stack = stack[:i]
		for _, w := range group {
			stacked[w] = false
		}
		slices.Sort(group)
		groups = append(groups, group)
	}
	ids := make([]ID, 0, len(depends))
	for id := range depends {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		if index[id] == 0 {
			connect(id)
		}
	}
	slices.SortFunc(groups, func(a, b []ID) int { return cmp.Compare(a[0], b[0]) })
	return groups
}

// Affected returns the indexes of the checks that some moved components affect: those that depend on one of them, directly or through
// what they need. inputs lists what each check tests, needs what each component is built with.
func Affected(inputs [][]string, needs map[string][]string, moved ...string) []int {
	dependents := map[string][]string{}
	for name, on := range needs {
		for _, n := range on {
			dependents[n] = append(dependents[n], name)
		}
	}
	hit := map[string]bool{}
	for len(moved) > 0 {
		name := moved[len(moved)-1]
		moved = moved[: len(moved)-1 : len(moved)-1]
		if !hit[name] {
			hit[name] = true
			moved = append(moved, dependents[name]...)
		}
	}
	var checks []int
	for i, components := range inputs {
		if slices.ContainsFunc(components, func(c string) bool { return hit[c] }) {
			checks = append(checks, i)
		}
	}
	return checks
}
