package client

import (
	"context"
	"io"
	"net/http"

	"slipway.dev/slipway/internal/edge/httpapi/wire"
)

// Provenance is the signed statements about an artifact.
type Provenance = wire.ProvenanceView

// ProvenanceKey is a public key that verifies statements.
type ProvenanceKey = wire.KeyView

// Provenance shows what an artifact was made from; of is a build's number, or the digest of an output tree, of an action or of a package file.
func (c *Client) Provenance(ctx context.Context, of string) (Provenance, error) {
	return get[Provenance](ctx, c, "/api/v1/provenance/"+segment(of), nil)
}

// SBOM returns the CycloneDX document of an artifact, named as for [Client.Provenance], or of a release.
func (c *Client) SBOM(ctx context.Context, of string) ([]byte, error) {
	r, err := c.raw(ctx, "/api/v1/sboms/"+segment(of), nil, "application/vnd.cyclonedx+json, application/json")
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// ProvenanceKeys lists the keys that verify statements; the first is the one in use.
func (c *Client) ProvenanceKeys(ctx context.Context) ([]ProvenanceKey, error) {
	return get[[]ProvenanceKey](ctx, c, "/api/v1/provenance-keys", nil)
}

// RotateProvenanceKey makes a new key; what the earlier ones signed goes on to verify.
func (c *Client) RotateProvenanceKey(ctx context.Context) (ProvenanceKey, error) {
	return do[ProvenanceKey](ctx, c, http.MethodPost, "/api/v1/provenance-keys/rotate", nil, nil)
}
