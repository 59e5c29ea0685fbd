// Package bus carries messages between servers, agents and the world, over NATS.
//
// Truth stays in the database: the bus may lose everything it holds and nothing is lost for good. JetStream
// acknowledges a publish before it is on disk, so it is fed from the ledger ([Publisher]) and never read back
// as a record of what happened.
//
// A [Bus] is one connection of the server, to a NATS server that it runs itself ([Embedded], with JetStream in
// the data folder) or to one that somebody runs ([External], by URL). Both behave the same and pass the
// same conformance suite:
//
//   - every event leaves as a CloudEvent on slipway.events.TYPE, at least once, with the event's id as
//     Nats-Msg-Id, so that JetStream drops what it has seen (see cloudevent.go);
//   - an agent authenticates by an nkey (an Ed25519 key whose private half never leaves the node) and may use
//     only the subjects of [AgentPermissions]: to publish slipway.node.NAME.>, to listen there and to its own inbox;
//   - an unknown or revoked key is refused, and [Embedded.Kick] ends the connections of a revoked one.
//
// An external server enforces the same permissions from its own configuration, which [Authorization] writes;
// docs/guides/bus.md tells what it must have.
//
// Where messages cross the border, the receiver checks again: a request is signed by the agent's key, and an
// answer goes only to an inbox of the node that asked (see edge/agentapi).
package bus
