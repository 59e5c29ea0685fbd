package web

import (
	"net/http"
	"net/url"
	"strconv"

	"slipway.dev/slipway/internal/slipway"
)

func (s *Server) ledger() {
	s.page("GET /ui/ledger", func(r *http.Request) (view, error) {
		f := filter{r.URL.Query().Get("type"), r.URL.Query().Get("subject"), r.URL.Query().Get("product")}
		q := EventQuery{Type: f.Type, Subject: f.Subject, Product: f.Product, Newest: true, Limit: pageSize + 1}
		topics := []string{f.topic()}
		if before := r.URL.Query().Get("before"); before != "" {
			n, err := strconv.ParseInt(before, 10, 64)
			if err != nil || n < 1 {
				return view{}, slipway.Errorf(slipway.Invalid, "%q is not the number of an event", before)
			}
			q.Before, topics = n, nil // the past does not change
		}
		events, err := s.Ledger.Events(r.Context(), q)
		events, next := cut(events, func(e slipway.Event) string { return strconv.FormatInt(e.Seq, 10) })
		return view{Title: "Ledger", Product: f.Product, Topics: topics, Body: ledgerPage(f, events, next)}, err
	})
}

// filter selects events.
type filter struct{ Type, Subject, Product string }

// topic is what the page follows: at least what the filter selects.
func (f filter) topic() string {
	t := f.Type
	if f.Subject != "" {
		t = f.Subject
	}
	if f.Product != "" {
		return f.Product + ":" + t
	}
	return t
}

// older is the address of the page of events before a number.
func (f filter) older(before string) string {
	q := url.Values{"before": {before}}
	for k, v := range map[string]string{"type": f.Type, "subject": f.Subject, "product": f.Product} {
		if v != "" {
			q.Set(k, v)
		}
	}
	return "/ui/ledger?" + q.Encode()
}

// kinds are the stages that the filter offers, as prefixes of event types.
func kinds() []string {
	return []string{"source.", "catalog.", "change.", "build.", "integration.", "lab.", "gating.", "release.", "compose.", "deploy.", "auth."}
}
