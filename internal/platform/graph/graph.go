package graph

import "slices"

// Edge says that From needs To.
type Edge struct{ From, To int32 }

// Graph is who needs whom. The zero value has no vertices.
type Graph struct {
	out, in rows
}

// rows are adjacency lists end to end: those of v are to[start[v]:start[v+1]], sorted, each once.
type rows struct {
	start []int32
	to    []int32
}

func (r rows) of(v int32) []int32 { return r.to[r.start[v]:r.start[v+1]] }

// New makes the graph of n vertices with these edges. Repeated edges count once; an edge of a vertex to itself is kept and makes that vertex a
// cycle. It panics when an edge names a vertex that is not in 0 to n-1: that is a defect of the caller.
func New(n int, edges []Edge) *Graph {
	// Sorting by target and then, stably, by source gives sorted rows; what repeats is then next to itself.
	sorted := transpose(scatter(n, len(edges), func(yield func(from, to int32)) {
		for _, e := range edges {
			yield(e.To, e.From)
		}
	}))
	out := compact(sorted)
	return &Graph{out: out, in: transpose(out)}
}

// scatter is a counting sort by the first of each pair, stable in the order in which pairs come.
func scatter(n, edges int, each func(yield func(key, value int32))) rows {
	r := rows{start: make([]int32, n+1), to: make([]int32, edges)}
	each(func(key, value int32) {
		if uint(value) >= uint(n) {
			panic("graph: an edge leaves the graph")
		}
		r.start[key+1]++
	})
	for v := range n {
		r.start[v+1] += r.start[v]
	}
	next := slices.Clone(r.start[:n])
	each(func(key, value int32) {
		r.to[next[key]] = value
		next[key]++
	})
	return r
}

// transpose turns the rows round; the rows of the answer are sorted.
func transpose(r rows) rows {
	return scatter(len(r.start)-1, len(r.to), func(yield func(from, to int32)) {
		for v := range int32(len(r.start) - 1) {
			for _, w := range r.of(v) {
				yield(w, v)
			}
		}
	})
}

// compact drops what repeats in sorted rows, in place.
func compact(r rows) rows {
	end := int32(0)
	for v := range int32(len(r.start) - 1) {
		row := r.of(v)
		r.start[v] = end
		for i, w := range row {
			if i == 0 || w != row[i-1] {
				r.to[end] = w
				end++
			}
		}
	}
	r.start[len(r.start)-1] = end
	return rows{r.start, slices.Clip(r.to[:end])}
}

// Len is the number of vertices.
func (g *Graph) Len() int { return max(len(g.out.start)-1, 0) }

// Edges is the number of different edges.
func (g *Graph) Edges() int { return len(g.out.to) }

// Needs returns what v needs directly, ascending. The caller must not change it.
func (g *Graph) Needs(v int32) []int32 { return g.out.of(v) }

// Dependents returns what needs v directly, ascending. The caller must not change it.
func (g *Graph) Dependents(v int32) []int32 { return g.in.of(v) }

// Reverse returns the same graph with all edges turned round; it shares the memory of g.
func (g *Graph) Reverse() *Graph { return &Graph{out: g.in, in: g.out} }

// Induced returns the graph of the vertices in within and the edges among them. Its vertex i is vertices[i] in g, ascending.
func (g *Graph) Induced(within Set) (induced *Graph, vertices []int32) {
	vertices = make([]int32, 0, within.Len())
	number := make([]int32, g.Len())
	for v := range within.All() {
		number[v] = int32(len(vertices))
		vertices = append(vertices, v)
	}
	out := rows{start: make([]int32, 1, len(vertices)+1)}
	for _, v := range vertices {
		for _, w := range g.Needs(v) {
			if within.Has(w) {
				out.to = append(out.to, number[w])
			}
		}
		out.start = append(out.start, int32(len(out.to)))
	}
	return &Graph{out: out, in: transpose(out)}, vertices
}
