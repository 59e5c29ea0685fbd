package graph

import (
	"maps"
	"slices"
)

// Named is a graph whose vertices have names. Vertices are numbered in the order of their names, so that answers in ascending order are sorted.
type Named struct {
	*Graph
	names  []string
	number map[string]int32
}

// Name makes the graph of who needs whom. What is needed and has no needs of its own is a vertex too.
func Name(needs map[string][]string) *Named {
	g := &Named{number: make(map[string]int32, len(needs))}
	count := 0
	for name, of := range needs {
		g.number[name] = 0
		for _, need := range of {
			g.number[need] = 0
		}
		count += len(of)
	}
	g.names = slices.Sorted(maps.Keys(g.number))
	for v, name := range g.names {
		g.number[name] = int32(v)
	}
	edges := make([]Edge, 0, count)
	for name, of := range needs {
		for _, need := range of {
			edges = append(edges, Edge{g.number[name], g.number[need]})
		}
	}
	g.Graph = New(len(g.names), edges)
	return g
}

// Vertex returns the vertex of a name.
func (g *Named) Vertex(name string) (v int32, ok bool) {
	v, ok = g.number[name]
	return v, ok
}

// Names returns the names of vertices, in their order.
func (g *Named) Names(vertices ...int32) []string {
	names := make([]string, len(vertices))
	for i, v := range vertices {
		names[i] = g.names[v]
	}
	return names
}

// NameOf returns the name of a vertex.
func (g *Named) NameOf(v int32) string { return g.names[v] }
