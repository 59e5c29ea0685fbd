// Package lab is stage 5 of 9: takes in experiments; gives out results from leased nodes.
//
// # Nodes
//
// A node is a machine with an agent. The agent joins once with a one-time token, then syncs every two seconds: it
// reports, and is answered with what it shall do ([Service.Sync]). Not heard for [Config.OfflineAfter] it is offline.
// A node is given to one experiment at a time under a [Lease] whose epoch rises with every grant. The server refuses
// reports of an older epoch, the agent refuses orders of an older epoch. A lease is renewed by every sync and ends with the
// experiment, or when it was not renewed for [Config.LeaseTTL].
//
// # Experiments
//
//	queued    waits for its nodes; the reason says for which, and who has them (package plan decides)
//	reserved  has all its nodes; they fetch its artifacts
//	running   all nodes were ready: they run their steps, each its own graph (internal/agent/executor)
//	cleaning  every node has ended its steps, or one of them ended badly, or it was cancelled: they run the cleanup
//	done      every node is clean; the leases have ended; the outcome is final
//
// Every state has a deadline ([Config]); what passes it moves on with a reason. A node that dies makes the attempt
// "infra", which is tried again on other nodes up to [Config.Retries] times; it never counts as a fail. A barrier opens
// when all nodes that have it have arrived; when one of them ends before that, the experiment ends with its reason.
//
// # Failure
//
// Everything is in the database: a killed server goes on where it was. While it is away, agents run on and keep results
// and logs on disk; deadlines count from when it could hear them again ([Service.Listening]). A record of an agent
// has a number; the server takes each number of an attempt once and in order, in the transaction that answers it, so
// a repeated report changes nothing.
//
// decide.go holds what is decided about one experiment, as pure functions; runner.go loads, decides, commits.
package lab
