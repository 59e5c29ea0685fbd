package store

import (
	"context"

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

// Outbox is the ledger as the bus's publisher reads it: several publishers have several names.
type Outbox struct {
	DB   *DB
	Name string
}

// After returns up to limit events with a number greater than seq, in order.
func (o Outbox) After(ctx context.Context, seq int64, limit int) ([]slipway.Event, error) {
	return o.DB.Events(ctx, EventQuery{After: seq, Limit: limit})
}

// Cursor is the number of the last event that was published; 0 at first.
func (o Outbox) Cursor(ctx context.Context) (seq int64, err error) {
	err = o.DB.View(ctx, func(tx *Tx) error {
		seq, err = tx.Cursor(ctx, o.Name)
		return err
	})
	return seq, err
}

// SetCursor remembers it.
func (o Outbox) SetCursor(ctx context.Context, seq int64) error {
	return o.DB.Update(ctx, func(tx *Tx) error { return tx.SetCursor(ctx, o.Name, seq) })
}
