// Package agent is the process on a node.
//
// It joins once: it makes a key pair, whose private half stays in ROOT/agent/key.nk (mode 0600), and sends the public
// half with a one-time token. From then on the key is the credential. It only ever dials out.
//
//	join -> session (where is the bus?) -> connect -> sync, sync, sync ... -> connection lost -> back off -> session
//
// A sync tells the server what every [Module] reports and brings back what each shall do. Both are levels, not edges: a
// lost or doubled message changes nothing. The agent syncs every two seconds, when the server pokes it, and when a module
// has something new. Back-off is jittered, and never gives up.
//
// Modules keep on working while the server is away, and keep what they have to tell on disk (package spool) until the server
// has said that it has it. Kill the agent at any moment: the next one goes on from the disk.
package agent
