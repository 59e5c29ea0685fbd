// Package cli is the command line: one file per verb, each of which makes one command from the [app].
//
// Commands use the REST API alone, through package client, except those that are a server or an agent themselves. Every command that shows
// something takes -o table, json or yaml; a table is plain aligned text where the output is no terminal. Every command has
// examples in its --help; a test insists.
//
// Which server, and as whom, is looked up in this order, each of the two by itself: the flags --server and --token; the
// environment's SLIPWAY_SERVER and SLIPWAY_TOKEN; the folder named by SLIPWAY_DATA, where 'slipway up' leaves
// both; the file that 'slipway login' writes.
//
// Exit status: 0 done; 1 a defect; 2 wrong input or usage; 3 not found; 4 conflict; 5 not authenticated; 6 forbidden; 7 too
// large; 8 something does not answer.
package cli
