package web

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/deploy"
	"slipway.dev/slipway/internal/stage/lab"
)

func (s *Server) nodes() {
	s.page("GET /ui/nodes", func(r *http.Request) (view, error) {
		list, err := s.Lab.NodeList(r.Context())
		return view{Title: "Nodes", Topics: []string{"lab.node.", "lab.lease.", "deploy."}, Body: nodeList(list)}, err
	})
	s.page("GET /ui/nodes/{name}", func(r *http.Request) (view, error) {
		n, err := s.Lab.Node(r.Context(), r.PathValue("name"))
		if err != nil {
			return view{}, err
		}
		on, err := s.Deploy.Node(r.Context(), n.Name)
		if err != nil {
			return view{}, err
		}
		var parts []onNode
		for _, o := range on {
			way, err := s.way(r.Context(), o)
			if err != nil {
				return view{}, err
			}
			parts = append(parts, onNode{o, way})
		}
		return view{Title: n.Name, Topics: []string{slipway.Ref("node", n.Name), "deploy.version."}, Body: nodePage(n, parts)}, nil
	})
}

func (s *Server) deployments() {
	s.page("GET /ui/deployments/{product}", func(r *http.Request) (view, error) {
		product := r.PathValue("product")
		if _, err := s.Catalog.Get(r.Context(), product); err != nil {
			return view{}, err
		}
		status, err := s.Deploy.Status(r.Context(), product)
		if err != nil && !slipway.Is(err, slipway.NotFound) {
			return view{}, err
		}
		versions, err := s.Deploy.Versions(r.Context(), product, r.URL.Query().Get("after"), pageSize+1)
		versions, next := cut(versions, func(v deploy.Version) string { return v.ID })
		return view{Title: "Deployment of " + product, Product: product, Topics: []string{product + ":deploy.", "lab.node."},
			Body: deploymentPage(product, status, versions, next)}, err
	})
}

// onNode is a product on a node, and the way that it came.
type onNode struct {
	deploy.OnNode
	Way []step
}

// step is one stage of the way back from what runs on a node to the commits it was made of.
type step struct{ Kind, Ref, Says string }

// way walks from a node's version to its release, queue entry, builds and changes. A step whose record is gone ends it.
func (s *Server) way(ctx context.Context, o deploy.OnNode) ([]step, error) {
	v := o.Version
	way := []step{{"version", slipway.Ref("version", v.ID), fmt.Sprintf("model %s at %s asks for %s", v.Model, short(v.Commit), plural(len(o.Resources), "resource"))}}
	rel, err := s.Release.Release(ctx, v.Release)
	if slipway.Is(err, slipway.NotFound) {
		return way, nil
	}
	if err != nil {
		return nil, err
	}
	if v.Compose != "" {
		way = append(way, step{"compose", slipway.Ref("compose", v.Compose), "its packages and archives"})
	}
	var moved []string
	for _, m := range rel.Moved {
		moved = append(moved, fmt.Sprintf("%s %s (%s)", m.Component, m.Version, short(m.Commit)))
	}
	way = append(way, step{"release", slipway.Ref("release", rel.ID), "moved " + strings.Join(moved, ", ")})
	kind, id, _ := slipway.SplitRef(rel.Entry)
	if kind != "entry" {
		return way, nil
	}
	var n int64
	if _, err := fmt.Sscan(id, &n); err != nil {
		return way, nil //nolint:nilerr // an entry without a number has no page
	}
	e, err := s.Queue.Entry(ctx, n)
	if slipway.Is(err, slipway.NotFound) {
		return way, nil
	}
	if err != nil {
		return nil, err
	}
	way = append(way, step{"entry", rel.Entry, e.Title})
	if e.Wave != "" {
		way = append(way, step{"builds", slipway.Ref("wave", e.Wave), "of candidate " + short(e.Candidate)})
	}
	for _, c := range e.Changes {
		way = append(way, step{"change", c, ""})
	}
	return way, nil
}

// nodeState is the state in one word, with what people did to the node.
func nodeState(n lab.Node) string {
	if n.Drained != "" {
		return "drained"
	}
	return n.State
}

func nodeReason(n lab.Node) string {
	if n.Drained != "" {
		return n.Drained
	}
	if n.Suspect != "" {
		return n.Reason + "; suspect: " + n.Suspect
	}
	return n.Reason
}
