package plan_test

import (
	"fmt"
	"strings"
	"testing"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/compose/plan"
)

// recipes are the components of the tests: what each makes, and what that depends on.
var recipes = map[string][]spec.Package{
	"base":  {{Name: "base", Section: "libs"}, {Name: "base-data", Section: "Data Files"}},
	"app":   {{Name: "app", Section: "net", Depends: []string{"base >= 1.0", "libc"}}},
	"admin": {{Name: "admin", Depends: []string{"app", "base-data"}}},
	"other": {{Name: "other"}},
	"tools": nil,
	"clash": {{Name: "app"}},
}

func recipe(component string, _ slipway.Locked) (spec.Component, error) {
	packages, ok := recipes[component]
	if !ok {
		return spec.Component{}, slipway.Errorf(slipway.NotFound, "no file of %s", component)
	}
	return spec.Component{Name: component, Packages: packages}, nil
}

func release(configurations map[string][]string) slipway.Release {
	r := slipway.Release{Manifests: map[string]slipway.Manifest{}}
	for name, components := range configurations {
		m := slipway.Manifest{Components: map[string]slipway.Locked{}}
		for _, c := range components {
			m.Components[c] = slipway.Locked{Version: "1.0.0"}
		}
		r.Manifests[name] = m
	}
	return r
}

func variants(v map[string]spec.Variant) spec.Product {
	return spec.Product{Compose: spec.Compose{Variants: v}}
}

// tell writes a plan as one line for each variant and group.
func tell(p plan.Plan) string {
	var b strings.Builder
	for _, v := range p.Variants {
		fmt.Fprintf(&b, "%s=%s of %s:", v.Name, v.ID, v.Configuration)
		for _, it := range v.Items {
			fmt.Fprintf(&b, " %s (%s)", it.Package.Name, it.Reason)
		}
		for _, g := range v.Groups {
			fmt.Fprintf(&b, " [%s %q %s]", g.ID, g.Name, strings.Join(g.Packages, " "))
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestMake(t *testing.T) {
	all := release(map[string][]string{"edge": {"base", "app", "tools"}, "core": {"base", "app", "admin", "other", "tools"}})
	cases := map[string]struct {
		release slipway.Release
		product spec.Product
		want    string // of the plan, or what the error says
		kind    slipway.Kind
	}{
		"one for each configuration": {release: release(map[string][]string{"edge-1": {"other"}, "core": {"tools"}}), want: `
core=core of core:
edge-1=edge1 of edge-1: other (configuration edge-1 has component other) [misc "Misc" other]
`},
		"what it lists and what that depends on": {release: all,
			product: variants(map[string]spec.Variant{"Admin": {Configuration: "core", Components: []string{"admin"}}}), want: `
Admin=Admin of core: admin (the variant lists component admin) app (admin depends on it) base (app depends on it) base-data (admin depends on it)` +
				` [data-files "Data Files" base-data] [libs "Libs" base] [misc "Misc" admin] [net "Net" app]
`},
		"the first configuration": {release: all, product: variants(map[string]spec.Variant{"Any": {Components: []string{"other"}}}), want: `
Any=Any of core: other (the variant lists component other) [misc "Misc" other]
`},
		"no such configuration": {release: all, product: variants(map[string]spec.Variant{"X": {Configuration: "sea"}}),
			want: `variant X: the release has no configuration "sea"`, kind: slipway.Invalid},
		"no such component": {release: all, product: variants(map[string]spec.Variant{"X": {Configuration: "edge", Components: []string{"admin"}}}),
			want: `configuration edge has no component "admin"`, kind: slipway.Invalid},
		"two of one name": {release: release(map[string][]string{"edge": {"app", "clash"}}),
			want: "the components app and clash both make a package app", kind: slipway.Invalid},
		"two of one folder": {release: all, product: variants(map[string]spec.Variant{"a-b": {Configuration: "core"}, "ab": {Configuration: "core"}}),
			want: "the variants a-b and ab differ only", kind: slipway.Invalid},
		"no name":     {release: all, product: variants(map[string]spec.Variant{"--": {Configuration: "core"}}), want: "neither a letter", kind: slipway.Invalid},
		"no manifest": {product: variants(map[string]spec.Variant{"X": {}}), want: "no manifest", kind: slipway.Invalid},
		"no file":     {release: release(map[string][]string{"edge": {"gone"}}), want: "no file of gone", kind: slipway.NotFound},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			p, err := plan.Make(c.release, c.product, recipe)
			if c.kind != "" {
				if !slipway.Is(err, c.kind) || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := tell(p); got != strings.TrimPrefix(c.want, "\n") {
				t.Errorf("got\n%swant%s", got, c.want)
			}
		})
	}
}
