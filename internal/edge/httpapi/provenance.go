package httpapi

import (
	"context"
	"net/http"

	"slipway.dev/slipway/internal/edge/httpapi/wire"
	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/platform/signing"
	"slipway.dev/slipway/internal/provenance"
)

// ArtifactName is the input that names an artifact, in one of the ways that people have it.
type ArtifactName struct {
	Of string `path:"of" doc:"A build's number, or the digest of an output tree, of an action or of a package file" example:"17"`
}

// SBOMDocument is a CycloneDX document as it is.
type SBOMDocument struct {
	ContentType string `header:"Content-Type"`
	Body        []byte
}

func (a *API) provenance() {
	register(a, op{Method: http.MethodGet, Path: "/api/v1/provenance/{of}", Role: auth.Viewer, Summary: "Show what an artifact was made from, signed",
		About: "In-toto statements with SLSA provenance v1, each in its DSSE envelope. The keys to verify them with are at `/api/v1/provenance-keys`."},
		func(ctx context.Context, in *ArtifactName) (*One[wire.ProvenanceView], error) {
			found, err := a.Provenance.Find(ctx, in.Of)
			if err != nil {
				return nil, err
			}
			view := wire.ProvenanceView{Attestations: []wire.AttestationView{}}
			for _, at := range found {
				envelope, err := a.Provenance.Envelope(ctx, at)
				if err != nil {
					return nil, err
				}
				statement, err := signing.Payload(envelope)
				if err != nil {
					return nil, err
				}
				view.Attestations = append(view.Attestations, wire.AttestationView{Attestation: at, Statement: statement, Signed: envelope})
			}
			return one(view, nil)
		})
	register(a, op{Method: http.MethodGet, Path: "/api/v1/sboms/{of}", Role: auth.Viewer, Summary: "Show what is in an artifact or a release",
		About: "A CycloneDX 1.6 document of everything below. Beside what names an artifact, a release's id such as `ferry-v2026.11.3` does."},
		func(ctx context.Context, in *ArtifactName) (*SBOMDocument, error) {
			text, err := a.Provenance.SBOM(ctx, in.Of)
			return &SBOMDocument{provenance.SBOMType, text}, err
		})
	register(a, op{Method: http.MethodGet, Path: "/api/v1/provenance-keys", Role: auth.Viewer, Summary: "List the keys that verify statements",
		About: "The one in use first, and every earlier one."},
		func(context.Context, *struct{}) (*One[[]wire.KeyView], error) {
			var keys []wire.KeyView
			for i, k := range a.Provenance.Keys() {
				keys = append(keys, wire.KeyView{ID: k.ID(), Active: i == 0, PEM: string(k.PEM())})
			}
			return one(keys, nil)
		})
	register(a, op{Method: http.MethodPost, Path: "/api/v1/provenance-keys/rotate", Role: auth.Admin, Summary: "Sign with a new key from now on",
		About: "What the earlier keys signed goes on to verify."},
		func(ctx context.Context, _ *struct{}) (*One[wire.KeyView], error) {
			k, err := a.Provenance.Rotate(ctx, auth.Actor(ctx))
			if err != nil {
				return nil, err
			}
			return one(wire.KeyView{ID: k.ID(), Active: true, PEM: string(k.PEM())}, nil)
		})
}
