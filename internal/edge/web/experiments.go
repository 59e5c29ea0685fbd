package web

import (
	"net/http"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/lab"
)

func (s *Server) experiments() {
	s.page("GET /ui/products/{product}/experiments", func(r *http.Request) (view, error) {
		product := r.PathValue("product")
		list, err := s.Lab.List(r.Context(), product, nil, r.URL.Query().Get("after"), pageSize+1)
		list, next := cut(list, func(e lab.Experiment) string { return e.Request.ID })
		return view{Title: "Experiments of " + product, Product: product, Topics: []string{product + ":lab.experiment."}, Body: experimentList(list, next)}, err
	})
	s.page("GET /ui/experiments/{number}", func(r *http.Request) (view, error) {
		e, err := s.Lab.Get(r.Context(), r.PathValue("number"))
		if err != nil {
			return view{}, err
		}
		topics := []string{e.Ref(), slipway.Ref("experiment", e.Request.ID)}
		return view{Title: e.Spec.Name, Product: e.Request.Product, Topics: topics, Poll: e.State != lab.Done, Body: experimentPage(e)}, nil
	})
	s.mux.HandleFunc("GET /ui/experiments/{number}/log/{node}/{step}", s.guarded(s.stepLog))
}

// experimentState is the state in one word: the outcome once it is done.
func experimentState(e lab.Experiment) string {
	if e.State == lab.Done {
		return string(e.Outcome)
	}
	return e.State
}

// stepLog is the log of one step on one node so far, as text.
func (s *Server) stepLog(w http.ResponseWriter, r *http.Request) {
	var at int64
	for first := true; ; first = false {
		data, more, err := s.Lab.Log(r.Context(), r.PathValue("number"), r.PathValue("node"), r.PathValue("step"), at)
		if err != nil && first {
			s.refuse(w, r, err)
			return
		}
		if first {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		}
		if err != nil || len(data) == 0 {
			return
		}
		if _, err := w.Write(data); err != nil || !more {
			return
		}
		at += int64(len(data))
	}
}
