package plan

import "slices"

// Sort orders resources so that each comes after all that it requires and are in the list; otherwise the
// given order is kept. When that is impossible it returns the ids of one cycle, the first repeated at the
// end, and no order. (Kahn's algorithm; the cycle is found by walking requirements that are left over.)
func Sort(resources []Resource) (ordered []Resource, cycle []string) {
	index := make(map[string]int, len(resources))
	for i, r := range resources {
		index[r.ID] = i
	}
	missing := make([]int, len(resources))
	dependents := make([][]int, len(resources))
	for i, r := range resources {
		for _, id := range r.Requires {
			if j, ok := index[id]; ok {
				missing[i]++
				dependents[j] = append(dependents[j], i)
			}
		}
	}
	ordered = make([]Resource, 0, len(resources))
	ready := make([]int, 0, len(resources))
	for i := range resources {
		if missing[i] == 0 {
			ready = append(ready, i)
		}
	}
	for next := 0; next < len(ready); next++ {
		i := ready[next]
		ordered = append(ordered, resources[i])
		for _, d := range dependents[i] {
			if missing[d]--; missing[d] == 0 {
				ready = append(ready, d)
			}
		}
	}
	if len(ordered) == len(resources) {
		return ordered, nil
	}
	return nil, findCycle(resources, index, missing)
}

// findCycle follows unmet requirements from the first resource that has one. Each such resource requires
// another such resource, so the walk must come back to one that it has seen.
func findCycle(resources []Resource, index map[string]int, missing []int) []string {
	at := slices.IndexFunc(missing, func(n int) bool { return n > 0 })
	seen := map[int]int{}
	var path []string
	for {
		if from, ok := seen[at]; ok {
			return append(path[from:], resources[at].ID)
		}
		seen[at] = len(path)
		path = append(path, resources[at].ID)
		for _, id := range resources[at].Requires {
			if j, ok := index[id]; ok && missing[j] > 0 {
				at = j
				break
			}
		}
	}
}
