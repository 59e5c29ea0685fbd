package store

import (
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/compose"
)

// Composes keeps what was made of each release, by the release's id.
func (tx *Tx) Composes() slipway.Table[compose.Compose] {
	return table[compose.Compose](tx, "composes")
}

// Packages keeps the packages that were made, by the digest of what they are made from.
func (tx *Tx) Packages() slipway.Table[compose.Package] {
	return table[compose.Package](tx, "packages")
}
