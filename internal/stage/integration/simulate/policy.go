package simulate

import (
	"fmt"
	"slices"

	"slipway.dev/slipway/internal/stage/integration/predict"
	"slipway.dev/slipway/internal/stage/integration/rival"
	"slipway.dev/slipway/internal/stage/integration/speculate"
)

// Policies are the names of all policies, in the order in which they are told.
var policies = []string{"slipway", "serial", "optimistic-window", "batch-bisect", "speculate-all", "oracle"}

// Policies lists the names of the policies.
func Policies() []string { return slices.Clone(policies) }

func policy(name string, w *Workload) speculate.Planner {
	switch name {
	case "slipway":
		return speculate.New(speculate.Options{Flake: max(w.Flake, 0.001), Terse: true})
	case "serial":
		return rival.Serial{}
	case "optimistic-window":
		return rival.Window{}
	case "batch-bisect":
		return rival.Bisect{}
	case "speculate-all":
		return rival.SpeculateAll()
	}
	return rival.Oracle()
}

// Predictors are the names of the predictors.
func Predictors() []string { return []string{"97", "90", "none", "historical", "logistic"} }

// Result is how a policy did.
type Result struct {
	Policy           string         `json:"policy"`
	Profile          string         `json:"profile"`
	Load             float64        `json:"load"`
	Predictor        string         `json:"predictor"`
	Seed             uint64         `json:"seed"`
	Entries          int            `json:"entries"`
	Landed           int            `json:"landed"`
	Evicted          int            `json:"evicted"`
	P50              float64        `json:"p50_minutes"` // turnaround of entries that landed
	P95              float64        `json:"p95_minutes"`
	P99              float64        `json:"p99_minutes"`
	P50Ratio         float64        `json:"p50_ratio"` // to the oracle's
	P95Ratio         float64        `json:"p95_ratio"`
	P99Ratio         float64        `json:"p99_ratio"`
	ThroughputRatio  float64        `json:"throughput_ratio"` // landed until the last arrival, to the oracle's
	BuildsPerChange  float64        `json:"builds_per_change"`
	BuildsRatio      float64        `json:"builds_ratio"`
	WastedRigMinutes float64        `json:"wasted_rig_minutes"` // of runs that neither landed nor refuted anything
	RigMinutes       float64        `json:"rig_minutes"`
	WrongEvictions   int            `json:"wrong_evictions"`
	StarvationAge    float64        `json:"starvation_age"` // minutes that the oldest entry became
	Bypassed         int            `json:"bypassed"`
	Utilization      float64        `json:"utilization"` // of the busiest pool until the last arrival
	Brier            float64        `json:"brier,omitempty"`
	Calibration      []predict.Band `json:"calibration,omitempty"`
	Plans            int            `json:"plans"`

	throughput float64
}

// Compare runs policies over a workload with a predictor ([Predictors]); it always runs the oracle, to which the others are compared. progress may be nil.
func Compare(w *Workload, names []string, predictor string, seed uint64, progress func(policy string, done, all int)) ([]Result, error) {
	one := func(name string) (Result, error) {
		kind := predictor
		if name == "oracle" {
			kind = "oracle"
		}
		var calibration predict.Calibration
		p, learn := predictorOf(w, kind, seed)
		said := map[speculate.ID]float64{}
		guess := func(c *Change) float64 { said[c.ID] = p(c); return said[c.ID] }
		world, err := simulate(w, policy(name, w), guess, learn, seed, func(done, all int) {
			if progress != nil {
				progress(name, done, all)
			}
		})
		if err != nil {
			return Result{}, fmt.Errorf("%s: %w", name, err)
		}
		for _, c := range w.Changes {
			calibration.Add(said[c.ID], c.good)
		}
		r := world.result()
		r.Policy, r.Predictor, r.Seed = name, kind, seed
		if name == "slipway" {
			r.Brier, r.Calibration = calibration.Brier(), calibration.Bands(5)
		}
		return r, nil
	}
	oracle, err := one("oracle")
	if err != nil {
		return nil, err
	}
	var results []Result
	for _, name := range names {
		r := oracle
		if name != "oracle" {
			if r, err = one(name); err != nil {
				return nil, err
			}
		}
		ratio := func(a, b float64) float64 {
			if b == 0 {
				return 0
			}
			return a / b
		}
		r.P50Ratio, r.P95Ratio, r.P99Ratio = ratio(r.P50, oracle.P50), ratio(r.P95, oracle.P95), ratio(r.P99, oracle.P99)
		r.ThroughputRatio, r.BuildsRatio = ratio(r.throughput, oracle.throughput), ratio(r.BuildsPerChange, oracle.BuildsPerChange)
		results = append(results, r)
	}
	return results, nil
}

// predictorOf makes a predictor for a workload. Those with an accuracy say the right outcome with that chance, and how sure they are of it is
// calibrated: what share of those that they call good are good.
func predictorOf(w *Workload, kind string, seed uint64) (func(*Change) float64, func(*Change, bool)) {
	subject := func(c *Change) predict.Subject { return predict.Subject{Components: c.Moves, Features: c.Features} }
	learned := func(p predict.Predictor) (func(*Change) float64, func(*Change, bool)) {
		return func(c *Change) float64 { return p.Predict(subject(c)) }, func(c *Change, landed bool) { p.Learn(subject(c), landed) }
	}
	accuracy := map[string]float64{"97": 0.97, "90": 0.90, "oracle": 1}[kind]
	switch kind {
	case "historical":
		return learned(&predict.History{})
	case "logistic":
		return learned(&predict.Logistic{})
	case "none":
		return learned(&predict.Rate{})
	}
	good := 0.0
	for _, c := range w.Changes {
		if c.good {
			good++
		}
	}
	good /= float64(len(w.Changes))
	sayGood := accuracy * good / (accuracy*good + (1-accuracy)*(1-good))
	sayBad := (1 - accuracy) * good / ((1-accuracy)*good + accuracy*(1-good))
	return func(c *Change) float64 {
		if c.P > 0 && kind != "oracle" {
			return c.P
		}
		right := chance(seed, "predictor", c.ID) < accuracy
		if right == c.good {
			return sayGood
		}
		return sayBad
	}, nil
}

// result measures what happened. Turnaround is of the entries that landed, among those that arrived after the first tenth and before the last
// seventh, so that neither the empty queue at the beginning nor its end counts.
func (s *world) result() Result {
	r := Result{Profile: s.w.Name, Load: s.w.Load, Entries: len(s.w.Changes), Plans: s.plans, StarvationAge: s.oldest, Bypassed: s.bypassed, WrongEvictions: s.wrong}
	first, last := len(s.w.Changes)/10, len(s.w.Changes)-len(s.w.Changes)/7
	close := s.w.Changes[len(s.w.Changes)-1].At
	var turnaround []float64
	for i, e := range s.ended {
		if e.landed {
			r.Landed++
			if e.at <= close {
				r.throughput++
			}
			if i >= first && i < last {
				turnaround = append(turnaround, e.at-s.w.Changes[i].At)
			}
		} else {
			r.Evicted++
		}
	}
	slices.Sort(turnaround)
	quantile := func(q float64) float64 {
		if len(turnaround) == 0 {
			return 0
		}
		return turnaround[min(len(turnaround)-1, int(q*float64(len(turnaround))))]
	}
	r.P50, r.P95, r.P99 = quantile(0.5), quantile(0.95), quantile(0.99)
	r.BuildsPerChange = float64(s.started) / float64(len(s.w.Changes))
	for _, e := range s.edges {
		r.RigMinutes += s.rigs[e]
		if !s.used[e] {
			r.WastedRigMinutes += s.rigs[e]
		}
	}
	for i, p := range s.w.Pools {
		r.Utilization = max(r.Utilization, s.atClose[i]/float64(p.Total)/max(close, 1))
	}
	return r
}
