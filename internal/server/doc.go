// Package server is the composition root: it makes every part of a Slipway server, wires them to each other by hand,
// once, and starts and stops them in order.
//
// The order is that of what needs what: database, repositories, artifacts, bus, background jobs, HTTP. They stop in the
// opposite order, so that nothing is asked for after it is gone. A killed server is not told apart from one that stopped:
// starting does all the recovery there is.
//
// A server owns one folder, DATA:
//
//	slipway.db     the database, unless Config.Database names a PostgreSQL
//	git/           repositories
//	artifacts/     everything that was built, by digest
//	bus/           the embedded message bus, unless Config.Bus names another
//	composes/      finished composes
//	logs/          logs of tasks under way
//	work/          what the sandboxes of builds under way see
//	keys/          the key that signs packages and repositories
//	admin-token    an API token of the role admin, for whoever may read the folder
//
// The adapt_*.go files turn what one stage offers into what another asks for; a stage never sees another.
package server
