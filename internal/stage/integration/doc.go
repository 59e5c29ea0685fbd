// Package integration is stage 4 of 9: it takes in requests to move pins; it gives out candidates with verdicts, and entries that
// landed or were rejected.
//
// A product has one queue. An entry asks to move some pins of the product, all or nothing. Entries come from branch
// history: each landed commit of a component becomes one ([Service] collects them from what the catalog has seen), as do pushes to the
// product file, and what people add by hand. Entries whose changes depend on each other in circles become one.
//
//	queued -> building -> testing -> landing -> landed
//	                \________\______________-> rejected      dequeued from anywhere before landing
//
// Several entries are worked on at once. A candidate is the product at main with the pins of some entries moved; it is named by the digest of all
// that it is made of, not by the commit it stands on. A check is the build of one component with its tests, or one experiment in one configuration. A
// trial is one run of one check on one candidate.
//
// Each look at a queue starts from nothing but rows and repositories (runner.go): it takes in what trials have come to (observe.go), goes on with the
// landing under way (landing.go), finds out what there is to check and what each entry affects (survey.go), makes a snapshot (decide.go) for the
// planner (package speculate), and writes down what the plan says in one transaction (act.go). The next look asks the build stage and
// the lab for what is written down.
//
// What holds whatever the planner says: nothing lands whose whole candidate, composed on the present main, has not passed its gate. Builds are
// asked for once more, all of them, and found by their keys; experiments are found by the digest of exactly what they depend on. If anything is
// missing, the landing is called off and the check runs again. What a landing rests on is kept as its certificate ([Service.Verify]).
//
// A check's part of main has a state, to which each landing adds. When the contents are not what the queue put there, somebody moved main by hand:
// the check gets a new state, and those whose contents are the same keep their verdicts.
//
// A crash anywhere is harmless. Trials are written down before they are asked for, under ids that follow from their rows; asking again returns what is
// there. What is to be cancelled is written down with the decision that makes it unwanted, and struck out when it is done. A landing is
// a row until it is done, and the release stage cuts the same release when it is asked again.
package integration
