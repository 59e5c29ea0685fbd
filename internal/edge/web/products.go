package web

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"slipway.dev/slipway/internal/catalog"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/change"
	"slipway.dev/slipway/internal/stage/lab"
)

func (s *Server) products() {
	s.page("GET /ui/{$}", func(r *http.Request) (view, error) {
		list, err := s.Catalog.Products(r.Context(), "", 0)
		return view{Title: "Products", Topics: []string{"catalog.", "release."}, Body: productList(list)}, err
	})
	s.page("GET /ui/products/{product}", func(r *http.Request) (view, error) {
		p, err := s.Catalog.Get(r.Context(), r.PathValue("product"))
		if err != nil {
			return view{}, err
		}
		road, err := s.road(r.Context(), p)
		if err != nil {
			return view{}, err
		}
		components, err := s.Catalog.Components(r.Context(), p.Name)
		if err != nil {
			return view{}, err
		}
		return view{Title: p.Name, Product: p.Name, Topics: []string{p.Name + ":"}, Body: productPage(p, road, components)}, nil
	})
}

// stop is one stage on a product's road: its counts, and the newest thing at it.
type stop struct {
	Number int
	Name   string
	Counts string
	All    string // page that lists everything there; may be empty
	Link   string // page of the newest thing; may be empty
	What   string // the newest thing
	State  string
	Reason string
	Time   time.Time
}

// road looks at all nine stages.
func (s *Server) road(ctx context.Context, p catalog.Product) ([]stop, error) {
	base := "/ui/products/" + url.PathEscape(p.Name)
	var stops []stop
	for i, look := range []func(context.Context, catalog.Product, *stop) error{
		s.atSource, s.atChange, s.atBuild, s.atIntegration, s.atLab, s.atGating, s.atRelease, s.atCompose, s.atDeploy,
	} {
		st := stop{Number: i + 1, All: base}
		if err := look(ctx, p, &st); err != nil {
			return nil, fmt.Errorf("look at stage %d of %s: %w", i+1, p.Name, err)
		}
		stops = append(stops, st)
	}
	return stops, nil
}

func (s *Server) atSource(ctx context.Context, p catalog.Product, st *stop) error {
	components, err := s.Catalog.Components(ctx, p.Name)
	if err != nil {
		return err
	}
	st.Name, st.All, st.Counts = "source", "/ui/ledger?type=source.&product="+url.QueryEscape(p.Name), plural(len(components), "component")
	for _, c := range components {
		if st.What == "" || c.Since.After(st.Time) {
			st.What, st.State, st.Reason, st.Time = fmt.Sprintf("%s %s", c.Name, c.Version), c.State, c.Reason, c.Since
		}
	}
	return nil
}

func (s *Server) atChange(ctx context.Context, p catalog.Product, st *stop) error {
	newest, err := s.Changes.Changes(ctx, change.Filter{Product: p.Name, Limit: 200})
	if err != nil {
		return err
	}
	open := 0
	for _, c := range newest {
		if !slices.Contains([]string{"landed", "abandoned"}, string(c.State)) {
			open++
		}
	}
	st.Name, st.Counts = "change", plural(open, "open change")
	st.All += "/changes"
	if len(newest) > 0 {
		c := newest[0]
		st.Link, st.What = href(slipway.Ref("change", c.ID())), fmt.Sprintf("%d: %s", c.Number, c.Title)
		st.State, st.Reason, st.Time = string(c.State), c.Reason, c.Updated
	}
	return nil
}

func (s *Server) atBuild(ctx context.Context, p catalog.Product, st *stop) error {
	newest, err := s.Builds.Builds(ctx, slipway.Query{Product: p.Name, Newest: true, Limit: 200})
	if err != nil {
		return err
	}
	running := 0
	for _, b := range newest {
		if b.State != "done" {
			running++
		}
	}
	st.Name, st.Counts = "build", plural(running, "action")+" under way"
	st.All += "/builds"
	if len(newest) > 0 {
		b := newest[0]
		st.Link, st.What = href(slipway.Ref("build", b.ID)), b.Name()+" "+b.Version
		st.State, st.Reason, st.Time = buildState(b), b.Reason, latest(b.Queued, b.Started, b.Finished)
	}
	return nil
}

func (s *Server) atIntegration(ctx context.Context, p catalog.Product, st *stop) error {
	newest, err := s.Queue.Entries(ctx, slipway.Query{Product: p.Name, Newest: true, Limit: 200})
	if err != nil {
		return err
	}
	open := 0
	for _, e := range newest {
		if e.Phase.Open() {
			open++
		}
	}
	st.Name, st.Counts = "integration", plural(open, "entry")+" in the queue"
	st.All += "/queue"
	if len(newest) > 0 {
		e := newest[0]
		st.Link, st.What = href(slipway.Ref("entry", e.ID())), fmt.Sprintf("%d: %s", e.Number, e.Title)
		st.State, st.Reason = string(e.Phase), e.Reason
		if n := len(e.History); n > 0 {
			st.Time = e.History[n-1].Time
		}
	}
	return nil
}

func (s *Server) atLab(ctx context.Context, p catalog.Product, st *stop) error {
	newest, err := s.Lab.List(ctx, p.Name, nil, "", 200)
	if err != nil {
		return err
	}
	running := 0
	for _, e := range newest {
		if e.State != lab.Done {
			running++
		}
	}
	st.Name, st.Counts = "lab", plural(running, "experiment")+" under way"
	st.All += "/experiments"
	if len(newest) > 0 {
		e := newest[0]
		st.Link, st.What = href(e.Ref()), fmt.Sprintf("%d: %s on %s", e.Number, e.Spec.Name, e.Request.Configuration)
		st.State, st.Reason, st.Time = experimentState(e), e.Reason, e.Since
	}
	return nil
}

func (s *Server) atGating(ctx context.Context, p catalog.Product, st *stop) error {
	waivers, err := s.Gating.Waivers(ctx, p.Name)
	if err != nil {
		return err
	}
	active := 0
	for _, w := range waivers {
		if w.Revoked == "" {
			active++
		}
	}
	st.Name, st.Counts, st.All = "gating", plural(active, "waiver")+" in force", "/ui/ledger?type=gating.&product="+url.QueryEscape(p.Name)
	entries, err := s.Queue.Entries(ctx, slipway.Query{Product: p.Name, Newest: true, Limit: 1})
	if err != nil || len(entries) == 0 || entries[0].Candidate == "" {
		return err
	}
	d, err := s.Queue.Decision(ctx, entries[0].Number)
	if slipway.Is(err, slipway.NotFound) || slipway.Is(err, slipway.Conflict) {
		return nil // nothing to decide on yet
	}
	if err != nil {
		return err
	}
	st.Link, st.What, st.Reason = href(slipway.Ref("entry", entries[0].ID())), fmt.Sprintf("candidate of entry %d", entries[0].Number), d.Reason
	switch {
	case d.OK:
		st.State = "passed"
	case len(d.Of(slipway.CheckFailed, slipway.CheckErrored)) > 0:
		st.State = "failed"
	default:
		st.State = "waiting"
	}
	return nil
}

func (s *Server) atRelease(ctx context.Context, p catalog.Product, st *stop) error {
	newest, err := s.Release.Releases(ctx, slipway.Query{Product: p.Name, Newest: true, Limit: 1000})
	if err != nil {
		return err
	}
	st.Name, st.Counts = "release", plural(len(newest), "release")
	st.All += "/releases"
	if len(newest) > 0 {
		r := newest[0]
		st.Link, st.What, st.State, st.Time = href(slipway.Ref("release", r.ID)), r.Tag, "released", r.Time
		for i, m := range r.Moved {
			if i > 0 {
				st.Reason += ", "
			}
			st.Reason += m.Component + " " + m.Version
		}
	}
	return nil
}

func (s *Server) atCompose(ctx context.Context, p catalog.Product, st *stop) error {
	newest, err := s.Compose.Composes(ctx, p.Name, "", 1000)
	if err != nil {
		return err
	}
	st.Name, st.Counts = "compose", plural(len(newest), "compose")
	st.All += "/composes"
	if len(newest) > 0 {
		c := newest[0]
		st.Link, st.What = href(slipway.Ref("compose", c.ID)), c.ID
		st.State, st.Reason, st.Time = string(c.State), c.Reason, latest(c.CreatedAt, c.FinishedAt)
	}
	return nil
}

func (s *Server) atDeploy(ctx context.Context, p catalog.Product, st *stop) error {
	st.Name, st.All, st.Counts = "deploy", "/ui/deployments/"+url.PathEscape(p.Name), "no node yet"
	d, err := s.Deploy.Status(ctx, p.Name)
	if slipway.Is(err, slipway.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	deployed := 0
	for _, n := range d.Nodes {
		if n.Standing.State == "deployed" {
			deployed++
		}
	}
	st.Counts = fmt.Sprintf("%d of %s as desired", deployed, plural(len(d.Nodes), "node"))
	st.What, st.State, st.Reason, st.Time = d.Deployment.Attempt.Release, string(d.Deployment.Attempt.State), d.Deployment.Attempt.Reason, d.Deployment.Attempt.Time
	if v := d.Version; v != nil {
		st.What, st.State, st.Reason, st.Time = fmt.Sprintf("version %d of %s", v.Number, v.Tag), string(v.State), v.Reason, latest(v.Compiled, v.Released, v.Finished)
	}
	st.Link = st.All
	return nil
}

func latest(times ...time.Time) (t time.Time) {
	for _, one := range times {
		if one.After(t) {
			t = one
		}
	}
	return t
}
