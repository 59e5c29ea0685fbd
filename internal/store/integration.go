package store

import (
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/integration"
)

// Entries keeps the entries of all queues, in the order in which they came.
func (tx *Tx) Entries() slipway.Table[integration.Entry] {
	return table[integration.Entry](tx, "entries")
}

// Queues keeps one row for each product's queue.
func (tx *Tx) Queues() slipway.Table[integration.Queue] {
	return table[integration.Queue](tx, "queues")
}

// Candidates keeps the tuples that were tried.
func (tx *Tx) Candidates() slipway.Table[integration.Candidate] {
	return table[integration.Candidate](tx, "candidates")
}

// Trials keeps the runs of checks that queues asked for, by candidate.
func (tx *Tx) Trials() slipway.Table[integration.Trial] {
	return table[integration.Trial](tx, "trials")
}

// Certificates keeps why landings were sound, by release.
func (tx *Tx) Certificates() slipway.Table[integration.Certificate] {
	return table[integration.Certificate](tx, "certificates")
}
