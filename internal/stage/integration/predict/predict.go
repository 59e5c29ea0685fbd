// Package predict says how likely a queue entry is to land, from what is known of it when it comes and from how earlier ones ended. The
// planner of the queue (package speculate) speculates on it; a bad prediction costs capacity, never soundness.
//
// Three predictors learn entry by entry and give the same answer for the same history:
//
//   - [Rate] knows only how many landed;
//   - [History] also in which components: the share that landed, drawn towards the rate of all where little is known (a beta prior);
//   - [Logistic] regression on numbers such as the size of a change, by stochastic gradient descent, with features scaled by their running
//     mean and deviation (Welford 1962).
//
// [Calibration] tells how far predictions can be trusted: the Brier score (Brier 1950) and a table of what was said against what came.
package predict

import (
	"math"
	"slices"
)

// Subject is what is known of an entry beforehand.
type Subject struct {
	Components []string
	Features   []float64 // always of the same length and meaning
}

// Predictor learns and predicts.
type Predictor interface {
	// Predict is the chance that the entry lands, in (0, 1).
	Predict(s Subject) float64
	// Learn takes in how an entry ended.
	Learn(s Subject, landed bool)
}

// Rate predicts the share of all entries that landed.
type Rate struct{ landed, all float64 }

// before is how the share starts: nine of ten, with the weight of ten entries.
const before, weight = 0.9, 10

// Predict implements [Predictor].
func (r *Rate) Predict(Subject) float64 { return (r.landed + before*weight) / (r.all + weight) }

// Learn implements [Predictor].
func (r *Rate) Learn(_ Subject, landed bool) {
	r.all++
	if landed {
		r.landed++
	}
}

// History predicts by the components that are moved; the worst of them counts.
type History struct {
	rate Rate
	of   map[string]*Rate
}

// Predict implements [Predictor].
func (h *History) Predict(s Subject) float64 {
	all := h.rate.Predict(s)
	p := 1.0
	for _, c := range s.Components {
		if r := h.of[c]; r != nil {
			p = min(p, (r.landed+all*weight)/(r.all+weight))
		} else {
			p = min(p, all)
		}
	}
	if len(s.Components) == 0 {
		return all
	}
	return p
}

// Learn implements [Predictor].
func (h *History) Learn(s Subject, landed bool) {
	h.rate.Learn(s, landed)
	if h.of == nil {
		h.of = map[string]*Rate{}
	}
	for _, c := range s.Components {
		if h.of[c] == nil {
			h.of[c] = &Rate{}
		}
		h.of[c].Learn(s, landed)
	}
}

// Logistic predicts by a weighted sum of features.
type Logistic struct {
	weights  []float64 // the last is the constant
	mean, m2 []float64
	seen     float64
}

// Predict implements [Predictor].
func (l *Logistic) Predict(s Subject) float64 {
	if l.seen == 0 {
		return before
	}
	return min(max(1/(1+math.Exp(-l.sum(l.scaled(s)))), 0.005), 0.995)
}

func (l *Logistic) scaled(s Subject) []float64 {
	x := make([]float64, len(s.Features)+1)
	for i, f := range s.Features {
		deviation := math.Sqrt(l.m2[i] / max(l.seen, 1))
		x[i] = (f - l.mean[i]) / max(deviation, 1e-6)
	}
	x[len(x)-1] = 1
	return x
}

func (l *Logistic) sum(x []float64) float64 {
	sum := 0.0
	for i := range x {
		sum += l.weights[i] * x[i]
	}
	return sum
}

// Learn implements [Predictor].
func (l *Logistic) Learn(s Subject, landed bool) {
	if l.seen == 0 {
		n := len(s.Features)
		l.weights, l.mean, l.m2 = make([]float64, n+1), make([]float64, n), make([]float64, n)
		l.weights[n] = math.Log(before / (1 - before))
	}
	l.seen++
	for i, f := range s.Features {
		d := f - l.mean[i]
		l.mean[i] += d / l.seen
		l.m2[i] += d * (f - l.mean[i])
	}
	x := l.scaled(s)
	wrong := -1 / (1 + math.Exp(-l.sum(x)))
	if landed {
		wrong++
	}
	rate := 0.3 / math.Sqrt(1+l.seen/50)
	for i := range x {
		l.weights[i] += rate * wrong * min(max(x[i], -4), 4)
	}
}

// Calibration compares predictions with what came.
type Calibration struct {
	said []float64
	came []bool
}

// Add takes in one prediction and how its entry ended.
func (c *Calibration) Add(p float64, landed bool) {
	c.said, c.came = append(c.said, p), append(c.came, landed)
}

// Brier is the mean square of the error: 0 is perfect, always saying one half gives 0.25.
func (c *Calibration) Brier() float64 {
	sum := 0.0
	for i, p := range c.said {
		if c.came[i] {
			p = 1 - p
		}
		sum += p * p
	}
	return sum / max(float64(len(c.said)), 1)
}

// Band is the predictions between two chances.
type Band struct {
	Said   float64 `json:"said"`   // their mean
	Landed float64 `json:"landed"` // the share that landed
	Count  int     `json:"count"`
}

// Bands sorts the predictions and cuts them into up to n bands of equal size: calibrated predictions have Said near Landed in each.
func (c *Calibration) Bands(n int) []Band {
	order := make([]int, len(c.said))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case c.said[a] < c.said[b]:
			return -1
		case c.said[a] > c.said[b]:
			return 1
		}
		return 0
	})
	var bands []Band
	for b := range n {
		var band Band
		for _, i := range order[len(order)*b/n : len(order)*(b+1)/n] {
			band.Count++
			band.Said += c.said[i]
			if c.came[i] {
				band.Landed++
			}
		}
		if band.Count > 0 {
			band.Said /= float64(band.Count)
			band.Landed /= float64(band.Count)
			bands = append(bands, band)
		}
	}
	return bands
}
