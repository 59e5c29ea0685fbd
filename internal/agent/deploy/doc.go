// Package deploy is the agent's "deploy" module: it keeps a node as the versions in force want it.
//
// It takes in a [plan.Desired] with each sync and gives out a [plan.Report]. For each product there is a holder with a
// journal on disk, so that a kill anywhere loses nothing: what is desired, what was begun, how it ended, what drifted
// and was not yet acknowledged. A holder works in passes:
//
//	purge     what is held and no longer desired, in reverse order of requirements
//	apply     what is not yet deployed, whose requirements changed, or that is due for another try; in order, in parallel
//	repair    every interval, everything: what differs from what was deployed is made so again and told as drift
//
// A resource is compared first, applied only if it differs, and compared again. A new version interrupts a pass. A process that
// ends starts a pass for itself. Offers of a version older than the one held are refused: the number is a fence.
package deploy
