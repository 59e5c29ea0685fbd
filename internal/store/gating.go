package store

import (
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/gating"
)

// Results keeps the outcomes of checks, by subject.
func (tx *Tx) Results() slipway.Table[slipway.Result] { return table[slipway.Result](tx, "results") }

// Waivers keeps the recorded exceptions.
func (tx *Tx) Waivers() slipway.Table[gating.Waiver] { return table[gating.Waiver](tx, "waivers") }
