package debian

import (
	"slices"
	"strings"

	"slipway.dev/slipway/internal/platform/graph"
	"slipway.dev/slipway/internal/slipway"
)

// SourcePrefix stands before the name of a source.
const SourcePrefix = "src:"

// Vertex finds a package by its name, or a source by SourcePrefix and its name. NotFound says which names are near.
func (g *Graph) Vertex(name string) (int32, error) {
	if v, ok := g.number[name]; ok {
		return v, nil
	}
	err := slipway.Errorf(slipway.NotFound, "the archive has no package %q", name)
	if _, ok := g.number[SourcePrefix+name]; ok {
		return 0, err.Try(SourcePrefix + name + " is a source")
	}
	at, _ := slices.BinarySearch(g.names[:g.Binaries], name)
	var near []string
	for _, n := range g.names[at:min(at+3, g.Binaries)] {
		if strings.HasPrefix(n, name) {
			near = append(near, n)
		}
	}
	if near != nil {
		err = err.Try(strings.Join(near, ", or "))
	}
	return 0, err
}

// Name returns the name of a vertex.
func (g *Graph) Name(v int32) string { return g.names[v] }

// IsSource reports whether the vertex is a source.
func (g *Graph) IsSource(v int32) bool { return int(v) >= g.Binaries }

// Dependents returns v and the packages and sources that cannot be installed or built without it: that depend on it, directly or through other packages.
// A source ends the way: what is built from it may not need v.
func (g *Graph) Dependents(v int32) graph.Set { return g.Reverse().Closure(g.packages, v) }

// DependentWays tells why: a shortest way from each dependent.
func (g *Graph) DependentWays(v int32) *graph.Ways { return g.Reverse().Ways(g.packages, v) }

// Needs returns v and the packages that are needed to install it, or to build it if it is a source, together with the sources of all of them.
func (g *Graph) Needs(v int32) graph.Set { return g.Closure(g.packages, v) }

// NeedWays tells why: a shortest way to each.
func (g *Graph) NeedWays(v int32) *graph.Ways { return g.Ways(g.packages, v) }

// Packages returns the packages in a set.
func (g *Graph) Packages(s graph.Set) []int32 { return g.pick(s, false) }

// Sources returns the sources in a set.
func (g *Graph) Sources(s graph.Set) []int32 { return g.pick(s, true) }

func (g *Graph) pick(s graph.Set, source bool) []int32 {
	var found []int32
	for v := range s.All() {
		if g.IsSource(v) == source {
			found = append(found, v)
		}
	}
	return found
}

// Rebuild is the order in which sources are to be rebuilt.
type Rebuild struct {
	Tiers  [][]int32 // sources; those of a tier need only what is in tiers before it, and each other where Cycles says so
	Cycles [][]int32 // sources that need each other to be built: no order is right, some must be built with what there was before
}

// Rebuild returns the tiers of the sources that need v to be built, directly or through packages. With spread also of those that need what is
// built from these, and so on: all that could come out with other bytes.
//
// The source that v is, or is built from, has no part in it, unless a cycle leads back to it.
func (g *Graph) Rebuild(v int32, spread bool) *Rebuild {
	var through graph.Set
	if !spread {
		through = g.packages
	}
	touched := g.Reverse().Closure(through, v)
	sources := touched.Without(g.packages)
	if g.IsSource(v) && g.Cycle(v, touched) == nil {
		sources.Remove(v)
	}
	// Packages that are not touched count too: they may come from a source that is.
	t := g.Graph.Tiers(sources.Or(g.packages), sources)
	r := &Rebuild{Tiers: make([][]int32, t.Count)}
	for s := range sources.All() {
		r.Tiers[t.Of[s]] = append(r.Tiers[t.Of[s]], s)
	}
	r.Tiers = slices.DeleteFunc(r.Tiers, func(tier []int32) bool { return tier == nil })
	for _, c := range t.Cycles {
		c = slices.DeleteFunc(slices.Clone(c), func(v int32) bool { return !sources.Has(v) })
		if len(c) > 1 {
			r.Cycles = append(r.Cycles, c)
		}
	}
	return r
}

// Circle returns a shortest way from a source through packages and sources back to it, among those of a cycle.
func (g *Graph) Circle(cycle []int32) []int32 {
	within := slices.Clone(g.packages)
	for _, s := range cycle {
		within.Add(s)
	}
	return g.Cycle(cycle[0], within)
}
