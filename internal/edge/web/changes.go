package web

import (
	"net/http"
	"strconv"

	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/change"
)

func (s *Server) changes() {
	s.page("GET /ui/products/{product}/changes", func(r *http.Request) (view, error) {
		product := r.PathValue("product")
		list, err := s.Changes.Changes(r.Context(), change.Filter{Product: product, After: r.URL.Query().Get("after"), Limit: pageSize + 1})
		list, next := cut(list, func(c change.Change) string { return c.ID() })
		return view{Title: "Changes of " + product, Product: product, Topics: []string{product + ":change."}, Body: changeList(list, next)}, err
	})
	s.page("GET /ui/changes/{number}", func(r *http.Request) (view, error) {
		n, err := number(r, "number")
		if err != nil {
			return view{}, err
		}
		c, err := s.Changes.Change(r.Context(), n)
		if err != nil {
			return view{}, err
		}
		results, err := s.Gating.Results(r.Context(), c.Subject())
		if err != nil {
			return view{}, err
		}
		topics := []string{slipway.Ref("change", c.ID()), c.Subject()}
		for _, t := range c.Tests {
			topics = append(topics, slipway.Ref("wave", t.Wave))
		}
		id, _ := auth.From(r.Context())
		return view{Title: "Change " + c.ID(), Product: c.Product(), Topics: topics, Body: changePage(c, results, id)}, nil
	})
	s.action("/ui/changes/{number}/vote", auth.Developer, func(r *http.Request) (string, error) {
		n, err := number(r, "number")
		if err != nil {
			return "", err
		}
		value, err := strconv.Atoi(r.FormValue("value"))
		if err != nil {
			return "", slipway.Errorf(slipway.Invalid, "%q is not a vote", r.FormValue("value"))
		}
		patchset, err := strconv.Atoi(r.FormValue("patchset"))
		if err != nil {
			return "", slipway.Errorf(slipway.Invalid, "%q is not the number of a patchset", r.FormValue("patchset"))
		}
		_, err = s.Changes.Vote(r.Context(), n, voter(r), value, patchset, r.FormValue("message"))
		return href(slipway.Ref("change", r.PathValue("number"))), err
	})
	s.action("/ui/changes/{number}/retest", auth.Developer, func(r *http.Request) (string, error) {
		n, err := number(r, "number")
		if err != nil {
			return "", err
		}
		_, err = s.Changes.Retest(r.Context(), n, auth.Actor(r.Context()))
		return href(slipway.Ref("change", r.PathValue("number"))), err
	})
	s.action("/ui/changes/{number}/abandon", auth.Developer, func(r *http.Request) (string, error) {
		n, err := number(r, "number")
		if err != nil {
			return "", err
		}
		_, err = s.Changes.Abandon(r.Context(), n, voter(r), r.FormValue("message"))
		return href(slipway.Ref("change", r.PathValue("number"))), err
	})
}

func voter(r *http.Request) change.Voter {
	id, _ := auth.From(r.Context())
	return change.Voter{Name: id.User, Gatekeeper: id.Role.Covers(auth.Gatekeeper)}
}

// pageSize is how many items a list shows.
const pageSize = 50

// cut takes a page off a list that was asked for with one more than that, and returns the id after which the next begins.
func cut[T any](list []T, id func(T) string) ([]T, string) {
	if len(list) <= pageSize {
		return list, ""
	}
	return list[:pageSize], id(list[pageSize-1])
}
