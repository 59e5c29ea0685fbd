package client

import (
	"context"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"

	"slipway.dev/slipway/internal/stage/build"
)

// Build is one run of an action: a component's build, or one of its tests.
type Build = build.Build

// Wave is a set of components to be built for something, tier by tier.
type Wave = build.Wave

// BuildFilter selects builds; empty fields select all.
type BuildFilter struct {
	Product, Component string
	Wave               string // those that make up the wave, reused ones too
	State              string // queued, running or done
	Key                string // the action's, as manifests name it
	Outcome            string // pass, fail, infra, timeout or cancelled
}

// Builds lists builds, newest first.
func (c *Client) Builds(ctx context.Context, f BuildFilter, limit int) iter.Seq2[Build, error] {
	return list[Build](ctx, c, "/api/v1/builds",
		values("product", f.Product, "component", f.Component, "wave", f.Wave, "state", f.State, "key", f.Key, "outcome", f.Outcome), limit)
}

// Build shows one build, by its id or its action's key.
func (c *Client) Build(ctx context.Context, id string) (Build, error) {
	return get[Build](ctx, c, "/api/v1/builds/"+segment(id), nil)
}

// BuildLog reads a build's log from an offset in bytes; with follow the reader goes on until the build has ended.
func (c *Client) BuildLog(ctx context.Context, id string, offset int64, follow bool) (io.ReadCloser, error) {
	return c.raw(ctx, "/api/v1/builds/"+segment(id)+"/log",
		url.Values{"offset": {strconv.FormatInt(offset, 10)}, "follow": {strconv.FormatBool(follow)}}, "text/plain")
}

// ForgetBuild lets the next wave try a failed build again, whose failure would be reused otherwise.
func (c *Client) ForgetBuild(ctx context.Context, id string) error {
	_, err := do[none](ctx, c, http.MethodPost, "/api/v1/builds/"+segment(id)+"/forget", nil, nil)
	return err
}

// CancelBuild ends a build that waits or runs, for everybody who waits for it.
func (c *Client) CancelBuild(ctx context.Context, id, reason string) error {
	_, err := do[none](ctx, c, http.MethodPost, "/api/v1/builds/"+segment(id)+"/cancel", nil, map[string]string{"reason": reason})
	return err
}

// Waves lists the waves of a product, or those for a subject ("change/12"), newest first.
func (c *Client) Waves(ctx context.Context, product, subject string, limit int) iter.Seq2[Wave, error] {
	return list[Wave](ctx, c, "/api/v1/waves", values("product", product, "for", subject), limit)
}

// Wave shows one wave.
func (c *Client) Wave(ctx context.Context, id string) (Wave, error) {
	return get[Wave](ctx, c, "/api/v1/waves/"+segment(id), nil)
}

// CancelWave ends a running wave.
func (c *Client) CancelWave(ctx context.Context, id, reason string) error {
	_, err := do[none](ctx, c, http.MethodPost, "/api/v1/waves/"+segment(id)+"/cancel", nil, map[string]string{"reason": reason})
	return err
}
