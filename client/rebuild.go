package client

import (
	"context"
	"iter"
	"net/http"

	"slipway.dev/slipway/internal/stage/build"
)

// Rebuild is a part of a product that is built again because something changed.
type Rebuild = build.Rebuild

// RebuildCause says what changed, and how to rebuild.
type RebuildCause = build.RebuildCause

// RebuildPlan is what a rebuild would do.
type RebuildPlan = build.RebuildPlan

// Affected is what was made from a commit.
type Affected = build.Affected

// Explanation says why a build was made.
type Explanation = build.Explanation

// PlanRebuild says what a rebuild would do.
func (c *Client) PlanRebuild(ctx context.Context, product string, cause RebuildCause) (RebuildPlan, error) {
	return do[RebuildPlan](ctx, c, http.MethodPost, "/api/v1/products/"+segment(product)+"/rebuild-plan", nil, cause)
}

// StartRebuild begins a rebuild.
func (c *Client) StartRebuild(ctx context.Context, product string, cause RebuildCause) (Rebuild, error) {
	return do[Rebuild](ctx, c, http.MethodPost, "/api/v1/products/"+segment(product)+"/rebuilds", nil, cause)
}

// Rebuilds lists rebuilds, newest first.
func (c *Client) Rebuilds(ctx context.Context, product, state string, limit int) iter.Seq2[Rebuild, error] {
	return list[Rebuild](ctx, c, "/api/v1/rebuilds", values("product", product, "state", state), limit)
}

// Rebuild shows one rebuild.
func (c *Client) Rebuild(ctx context.Context, id string) (Rebuild, error) {
	return get[Rebuild](ctx, c, "/api/v1/rebuilds/"+segment(id), nil)
}

// PauseRebuild lets a rebuild start nothing new.
func (c *Client) PauseRebuild(ctx context.Context, id, reason string) error {
	return c.steerRebuild(ctx, id, "pause", map[string]string{"reason": reason})
}

// ResumeRebuild lets a paused rebuild go on.
func (c *Client) ResumeRebuild(ctx context.Context, id string) error {
	return c.steerRebuild(ctx, id, "resume", nil)
}

// RetryRebuild tries what failed in a stuck rebuild again.
func (c *Client) RetryRebuild(ctx context.Context, id string) error {
	return c.steerRebuild(ctx, id, "retry", nil)
}

// CancelRebuild ends a rebuild.
func (c *Client) CancelRebuild(ctx context.Context, id, reason string) error {
	return c.steerRebuild(ctx, id, "cancel", map[string]string{"reason": reason})
}

func (c *Client) steerRebuild(ctx context.Context, id, verb string, body any) error {
	_, err := do[none](ctx, c, http.MethodPost, "/api/v1/rebuilds/"+segment(id)+"/"+verb, nil, body)
	return err
}

// Affected finds what was made from the commit that a ref names, now or back then: "main@{1}".
func (c *Client) Affected(ctx context.Context, product, repo, ref string) (Affected, error) {
	return get[Affected](ctx, c, "/api/v1/affected", values("product", product, "repo", repo, "ref", ref))
}

// WhyBuilt explains why a build was made; id is its number, its key, or the digest of its output.
func (c *Client) WhyBuilt(ctx context.Context, id string) (Explanation, error) {
	return get[Explanation](ctx, c, "/api/v1/builds/"+segment(id)+"/why", nil)
}
