package spec

import (
	"maps"
	"slices"
)

// RootOf returns the name of the buildroot that a component is built in: the one that its own file asks for (own; may be empty), else its
// module's, else the product's, else [BaseHost]. A module's own buildroot has the name MODULE.NAME here.
func (p Product) RootOf(component, own string) string {
	for _, module := range slices.Sorted(maps.Keys(p.Modules)) {
		m := p.Modules[module]
		if !slices.Contains(m.Components, component) {
			continue
		}
		want := own
		if want == "" {
			want = m.Buildroot
		}
		if _, ok := m.Buildroots[want]; ok {
			return module + "." + want
		}
		if want != "" {
			own = want
		}
	}
	switch {
	case own != "":
		return own
	case p.Build.Buildroot != "":
		return p.Build.Buildroot
	}
	return BaseHost
}

// Roots returns all buildroots of the product and its modules by the names that [Product.RootOf] gives, with the keys that lead to them in
// the product's file.
func (p Product) Roots() map[string]PlacedRoot {
	all := map[string]PlacedRoot{}
	for name, b := range p.Buildroots {
		all[name] = PlacedRoot{b, []string{"buildroots", name}}
	}
	for module, m := range p.Modules {
		for name, b := range m.Buildroots {
			all[module+"."+name] = PlacedRoot{b, []string{"modules", module, "buildroots", name}}
		}
	}
	return all
}

// PlacedRoot is a buildroot and where a product's file has it, for [Place].
type PlacedRoot struct {
	Buildroot
	Keys []string
}
