// Command demo takes a real product along the road, from released Go modules to running nodes.
//
//	go run ./examples/real/demo -slipway bin/slipway
//
// It starts 'slipway up' in a folder of its own, and from then on does only what people do: git push, slipway commands,
// and reading the product's /metrics. It waits by following the ledger ('slipway events --follow'), never by the clock, and
// everything that it claims is asserted: the first thing that is not as it should be ends it with status 1.
//
//	story.go    what is done, act by act
//	queue.go    with -queue: ten changes at once, two of them bad
//	rebuild.go  what is built again when nothing, a text or a comment has changed
//	road.go     the server, the agents, git and the CLI
//	install.go  the real dnf and apt
//	ledger.go   events as they come, printed and waited for
package main
