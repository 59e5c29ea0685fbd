package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"time"

	"ferry.example/board"
	"ferry.example/timetable"
)

// harbour is a landing place.
type harbour struct {
	place   string // "deck" or "shore"
	release string
	gauge   string // program
}

func (h harbour) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		now := time.Now().UTC()
		fmt.Fprintf(w, "Departures from %s\n\n%s", h.place, board.Text(timetable.Next(h.place, now, 5), now))
	})
	mux.HandleFunc("GET /next", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, timetable.Next(h.place, time.Now().UTC(), 3))
	})
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, r *http.Request) {
		tide, _ := h.ask(r, "-v")
		answer(w, map[string]any{"product": "ferry", "release": h.release, "place": h.place, "components": map[string]string{
			"harbour": strings.TrimSpace(version), "board": board.Version(), "timetable": timetable.Version(), "libtide": tide,
		}})
	})
	mux.HandleFunc("GET /tide", func(w http.ResponseWriter, r *http.Request) {
		height, err := h.ask(r, fmt.Sprintf("%.1f", time.Since(newMoon).Hours()))
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, height)
	})
	return mux
}

// newMoon is when the tide was reckoned from last.
var newMoon = time.Date(2026, 11, 9, 7, 2, 0, 0, time.UTC)

// ask runs the gauge.
func (h harbour) ask(r *http.Request, arg string) (string, error) {
	out, err := exec.CommandContext(r.Context(), h.gauge, arg).Output()
	if err != nil {
		return "", fmt.Errorf("ask the gauge: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.Encode(v)
}
