package store

import (
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/deploy"
)

// Deployments keeps the products in service, by name.
func (tx *Tx) Deployments() slipway.Table[deploy.Deployment] {
	return table[deploy.Deployment](tx, "deployments")
}

// Versions keeps the compiled models.
func (tx *Tx) Versions() slipway.Table[deploy.Version] { return table[deploy.Version](tx, "models") }

// Slices keeps what each version asks of each node.
func (tx *Tx) Slices() slipway.Table[deploy.Slice] { return table[deploy.Slice](tx, "model_slices") }

// NodeStates keeps what nodes reported about what is deployed on them.
func (tx *Tx) NodeStates() slipway.Table[deploy.NodeState] {
	return table[deploy.NodeState](tx, "node_states")
}

// DryRuns keeps what versions would change.
func (tx *Tx) DryRuns() slipway.Table[deploy.DryRun] { return table[deploy.DryRun](tx, "dry_runs") }
