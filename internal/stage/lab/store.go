package lab

import "slipway.dev/slipway/internal/slipway"

// Tx is what the lab needs inside one transaction.
type Tx interface {
	slipway.Ledger
	Nodes() slipway.Table[Node]
	Leases() slipway.Table[Lease]
	JoinTokens() slipway.Table[JoinToken]
	Experiments() slipway.Table[Experiment]
	ExperimentLogs() slipway.Table[LogChunk]
}
