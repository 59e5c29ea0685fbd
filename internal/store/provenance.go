package store

import (
	"slipway.dev/slipway/internal/provenance"
	"slipway.dev/slipway/internal/slipway"
)

// Attestations keeps which statement and which SBOM belong to an artifact, by the artifact's digest.
func (tx *Tx) Attestations() slipway.Table[provenance.Attestation] {
	return table[provenance.Attestation](tx, "attestations")
}
