package store

import (
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build"
	"slipway.dev/slipway/internal/stage/build/farm"
)

// Waves keeps the requests for builds, by the subject that they are for.
func (tx *Tx) Waves() slipway.Table[build.Wave] { return table[build.Wave](tx, "waves") }

// Builds keeps the runs of actions, by the actions' keys.
func (tx *Tx) Builds() slipway.Table[build.Build] { return table[build.Build](tx, "builds") }

// Tasks keeps the actions in flight, by action.
func (tx *Tx) Tasks() slipway.Table[farm.Task] { return table[farm.Task](tx, "tasks") }

// ActionResults is the action cache.
func (tx *Tx) ActionResults() slipway.Table[farm.CachedResult] {
	return table[farm.CachedResult](tx, "action_results")
}

// Orders keeps what waves were asked for.
func (tx *Tx) Orders() slipway.Table[build.Order] { return table[build.Order](tx, "orders") }

// Items keeps the actions of waves, by wave.
func (tx *Tx) Items() slipway.Table[build.Item] { return table[build.Item](tx, "items") }

// News keeps what waves have not heard yet, by wave.
func (tx *Tx) News() slipway.Table[build.News] { return table[build.News](tx, "news") }

// Marks keeps what builds are found by.
func (tx *Tx) Marks() slipway.Table[build.Mark] { return table[build.Mark](tx, "marks") }

// Rebuilds keeps rebuilds.
func (tx *Tx) Rebuilds() slipway.Table[build.Rebuild] { return table[build.Rebuild](tx, "rebuilds") }
