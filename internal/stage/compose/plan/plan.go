// Package plan decides what a compose consists of: which packages of which components go into which variant, and why.
// It is a function of the release, the product file and the components' files; it does nothing.
package plan

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
)

// Plan is what a compose consists of.
type Plan struct {
	Variants []Variant // by name
}

// Variant is a slice of the distribution.
type Variant struct {
	Name          string // as the product file calls it
	ID            string // letters and digits only, as productmd wants it
	Summary       string
	Configuration string // whose manifest it is made from
	Items         []Item // by package name
	Groups        []Group
}

// Item is one package in a variant.
type Item struct {
	Component string
	Locked    slipway.Locked
	Recipe    spec.Component
	Package   spec.Package
	Reason    string // why it is in the variant, for a person
}

// Group is a package group of a variant: the packages of one section.
type Group struct {
	ID       string
	Name     string
	Packages []string
}

// Make plans the compose of a release. recipe gives the file of a component as it is at a pin.
//
// Without variants in the product file there is one for each configuration. A variant holds the packages of the
// components that it lists, or of all of its configuration, and the packages that these depend on as far as the
// configuration makes them. Errors are of kind Invalid and say which variant.
func Make(rel slipway.Release, product spec.Product, recipe func(component string, l slipway.Locked) (spec.Component, error)) (Plan, error) {
	variants := product.Compose.Variants
	if len(variants) == 0 {
		variants = map[string]spec.Variant{}
		for conf := range rel.Manifests {
			variants[conf] = spec.Variant{Configuration: conf}
		}
	}
	var p Plan
	ids := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(variants)) {
		v, err := variant(rel, name, variants[name], recipe)
		if err != nil {
			return Plan{}, err
		}
		if other, taken := ids[v.ID]; taken {
			return Plan{}, slipway.Errorf(slipway.Invalid, "the variants %s and %s differ only in signs that their folder cannot have", other, name).
				At(spec.ProductFile)
		}
		ids[v.ID] = name
		p.Variants = append(p.Variants, v)
	}
	return p, nil
}

func variant(rel slipway.Release, name string, v spec.Variant, recipe func(string, slipway.Locked) (spec.Component, error)) (Variant, error) {
	out := Variant{Name: name, ID: id(name), Summary: v.Summary, Configuration: v.Configuration}
	where := spec.ProductFile + ": variant " + name
	if out.ID == "" {
		return out, slipway.Errorf(slipway.Invalid, "the variant's name has neither a letter nor a digit").At(where)
	}
	if out.Configuration == "" {
		confs := slices.Sorted(maps.Keys(rel.Manifests))
		if len(confs) == 0 {
			return out, slipway.Errorf(slipway.Invalid, "the release has no manifest").At(where)
		}
		out.Configuration = confs[0]
	}
	manifest, ok := rel.Manifests[out.Configuration]
	if !ok {
		return out, slipway.Errorf(slipway.Invalid, "the release has no configuration %q", out.Configuration).At(where)
	}
	made := map[string]Item{} // by package name
	for _, component := range slices.Sorted(maps.Keys(manifest.Components)) {
		locked := manifest.Components[component]
		r, err := recipe(component, locked)
		if err != nil {
			return out, err
		}
		for _, pkg := range r.Packages {
			if other, taken := made[pkg.Name]; taken {
				return out, slipway.Errorf(slipway.Invalid, "the components %s and %s both make a package %s", other.Component, component, pkg.Name).
					At(where).Try("rename one of the packages")
			}
			made[pkg.Name] = Item{Component: component, Locked: locked, Recipe: r, Package: pkg}
		}
	}
	wanted := v.Components
	for _, component := range wanted {
		if _, ok := manifest.Components[component]; !ok {
			return out, slipway.Errorf(slipway.Invalid, "configuration %s has no component %q", out.Configuration, component).At(where)
		}
	}
	in := map[string]Item{}
	for pkg, it := range made {
		switch {
		case len(wanted) == 0:
			it.Reason = "configuration " + out.Configuration + " has component " + it.Component
		case slices.Contains(wanted, it.Component):
			it.Reason = "the variant lists component " + it.Component
		default:
			continue
		}
		in[pkg] = it
	}
	pull(in, made)
	for _, pkg := range slices.Sorted(maps.Keys(in)) {
		out.Items = append(out.Items, in[pkg])
	}
	out.Groups = groups(out.Items)
	return out, nil
}

// pull adds to in what it depends on, as far as it is made here.
func pull(in, made map[string]Item) {
	queue := slices.Sorted(maps.Keys(in))
	for len(queue) > 0 {
		by := queue[0]
		queue = queue[1:]
		for _, dep := range in[by].Package.Depends {
			name, _, _ := strings.Cut(strings.TrimSpace(dep), " ")
			it, ok := made[name]
			if _, have := in[name]; have || !ok {
				continue
			}
			it.Reason = fmt.Sprintf("%s depends on it", by)
			in[name] = it
			queue = append(queue, name)
		}
	}
}

func groups(items []Item) []Group {
	bySection := map[string][]string{}
	for _, it := range items {
		section := cmp.Or(it.Package.Section, "misc")
		bySection[section] = append(bySection[section], it.Package.Name)
	}
	var list []Group
	for _, section := range slices.Sorted(maps.Keys(bySection)) {
		list = append(list, Group{ID: groupID(section), Name: title(section), Packages: bySection[section]})
	}
	return list
}

// id keeps the letters and digits of a name.
func id(name string) string {
	return strings.Map(func(r rune) rune {
		if r < unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsDigit(r)) {
			return r
		}
		return -1
	}, name)
}

func groupID(section string) string {
	return strings.Map(func(r rune) rune {
		if r < unicode.MaxASCII && (unicode.IsLower(r) || unicode.IsDigit(r)) {
			return r
		}
		return '-'
	}, strings.ToLower(section))
}

func title(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
