package store

import (
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/change"
)

// Changes keeps the proposed commits.
func (tx *Tx) Changes() slipway.Table[change.Change] { return table[change.Change](tx, "changes") }
