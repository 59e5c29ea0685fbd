// Package agentapi is where agents meet the server.
//
// Over HTTP, below /agent/v1/:
//
//	POST join            a one-time token, a name and a public key make a node (the token is the credential)
//	GET  session         where the bus is, and the server's time (signed)
//	GET  blobs/DIGEST    an artifact's bytes (signed)
//
// Signed requests carry the agent's nkey signature over method, path and time (bus.SignRequest), and are refused when the
// key belongs to no node.
//
// Over the bus, [Server.Serve] answers requests to slipway.node.NAME.sync. Servers share them as one queue group. A
// request must be signed by the key of the node that its subject names, and the answer goes only to an
// inbox of that node; everything else is dropped and logged. What is inside belongs to modules, each with a
// [SyncHandler]; one that fails does not hinder the others.
package agentapi
