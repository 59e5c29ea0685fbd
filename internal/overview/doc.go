// Package overview answers two questions in one form for every kind of thing: where is it, and why is it so.
//
// It knows no stage. Each kind ("change", "node", "release", ...) has a [Lookup], which whoever composes the server makes
// from that stage's service; it returns an [Item]: the thing's stage, state and reason, and the subjects that made it so.
// [Service.Where] shows one item. [Service.Why] follows Because from item to item: from a node's running bytes to the model
// line, the release, the queue entry, the builds, the change and its commit. A subject of a kind without a lookup is known from the
// ledger: its last event says what became of it.
package overview
