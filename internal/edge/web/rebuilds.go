package web

import (
	"cmp"
	"context"
	"net/http"
	"strconv"
	"strings"

	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build"
)

// Rebuilds knows what is built again, tier by tier.
type Rebuilds interface {
	Rebuild(ctx context.Context, id string) (build.Rebuild, error)
	Rebuilds(ctx context.Context, q slipway.Query) ([]build.Rebuild, error)
	PauseRebuild(ctx context.Context, id, actor, reason string) error
	ResumeRebuild(ctx context.Context, id, actor string) error
	RetryRebuild(ctx context.Context, id, actor string) error
	CancelRebuild(ctx context.Context, id, actor, reason string) error
}

func (s *Server) rebuilds() {
	s.page("GET /ui/products/{product}/rebuilds", func(r *http.Request) (view, error) {
		product := r.PathValue("product")
		list, err := s.Builds.Rebuilds(r.Context(), slipway.Query{Product: product, Newest: true, After: r.URL.Query().Get("after"), Limit: pageSize + 1})
		list, next := cut(list, func(b build.Rebuild) string { return b.ID })
		return view{Title: "Rebuilds of " + product, Product: product, Topics: []string{product + ":build.rebuild.", product + ":build.wave."}, Body: rebuildList(list, next)}, err
	})
	s.page("GET /ui/rebuilds/{id}", func(r *http.Request) (view, error) {
		b, err := s.Builds.Rebuild(r.Context(), r.PathValue("id"))
		if err != nil {
			return view{}, err
		}
		w, err := s.Builds.WaveRecord(r.Context(), b.Attempts[len(b.Attempts)-1].Wave)
		if err != nil {
			return view{}, err
		}
		id, _ := auth.From(r.Context())
		return view{Title: "Rebuild " + b.ID, Product: b.Product, Topics: []string{slipway.Ref("rebuild", b.ID), slipway.Ref("wave", w.Request.ID)}, Poll: w.State == slipway.WaveRunning,
			Body: rebuildPage(b, w, id)}, nil
	})
	steer := func(verb string, do func(ctx context.Context, id, actor, reason string) error) {
		s.action("/ui/rebuilds/{id}/"+verb, auth.Operator, func(r *http.Request) (string, error) {
			id := r.PathValue("id")
			return href(slipway.Ref("rebuild", id)), do(r.Context(), id, auth.Actor(r.Context()), cmp.Or(strings.TrimSpace(r.FormValue("reason")), "asked for on the dashboard"))
		})
	}
	steer("pause", s.Builds.PauseRebuild)
	steer("cancel", s.Builds.CancelRebuild)
	steer("resume", func(ctx context.Context, id, actor, _ string) error { return s.Builds.ResumeRebuild(ctx, id, actor) })
	steer("retry", func(ctx context.Context, id, actor, _ string) error { return s.Builds.RetryRebuild(ctx, id, actor) })
}

// The ways of a component in a wave, as its picture tells them; each is a CSS class too.
var wayNames = []struct{ Class, Says string }{
	{"way-built", "built"}, {"way-reused", "reused"}, {"way-cut", "cut off early"}, {"way-waived", "built, a check waived"}, {"way-running", "under way"},
	{"way-failed", "failed"}, {"way-skipped", "skipped"}, {"way-waiting", "waiting"},
}

// wayOf returns the CSS class of what became of a component, checks included.
func wayOf(c slipway.ComponentBuild) string {
	excused, busy := false, c.State == "queued" || c.State == "running"
	for _, t := range c.Tests {
		switch {
		case t.State == "waived":
			excused = true
		case t.Outcome != "" && t.Outcome != slipway.Pass:
			return "way-failed"
		case t.State == "queued" || t.State == "running":
			busy = true
		}
	}
	switch {
	case c.State == "failed":
		return "way-failed"
	case c.State == "skipped":
		return "way-skipped"
	case busy:
		return "way-running"
	case excused:
		return "way-waived"
	case c.CutOff:
		return "way-cut"
	case c.Reused:
		return "way-reused"
	case c.State == "built":
		return "way-built"
	}
	return "way-waiting"
}

// tally counts the components of a wave by their way.
func tally(components map[string]slipway.ComponentBuild) map[string]int {
	n := map[string]int{}
	for _, c := range components {
		n[wayOf(c)]++
	}
	return n
}

// saysOf is what a way is called.
func saysOf(class string) string {
	for _, w := range wayNames {
		if w.Class == class {
			return w.Says
		}
	}
	return ""
}

// crowded is from how many components on the picture shows squares without names.
const crowded = 80

// telling are the components of a wave about which there is more to say than the picture does: those that failed, are under way, or had
// a check waived, by tier.
func telling(components map[string]slipway.ComponentBuild) (names []string) {
	for _, tier := range tiers(components) {
		for _, name := range tier {
			switch wayOf(components[name]) {
			case "way-failed", "way-running", "way-waived":
				names = append(names, name)
			}
		}
	}
	return names
}

// causeOf words what a rebuild is for.
func causeOf(c build.RebuildCause) string {
	switch {
	case c.All:
		return "everything"
	case len(c.Components) > 0:
		return "a change of " + strings.Join(c.Components, ", ")
	case c.Package != "":
		return "a change of the package " + c.Package
	case c.Buildroot != "":
		return "a change of the buildroot " + c.Buildroot
	case c.Module != "":
		return "the module " + c.Module
	case c.Repo != "":
		return "what was made from " + c.Ref + " of " + c.Repo
	case len(c.Pins) > 0:
		return "a candidate's pins"
	}
	return ""
}

// countsOf words what a wave came to.
func countsOf(n slipway.WaveCounts) string {
	var parts []string
	for _, p := range []struct {
		n    int
		says string
	}{{n.Built, "built"}, {n.Reused, "reused"}, {n.CutOff, "cut off early"}, {n.Failed, "failed"}, {n.Skipped, "skipped"}} {
		if p.n > 0 {
			parts = append(parts, strconv.Itoa(p.n)+" "+p.says)
		}
	}
	return strings.Join(parts, ", ")
}
