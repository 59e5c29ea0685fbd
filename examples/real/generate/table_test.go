package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"slipway.dev/slipway/internal/spec"
)

// TestTemplates holds the files under examples/real against what Slipway reads, and against the table: a recipe must ask for the
// components and packages that the generator makes thirdparty for.
func TestTemplates(t *testing.T) {
	text := read(t, "product", spec.ProductFile)
	product, err := spec.ParseProduct(text, spec.ProductFile)
	if err != nil {
		t.Fatal(err)
	}
	for name, configuration := range product.Configurations {
		for _, file := range configuration.Experiments {
			if _, err := spec.ParseExperiment(read(t, "product", file), file); err != nil {
				t.Errorf("configuration %s: %v", name, err)
			}
		}
	}
	for name := range product.Components {
		file := filepath.Join("components", name, spec.ComponentFile)
		component, err := spec.ParseComponent(read(t, file), file)
		if err != nil {
			t.Error(err)
			continue
		}
		if component.Name != name {
			t.Errorf("%s is of component %s", file, component.Name)
		}
		for _, need := range component.Needs {
			if _, ok := product.Components[need]; !ok {
				t.Errorf("%s needs %s, which the product has not", name, need)
			}
		}
		i := slices.IndexFunc(lines, func(l Line) bool { return l.Name == name })
		if i < 0 {
			continue
		}
		if want := append([]string{"gostd", "thirdparty"}, lines[i].Needs...); !slices.Equal(component.Needs, want) {
			t.Errorf("%s needs %q, the table says %q", name, component.Needs, want)
		}
		for _, pkg := range lines[i].Packages {
			used := strings.Contains(component.Build.Run, pkg)
			for _, test := range component.Tests {
				used = used || strings.Contains(test.Run, pkg)
			}
			if !used && pkg != "./..." {
				t.Errorf("the table has package %s of %s, the recipe has not", pkg, name)
			}
		}
	}
	for _, l := range lines {
		if _, ok := product.Components[l.Name]; !ok {
			t.Errorf("the product has no component %s", l.Name)
		}
	}
	for _, s := range steps {
		i := slices.IndexFunc(lines, func(l Line) bool { return l.Name == s.Component })
		if i < 0 || !slices.Contains(lines[i].Next, s.Version) {
			t.Errorf("the table has no version %s of %s to upgrade to", s.Version, s.Component)
		}
	}
}

func read(t *testing.T, path ...string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{".."}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return text
}
