package wire

import (
	"encoding/json"

	"slipway.dev/slipway/internal/provenance"
)

// ProvenanceView is what is known of an artifact's making.
type ProvenanceView struct {
	Attestations []AttestationView `json:"attestations" doc:"Newest first; builds that came out the same have one each"`
}

// AttestationView is a signed statement and what it says.
type AttestationView struct {
	provenance.Attestation
	Statement json.RawMessage `json:"statement" doc:"The in-toto statement, unpacked for reading"`
	Signed    json.RawMessage `json:"signed" doc:"The DSSE envelope, which is what to verify"`
}

// KeyView is a public key that checks statements.
type KeyView struct {
	ID     string `json:"id" doc:"SHA-256 of the key's PKIX form"`
	Active bool   `json:"active" doc:"New statements are signed by it"`
	PEM    string `json:"pem"`
}
