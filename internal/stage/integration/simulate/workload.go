package simulate

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"slipway.dev/slipway/internal/stage/integration/speculate"
)

// Change is one entry of a workload, with the truth about it.
type Change struct {
	ID        speculate.ID
	At        float64 // minutes
	Moves     []string
	Needs     []speculate.Need // minutes are the real ones
	DependsOn []speculate.ID
	Fails     int         // index of the check that it fails by itself, or -1
	Conflicts []Collision // with which other entries it fails together; both sides know it
	Features  []float64   // what a logistic predictor may look at
	P         float64     // given chance to pass; 0: ask the predictor
	Urgent    bool        // goes before everything that is not
	Priority  int         // goes before what has less and has not begun
	Leaves    float64     // minute at which its author takes it out again; 0: never
	Mends     []int       // checks that pass with it though they fail on the base

	good bool // lands, if entries are decided in order of arrival
	need map[int]int
}

// Collision is a real conflict: two entries that are good alone fail a check together.
type Collision struct {
	With  speculate.ID
	Check int
}

// Workload is what a simulation runs: changes over time, and what there is to test them with.
type Workload struct {
	Name    string
	Checks  []speculate.Check
	Pools   []speculate.Pool
	Changes []*Change // by arrival; numbered from 1
	Flake   float64   // chance that a run fails although nothing is wrong
	Infra   float64   // chance that a run is lost
	Load    float64   // what the capacity was chosen for
	Freezes []Span    // when nothing new begins
	Pushes  []Push    // by time
}

// Span is a time, in minutes.
type Span struct{ From, Until float64 }

// Push moves what a check depends on by hand, past the queue: what landed so far is not proven any more.
type Push struct {
	At    float64
	Check int
	Bad   bool // the check fails on the base from then on, until a push that is not bad, or an entry that mends it
}

// Settings choose a generated workload.
type Settings struct {
	Profile string
	Load    float64 // share of capacity that the oracle uses, in (0, 1]
	Seed    uint64
	Entries int // 0: as the profile has it

	// Of the profile monorepo:
	PerHour  float64 // arrivals
	Areas    int     // parts of the repository that conflict only within themselves
	Median   float64 // minutes of a build, lognormal
	Spread   float64 // sigma of the logarithm
	Cap      float64 // minutes
	Fail     float64 // chance that an entry fails by itself
	Conflict float64 // chance that two entries of the same area, written at the same time, fail together
	Apart    float64 // minutes within which two entries count as written at the same time
	Flake    float64
	Infra    float64
}

// Monorepo is the profile of the SubmitQueue papers: 500 changes an hour to one repository; builds of a lognormal length, median 30 minutes,
// at most 120.
func Monorepo() Settings {
	return Settings{Profile: "monorepo", Load: 0.9, Seed: 1, Entries: 3000, PerHour: 500, Areas: 200, Median: 30, Spread: 0.6, Cap: 120,
		Fail: 0.10, Conflict: 0.034, Apart: 30, Flake: 0.015, Infra: 0.005}
}

// Multirepo is the profile of a product of 47 repositories in 8 configurations: tiers of 5, 15 and 45 minutes, the last on 1 to 4 rigs for
// each configuration.
func Multirepo() Settings {
	return Settings{Profile: "multirepo", Load: 0.9, Seed: 1, Entries: 1500, Fail: 0.10, Conflict: 0.02, Apart: 60, Flake: 0.015, Infra: 0.01}
}

// Generate makes the workload of a profile. Equal settings make equal workloads.
func Generate(s Settings) (*Workload, error) {
	switch s.Profile {
	case "monorepo":
		return monorepo(s), nil
	case "multirepo":
		return multirepo(s), nil
	}
	return nil, fmt.Errorf("unknown profile %q", s.Profile)
}

func monorepo(s Settings) *Workload {
	rng := rand.New(rand.NewPCG(s.Seed, 0x6d6f6e6f))
	w := &Workload{Name: s.Profile, Flake: s.Flake, Infra: s.Infra, Load: s.Load}
	weights := make([]float64, s.Areas)
	for i := range weights {
		weights[i] = 1 / math.Sqrt(float64(i+1))
		w.Checks = append(w.Checks, speculate.Check{Name: fmt.Sprintf("build and tests of area %d", i+1), Label: "build"})
	}
	now := 0.0
	for n := range s.Entries {
		now += rng.ExpFloat64() * 60 / s.PerHour
		c := &Change{ID: speculate.ID(n + 1), At: now, Fails: -1}
		areas := []int{pick(rng, weights)}
		for rng.Float64() < 0.15 && len(areas) < 3 {
			if a := pick(rng, weights); !slices.Contains(areas, a) {
				areas = append(areas, a)
			}
		}
		slices.Sort(areas)
		minutes := min(s.Cap, s.Median*math.Exp(s.Spread*rng.NormFloat64()))
		for _, a := range areas {
			c.Moves = append(c.Moves, fmt.Sprintf("area-%d", a+1))
			c.Needs = append(c.Needs, speculate.Need{Check: a, Minutes: minutes})
		}
		if fails(rng, s.Fail, c) {
			c.Fails = areas[rng.IntN(len(areas))]
		}
		w.Changes = append(w.Changes, c)
	}
	w.collide(rng, s, 0)
	w.judge()
	w.Pools = []speculate.Pool{{Label: "build", Weight: 1}}
	w.Pools[0].Total = max(1, int(math.Ceil(w.demand()["build"]/s.Load)))
	return w
}

// fails decides whether a change fails by itself, and gives it the features that hint at that: its size, how new its author is to the
// code, how risky its part is, and one that says nothing. Their logit is calibrated so that a share of about p fails.
func fails(rng *rand.Rand, p float64, c *Change) bool {
	size, novice, part := rng.NormFloat64(), 0.0, 0.0
	if rng.Float64() < 0.3 {
		novice = 1
	}
	for _, m := range c.Moves {
		part = max(part, float64(hash(m)%1000)/1000)
	}
	c.Features = []float64{size, novice, part, rng.NormFloat64()}
	logit := math.Log(p/(1-p)) - 1.75 + 1.2*size + 1.5*novice + 1.2*part
	return rng.Float64() < 1/(1+math.Exp(-logit))
}

func pick(rng *rand.Rand, weights []float64) int {
	sum := 0.0
	for _, w := range weights {
		sum += w
	}
	at := rng.Float64() * sum
	for i, w := range weights {
		if at -= w; at < 0 {
			return i
		}
	}
	return len(weights) - 1
}

// collide draws the real conflicts: between entries that share a check of at least a tier and were written at the same time.
func (w *Workload) collide(rng *rand.Rand, s Settings, tier int) {
	for i, c := range w.Changes {
		for j := i - 1; j >= 0 && c.At-w.Changes[j].At < s.Apart; j-- {
			var shared []int
			for _, a := range c.Needs {
				for _, b := range w.Changes[j].Needs {
					if a.Check == b.Check && w.Checks[a.Check].Tier >= tier {
						shared = append(shared, a.Check)
					}
				}
			}
			if len(shared) > 0 && rng.Float64() < s.Conflict {
				check := shared[rng.IntN(len(shared))]
				c.Conflicts = append(c.Conflicts, Collision{w.Changes[j].ID, check})
				w.Changes[j].Conflicts = append(w.Changes[j].Conflicts, Collision{c.ID, check})
			}
		}
	}
}

// judge finds how every change ends when they are decided in order of arrival.
func (w *Workload) judge() {
	for _, c := range w.Changes {
		c.need = make(map[int]int, len(c.Needs))
		for k, n := range c.Needs {
			c.need[n.Check] = k
		}
		c.good = c.Fails < 0
		for _, x := range c.Conflicts {
			c.good = c.good && !(x.With < c.ID && w.Changes[x.With-1].good)
		}
		for _, d := range c.DependsOn {
			c.good = c.good && w.Changes[d-1].good
		}
	}
}

// demand is how many slots of each pool an oracle keeps busy on average: one run of each check of each entry, up to the tier that refutes it.
func (w *Workload) demand() map[string]float64 {
	minutes := map[string]float64{}
	for _, c := range w.Changes {
		last, at := math.MaxInt, -1
		for _, n := range c.Needs {
			if refutes(w, c, n.Check) && w.Checks[n.Check].Tier < last {
				last, at = w.Checks[n.Check].Tier, n.Check
			}
		}
		for _, n := range c.Needs {
			check := w.Checks[n.Check]
			switch {
			case check.Tier > last:
			case n.Check == at:
				minutes[check.Label] += n.Minutes * (1 + failEarliest) / 2
			default:
				minutes[check.Label] += n.Minutes * (1 + w.Flake + w.Infra)
			}
		}
	}
	span := w.Changes[len(w.Changes)-1].At - w.Changes[0].At
	for label := range minutes {
		minutes[label] /= max(span, 1)
	}
	return minutes
}

func refutes(w *Workload, c *Change, check int) bool {
	if c.Fails == check {
		return true
	}
	for _, x := range c.Conflicts {
		if x.Check == check && x.With < c.ID && w.Changes[x.With-1].good {
			return true
		}
	}
	return false
}

const rigWeight = 20

// multirepo builds the product from a fixed seed, so that only its changes differ from seed to seed.
func multirepo(s Settings) *Workload {
	rng := rand.New(rand.NewPCG(47, 0x6d756c74))
	var names []string
	var weights []float64
	needs := map[string][]string{}
	layer := func(count int, kind string, weight float64, below []string, most int) (made []string) {
		for i := range count {
			name := fmt.Sprintf("%s-%d", kind, i+1)
			for len(below) > 0 && len(needs[name]) < 1+rng.IntN(most) {
				if n := below[rng.IntN(len(below))]; !slices.Contains(needs[name], n) {
					needs[name] = append(needs[name], n)
				}
			}
			names, weights, made = append(names, name), append(weights, weight), append(made, name)
		}
		return made
	}
	libs := layer(8, "lib", 0.4, nil, 0)
	services := layer(14, "service", 0.8, libs, 2)
	apps := layer(25, "app", 1.2, services, 2)
	w := &Workload{Name: s.Profile, Flake: s.Flake, Infra: s.Infra, Load: s.Load}
	var inputs [][]string
	for _, n := range names {
		w.Checks = append(w.Checks, speculate.Check{Name: "build and unit tests of " + n, Label: "build", Whole: true, Blame: 1})
		inputs = append(inputs, []string{n})
	}
	const configurations = 8
	sizes := []int{1, 2, 2, 3, 3, 4, 5, 5} // apps of each configuration
	for c := range configurations {
		of := slices.Clone(apps[:sizes[c]])
		apps = apps[sizes[c]:]
		name := fmt.Sprintf("site-%d", c+1)
		w.Checks = append(w.Checks,
			speculate.Check{Name: "integration of " + name, Configuration: name, Tier: 1, Label: "build", Whole: true, Blame: 2},
			speculate.Check{Name: "rig test of " + name, Configuration: name, Tier: 2, Label: "rig-" + name, Whole: true, Blame: 2})
		inputs = append(inputs, of, of)
	}
	rng = rand.New(rand.NewPCG(s.Seed, 0x6d756c74))
	moved := make([][]speculate.Need, len(names))
	rigs := map[string]float64{} // minutes for an average change
	sum := 0.0
	for i, n := range names {
		for _, t := range speculate.Affected(inputs, needs, n) {
			minutes := []float64{5, 15, 45}[w.Checks[t].Tier]
			moved[i] = append(moved[i], speculate.Need{Check: t, Minutes: minutes})
			if w.Checks[t].Tier == 2 {
				rigs[w.Checks[t].Label] += minutes * weights[i]
			}
		}
		slices.SortStableFunc(moved[i], func(a, b speculate.Need) int { return w.Checks[a.Check].Tier - w.Checks[b.Check].Tier })
		sum += weights[i]
	}
	most := 0.0
	for _, m := range rigs {
		most = max(most, m/sum)
	}
	for c := range configurations {
		label := fmt.Sprintf("rig-site-%d", c+1)
		w.Pools = append(w.Pools, speculate.Pool{Label: label, Weight: rigWeight, Total: min(4, max(1, int(math.Ceil(4*rigs[label]/sum/most))))})
	}
	gap := 0.0 // minutes between arrivals
	for _, p := range w.Pools {
		gap = max(gap, rigs[p.Label]/sum/float64(p.Total)/s.Load)
	}
	now := 0.0
	tierShare := []float64{0.6, 0.25, 0.15}
	for n := range s.Entries {
		now += rng.ExpFloat64() * gap
		i := pick(rng, weights)
		c := &Change{ID: speculate.ID(n + 1), At: now, Moves: []string{names[i]}, Fails: -1, Needs: slices.Clone(moved[i])}
		for k := range c.Needs {
			c.Needs[k].Minutes *= 0.8 + 0.4*rng.Float64()
		}
		if fails(rng, s.Fail, c) {
			tier := pick(rng, tierShare)
			var at []int
			for _, need := range c.Needs {
				if w.Checks[need.Check].Tier <= tier {
					at = append(at, need.Check)
				}
			}
			c.Fails = at[len(at)-1]
			if tier == 0 {
				c.Fails = at[rng.IntN(len(at))]
			}
		}
		w.Changes = append(w.Changes, c)
	}
	w.collide(rng, s, 1)
	w.judge()
	// The demand of those that fail early is smaller than was assumed for the rigs: bring the busiest pool to the load by the time between
	// arrivals, then give builds what they need at that load.
	demand := w.demand()
	busiest := 0.0
	for _, p := range w.Pools {
		busiest = max(busiest, demand[p.Label]/float64(p.Total))
	}
	scale := 1.0
	if busiest > 0 { // not of a handful of changes that all fail before the rigs
		scale = busiest / s.Load
	}
	for _, c := range w.Changes {
		c.At *= scale
	}
	w.Pools = append(w.Pools, speculate.Pool{Label: "build", Weight: 1, Total: max(1, int(math.Ceil(demand["build"]/scale/s.Load)))})
	return w
}

// hash is FNV-1a with a finish (splitmix64), for decisions that have to be the same whatever policy asks.
func hash(parts ...any) uint64 {
	h := uint64(14695981039346656037)
	add := func(x uint64) {
		h ^= x
		h *= 1099511628211
		h ^= h >> 29
	}
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			for i := range len(p) {
				add(uint64(p[i]))
			}
		case uint64:
			add(p)
		case int:
			add(uint64(p))
		case speculate.ID:
			add(uint64(p))
		}
	}
	h ^= h >> 30
	h *= 0xbf58476d1ce4e5b9
	h ^= h >> 27
	h *= 0x94d049bb133111eb
	return h ^ h>>31
}

// chance draws a number in [0, 1).
func chance(parts ...any) float64 { return float64(hash(parts...)>>11) / (1 << 53) }
