package store

import (
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build"
)

// Waves keeps the requests for builds, by the subject that they are for.
func (tx *Tx) Waves() slipway.Table[build.Wave] { return table[build.Wave](tx, "waves") }

// Builds keeps the runs of actions, by the actions' keys.
func (tx *Tx) Builds() slipway.Table[build.Build] { return table[build.Build](tx, "builds") }
