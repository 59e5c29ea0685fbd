package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
)

// component is one of the generated product.
type component struct {
	name  string
	tier  int
	needs []int // others, all of lower tiers
}

// generate makes a product: n components in tiers, those of a tier in one repository. Each but those of the lowest tier needs one to six of lower
// ones, at least one of the tier just below, and one in three needs the base library, which is component 0. The same numbers
// give the same product.
func generate(n, tiers int, seed uint64) []component {
	random := rand.New(rand.NewPCG(seed, seed))
	all := make([]component, n)
	first := func(tier int) int { return tier * n / tiers }
	for tier := range tiers {
		for i := first(tier); i < first(tier+1); i++ {
			all[i] = component{name: fmt.Sprintf("c%04d", i), tier: tier}
			if tier == 0 {
				continue
			}
			needs := map[int]bool{first(tier-1) + random.IntN(first(tier)-first(tier-1)): true}
			for range random.IntN(6) {
				needs[random.IntN(first(tier))] = true
			}
			if random.IntN(3) == 0 {
				needs[0] = true
			}
			for need := range first(tier) {
				if needs[need] {
					all[i].needs = append(all[i].needs, need)
				}
			}
		}
	}
	return all
}

// command builds a component: its source without comments, and what it is made with, counted.
const command = `sed '/^#/d' word > $OUT/word; cat $DEPS/*/word 2>/dev/null | wc -c >> $OUT/word`

func repository(tier int) string { return fmt.Sprintf("tier-%02d", tier) }

// write writes the repositories' files below dir: DIR/tier-00/c0000/slipway.yaml ... and DIR/product/product.yaml.
func write(dir, product string, all []component) error {
	put := func(path, text string) error {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		return os.WriteFile(path, []byte(text), 0o644)
	}
	var file strings.Builder
	fmt.Fprintf(&file, "product: %s\nsummary: %d generated components\ncomponents:\n", product, len(all))
	for _, c := range all {
		fmt.Fprintf(&file, "  %s: {repo: components/%s, path: %s}\n", c.name, repository(c.tier), c.name)
		var needs []string
		for _, n := range c.needs {
			needs = append(needs, all[n].name)
		}
		recipe := fmt.Sprintf("component: %s\nneeds: [%s]\nbuild: |\n  %s\noutputs: [word]\n", c.name, strings.Join(needs, ", "), command)
		if err := put(filepath.Join(repository(c.tier), c.name, "slipway.yaml"), recipe); err != nil {
			return err
		}
		if err := put(filepath.Join(repository(c.tier), c.name, "word"), "# "+c.name+"\n"+c.name+"\n"); err != nil {
			return err
		}
	}
	file.WriteString("configurations:\n  all: {}\n")
	return put("product/product.yaml", file.String())
}
