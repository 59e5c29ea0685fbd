package agent

import (
	"context"
	"io"
	"net/http"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/slipway"
)

// Blobs opens artifacts at the server. It does not check digests: artifact.CopyTree does.
func (a *Agent) Blobs() artifact.Opener { return blobs{a} }

type blobs struct{ agent *Agent }

func (b blobs) Open(ctx context.Context, digest artifact.Digest) (io.ReadCloser, error) {
	if _, err := artifact.ParseDigest(digest); err != nil {
		return nil, err
	}
	req, err := b.agent.signed(ctx, "/agent/v1/blobs/"+digest)
	if err != nil {
		return nil, err
	}
	resp, err := b.agent.cfg.Client.Do(req)
	if err != nil {
		return nil, slipway.Errorf(slipway.Unavailable, "fetch %s: %w", digest, err)
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		return nil, b.agent.check(resp)
	}
	return resp.Body, nil
}
