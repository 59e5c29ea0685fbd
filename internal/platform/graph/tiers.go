package graph

import "slices"

// Components are the strongly connected components of a graph: two vertices are in one when each needs the other, directly or through others. A
// vertex that is in no cycle is a component by itself.
type Components struct {
	Of    []int32 // by vertex: the number of its component; -1 when it was not asked for
	Count int     // components are 0 to Count-1; what a component needs has lower numbers
	rows  rows    // the vertices of each component, ascending
}

// Members returns the vertices of a component, ascending. The caller must not change it.
func (c *Components) Members(component int32) []int32 { return c.rows.of(component) }

// Components finds the components of the graph that within induces (nil: of all of g), by Tarjan's algorithm (Depth-first search and linear
// graph algorithms, SIAM J. Comput. 1(2), 1972), without recursion: a chain of a million needs is no deep stack.
func (g *Graph) Components(within Set) *Components {
	n := g.Len()
	c := &Components{Of: make([]int32, n)}
	// low holds, while a vertex is on the stack, the earliest visit that is known to be reachable from it, counted from 1.
	low := make([]int32, n)
	type frame struct{ v, edge, visit int32 }
	var path []frame
	var stack []int32
	visits := int32(0)
	for v := range c.Of {
		c.Of[v] = -1
	}
	open := func(v int32) {
		visits++
		low[v] = visits
		stack = append(stack, v)
		path = append(path, frame{v, g.out.start[v], visits})
	}
	for root := range int32(n) {
		if low[root] != 0 || within != nil && !within.Has(root) {
			continue
		}
		open(root)
		for len(path) > 0 {
			f := &path[len(path)-1]
			v := f.v
			if f.edge < g.out.start[v+1] {
				w := g.out.to[f.edge]
				f.edge++
				switch {
				case within != nil && !within.Has(w):
				case low[w] == 0:
					open(w)
				case c.Of[w] < 0: // still on the stack
					low[v] = min(low[v], low[w])
				}
				continue
			}
			if low[v] == f.visit {
				for {
					w := stack[len(stack)-1]
					stack = stack[:len(stack)-1]
					c.Of[w] = int32(c.Count)
					if w == v {
						break
					}
				}
				c.Count++
			}
			path = path[:len(path)-1]
			if len(path) > 0 {
				up := path[len(path)-1].v
				low[up] = min(low[up], low[v])
			}
		}
	}
	c.rows = c.gather()
	return c
}

func (c *Components) gather() rows {
	r := rows{start: make([]int32, c.Count+1)}
	for _, component := range c.Of {
		if component >= 0 {
			r.start[component+1]++
		}
	}
	for i := range c.Count {
		r.start[i+1] += r.start[i]
	}
	r.to = make([]int32, r.start[c.Count])
	next := slices.Clone(r.start[:c.Count])
	for v, component := range c.Of {
		if component >= 0 {
			r.to[next[component]] = int32(v)
			next[component]++
		}
	}
	return r
}

// Tiers is an order of building.
type Tiers struct {
	Of     []int32   // by vertex: its tier; -1 when it was not asked for
	Count  int       // tiers are 0 to Count-1
	Cycles [][]int32 // components of more than one vertex, and vertices that need themselves: their vertices share a tier, and no order is right
}

// Tiers gives each vertex of within (nil: all of g) the lowest tier that is above those of all that it needs within. The vertices of a
// cycle share a tier.
//
// Only the vertices in counted (nil: all) take a step of their own; others are there as soon as what they need is: in a graph of sources
// and the packages that come from them, only sources are built.
func (g *Graph) Tiers(within, counted Set) *Tiers {
	c := g.Components(within)
	t := &Tiers{Of: make([]int32, g.Len())}
	tier := make([]int32, c.Count)
	step := make([]int32, c.Count)
	for i := range int32(c.Count) { // needs come before those that need them
		members := c.Members(i)
		cycle := len(members) > 1
		for _, v := range members {
			if counted == nil || counted.Has(v) {
				step[i] = 1
			}
			for _, w := range g.out.of(v) {
				switch need := c.Of[w]; {
				case need == i:
					cycle = true
				case need >= 0:
					tier[i] = max(tier[i], tier[need]+step[need])
				}
			}
		}
		if cycle {
			t.Cycles = append(t.Cycles, members)
		}
		if len(members) > 0 {
			t.Count = max(t.Count, int(tier[i])+1)
		}
	}
	for v, component := range c.Of {
		t.Of[v] = -1
		if component >= 0 {
			t.Of[v] = tier[component]
		}
	}
	return t
}

// Cycle returns a shortest way from v through its needs back to v, among the vertices of within (nil: all of g): v first and last. It is nil
// when v is in no cycle.
func (g *Graph) Cycle(v int32, within Set) []int32 {
	prev := make([]int32, g.Len())
	for i := range prev {
		prev[i] = -1
	}
	for queue := []int32{v}; len(queue) > 0; queue = queue[1:] {
		u := queue[0]
		for _, w := range g.out.of(u) {
			if w == v {
				way := []int32{v}
				for ; u != v; u = prev[u] {
					way = append(way, u)
				}
				way = append(way, v)
				slices.Reverse(way)
				return way
			}
			if prev[w] < 0 && (within == nil || within.Has(w)) {
				prev[w] = u
				queue = append(queue, w)
			}
		}
	}
	return nil
}
