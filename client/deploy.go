package client

import (
	"context"
	"iter"
	"net/http"

	"slipway.dev/slipway/internal/edge/httpapi/wire"
	"slipway.dev/slipway/internal/stage/deploy"
)

// DeployVersion is one compiled model: what is to be so on each node.
type DeployVersion = deploy.Version

// DeploySlice is a version's part of one node.
type DeploySlice = deploy.Slice

// DeployStatus is a product in service.
type DeployStatus = deploy.Status

// DeployedOnNode is a product on one node, resource by resource.
type DeployedOnNode = deploy.OnNode

// DryRun is the question what a version would change.
type DryRun = deploy.DryRun

// Deployment shows how a product stands on its nodes.
func (c *Client) Deployment(ctx context.Context, product string) (DeployStatus, error) {
	return get[DeployStatus](ctx, c, "/api/v1/deployments/"+segment(product), nil)
}

// Rollback puts an older version's resources in force again, as a new version. An empty to: the one deployed before.
func (c *Client) Rollback(ctx context.Context, product, to, reason string) (DeployVersion, error) {
	return do[DeployVersion](ctx, c, http.MethodPost, "/api/v1/deployments/"+segment(product)+"/rollback", nil, wire.NewRollback{To: to, Reason: reason})
}

// Recompile has a product's model compiled again.
func (c *Client) Recompile(ctx context.Context, product string) error {
	_, err := do[none](ctx, c, http.MethodPost, "/api/v1/deployments/"+segment(product)+"/compile", nil, nil)
	return err
}

// DeployVersions lists the versions of a product, or of all, newest first.
func (c *Client) DeployVersions(ctx context.Context, product string, limit int) iter.Seq2[DeployVersion, error] {
	return list[DeployVersion](ctx, c, "/api/v1/versions", values("product", product), limit)
}

// DeployVersion shows one version ("ferry-7").
func (c *Client) DeployVersion(ctx context.Context, id string) (DeployVersion, error) {
	return get[DeployVersion](ctx, c, "/api/v1/versions/"+segment(id), nil)
}

// DeployResources lists what a version asks of its nodes, or of one.
func (c *Client) DeployResources(ctx context.Context, id, node string) ([]DeploySlice, error) {
	p, err := get[page[DeploySlice]](ctx, c, "/api/v1/versions/"+segment(id)+"/resources", values("node", node))
	return p.Items, err
}

// ReleaseVersion puts a compiled version in force.
func (c *Client) ReleaseVersion(ctx context.Context, id string) (DeployVersion, error) {
	return do[DeployVersion](ctx, c, http.MethodPost, "/api/v1/versions/"+segment(id)+"/release", nil, nil)
}

// StartDryRun asks the agents what a version would change.
func (c *Client) StartDryRun(ctx context.Context, version string) (DryRun, error) {
	return do[DryRun](ctx, c, http.MethodPost, "/api/v1/versions/"+segment(version)+"/dry-runs", nil, nil)
}

// DryRun shows what the agents have answered so far.
func (c *Client) DryRun(ctx context.Context, id string) (DryRun, error) {
	return get[DryRun](ctx, c, "/api/v1/dry-runs/"+segment(id), nil)
}

// NodeDeployments lists what is deployed on a node, resource by resource.
func (c *Client) NodeDeployments(ctx context.Context, node string) ([]DeployedOnNode, error) {
	p, err := get[page[DeployedOnNode]](ctx, c, "/api/v1/nodes/"+segment(node)+"/deployments", nil)
	return p.Items, err
}
