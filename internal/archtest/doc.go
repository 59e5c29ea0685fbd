// Package archtest holds the rules of this code base that a program can check: who may import whom, what every package and
// command must say about itself, and what nobody may write. It has no code of its own; run it with 'go test'.
//
// The import law: slipway <- platform, spec <- stages and their planners <- store, edge, agent, client <- server <- cli <- cmd.
// A stage never imports another stage, and no part of the edge imports the store: they meet in the types of
// internal/slipway, or through an interface that the one who needs it declares and internal/server wires.
package archtest
