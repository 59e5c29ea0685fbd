package wire

import "slipway.dev/slipway/internal/stage/build/farm"

// Claimed answers a claim; no claim means that there was no task.
type Claimed struct {
	Claim *farm.Claim `json:"claim,omitempty"`
}

// Appended says how long a task's log is, as its worker counts.
type Appended struct {
	Size int64 `json:"size"`
}

// EndClaim ends a claim.
type EndClaim struct {
	Hold   farm.Hold   `json:"hold"`
	Report farm.Report `json:"report"`
}

// Digests are names of blobs.
type Digests struct {
	Digests []string `json:"digests" maxItems:"5000"`
}
