package simulate

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/goccy/go-yaml"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/integration/speculate"
)

// file is a workload file; see docs/guides/queue-simulation.md.
type file struct {
	Name  string              `yaml:"name"`
	Flake float64             `yaml:"flake"` // chance that a run fails although nothing is wrong
	Infra float64             `yaml:"infra"` // chance that a run is lost
	Pools map[string]filePool `yaml:"pools"`
	Needs map[string][]string `yaml:"needs"` // component -> what it is built with
	Tests []fileCheck         `yaml:"checks"`
	Queue []fileEntry         `yaml:"entries"`
}

type filePool struct {
	Slots  int     `yaml:"slots"`
	Weight float64 `yaml:"weight"` // cost of a minute, in minutes of a build slot; default 1
}

type fileCheck struct {
	Name          string   `yaml:"name"`
	Configuration string   `yaml:"configuration"`
	Tier          int      `yaml:"tier"`
	Pool          string   `yaml:"pool"`
	Minutes       float64  `yaml:"minutes"`
	Components    []string `yaml:"components"`
	Incremental   bool     `yaml:"incremental"`
}

type fileEntry struct {
	At        float64            `yaml:"at"` // minutes
	Moves     []string           `yaml:"moves"`
	DependsOn []int              `yaml:"depends-on"` // numbers of entries, from 1
	Fails     string             `yaml:"fails"`      // the check that it fails by itself
	Conflicts []fileConflict     `yaml:"conflicts"`
	Minutes   map[string]float64 `yaml:"minutes"` // by check, where they differ
	P         float64            `yaml:"p"`       // predicted chance to land; default: the predictor's
}

type fileConflict struct {
	With  int    `yaml:"with"`
	Check string `yaml:"check"`
}

// Parse reads a workload file (YAML or JSON). where names it in errors, which are of kind [slipway.Invalid].
func Parse(data []byte, where string) (*Workload, error) {
	bad := func(format string, args ...any) error {
		return slipway.Errorf(slipway.Invalid, format, args...).At(where)
	}
	var f file
	if err := yaml.UnmarshalWithOptions(data, &f, yaml.Strict()); err != nil {
		return nil, bad("not a workload: %w", err)
	}
	if len(f.Queue) == 0 || len(f.Tests) == 0 {
		return nil, slipway.Errorf(slipway.Invalid, "a workload needs checks and entries").At(where).Try("see docs/guides/queue-simulation.md")
	}
	w := &Workload{Name: cmp.Or(f.Name, "file"), Flake: f.Flake, Infra: f.Infra}
	if f.Flake < 0 || f.Flake >= 0.5 || f.Infra < 0 || f.Infra >= 0.5 {
		return nil, bad("flake and infra are chances from 0 to less than 0.5")
	}
	checks := map[string]int{}
	var inputs [][]string
	for i, c := range f.Tests {
		if _, has := f.Pools[c.Pool]; !has {
			return nil, bad("check %q runs in pool %q, which is not there", c.Name, c.Pool)
		}
		if _, twice := checks[c.Name]; twice || c.Minutes <= 0 {
			return nil, bad("check %q needs a name of its own and minutes above 0", c.Name)
		}
		checks[c.Name] = i
		inputs = append(inputs, c.Components)
		w.Checks = append(w.Checks, speculate.Check{Name: c.Name, Configuration: c.Configuration, Tier: c.Tier, Label: c.Pool, Whole: !c.Incremental})
	}
	for label, p := range f.Pools {
		if p.Slots < 1 {
			return nil, bad("pool %q needs at least one slot", label)
		}
		w.Pools = append(w.Pools, speculate.Pool{Label: label, Total: p.Slots, Weight: max(p.Weight, 1)})
	}
	slices.SortFunc(w.Pools, func(a, b speculate.Pool) int { return cmp.Compare(a.Label, b.Label) })
	for n, e := range f.Queue {
		c := &Change{ID: speculate.ID(n + 1), At: e.At, Moves: e.Moves, Fails: -1, P: e.P, Features: []float64{float64(len(e.Moves))}}
		if n > 0 && e.At < f.Queue[n-1].At {
			return nil, bad("entry %d comes before entry %d; entries are in the order in which they come", n+1, n)
		}
		for _, t := range speculate.Affected(inputs, f.Needs, e.Moves...) {
			c.Needs = append(c.Needs, speculate.Need{Check: t, Minutes: cmp.Or(e.Minutes[w.Checks[t].Name], f.Tests[t].Minutes)})
		}
		slices.SortStableFunc(c.Needs, func(a, b speculate.Need) int { return w.Checks[a.Check].Tier - w.Checks[b.Check].Tier })
		if e.P < 0 || e.P >= 1 {
			return nil, bad("entry %d: p is a chance above 0 and below 1", n+1)
		}
		if e.Fails != "" {
			t, has := checks[e.Fails]
			if !has || !slices.ContainsFunc(c.Needs, func(n speculate.Need) bool { return n.Check == t }) {
				return nil, bad("entry %d fails %q, which it does not affect", n+1, e.Fails)
			}
			c.Fails = t
		}
		for _, d := range e.DependsOn {
			if d < 1 || d > n {
				return nil, bad("entry %d depends on %d, which does not come before it", n+1, d)
			}
			c.DependsOn = append(c.DependsOn, speculate.ID(d))
		}
		for _, x := range e.Conflicts {
			t, has := checks[x.Check]
			if !has || x.With < 1 || x.With > n {
				return nil, bad("entry %d: a conflict names an earlier entry and a check", n+1)
			}
			c.Conflicts = append(c.Conflicts, Collision{speculate.ID(x.With), t})
			other := w.Changes[x.With-1]
			other.Conflicts = append(other.Conflicts, Collision{c.ID, t})
		}
		w.Changes = append(w.Changes, c)
	}
	w.judge()
	for label, busy := range w.demand() {
		for _, p := range w.Pools {
			if p.Label == label {
				w.Load = max(w.Load, busy/float64(p.Total))
			}
		}
	}
	return w, nil
}

// Describe tells a workload in one line.
func (w *Workload) Describe() string {
	good := 0
	for _, c := range w.Changes {
		if c.good {
			good++
		}
	}
	slots := 0
	for _, p := range w.Pools {
		slots += p.Total
	}
	return fmt.Sprintf("%s: %d entries in %.1f hours, %.0f %% of them good; %d checks; %d slots in %d pools; load %.2f",
		w.Name, len(w.Changes), w.Changes[len(w.Changes)-1].At/60, 100*float64(good)/float64(len(w.Changes)), len(w.Checks), slots, len(w.Pools), w.Load)
}
