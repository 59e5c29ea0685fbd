package store

import (
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/lab"
)

// Nodes keeps the machines with agents, by their public keys.
func (tx *Tx) Nodes() slipway.Table[lab.Node] { return table[lab.Node](tx, "nodes") }

// Leases keeps who has which node, one record per node.
func (tx *Tx) Leases() slipway.Table[lab.Lease] { return table[lab.Lease](tx, "leases") }

// JoinTokens keeps the hashes of the tokens with which nodes join.
func (tx *Tx) JoinTokens() slipway.Table[lab.JoinToken] {
	return table[lab.JoinToken](tx, "join_tokens")
}

// Experiments keeps experiments, by their numbers.
func (tx *Tx) Experiments() slipway.Table[lab.Experiment] {
	return table[lab.Experiment](tx, "experiments")
}

// ExperimentLogs keeps the pieces of the steps' logs, by assignment and step.
func (tx *Tx) ExperimentLogs() slipway.Table[lab.LogChunk] {
	return table[lab.LogChunk](tx, "experiment_logs")
}
