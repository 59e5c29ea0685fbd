// Package executor is the agent's "lab" module: it runs the node's part of an experiment.
//
// The server gives an order (lab.Order); the executor goes through its phases and tells what happens as numbered records:
//
//	prepare   fetch the artifacts                               -> ready
//	run       run the steps of the node's role, as a graph      -> running, step..., arrived..., finished
//	clean     stop what is in the background, run the cleanup   -> clean
//
// Each assignment has a folder ROOT/lab/ID with its records (package spool), a log per step, the artifacts and the work
// folder. Everything is on disk before the server hears of it, and the folder goes away only when the server has said that
// it has everything. So the server may be away as long as it likes. Steps run on meanwhile; without a word of
// the server the node cleans up by itself a minute after the experiment's time is over.
//
// An agent that was killed finds its assignments on disk: steps that ran are stopped and count as "infra",
// the cleanup runs, and what was recorded before stays as it was.
//
// An order is refused when its epoch is lower than the highest that this node ever took: a server that has not
// yet learned that the node was given to somebody else cannot act on it.
//
// graph.go decides which steps may begin, as a pure function; process.go runs and kills them.
package executor
