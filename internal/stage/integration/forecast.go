package integration

import (
	"context"
	"encoding/json"
	"math"

	"slipway.dev/slipway/internal/stage/integration/predict"
)

// The predictors of the product file.
const (
	predictNone       = "none"       // only how many land
	predictHistorical = "historical" // how entries of a component have fared
	predictLogistic   = "logistic"   // features of an entry
)

// Forecast is what a queue has learnt of how entries end. All predictors learn and are scored, so that whoever chooses another one knows what
// it would have said. Only who landed or was convicted counts; who was taken out, or got no verdict, teaches nothing.
type Forecast struct {
	Components predict.History  `json:"components"`
	Authors    predict.History  `json:"authors"` // by author, as a feature
	Features   predict.Logistic `json:"features"`

	Scores map[string]predict.Tally `json:"scores,omitempty"` // by predictor
}

// Calibration tells how far a predictor can be trusted.
type Calibration struct {
	Predictor string         `json:"predictor"`
	Used      bool           `json:"used,omitempty"` // the product file chose it
	Count     int            `json:"count"`          // entries that it has predicted and that have ended
	Brier     float64        `json:"brier"`          // mean squared error: 0 is perfect, a coin gives 0.25
	Bands     []predict.Band `json:"bands,omitempty"`
}

// Predictions tells how good the predictors of a product's queue have been.
func (s *Service) Predictions(ctx context.Context, product string) ([]Calibration, error) {
	p, _, err := s.catalog.Product(ctx, product)
	if err != nil {
		return nil, err
	}
	q, err := s.Queue(ctx, product)
	return q.Forecast.calibrations(p.Queue.Predictor), err
}

// calibrations are those of all predictors.
func (f Forecast) calibrations(used string) []Calibration {
	var all []Calibration
	for _, name := range []string{predictNone, predictHistorical, predictLogistic} {
		t := f.Scores[name]
		all = append(all, Calibration{name, name == used, t.Count, round(t.Brier()), t.Bands()})
	}
	return all
}

// round keeps three digits, which is what people compare.
func round(x float64) float64 { return math.Round(1000*x) / 1000 }

// subject is an entry as the predictors look at it.
func (e Entry) subject() predict.Subject {
	s := predict.Subject{Features: e.Features}
	for _, pin := range e.Pins {
		s.Components = append(s.Components, pin.Component)
	}
	return s
}

// features are what is known of an entry when it is first planned: how much it moves and affects, where it comes from, and how those
// fared before. They are always as many and mean the same.
func (f *Forecast) features(e Entry, affected, experiments int) []float64 {
	flag := func(is bool) float64 {
		if is {
			return 1
		}
		return 0
	}
	logit := func(p float64) float64 { return math.Log(p / (1 - p)) }
	return []float64{
		math.Log1p(float64(len(e.Pins))), math.Log1p(float64(affected)), math.Log1p(float64(experiments)),
		flag(len(e.Changes) > 0), flag(e.Exact), flag(e.File != ""),
		logit(f.Components.Predict(e.subject())), logit(f.Authors.Predict(predict.Subject{Components: []string{e.Author}})),
	}
}

// predict is what each predictor says of an entry.
func (f *Forecast) predict(e Entry) map[string]float64 {
	s := e.subject()
	said := map[string]float64{predictNone: f.Components.Rate.Predict(s), predictHistorical: f.Components.Predict(s)}
	said[predictLogistic] = said[predictNone]
	if len(e.Features) > 0 {
		said[predictLogistic] = f.Features.Predict(s)
	}
	return said
}

// learned is what the forecast is after an entry has ended. It shares nothing with what it was.
func (f Forecast) learned(e Entry, landed bool) (Forecast, error) {
	text, err := json.Marshal(f)
	if err != nil {
		return f, err
	}
	var next Forecast
	if err := json.Unmarshal(text, &next); err != nil {
		return f, err
	}
	if next.Scores == nil {
		next.Scores = map[string]predict.Tally{}
	}
	for name, p := range e.Said {
		t := next.Scores[name]
		t.Add(p, landed)
		next.Scores[name] = t
	}
	if len(e.Features) > 0 {
		next.Features.Learn(e.subject(), landed)
	}
	next.Authors.Learn(predict.Subject{Components: []string{e.Author}}, landed)
	next.Components.Learn(e.subject(), landed)
	return next, nil
}
