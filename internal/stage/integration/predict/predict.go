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
// What they have learnt is in their fields, for who keeps them. [Calibration] tells how far predictions can be trusted: the Brier score (Brier 1950) and a table of what was said against what came; [Tally] is
// one that can be kept without all predictions.
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
type Rate struct {
	Landed float64 `json:"landed"`
	All    float64 `json:"all"`
}

// before is how the share starts: nine of ten, with the weight of ten entries.
const before, weight = 0.9, 10

// Predict implements [Predictor].
func (r *Rate) Predict(Subject) float64 { return (r.Landed + before*weight) / (r.All + weight) }

// Learn implements [Predictor].
func (r *Rate) Learn(_ Subject, landed bool) {
	r.All++
	if landed {
		r.Landed++
	}
}

// History predicts by the components that are moved; the worst of them counts.
type History struct {
	Rate Rate            `json:"rate"`
	Of   map[string]Rate `json:"of,omitempty"` // by component
}

// Predict implements [Predictor].
func (h *History) Predict(s Subject) float64 {
	all := h.Rate.Predict(s)
	p := 1.0
	for _, c := range s.Components {
		if r, known := h.Of[c]; known {
			p = min(p, (r.Landed+all*weight)/(r.All+weight))
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
	h.Rate.Learn(s, landed)
	if h.Of == nil {
		h.Of = map[string]Rate{}
	}
	for _, c := range s.Components {
		r := h.Of[c]
		r.Learn(s, landed)
		h.Of[c] = r
	}
}

// Logistic predicts by a weighted sum of features.
type Logistic struct {
	Weights []float64 `json:"weights,omitempty"` // the last is the constant
	Mean    []float64 `json:"mean,omitempty"`    // of each feature
	Squares []float64 `json:"squares,omitempty"` // sums of the squared deviations from it
	Seen    float64   `json:"seen,omitempty"`    // entries
}

// Predict implements [Predictor].
func (l *Logistic) Predict(s Subject) float64 {
	if l.Seen == 0 {
		return before
	}
	return min(max(1/(1+math.Exp(-l.sum(l.scaled(s)))), 0.005), 0.995)
}

func (l *Logistic) scaled(s Subject) []float64 {
	x := make([]float64, len(s.Features)+1)
	for i, f := range s.Features {
		deviation := math.Sqrt(l.Squares[i] / max(l.Seen, 1))
		x[i] = (f - l.Mean[i]) / max(deviation, 1e-6)
	}
	x[len(x)-1] = 1
	return x
}

func (l *Logistic) sum(x []float64) float64 {
	sum := 0.0
	for i := range x {
		sum += l.Weights[i] * x[i]
	}
	return sum
}

// Learn implements [Predictor].
func (l *Logistic) Learn(s Subject, landed bool) {
	if l.Seen == 0 {
		n := len(s.Features)
		l.Weights, l.Mean, l.Squares = make([]float64, n+1), make([]float64, n), make([]float64, n)
		l.Weights[n] = math.Log(before / (1 - before))
	}
	l.Seen++
	for i, f := range s.Features {
		d := f - l.Mean[i]
		l.Mean[i] += d / l.Seen
		l.Squares[i] += d * (f - l.Mean[i])
	}
	x := l.scaled(s)
	wrong := -1 / (1 + math.Exp(-l.sum(x)))
	if landed {
		wrong++
	}
	rate := 0.3 / math.Sqrt(1+l.Seen/50)
	for i := range x {
		l.Weights[i] += rate * wrong * min(max(x[i], -4), 4)
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

// bins is how many equal spans of chances a tally keeps apart.
const bins = 10

// Tally is a calibration that forgets single predictions.
type Tally struct {
	Count   int        `json:"count"`
	Squares float64    `json:"squares"` // sum of the squared errors
	Bins    [bins]Band `json:"bins"`    // Said and Landed are sums
}

// Add takes in one prediction and how its entry ended.
func (t *Tally) Add(p float64, landed bool) {
	b := &t.Bins[max(0, min(bins-1, int(p*bins)))]
	t.Count++
	b.Count++
	b.Said += p
	if landed {
		b.Landed++
		p = 1 - p
	}
	t.Squares += p * p
}

// Brier is the mean square of the error, as [Calibration.Brier]; 0 when nothing has been predicted.
func (t Tally) Brier() float64 { return t.Squares / max(float64(t.Count), 1) }

// Bands are the spans of chances in which something was predicted, from the least likely.
func (t Tally) Bands() []Band {
	var bands []Band
	for _, b := range t.Bins {
		if n := float64(b.Count); n > 0 {
			bands = append(bands, Band{Said: b.Said / n, Landed: b.Landed / n, Count: b.Count})
		}
	}
	return bands
}
