// Package simulate runs queue policies over a workload on a virtual clock: the production planner (package speculate) and the policies of other merge queues (package
// rival), behind the same interface, with the same affected sets, tiers, verdict cache, durations and capacity.
//
// # What is modelled
//
//   - Time is in minutes. Events are arrivals and ends of runs; a policy plans at most every quarter of a minute, as a controller that gathers wakes does.
//
//   - Truth does not depend on the policy. An entry fails one of its checks by itself, or with one other entry that was written within a window of
//     it (a real conflict), or neither. A run fails if its tuple, with what has landed, holds either; else it fails by chance as a flake, or is lost; the chance
//     is drawn from the seed, the tuple and the number of the try. A run that fails takes between 30 % of its length and all of it. A run for several
//     entries takes as long as the longest of them would, for every policy: batches are cheap.
//
//   - Durations are known to planners within 10 %; nobody knows that a run will end early.
//
//   - An accuracy of 97 % is that of the outcome when entries are decided in order of arrival, which is also the oracle's; certainty is calibrated.
//     The learning predictors see an entry's components and features when it comes, and outcomes as entries end.
//
//   - The load is the share of the busiest pool that the oracle keeps busy: each check of each entry once, up to the tier that refutes it. In monorepo
//     slots follow from the load; in multirepo rigs are given, 1 to 4 for each configuration, and the time between arrivals follows.
//
//   - Property tests, not the profiles, also have authors who take entries out, priorities, freezes, and pushes past the queue, good and bad, with entries that
//     mend what a bad one broke.
//
// # What is measured
//
// Turnaround is from arrival to landing, of the entries that landed, leaving out those that came in the first tenth and the last seventh. Ratios are of quantiles to the
// oracle's. A wrong eviction is of an entry that passes by itself, conflicts with nothing that had landed, and depends on nothing that had left. Its author
// puts it into the queue again at once, as a new patchset, and its turnaround goes on: a policy gains nothing by throwing out what was unlucky. A
// rig minute is wasted if its run was used by no landing and no eviction. builds_per_change counts runs of all checks, also cancelled ones.
//
// # The oracle
//
// The oracle is that of the SubmitQueue paper (EuroSys 2019): it knows how every entry ends, tests each once, and lands entries that affect each other in their order. It is the
// bound of policies that do so; batches and bypass can beat it where capacity is short, so a ratio below 1 is possible and no mistake.
//
// # What would flatter Slipway
//
// Conflicts are pairs and failures do not depend on the order, so that a tuple with something bad in it always fails; the planner does not know that,
// but its blame fits it. The chance of flakes is told to the planner as it is. Rivals have one queue for the product, as they would be set up; they have no
// rerun of failures, because those that they stand for have none.
//
// The simulator itself refuses a landing whose tuple was not proven or whose truth is bad, a second landing, a certificate that does not hold, a run for
// another tuple than it names, and a policy that leaves entries behind or does not come to rest.
package simulate
