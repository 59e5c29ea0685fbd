package provenance

import (
	"time"

	"slipway.dev/slipway/internal/slipway"
)

// Tx is what the service needs inside one transaction.
type Tx interface {
	slipway.Ledger
	Attestations() slipway.Table[Attestation]
}

// Attestation says which statement and which SBOM belong to an artifact.
type Attestation struct {
	ID        string    `json:"id"` // "build/17", "package/sha256:.../rpm"
	Product   string    `json:"product"`
	Component string    `json:"component"`
	Version   string    `json:"version"`
	Commit    string    `json:"commit"`
	Name      string    `json:"name"`              // of the artifact: "libwire", "ferry-1.4.0-1.x86_64.rpm"
	Subject   string    `json:"subject"`           // the artifact's digest: an output tree's or a file's
	Build     string    `json:"build,omitempty"`   // id of the build that made it; of a package: empty
	Action    string    `json:"action"`            // key of the action that made the output tree
	Envelope  string    `json:"envelope"`          // digest of the DSSE envelope
	SBOM      string    `json:"sbom,omitempty"`    // digest of the SBOM of this artifact alone; of a package: empty
	KeyID     string    `json:"key_id"`            // of the key that signed
	Compose   string    `json:"compose,omitempty"` // of a package: the compose that made it
	Reason    string    `json:"reason"`            // for a person
	Time      time.Time `json:"time"`              // when it was signed
}

// Row implements [slipway.Record]; the key is the subject's digest.
func (a Attestation) Row() slipway.Row {
	return slipway.Row{ID: a.ID, Product: a.Product, State: "signed", Key: a.Subject}
}

// BuildAttestation is the ID of a build's attestation.
func BuildAttestation(build string) string { return slipway.Ref("build", build) }

func packageAttestation(key, format string) string {
	return slipway.Ref("package", key+"/"+format)
}
