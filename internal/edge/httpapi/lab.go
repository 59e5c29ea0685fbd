package httpapi

import (
	"context"
	"net/http"
	"strings"
	"time"

	"slipway.dev/slipway/internal/edge/httpapi/wire"
	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/lab"
)

func (a *API) lab() {
	a.nodes()
	a.experiments()
}

func (a *API) nodes() {
	type NodePath struct {
		Name string `path:"name" example:"edge-1"`
	}
	register(a, op{Method: http.MethodGet, Path: "/api/v1/nodes", Role: auth.Viewer, Summary: "List nodes by name"},
		func(ctx context.Context, in *Page) (*List[lab.Node], error) {
			nodes, err := a.Lab.NodeList(ctx)
			if err != nil {
				return nil, err
			}
			for len(nodes) > 0 && in.After != "" && nodes[0].Name <= in.After {
				nodes = nodes[1:]
			}
			return list(ctx, *in, nodes, func(n lab.Node) string { return n.Name }), nil
		})
	register(a, op{Method: http.MethodGet, Path: "/api/v1/nodes/{name}", Role: auth.Viewer, Summary: "Show a node"},
		func(ctx context.Context, in *NodePath) (*One[lab.Node], error) { return one(a.Lab.Node(ctx, in.Name)) })
	register(a, op{Method: http.MethodDelete, Path: "/api/v1/nodes/{name}", Role: auth.Operator, Summary: "Remove a node",
		About: "Its key is refused from now on, and its connections end. An experiment on it counts it as lost."},
		func(ctx context.Context, in *NodePath) (*None, error) {
			key, err := a.Lab.Remove(ctx, in.Name, caller(ctx))
			if err == nil && a.Kick != nil {
				err = a.Kick(key)
			}
			return nil, err
		})
	register(a, op{Method: http.MethodPut, Path: "/api/v1/nodes/{name}/drain", Role: auth.Operator, Summary: "Keep a node out of new experiments",
		About: "What runs on it goes on."},
		func(ctx context.Context, in *struct {
			NodePath
			Body wire.Drain
		}) (*One[lab.Node], error) {
			if err := a.Lab.Drain(ctx, in.Name, in.Body.Reason); err != nil {
				return nil, err
			}
			return one(a.Lab.Node(ctx, in.Name))
		})
	register(a, op{Method: http.MethodDelete, Path: "/api/v1/nodes/{name}/drain", Role: auth.Operator, Summary: "Put a drained node back",
		About: "Also clears the doubt about a node that failed an experiment."},
		func(ctx context.Context, in *NodePath) (*None, error) { return nil, a.Lab.Drain(ctx, in.Name, "") })
	register(a, op{Method: http.MethodPost, Path: "/api/v1/join-tokens", Role: auth.Operator, Status: http.StatusCreated,
		Summary: "Make a token with which one node can join once", About: "The token is in this answer and nowhere else."},
		func(ctx context.Context, in *struct{ Body wire.NewJoinToken }) (*One[wire.JoinToken], error) {
			token, expires, err := a.Lab.CreateJoinToken(ctx, caller(ctx), in.Body.Name, in.Body.Labels, time.Duration(in.Body.Expires)*time.Second)
			return one(wire.JoinToken{Token: token, Expires: expires}, err)
		})
}

func (a *API) experiments() {
	type ExperimentPath struct {
		ID string `path:"id" example:"4" doc:"Its number or its id"`
	}
	register(a, op{Method: http.MethodGet, Path: "/api/v1/experiments", Role: auth.Viewer, Summary: "List experiments, newest first"},
		func(ctx context.Context, in *struct {
			Page
			Product string `query:"product"`
			State   string `query:"state" enum:"queued,reserved,running,cleaning,done" doc:"Only these"`
		}) (*List[lab.Experiment], error) {
			var states []string
			if in.State != "" {
				states = []string{in.State}
			}
			found, err := a.Lab.List(ctx, in.Product, states, in.After, in.more())
			if err != nil {
				return nil, err
			}
			return list(ctx, in.Page, found, func(e lab.Experiment) string { return e.Request.ID }), nil
		})
	register(a, op{Method: http.MethodGet, Path: "/api/v1/experiments/{id}", Role: auth.Viewer, Summary: "Show an experiment, its nodes and their steps"},
		func(ctx context.Context, in *ExperimentPath) (*One[lab.Experiment], error) {
			return one(a.Lab.Get(ctx, in.ID))
		})
	register(a, op{Method: http.MethodPost, Path: "/api/v1/experiments", Role: auth.Developer, Status: http.StatusCreated,
		Summary: "Run an experiment", About: "Asking again with the same id returns the same experiment."},
		func(ctx context.Context, in *struct{ Body wire.NewExperiment }) (*One[slipway.ExperimentStatus], error) {
			b := in.Body
			return one(a.Lab.RunAs(ctx, slipway.ExperimentRequest{ID: b.ID, Product: b.Product, File: b.File, Text: b.Text,
				Artifacts: b.Artifacts, Env: b.Env, Priority: b.Priority}, caller(ctx)))
		})
	register(a, op{Method: http.MethodPost, Path: "/api/v1/experiments/{id}/cancel", Role: auth.Developer, Summary: "Cancel an experiment",
		About: "Its nodes stop and clean up. One that is done stays as it is."},
		func(ctx context.Context, in *struct {
			ExperimentPath
			Body wire.Cancel
		}) (*One[lab.Experiment], error) {
			reason := "cancelled by " + caller(ctx)
			if in.Body.Reason != "" {
				reason += ": " + in.Body.Reason
			}
			if err := a.Lab.Cancel(ctx, in.ID, reason); err != nil {
				return nil, err
			}
			return one(a.Lab.Get(ctx, in.ID))
		})
	register(a, op{Method: http.MethodGet, Path: "/api/v1/experiments/{id}/log", Role: auth.Viewer, Summary: "Read a step's log from an offset",
		About: "Of the last attempt. While more is true, ask again from next for what comes."},
		func(ctx context.Context, in *struct {
			ExperimentPath
			Node   string `query:"node" required:"true"`
			Step   string `query:"step" required:"true"`
			Offset int64  `query:"offset" minimum:"0" doc:"Byte to begin at"`
		}) (*One[wire.LogPart], error) {
			data, more, err := a.Lab.Log(ctx, in.ID, in.Node, in.Step, in.Offset)
			return one(wire.LogPart{Text: strings.ToValidUTF8(string(data), "\uFFFD"), Next: in.Offset + int64(len(data)), More: more}, err)
		})
}

// caller is the name of who calls.
func caller(ctx context.Context) string {
	id, _ := auth.From(ctx)
	return id.User
}
