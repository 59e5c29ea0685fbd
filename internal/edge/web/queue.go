package web

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/integration"
	"slipway.dev/slipway/internal/stage/integration/predict"
)

func (s *Server) queues() {
	s.page("GET /ui/products/{product}/queue", func(r *http.Request) (view, error) {
		product := r.PathValue("product")
		p, err := s.Catalog.Get(r.Context(), product)
		if err != nil {
			return view{}, err
		}
		q, err := s.Queue.Queue(r.Context(), p.Name)
		if err != nil && !slipway.Is(err, slipway.NotFound) {
			return view{}, err
		}
		entries, err := s.Queue.Entries(r.Context(), slipway.Query{Product: product, Newest: true, After: r.URL.Query().Get("after"), Limit: pageSize + 1})
		entries, next := cut(entries, integration.Entry.ID)
		slices.SortStableFunc(entries, func(a, b integration.Entry) int { // the open ones first, as they stand; the others newest first
			switch open := b.Phase.Open(); {
			case a.Phase.Open() != open && open:
				return 1
			case a.Phase.Open() != open:
				return -1
			case open:
				return integration.Compare(a, b)
			}
			return 0
		})
		if err != nil {
			return view{}, err
		}
		trials, err := s.Queue.Trials(r.Context(), product, "")
		if err != nil {
			return view{}, err
		}
		predictions, err := s.Queue.Predictions(r.Context(), product)
		if slipway.Is(err, slipway.NotFound) { // no valid product file yet
			err = nil
		}
		id, _ := auth.From(r.Context())
		body := queuePage(product, q, entries, checksOf(trials), predictions, next, id)
		return view{Title: "Queue of " + product, Product: product, Topics: []string{product + ":integration."}, Body: body}, err
	})
	s.page("GET /ui/entries/{number}", s.entry)
	s.mux.HandleFunc("GET /ui/candidates/{id}", s.guarded(s.candidate))
	back := func(product string) string { return "/ui/products/" + url.PathEscape(product) + "/queue" }
	s.action("/ui/products/{product}/queue/freeze", auth.Gatekeeper, func(r *http.Request) (string, error) {
		return back(r.PathValue("product")), s.Queue.Freeze(r.Context(), r.PathValue("product"), auth.Actor(r.Context()), r.FormValue("reason"))
	})
	s.action("/ui/products/{product}/queue/resume", auth.Gatekeeper, func(r *http.Request) (string, error) {
		return back(r.PathValue("product")), s.Queue.Resume(r.Context(), r.PathValue("product"), auth.Actor(r.Context()))
	})
	s.action("/ui/entries/{number}/requeue", auth.Gatekeeper, func(r *http.Request) (string, error) {
		n, err := number(r, "number")
		if err != nil {
			return "", err
		}
		e, err := s.Queue.Requeue(r.Context(), n, auth.Actor(r.Context()))
		return href(slipway.Ref("entry", e.ID())), err
	})
	s.action("/ui/entries/{number}/dequeue", auth.Gatekeeper, func(r *http.Request) (string, error) {
		n, err := number(r, "number")
		if err != nil {
			return "", err
		}
		return href(slipway.Ref("entry", r.PathValue("number"))), s.Queue.Dequeue(r.Context(), n, auth.Actor(r.Context()), r.FormValue("reason"))
	})
}

// candidate leads to the newest entry that is, or was, tried as the candidate.
func (s *Server) candidate(w http.ResponseWriter, r *http.Request) {
	c, err := s.Queue.Candidate(r.Context(), r.PathValue("id"))
	var entries []integration.Entry
	if err == nil {
		entries, err = s.Queue.Entries(r.Context(), slipway.Query{Product: c.Product, Newest: true})
	}
	for _, e := range entries {
		if e.Candidate == c.ID {
			http.Redirect(w, r, href(slipway.Ref("entry", e.ID())), http.StatusSeeOther)
			return
		}
	}
	if err == nil {
		err = slipway.Errorf(slipway.NotFound, "no entry is tried as candidate %s any more: the product moved meanwhile", c.ID)
	}
	s.refuse(w, r, err)
}

func (s *Server) entry(r *http.Request) (view, error) {
	n, err := number(r, "number")
	if err != nil {
		return view{}, err
	}
	e, err := s.Queue.Entry(r.Context(), n)
	if err != nil {
		return view{}, err
	}
	topics := []string{slipway.Ref("entry", e.ID())}
	d := slipway.Decision{}
	var c integration.Candidate
	if e.Candidate != "" {
		topics = append(topics, slipway.Ref("candidate", e.Candidate), slipway.Ref("wave", e.Wave))
		if c, err = s.Queue.Candidate(r.Context(), e.Candidate); err != nil && !slipway.Is(err, slipway.NotFound) {
			return view{}, err
		}
		if d, err = s.Queue.Decision(r.Context(), n); err != nil && !slipway.Is(err, slipway.NotFound) && !slipway.Is(err, slipway.Conflict) {
			return view{}, err
		}
	}
	var trials []integration.Trial
	if e.Candidate != "" {
		if trials, err = s.Queue.Trials(r.Context(), e.Product, e.Candidate); err != nil {
			return view{}, err
		}
	}
	var runs []run
	for _, x := range e.Experiments {
		status, err := s.Lab.Get(r.Context(), x.ID)
		if err != nil && !slipway.Is(err, slipway.NotFound) {
			return view{}, err
		}
		one := run{x, "", "waiting", "its nodes are not asked for yet"}
		if err == nil {
			one.Ref, one.State, one.Reason = status.Ref(), experimentState(status), status.Reason
			topics = append(topics, status.Ref())
		}
		runs = append(runs, one)
	}
	id, _ := auth.From(r.Context())
	return view{Title: "Entry " + e.ID(), Product: e.Product, Topics: topics, Body: entryPage(e, c, d, trials, runs, id)}, nil
}

// run is an experiment of an entry and what has become of it.
type run struct {
	integration.Run
	Ref, State, Reason string
}

// checksOf counts how the trials stand that speak for each entry.
func checksOf(trials []integration.Trial) map[int64]map[string]int {
	all := map[int64]map[string]int{}
	for _, t := range trials {
		for _, number := range t.Covers {
			if all[number] == nil {
				all[number] = map[string]int{}
			}
			all[number][trialState(t)]++
		}
	}
	return all
}

// undecided are the entries that an entry's candidate takes for landed and that have not.
func undecided(e integration.Entry, entries []integration.Entry) []string {
	open := slices.DeleteFunc(slices.Clone(e.Assumes), func(n int64) bool {
		return !slices.ContainsFunc(entries, func(o integration.Entry) bool { return o.Number == n && o.Phase.Open() })
	})
	return entryRefs(open)
}

// countsIn writes how the checks of an entry stand: "1 running, 3 pass".
func countsIn(counts map[string]int) string {
	var parts []string
	for _, state := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%d %s", counts[state], state))
	}
	return strings.Join(parts, ", ")
}

// calibrated writes a calibration in words: "of 20 said to land with 93 %, 95 % did".
func calibrated(bands []predict.Band) string {
	var parts []string
	for _, b := range bands {
		parts = append(parts, fmt.Sprintf("of %d said to land with %.0f %%, %.0f %% did", b.Count, 100*b.Said, 100*b.Landed))
	}
	return strings.Join(parts, "; ")
}

// standing says how many are ahead of an open entry, and when it may land.
func standing(e integration.Entry) string {
	said := "nobody ahead"
	if e.Ahead > 0 {
		said = plural(e.Ahead, "entry") + " ahead"
	}
	switch {
	case e.Estimate.IsZero():
	case e.Estimate.Before(time.Now()):
		said += ", may land any minute"
	default:
		said += ", may land at " + e.Estimate.Local().Format("15:04")
	}
	return said
}

func entryRefs(numbers []int64) []string {
	var all []string
	for _, n := range numbers {
		all = append(all, slipway.Ref("entry", strconv.FormatInt(n, 10)))
	}
	return all
}

// trialState is the word on a trial's badge.
func trialState(t integration.Trial) string {
	if t.Outcome != "" {
		return string(t.Outcome)
	}
	return string(t.State)
}
