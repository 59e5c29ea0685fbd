package store

import (
	"slipway.dev/slipway/internal/slipway"
)

// Results keeps the outcomes of checks.
func (tx *Tx) Results() slipway.Table[slipway.Result] { return table[slipway.Result](tx, "results") }
