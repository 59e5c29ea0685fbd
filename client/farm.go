package client

import (
	"bytes"
	"context"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"

	"slipway.dev/slipway/internal/edge/httpapi/wire"
	"slipway.dev/slipway/internal/stage/build/farm"
	"slipway.dev/slipway/internal/stage/build/retain"
)

// Worker is a worker of the farm, with what it runs.
type Worker = farm.Worker

// Task is one action that the farm runs, or ran lately.
type Task = farm.Task

// Workers lists the workers of the farm.
func (c *Client) Workers(ctx context.Context) ([]Worker, error) {
	return get[[]Worker](ctx, c, "/api/v1/workers", nil)
}

// Tasks lists the farm's tasks, newest first; product and state (queued, claimed, done) may be empty, limit 0 is all.
func (c *Client) Tasks(ctx context.Context, product, state string, limit int) iter.Seq2[Task, error] {
	return list[Task](ctx, c, "/api/v1/tasks", values("product", product, "state", state), limit)
}

// Collected tells what a collection kept and removed.
type Collected = retain.Report

// Collect removes the artifacts and logs that nothing needs; with dry it only tells.
func (c *Client) Collect(ctx context.Context, dry bool) (Collected, error) {
	return do[Collected](ctx, c, http.MethodPost, "/api/v1/artifacts/collect", url.Values{"dry": {strconv.FormatBool(dry)}}, nil)
}

// Farm is the farm of a server as a worker elsewhere sees it: its tasks ([farm.Server]) and its blobs.
type Farm struct{ c *Client }

// Farm returns the farm of the client's server.
func (c *Client) Farm() Farm { return Farm{c} }

// Claim implements [farm.Server].
func (f Farm) Claim(ctx context.Context, r farm.ClaimRequest) (*farm.Claim, error) {
	got, err := do[wire.Claimed](ctx, f.c, http.MethodPost, "/api/v1/farm/claims", nil, r)
	return got.Claim, err
}

// Renew implements [farm.Server].
func (f Farm) Renew(ctx context.Context, h farm.Hold) (farm.Order, error) {
	return do[farm.Order](ctx, f.c, http.MethodPost, "/api/v1/farm/renewals", nil, h)
}

// Append implements [farm.Server].
func (f Farm) Append(ctx context.Context, h farm.Hold, offset int64, data []byte) (int64, error) {
	q := values("task", h.Task, "worker", h.Worker)
	q.Set("epoch", strconv.FormatInt(h.Epoch, 10))
	q.Set("offset", strconv.FormatInt(offset, 10))
	got, err := do[wire.Appended](ctx, f.c, http.MethodPost, "/api/v1/farm/logs", q, bytes.NewReader(data))
	return got.Size, err
}

// Finish implements [farm.Server].
func (f Farm) Finish(ctx context.Context, h farm.Hold, r farm.Report) error {
	_, err := do[none](ctx, f.c, http.MethodPost, "/api/v1/farm/ends", nil, wire.EndClaim{Hold: h, Report: r})
	return err
}

// Open reads a blob of the farm. The caller checks its bytes.
func (f Farm) Open(ctx context.Context, digest string) (io.ReadCloser, error) {
	return f.c.raw(ctx, "/api/v1/farm/blobs/"+segment(digest), nil, "application/octet-stream")
}

// Missing returns those of the digests, at most 5,000, that the farm does not have.
func (f Farm) Missing(ctx context.Context, all []string) ([]string, error) {
	got, err := do[wire.Digests](ctx, f.c, http.MethodPost, "/api/v1/farm/missing", nil, wire.Digests{Digests: all})
	return got.Digests, err
}

// Upload sends a blob; the server compares its bytes with the digest.
func (f Farm) Upload(ctx context.Context, digest string, r io.Reader) error {
	_, err := do[none](ctx, f.c, http.MethodPut, "/api/v1/farm/blobs/"+segment(digest), url.Values{}, r)
	return err
}
