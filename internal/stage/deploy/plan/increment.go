package plan

// Increment returns desired as an agent must be sent it that holds the given statuses: resources that it
// holds at the same hash go without attributes.
func Increment(desired []Resource, held []Status) []Resource {
	hashes := make(map[string]string, len(held))
	for _, s := range held {
		hashes[s.ID] = s.Hash
	}
	out := make([]Resource, len(desired))
	for i, r := range desired {
		if hashes[r.ID] == r.Hash {
			r.Attrs = nil
		}
		out[i] = r
	}
	return out
}

// Merge is the other half of [Increment]: it fills in the attributes from what the agent holds. ok is false
// when something that was left out is not held; then the agent must ask for everything.
func Merge(sent []Resource, held map[string]Resource) (full []Resource, ok bool) {
	full = make([]Resource, len(sent))
	for i, r := range sent {
		if r.Attrs == nil {
			h, found := held[r.ID]
			if !found || h.Hash != r.Hash {
				return nil, false
			}
			r.Attrs = h.Attrs
		}
		full[i] = r
	}
	return full, true
}

// Orphans returns what is held and no longer desired, in the order in which to purge it: the reverse of the
// order in which it was deployed.
func Orphans(held []Resource, desired []Resource) []Resource {
	keep := make(map[string]bool, len(desired))
	for _, r := range desired {
		keep[r.ID] = true
	}
	var gone []Resource
	for _, r := range held {
		if !keep[r.ID] {
			gone = append(gone, r)
		}
	}
	ordered, cycle := Sort(gone)
	if cycle != nil { // cannot come from a compiled model; any order is as good then
		ordered = gone
	}
	for i, j := 0, len(ordered)-1; i < j; i, j = i+1, j-1 {
		ordered[i], ordered[j] = ordered[j], ordered[i]
	}
	return ordered
}
