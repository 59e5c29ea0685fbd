package debian

import (
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"slipway.dev/slipway/internal/platform/graph"
)

// Rules say what counts as a need. The zero value: Pre-Depends and Depends of the highest version of each package, and all Build-Depends of its
// source, resolved by version, architecture and Provides, every alternative that can satisfy them.
type Rules struct {
	Recommends bool     // Recommends of packages count too
	First      bool     // of the alternatives only the first that can be satisfied counts, as a build daemon takes it
	Profiles   []string // active build profiles

	// The rest is how other programs look at an archive; see docs/bench/debian-graph.md.
	NoProvides  bool // a dependency on a virtual package is not followed
	NoQualified bool // "name:any" is another name than "name", which nothing has
	AnyVersion  bool // versions in dependencies are not looked at
	AllVersions bool // the needs of every version of a package count
	Rivals      bool // a package needs what its dependents would also be content with: the other packages that provide its name
}

// Graph is an archive under some rules: vertices below Binaries are packages in the order of their names, then come sources, so too. Edges go
// from packages and sources to the packages that they depend on, and from packages to their sources.
type Graph struct {
	*graph.Graph
	Binaries int
	Open     int // dependencies that nothing in the archive satisfies

	packages graph.Set
	names    []string // by vertex; that of a source begins with SourcePrefix
	number   map[string]int32
}

// Graph resolves all dependencies. An error is of kind Invalid: a field is malformed, with file and line.
func (a *Archive) Graph(rules Rules) (*Graph, error) {
	x := newIndex(a)
	total := len(a.Packages) + len(a.Sources)
	share := max(total/(4*runtime.GOMAXPROCS(0)), 1)
	parts := make([]*resolver, 0, total/share+1)
	var work errgroup.Group
	work.SetLimit(runtime.GOMAXPROCS(0))
	for from := 0; from < total; from += share {
		r := &resolver{archive: a, index: x, rules: rules, edges: make([]graph.Edge, 0, 12*share)}
		parts = append(parts, r)
		work.Go(func() error { return r.run(from, min(from+share, total)) })
	}
	if err := work.Wait(); err != nil {
		return nil, err
	}
	g := &Graph{Binaries: x.binaries, names: x.names, number: x.vertex}
	count := 0
	for _, r := range parts {
		count += len(r.edges)
		g.Open += r.open
	}
	edges := make([]graph.Edge, 0, count)
	for _, r := range parts {
		edges = append(edges, r.edges...)
	}
	g.Graph = graph.New(len(x.names), edges)
	g.packages = graph.NewSet(g.Len())
	for v := range int32(g.Binaries) {
		g.packages.Add(v)
	}
	return g, nil
}

// index finds what can satisfy a dependency.
type index struct {
	names    []string         // by vertex
	vertex   map[string]int32 // back
	binaries int
	packages []int32 // by package of the archive: its vertex
	sources  []int32
	word     map[string]int32 // names that are packages or provided -> a row of offers
	start    []int32          // the row of word i is offers[start[i]:start[i+1]]
	offers   []offer
	always   []int32 // vertices that every build needs: essential packages and build-essential
}

// offer is a package that has a name or provides it.
type offer struct {
	vertex    int32
	version   string // of the name; "" when it is provided without one
	arch      string
	real, any bool // it has the name; it satisfies "name:any"
}

func newIndex(a *Archive) *index {
	x := &index{
		names: make([]string, 0, len(a.Packages)+len(a.Sources)), vertex: make(map[string]int32, len(a.Packages)+len(a.Sources)),
		packages: make([]int32, len(a.Packages)), sources: make([]int32, len(a.Sources)),
		word: make(map[string]int32, 2*len(a.Packages)),
	}
	type row struct {
		word  int32
		offer offer
	}
	rows := make([]row, 0, 2*len(a.Packages))
	offerOf := func(name string, o offer) {
		w, ok := x.word[name]
		if !ok {
			w = int32(len(x.word))
			x.word[name] = w
		}
		rows = append(rows, row{w, o})
	}
	for i := range a.Packages {
		p := &a.Packages[i]
		if i > 0 && a.Packages[i-1].Name == p.Name { // a lower version
			x.packages[i] = x.packages[i-1]
			continue
		}
		v := int32(len(x.names))
		x.names = append(x.names, p.Name)
		x.vertex[p.Name] = v
		x.packages[i] = v
		offerOf(p.Name, offer{v, p.Version, p.Architecture, true, p.allowed})
		if p.Essential || p.Name == "build-essential" {
			x.always = append(x.always, v)
		}
		r := relations{text: p.Provides}
		var provided alternative
		for {
			if ok, _ := r.next(&provided); !ok { // a malformed one is told when it is resolved
				break
			}
			offerOf(provided.name, offer{v, provided.version, p.Architecture, false, p.allowed})
		}
	}
	x.binaries = len(x.names)
	for i := range a.Sources {
		s := &a.Sources[i]
		if i > 0 && a.Sources[i-1].Name == s.Name {
			x.sources[i] = x.sources[i-1]
			continue
		}
		x.sources[i] = int32(len(x.names))
		x.vertex[SourcePrefix+s.Name] = x.sources[i]
		x.names = append(x.names, SourcePrefix+s.Name)
	}
	// A counting sort by word: the offers of each in the order of the packages.
	x.start = make([]int32, len(x.word)+1)
	for _, r := range rows {
		x.start[r.word+1]++
	}
	for i := range len(x.word) {
		x.start[i+1] += x.start[i]
	}
	next := slices.Clone(x.start)
	x.offers = make([]offer, len(rows))
	for _, r := range rows {
		x.offers[next[r.word]] = r.offer
		next[r.word]++
	}
	return x
}

func (x *index) of(name string) []offer {
	w, ok := x.word[name]
	if !ok {
		return nil
	}
	return x.offers[x.start[w]:x.start[w+1]]
}

// resolver makes the edges of some of the packages and sources.
type resolver struct {
	archive *Archive
	index   *index
	rules   Rules
	edges   []graph.Edge
	open    int
}

func (r *resolver) run(from, to int) error {
	binaries := len(r.archive.Packages)
	for i := from; i < to; i++ {
		var err error
		if i < binaries {
			err = r.binary(i)
		} else {
			err = r.source(i - binaries)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *resolver) binary(i int) error {
	p, v := &r.archive.Packages[i], r.index.packages[i]
	if i > 0 && r.index.packages[i-1] == v && !r.rules.AllVersions {
		return nil
	}
	for _, f := range []struct{ name, text string }{{"Pre-Depends", p.PreDepends}, {"Depends", p.Depends}, {"Recommends", p.Recommends}} {
		if f.name == "Recommends" && !r.rules.Recommends {
			continue
		}
		if err := r.field(p.at, f.name, f.text, v); err != nil {
			return err
		}
	}
	provides := relations{text: p.Provides}
	for a := (alternative{}); ; {
		ok, bad := provides.next(&a)
		if bad != "" {
			return p.at.wrong("Provides", provides.pos, p.Provides, bad)
		}
		if !ok {
			break
		}
	}
	if s, ok := r.index.vertex[SourcePrefix+p.Source]; ok {
		r.edges = append(r.edges, graph.Edge{From: v, To: s})
	}
	return nil
}

func (r *resolver) source(i int) error {
	s, v := &r.archive.Sources[i], r.index.sources[i]
	if i > 0 && r.index.sources[i-1] == v {
		return nil
	}
	for _, f := range []struct{ name, text string }{{"Build-Depends", s.Depends}, {"Build-Depends-Indep", s.Indep}, {"Build-Depends-Arch", s.Arch}} {
		if err := r.field(s.at, f.name, f.text, v); err != nil {
			return err
		}
	}
	for _, w := range r.index.always {
		r.edges = append(r.edges, graph.Edge{From: v, To: w})
	}
	return nil
}

// field adds the edges of v for one field of relations.
func (r *resolver) field(at place, name, text string, v int32) error {
	rel := relations{text: text}
	var a alternative
	inGroup, satisfied, asked := false, false, false
	for {
		ok, bad := rel.next(&a)
		if bad != "" {
			return at.wrong(name, rel.pos, text, bad)
		}
		if !ok {
			return nil
		}
		if !inGroup {
			satisfied, asked = false, false
		}
		inGroup = a.or
		if listed(r.archive.Architecture, a.arches) && active(r.rules.Profiles, a.profiles) {
			asked = true
			if !satisfied || !r.rules.First {
				satisfied = r.satisfy(v, &a) || satisfied
			}
		}
		if !inGroup && asked && !satisfied {
			r.open++
		}
	}
}

// satisfy adds an edge to each package that satisfies the alternative.
func (r *resolver) satisfy(v int32, a *alternative) bool {
	if r.rules.NoQualified && a.qualifier == "any" {
		return false
	}
	found := false
	offers := r.index.of(a.name)
	target := int32(-1)
	if i := slices.IndexFunc(offers, func(o offer) bool { return o.real }); i >= 0 {
		target = offers[i].vertex
	}
	for _, o := range offers {
		if !o.fits(a, r.archive.Architecture, r.rules.AnyVersion) {
			continue
		}
		if !o.real && r.rules.Rivals && target >= 0 && o.vertex != target {
			r.edges = append(r.edges, graph.Edge{From: o.vertex, To: target})
		}
		if !o.real && r.rules.NoProvides {
			continue
		}
		found = true
		if o.vertex != v {
			r.edges = append(r.edges, graph.Edge{From: v, To: o.vertex})
		}
	}
	return found
}

// fits reports whether the package satisfies an alternative of this name.
func (o offer) fits(a *alternative, arch string, anyVersion bool) bool {
	switch a.qualifier {
	case "", "native":
	case "any":
		if !o.any || !o.real {
			return false
		}
	default:
		if a.qualifier != arch {
			return false
		}
	}
	switch {
	case a.op == "":
		return true
	case o.version == "": // provided without a version
		return false
	}
	return anyVersion && o.real || allows(o.version, a.op, a.version)
}
