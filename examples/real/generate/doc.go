// Command generate makes the repositories of a real product, out of released versions of Go modules that others wrote.
//
//	go run ./examples/real/generate -from examples/real -out DIR
//
// It downloads the versions named in table.go with the go command, through whatever module proxy that is set up to use,
// and writes below DIR:
//
//	components/NAME   a git repository: one commit and tag for each version, main at the version to begin with, and
//	                  branch next for those to upgrade to. Each commit is the module as released plus our slipway.yaml
//	components/thirdparty, components/gostd
//	                  what all the others need of the rest of the world: see thirdparty.go
//	product           the integration repository's content, a copy of examples/real/product, committed
//
// Equal inputs make equal commits: authors and dates come from the module versions. Nothing of others is kept in this
// repository; a second run finds what it needs in Go's module cache. Every version that was got or not is reported.
package main
