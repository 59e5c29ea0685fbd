// Package integration is stage 4 of 9: it takes in requests to move pins; it gives out candidates with verdicts, and entries that
// landed or were rejected.
//
// A product has one queue. An entry asks to move some pins of the product, all or nothing. Entries come from branch
// history: each landed commit of a component becomes one ([Service] collects them from what the catalog has seen), as do pushes to the
// product file, and what people add by hand. The planner (package plan) decides what to do; the runner does it:
//
//	queued -> building -> testing -> landing -> landed
//	                \________\______________-> rejected      dequeued from anywhere before landing
//
// A candidate is a commit of the integration repository together with the pins that the entry leaves the product with: everything that is
// tested is read at exactly that commit. It is named by its digest, and verdicts belong to it. When main moves
// meanwhile, the entry gets another candidate; what was built and tested under an equal key is not done again.
//
// A crash anywhere is harmless: the entry's row says what has been decided. Waves are asked for by the entry and its attempt,
// releases by the entry, experiments by the digest of what they depend on; asking again returns what is there. What is to be
// cancelled is written down in the queue's row with the decision that makes it unwanted, and struck out when it is done.
package integration
