// Package plan is the pure core of deployment: the resources that a model asks for, what a node and the
// server tell each other about them, and the decisions over both. No function here reads a clock, a file
// or a database; the server, the agents and the tests run the same code.
//
//   - [Resource] is one thing that is to be so on one node. It has a stable id NODE/TYPE[NAME], typed
//     attributes, a hash over what it asks for, and the model line that asked.
//   - [Desired] goes from the server to an agent, [Report] comes back. Both are about a product's
//     version, whose number is the epoch: an agent refuses a lower one than it holds, and the server
//     does not listen to reports about a lower one than is in force.
//   - [Sort] orders resources by what they require, and names a cycle.
//   - [Increment] is the least that an agent must be sent; [Orphans] is what it must take away again.
//   - [Walk] leads an agent through its resources: what is ready, and what is skipped because of what.
//   - [Judge] says where a version stands from what the nodes reported, and why.
package plan
