package predict_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"slipway.dev/slipway/internal/stage/integration/predict"
)

// Entries that fail more the greater their first feature is, and more in one component: who looks at that predicts better and stays calibrated.
func TestPredictorsLearnAndAreCalibrated(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	predictors := map[string]predict.Predictor{"rate": &predict.Rate{}, "history": &predict.History{}, "logistic": &predict.Logistic{}}
	scores := map[string]*predict.Calibration{"rate": {}, "history": {}, "logistic": {}}
	for n := range 4000 {
		s := predict.Subject{Components: []string{"steady"}, Features: []float64{rng.NormFloat64(), 0}}
		if rng.IntN(3) == 0 {
			s.Components, s.Features[1] = []string{"risky"}, 1
		}
		landed := rng.Float64() < 1/(1+math.Exp(-(2.5-1.5*s.Features[0]-2*s.Features[1])))
		for name, p := range predictors {
			if n > 1000 {
				scores[name].Add(p.Predict(s), landed)
			}
			p.Learn(s, landed)
		}
	}
	rate, history, logistic := scores["rate"].Brier(), scores["history"].Brier(), scores["logistic"].Brier()
	if !(logistic < history && history < rate) {
		t.Fatalf("Brier scores: rate %.3f, history %.3f, logistic %.3f", rate, history, logistic)
	}
	for _, b := range scores["logistic"].Bands(5) {
		if math.Abs(b.Said-b.Landed) > 0.08 {
			t.Errorf("said %.2f, and %.2f landed", b.Said, b.Landed)
		}
	}
}

func TestATallyAgreesWithACalibration(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	var tally predict.Tally
	var calibration predict.Calibration
	for range 500 {
		p := rng.Float64()
		landed := rng.Float64() < p
		tally.Add(p, landed)
		calibration.Add(p, landed)
	}
	tally.Add(1, true)
	calibration.Add(1, true)
	if a, b := tally.Brier(), calibration.Brier(); math.Abs(a-b) > 1e-9 {
		t.Errorf("Brier scores %v and %v", a, b)
	}
	n := 0
	for _, b := range tally.Bands() {
		if n += b.Count; math.Abs(b.Said-b.Landed) > 0.2 {
			t.Errorf("said %.2f, and %.2f landed", b.Said, b.Landed)
		}
	}
	if n != 501 || (predict.Tally{}).Brier() != 0 {
		t.Errorf("%d predictions in bands", n)
	}
}
