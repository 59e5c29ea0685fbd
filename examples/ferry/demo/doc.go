// Command demo shows the road on the ferry, from a push to running nodes, in less than a minute.
//
// It starts a server and four agents as processes of their own, makes git repositories of the folders beside it, and then does
// what a developer would do, with git, the command line and the REST API alone. Progress is the server's own ledger as it
// grows. It ends with a check that fails the demo: every node answers over HTTP with the new release, and the bad
// change was rejected by the queue.
package main
