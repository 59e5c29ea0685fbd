package store

import (
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/release"
)

// Releases keeps what was released.
func (tx *Tx) Releases() slipway.Table[slipway.Release] {
	return table[slipway.Release](tx, "releases")
}

// Cuts keeps the releases under way.
func (tx *Tx) Cuts() slipway.Table[release.Cut] { return table[release.Cut](tx, "cuts") }
