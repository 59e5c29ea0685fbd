// Package store keeps Slipway's state in SQLite or PostgreSQL, behind the contracts that the stages declare.
//
// Everything goes through two calls. [DB.Update] runs a closure in one transaction that has the ledger to itself: writers
// are serialized on both engines (SQLite by its single writer, PostgreSQL by a table lock taken before the
// snapshot), so a closure sees everything that was committed before and no event commits out of the order of its
// number. [DB.View] is a consistent snapshot for reading. Closures are short: they load, decide and write, and never wait
// for anything outside.
//
// The nouns of the stages are kept as JSON documents in tables of one shape (id, product, state, key, document), by the
// columns that [slipway.Row] names. What needs more has a table of its own: events, jobs, ref_updates, edges. The
// SQL is portable and written by hand; times are microseconds since 1970 in BIGINT columns.
//
// Durability: SQLite runs in WAL mode with synchronous=FULL, so that a committed transaction outlives a power cut. Writers that wait at the same
// time share a commit, and with that the wait for the disk; each returns only after it (see grouping). Connections keep the statements that they have
// parsed (see keepingConn).
package store
