package client

import (
	"context"
	"iter"
	"net/http"
	"strconv"
	"time"

	"slipway.dev/slipway/internal/edge/httpapi/wire"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/lab"
)

// Node is a machine with an agent.
type Node = lab.Node

// Experiment is a test on nodes, with everything that happened in it.
type Experiment = lab.Experiment

// ExperimentStatus is what has become of an experiment, in short.
type ExperimentStatus = slipway.ExperimentStatus

// NewExperiment asks for an experiment.
type NewExperiment = wire.NewExperiment

// JoinToken is a token with which one node can join once.
type JoinToken = wire.JoinToken

// LogPart is a piece of a log.
type LogPart = wire.LogPart

// Nodes lists the nodes by name.
func (c *Client) Nodes(ctx context.Context) iter.Seq2[Node, error] {
	return list[Node](ctx, c, "/api/v1/nodes", nil, 0)
}

// Node returns one node.
func (c *Client) Node(ctx context.Context, name string) (Node, error) {
	return get[Node](ctx, c, "/api/v1/nodes/"+segment(name), nil)
}

// RemoveNode forgets a node; its key is refused from now on.
func (c *Client) RemoveNode(ctx context.Context, name string) error {
	_, err := do[none](ctx, c, http.MethodDelete, "/api/v1/nodes/"+segment(name), nil, nil)
	return err
}

// DrainNode keeps a node out of new experiments.
func (c *Client) DrainNode(ctx context.Context, name, reason string) (Node, error) {
	return do[Node](ctx, c, http.MethodPut, "/api/v1/nodes/"+segment(name)+"/drain", nil, wire.Drain{Reason: reason})
}

// UndrainNode puts a drained node back.
func (c *Client) UndrainNode(ctx context.Context, name string) error {
	_, err := do[none](ctx, c, http.MethodDelete, "/api/v1/nodes/"+segment(name)+"/drain", nil, nil)
	return err
}

// CreateJoinToken makes a token with which one node can join once. Name and labels may be empty; life of zero is the
// server's default.
func (c *Client) CreateJoinToken(ctx context.Context, name string, labels map[string]string, life time.Duration) (JoinToken, error) {
	return do[JoinToken](ctx, c, http.MethodPost, "/api/v1/join-tokens", nil, wire.NewJoinToken{Name: name, Labels: labels, Expires: int64(life / time.Second)})
}

// Experiments lists experiments, newest first. Product, state and limit may be zero.
func (c *Client) Experiments(ctx context.Context, product, state string, limit int) iter.Seq2[Experiment, error] {
	return list[Experiment](ctx, c, "/api/v1/experiments", values("product", product, "state", state), limit)
}

// Experiment returns an experiment by its number or id.
func (c *Client) Experiment(ctx context.Context, id string) (Experiment, error) {
	return get[Experiment](ctx, c, "/api/v1/experiments/"+segment(id), nil)
}

// RunExperiment asks for an experiment.
func (c *Client) RunExperiment(ctx context.Context, e NewExperiment) (ExperimentStatus, error) {
	return do[ExperimentStatus](ctx, c, http.MethodPost, "/api/v1/experiments", nil, e)
}

// CancelExperiment ends an experiment; its nodes clean up.
func (c *Client) CancelExperiment(ctx context.Context, id, reason string) (Experiment, error) {
	return do[Experiment](ctx, c, http.MethodPost, "/api/v1/experiments/"+segment(id)+"/cancel", nil, wire.Cancel{Reason: reason})
}

// ExperimentLog reads the log of a step on a node, from an offset.
func (c *Client) ExperimentLog(ctx context.Context, id, node, step string, offset int64) (LogPart, error) {
	return get[LogPart](ctx, c, "/api/v1/experiments/"+segment(id)+"/log", values("node", node, "step", step, "offset", strconv.FormatInt(offset, 10)))
}
