package graph

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"slipway.dev/slipway/internal/platform/seeded"
)

// naive is the same graph as a matrix, with which every question is answered the plain way.
type naive struct {
	n     int
	edge  [][]bool
	reach [][]bool // over one edge or more (Warshall)
}

func newNaive(n int, edges []Edge) *naive {
	m := &naive{n: n}
	for range n {
		m.edge = append(m.edge, make([]bool, n))
	}
	for _, e := range edges {
		m.edge[e.From][e.To] = true
	}
	m.reach = m.close(func(int32) bool { return true })
	return m
}

func (m *naive) close(within func(int32) bool) [][]bool {
	var reach [][]bool
	for v := range m.n {
		reach = append(reach, slices.Clone(m.edge[v]))
		for w := range m.n {
			reach[v][w] = reach[v][w] && within(int32(v)) && within(int32(w))
		}
	}
	for k := range m.n {
		for i := range m.n {
			for j := range m.n {
				reach[i][j] = reach[i][j] || reach[i][k] && reach[k][j]
			}
		}
	}
	return reach
}

// through is who reaches whom when only open vertices are left again.
func (m *naive) through(open func(int32) bool) [][]bool {
	var reach [][]bool
	for v := range m.n {
		reach = append(reach, slices.Clone(m.edge[v]))
	}
	for k := range m.n {
		for i := range m.n {
			for j := range m.n {
				reach[i][j] = reach[i][j] || open(int32(k)) && reach[i][k] && reach[k][j]
			}
		}
	}
	return reach
}

func drawGraph(t *rapid.T) (*Graph, *naive) {
	n := rapid.IntRange(0, 24).Draw(t, "n")
	var edges []Edge
	if n > 0 {
		vertex := rapid.Int32Range(0, int32(n-1))
		edges = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Edge { return Edge{vertex.Draw(t, "from"), vertex.Draw(t, "to")} }), 0, 2*n).Draw(t, "edges")
	}
	return New(n, edges), newNaive(n, edges)
}

func drawSet(t *rapid.T, n int, name string) Set {
	s := NewSet(n)
	for v := range int32(n) {
		if rapid.Bool().Draw(t, name) {
			s.Add(v)
		}
	}
	return s
}

func TestRows(t *testing.T) {
	seeded.Check(t, func(t *rapid.T) {
		g, m := drawGraph(t)
		edges := 0
		for v := range int32(m.n) {
			var needs, dependents []int32
			for w := range int32(m.n) {
				if m.edge[v][w] {
					needs = append(needs, w)
				}
				if m.edge[w][v] {
					dependents = append(dependents, w)
				}
			}
			if !slices.Equal(g.Needs(v), needs) || !slices.Equal(g.Reverse().Dependents(v), needs) {
				t.Fatalf("needs of %d: %v, want %v", v, g.Needs(v), needs)
			}
			if !slices.Equal(g.Dependents(v), dependents) || !slices.Equal(g.Reverse().Needs(v), dependents) {
				t.Fatalf("dependents of %d: %v, want %v", v, g.Dependents(v), dependents)
			}
			edges += len(needs)
		}
		if g.Len() != m.n || g.Edges() != edges {
			t.Fatal(g.Len(), g.Edges(), edges)
		}
	})
}

func TestClosureAndWays(t *testing.T) {
	seeded.Check(t, func(t *rapid.T) {
		g, m := drawGraph(t)
		from := slices.Collect(drawSet(t, m.n, "from").All())
		var through Set
		reach := m.reach
		if rapid.Bool().Draw(t, "through some") {
			through = drawSet(t, m.n, "through")
			reach = m.through(func(v int32) bool { return through.Has(v) || slices.Contains(from, v) })
		}
		closure, ways := g.Closure(through, from...), g.Ways(through, from...)
		last := int32(0)
		for _, v := range ways.Order {
			if ways.Far[v] < last {
				t.Fatal("not nearest first")
			}
			last = ways.Far[v]
		}
		for v := range int32(m.n) {
			want := slices.Contains(from, v) || slices.ContainsFunc(from, func(f int32) bool { return reach[f][v] })
			if closure.Has(v) != want || (ways.Far[v] >= 0) != want || slices.Contains(ways.Order, v) != want {
				t.Fatalf("%d from %v: closure %t, far %d, want %t", v, from, closure.Has(v), ways.Far[v], want)
			}
			way := ways.Back(v)
			if !want {
				if way != nil {
					t.Fatal(way)
				}
				continue
			}
			if len(way) != int(ways.Far[v])+1 || way[0] != v || !slices.Contains(from, way[len(way)-1]) {
				t.Fatalf("way to %d: %v", v, way)
			}
			for i := range way[1:] {
				if !m.edge[way[i+1]][way[i]] {
					t.Fatalf("way to %d: %v has no edge at %d", v, way, i)
				}
			}
			for w := range int32(m.n) { // none is shorter
				open := through == nil || through.Has(w) || slices.Contains(from, w)
				if open && m.edge[w][v] && ways.Far[w] >= 0 && ways.Far[w]+1 < ways.Far[v] {
					t.Fatalf("way to %d is %d long, to %d only %d", v, ways.Far[v], w, ways.Far[w])
				}
			}
		}
	})
}

func TestComponentsTiersAndCycles(t *testing.T) {
	seeded.Check(t, func(t *rapid.T) {
		g, m := drawGraph(t)
		var within, counted Set
		if rapid.Bool().Draw(t, "some") {
			within = drawSet(t, m.n, "within")
		}
		if rapid.Bool().Draw(t, "count some") {
			counted = drawSet(t, m.n, "counted")
		}
		in := func(v int32) bool { return within == nil || within.Has(v) }
		reach := m.close(in)
		c, tiers := g.Components(within), g.Tiers(within, counted)
		// The tier of a component: the most counted components on a way below it.
		together := func(v, w int32) bool { return v == w || reach[v][w] && reach[w][v] }
		step := func(v int32) int32 {
			for w := range int32(m.n) {
				if in(w) && together(v, w) && (counted == nil || counted.Has(w)) {
					return 1
				}
			}
			return 0
		}
		var tier func(v int32) int32
		tier = func(v int32) int32 {
			highest := int32(0)
			for w := range int32(m.n) {
				if reach[v][w] && !together(v, w) {
					highest = max(highest, tier(w)+step(w))
				}
			}
			return highest
		}
		memo := map[int32]int32{}
		highest := 0
		for v := range int32(m.n) {
			if !in(v) {
				if c.Of[v] != -1 || tiers.Of[v] != -1 {
					t.Fatalf("%d was not asked for", v)
				}
				continue
			}
			for w := range int32(m.n) {
				if !in(w) {
					continue
				}
				if (c.Of[v] == c.Of[w]) != together(v, w) {
					t.Fatalf("%d and %d: components %d and %d", v, w, c.Of[v], c.Of[w])
				}
				if reach[v][w] && c.Of[v] < c.Of[w] {
					t.Fatalf("%d needs %d, which comes later", v, w)
				}
			}
			if !slices.Contains(c.Members(c.Of[v]), v) || !slices.IsSorted(c.Members(c.Of[v])) {
				t.Fatal(c.Members(c.Of[v]))
			}
			if m.n <= 12 { // the plain way is exponential
				if _, ok := memo[v]; !ok {
					memo[v] = tier(v)
				}
				if tiers.Of[v] != memo[v] {
					t.Fatalf("tier of %d: %d, want %d", v, tiers.Of[v], memo[v])
				}
			}
			highest = max(highest, int(tiers.Of[v])+1)
			told := slices.ContainsFunc(tiers.Cycles, func(members []int32) bool { return slices.Contains(members, v) })
			way := g.Cycle(v, within)
			if told != reach[v][v] || (way != nil) != reach[v][v] {
				t.Fatalf("%d in a cycle: told %t, way %v, want %t", v, told, way, reach[v][v])
			}
			for i := range max(len(way)-1, 0) {
				if !m.edge[way[i]][way[i+1]] || !in(way[i]) {
					t.Fatalf("cycle %v breaks at %d", way, i)
				}
			}
			if way != nil && (way[0] != v || way[len(way)-1] != v) {
				t.Fatal(way)
			}
		}
		if tiers.Count != highest {
			t.Fatalf("%d tiers, want %d", tiers.Count, highest)
		}
	})
}

func TestInduced(t *testing.T) {
	seeded.Check(t, func(t *rapid.T) {
		g, m := drawGraph(t)
		within := drawSet(t, m.n, "within")
		sub, vertices := g.Induced(within)
		if !slices.Equal(vertices, slices.Collect(within.All())) || sub.Len() != within.Len() {
			t.Fatal(vertices)
		}
		for i, v := range vertices {
			for j, w := range vertices {
				if slices.Contains(sub.Needs(int32(i)), int32(j)) != m.edge[v][w] || slices.Contains(sub.Dependents(int32(j)), int32(i)) != m.edge[v][w] {
					t.Fatalf("%d needs %d", v, w)
				}
			}
		}
	})
}

func TestSet(t *testing.T) {
	seeded.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 200).Draw(t, "n")
		a, b := drawSet(t, n, "a"), drawSet(t, n, "b")
		count := 0
		for v := range int32(n) {
			if a.Without(b).Has(v) != (a.Has(v) && !b.Has(v)) || a.And(b).Has(v) != (a.Has(v) && b.Has(v)) ||
				a.Or(b).Has(v) != (a.Has(v) || b.Has(v)) {
				t.Fatal(v)
			}
			if a.Has(v) {
				count++
				if a.Add(v) {
					t.Fatal("it was there")
				}
				c := slices.Clone(a)
				c.Remove(v)
				if c.Has(v) || c.Len() != a.Len()-1 || !c.Add(v) {
					t.Fatal("remove and add")
				}
			}
		}
		if a.Len() != count || Set(nil).Has(3) {
			t.Fatal(a.Len(), count)
		}
	})
}

func TestNamed(t *testing.T) {
	g := Name(map[string][]string{"app": {"lib", "tool"}, "lib": {"base"}, "tool": nil})
	base, ok := g.Vertex("base")
	if !ok || g.Len() != 4 {
		t.Fatal(g.Len())
	}
	if got := g.Names(slices.Collect(g.Reverse().Closure(nil, base).All())...); !slices.Equal(got, []string{"app", "base", "lib"}) {
		t.Fatal(got)
	}
	if _, ok := g.Vertex("none"); ok {
		t.Fatal("found what is not there")
	}
}

func TestEdgeThatLeavesTheGraph(t *testing.T) {
	for _, e := range []Edge{{0, 3}, {3, 0}, {-1, 0}, {0, -1}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%v was taken", e)
				}
			}()
			New(3, []Edge{e})
		}()
	}
}

// layered is a graph like an archive: every vertex needs some of those before it, most of them popular ones.
func layered(n, each int) *Graph {
	var edges []Edge
	state := uint64(1)
	for v := 1; v < n; v++ {
		for range each {
			state = state*6364136223846793005 + 1442695040888963407
			r := state >> 33
			edges = append(edges, Edge{int32(v), int32(r % uint64(1+(r>>8)%uint64(v)))})
		}
	}
	return New(n, edges)
}

func BenchmarkGraph(b *testing.B) {
	const n = 100_000
	g := layered(n, 10)
	b.Run(fmt.Sprintf("dependents/vertices=%d/edges=%d", n, g.Edges()), func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			g.Reverse().Closure(nil, 0)
		}
	})
	b.Run("ways", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			g.Reverse().Ways(nil, 0)
		}
	})
	b.Run("tiers", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			g.Tiers(nil, nil)
		}
	})
	b.Run("new", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			layered(n, 10)
		}
	})
}
