package web

import (
	"net/http"
	"slices"

	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/compose"
)

func (s *Server) releases() {
	s.page("GET /ui/products/{product}/releases", func(r *http.Request) (view, error) {
		product := r.PathValue("product")
		list, err := s.Release.Releases(r.Context(), slipway.Query{Product: product, Newest: true, After: r.URL.Query().Get("after"), Limit: pageSize + 1})
		list, next := cut(list, func(r slipway.Release) string { return r.ID })
		return view{Title: "Releases of " + product, Product: product, Topics: []string{product + ":release."}, Body: releaseList(list, next)}, err
	})
	s.page("GET /ui/releases/{id}", func(r *http.Request) (view, error) {
		rel, err := s.Release.Release(r.Context(), r.PathValue("id"))
		if err != nil {
			return view{}, err
		}
		var before slipway.Release
		if rel.Previous != "" {
			if before, err = s.Release.Release(r.Context(), rel.Previous); err != nil {
				return view{}, err
			}
		}
		c, err := s.Compose.Compose(r.Context(), rel.ID)
		if err != nil && !slipway.Is(err, slipway.NotFound) {
			return view{}, err
		}
		return view{Title: rel.ID, Product: rel.Product, Topics: []string{slipway.Ref("release", rel.ID), slipway.Ref("compose", rel.ID)},
			Body: releasePage(rel, diff(before, rel), c)}, nil
	})
}

func (s *Server) composes() {
	s.page("GET /ui/products/{product}/composes", func(r *http.Request) (view, error) {
		product := r.PathValue("product")
		list, err := s.Compose.Composes(r.Context(), product, r.URL.Query().Get("after"), pageSize+1)
		list, next := cut(list, func(c compose.Compose) string { return c.ID })
		return view{Title: "Composes of " + product, Product: product, Topics: []string{product + ":compose."}, Body: composeList(list, next)}, err
	})
	s.page("GET /ui/composes/{id}", func(r *http.Request) (view, error) {
		c, err := s.Compose.Compose(r.Context(), r.PathValue("id"))
		id, _ := auth.From(r.Context())
		scheme := "http://"
		if r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" {
			scheme = "https://"
		}
		return view{Title: "Compose " + c.ID, Product: c.Product, Topics: []string{slipway.Ref("compose", c.ID)}, Body: composePage(c, scheme+r.Host, id)}, err
	})
	s.action("/ui/composes/{id}/retry", auth.Gatekeeper, func(r *http.Request) (string, error) {
		c, err := s.Compose.Retry(r.Context(), r.PathValue("id"), auth.Actor(r.Context()))
		return href(slipway.Ref("compose", c.ID)), err
	})
}

// line is one component's part in the difference between two releases, in one configuration.
type line struct {
	Component string
	Old, New  slipway.Locked
	How       string // new, gone, moved, rebuilt or same
}

// confDiff is the difference of one configuration.
type confDiff struct {
	Configuration string
	Lines         []line // those that differ first
	Same          int
}

// diff compares the manifests of two releases. A component whose pin is the same and whose artifact is not was rebuilt,
// because something below it changed.
func diff(before, after slipway.Release) []confDiff {
	names := sortedKeys(after.Manifests)
	for _, name := range sortedKeys(before.Manifests) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	var all []confDiff
	for _, name := range names {
		old, cur := before.Manifests[name].Components, after.Manifests[name].Components
		d := confDiff{Configuration: name}
		var same []line
		components := sortedKeys(cur)
		for _, c := range sortedKeys(old) {
			if _, ok := cur[c]; !ok {
				components = append(components, c)
			}
		}
		for _, c := range components {
			o, wasThere := old[c]
			n, isThere := cur[c]
			l := line{Component: c, Old: o, New: n}
			switch {
			case !isThere:
				l.How = "gone"
			case !wasThere:
				l.How = "new"
			case o.Commit != n.Commit || o.Version != n.Version:
				l.How = "moved"
			case o.Artifact != n.Artifact:
				l.How = "rebuilt"
			default:
				l.How = "same"
				same = append(same, l)
				continue
			}
			d.Lines = append(d.Lines, l)
		}
		d.Same = len(same)
		d.Lines = append(d.Lines, same...)
		all = append(all, d)
	}
	return all
}
