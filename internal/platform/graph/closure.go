package graph

// Closure returns from and all that they need, directly or through others. What needs them is g.Reverse().Closure(nil, from...).
//
// The vertices in through (nil: all) are gone through; others are reached, but what they need is not, unless they are in from.
func (g *Graph) Closure(through Set, from ...int32) Set {
	reached := NewSet(g.Len())
	queue := make([]int32, 0, len(from))
	for _, v := range from {
		if reached.Add(v) {
			queue = append(queue, v)
		}
	}
	for len(queue) > 0 {
		v := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		for _, w := range g.out.of(v) {
			if reached.Add(w) && (through == nil || through.Has(w)) {
				queue = append(queue, w)
			}
		}
	}
	return reached
}

// Ways are shortest ways from some vertices along the edges, to each vertex that can be reached.
type Ways struct {
	Order []int32 // the vertices that are reached, nearest first, and those equally far ascending within those of one Before
	Far   []int32 // by vertex: edges on its way; -1 when it is not reached
	prev  []int32 // by vertex: the one before it on its way; itself at the start
}

// Ways finds shortest ways from the vertices in from to all that [Graph.Closure] returns for them. Shortest ways from dependents are
// g.Reverse().Ways(nil, from...).
func (g *Graph) Ways(through Set, from ...int32) *Ways {
	n := g.Len()
	w := &Ways{Far: make([]int32, n), prev: make([]int32, n)}
	for v := range w.Far {
		w.Far[v] = -1
	}
	for _, v := range from {
		if w.Far[v] < 0 {
			w.Far[v], w.prev[v] = 0, v
			w.Order = append(w.Order, v)
		}
	}
	for i := 0; i < len(w.Order); i++ {
		v := w.Order[i]
		if through != nil && w.prev[v] != v && !through.Has(v) {
			continue
		}
		for _, next := range g.out.of(v) {
			if w.Far[next] < 0 {
				w.Far[next], w.prev[next] = w.Far[v]+1, v
				w.Order = append(w.Order, next)
			}
		}
	}
	return w
}

// Back returns the way to v, from v back to where it started; nil when v is not reached.
func (w *Ways) Back(v int32) []int32 {
	if w.Far[v] < 0 {
		return nil
	}
	way := make([]int32, 0, w.Far[v]+1)
	for ; w.prev[v] != v; v = w.prev[v] {
		way = append(way, v)
	}
	return append(way, v)
}
