package web

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build"
)

func (s *Server) builds() {
	s.page("GET /ui/products/{product}/builds", func(r *http.Request) (view, error) {
		product := r.PathValue("product")
		list, err := s.Builds.Builds(r.Context(), slipway.Query{Product: product, Newest: true, After: r.URL.Query().Get("after"), Limit: pageSize + 1})
		list, next := cut(list, func(b build.Build) string { return b.ID })
		return view{Title: "Builds of " + product, Product: product, Topics: []string{product + ":build."}, Body: buildList(list, next)}, err
	})
	s.page("GET /ui/builds/{id}", func(r *http.Request) (view, error) {
		b, err := s.Builds.Build(r.Context(), r.PathValue("id"))
		return view{Title: b.Name(), Product: b.Product, Topics: []string{slipway.Ref("build", b.ID)}, Body: buildPage(b)}, err
	})
	s.page("GET /ui/waves/{id}", func(r *http.Request) (view, error) {
		w, err := s.Builds.WaveRecord(r.Context(), r.PathValue("id"))
		if err != nil {
			return view{}, err
		}
		return view{Title: "Wave " + w.Request.ID, Product: w.Request.Product,
			Topics: []string{slipway.Ref("wave", w.Request.ID), w.Request.Product + ":build.action."}, Body: wavePage(w)}, nil
	})
	s.mux.HandleFunc("GET /ui/builds/{id}/log.txt", s.guarded(s.buildLog))
	s.mux.HandleFunc("GET /ui/builds/{id}/log", s.guarded(s.followBuildLog))
}

// buildState is the state in one word: the outcome once it is done.
func buildState(b build.Build) string {
	if b.State == build.Done {
		return string(b.Outcome)
	}
	return string(b.State)
}

// buildLog is the log so far, as text.
func (s *Server) buildLog(w http.ResponseWriter, r *http.Request) {
	log, err := s.Builds.Log(r.Context(), r.PathValue("id"), 0, false)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	defer log.Close()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	io.Copy(w, log) //nolint:errcheck // the reader is gone
}

// followBuildLog streams the log from its beginning, or from where a reader that lost its connection had come, to its end.
func (s *Server) followBuildLog(w http.ResponseWriter, r *http.Request) {
	var at int64
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		n, err := strconv.ParseInt(last, 10, 64)
		if err != nil || n < 0 {
			http.Error(w, "Last-Event-ID is not a number of bytes", http.StatusUnprocessableEntity)
			return
		}
		at = n
	}
	log, err := s.Builds.Log(r.Context(), r.PathValue("id"), at, true)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	defer log.Close()
	out := newSSE(w)
	buf := make([]byte, 32<<10)
	held := 0 // bytes of a character that is not complete yet
	for {
		n, err := log.Read(buf[held:])
		n += held
		whole := n
		if err == nil {
			whole = wholeRunes(buf[:n])
		}
		if whole > 0 {
			data, jerr := json.Marshal(map[string]any{"at": at, "next": at + int64(whole), "text": string(buf[:whole])})
			if jerr != nil || out.write(fmt.Sprintf("id: %d\ndata: %s\n\n", at+int64(whole), data)) != nil {
				return
			}
			at += int64(whole)
			copy(buf, buf[whole:n])
		}
		held = n - whole
		if err == io.EOF {
			out.write("event: end\ndata: {}\n\n") //nolint:errcheck // the reader is gone
			return
		}
		if err != nil {
			return // the reader comes back
		}
	}
}
