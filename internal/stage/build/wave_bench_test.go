package build_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/build"
	"slipway.dev/slipway/internal/store/storetest"
)

// BenchmarkPlanRebuild plans the rebuild of a product of 1,000 components in 12 tiers: heads and recipes are in memory, as they are after
// the first time; the graph is ordered anew each time, since one pin differs.
func BenchmarkPlanRebuild(b *testing.B) {
	p := &shelf{file: spec.Product{}}
	w := newWorld(b, storetest.Open(b), build.Config{Products: p, Results: p})
	p.w = w
	const components, tiers = 1000, 12
	for i := range components {
		name, needs := fmt.Sprintf("c%04d", i), []string{}
		if tier := i * tiers / components; tier > 0 {
			first := (tier*components + tiers - 1) / tiers // of this tier
			below := ((tier-1)*components + tiers - 1) / tiers
			for k := range 3 {
				need := fmt.Sprintf("c%04d", below+(i*7+k*13)%(first-below))
				if !slices.Contains(needs, need) {
					needs = append(needs, need)
				}
			}
		}
		at := filepath.Join(w.dir, "git", "mono", name)
		if err := os.MkdirAll(at, 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(at, "slipway.yaml"), []byte(recipe(name, strings.Join(needs, ", "), "true", "true")), 0o644); err != nil {
			b.Fatal(err)
		}
		w.pins[name] = slipway.Pin{Component: name, Repo: "mono", Path: name}
	}
	w.git("mono", "init", "-q", "-b", "main")
	w.git("mono", "add", "-A")
	w.git("mono", "commit", "-q", "-m", "all")
	head := w.git("mono", "rev-parse", "HEAD")
	for name, pin := range w.pins {
		pin.Commit, pin.Version = head, "1.0.0"
		w.pins[name] = pin
	}
	if r, err := w.s.PlanRebuild(b.Context(), "ferry", build.RebuildCause{All: true}); err != nil || len(r.Expected) != components || r.Expected[components-1].Tier != tiers-1 {
		b.Fatalf("%d %v", len(r.Expected), err)
	}
	n := 0
	for b.Loop() {
		n++
		pin := w.pins["c0000"]
		pin.Version = fmt.Sprint("1.0.", n)
		w.pins["c0000"] = pin
		if r, err := w.s.PlanRebuild(b.Context(), "ferry", build.RebuildCause{Components: []string{"c0000"}}); err != nil || r.Certain != 1 || r.Possible < 100 {
			b.Fatalf("%+v %v", r.Certain, err)
		}
	}
}
