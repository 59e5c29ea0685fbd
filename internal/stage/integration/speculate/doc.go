// Package speculate plans the integration queue: a function from a [Snapshot] to a [Plan] that works on many candidates at once, lands only what was
// tested, and spends rigs last. It knows no context, clock, database or log; equal snapshots give equal plans, whatever their order. It is made
// from nothing every time; what is known lives in the snapshot.
//
// # Tuples and verdicts
//
// A candidate is the base and some entries. What a check says of it depends only on the entries that move an input of the check, so a verdict is kept by
// check and [State]: the sum of the digests of exactly these. States add, so landing an entry changes no key, and a candidate that is the same for a check is the same
// verdict, whoever asked for it. A check is either whole (a pass proves its tuple) or incremental (a pass proves a step from one
// tuple to the next); the [Ledger] joins steps to proofs.
//
// # One plan
//
//  1. [world.settle]: entries are judged in order. Each stands on those before it that will probably land; the chance of each follows from its prediction
//     and from all evidence. A failed run shares blame out among the entries since the last tuple that passed, and the chance of a flake (Bayes).
//  2. [world.split], [world.join]: where more waits for a pool than it has room, neighbours of which one needs something dear become one unit that is tested and
//     lands as one. A unit that probably holds something bad comes apart in two parts of equal blame; what gave no verdict is not halved but taken apart.
//  3. [world.land]: the greatest set of entries that is closed under order and proven on exactly its tuple. Entries that share no check do not wait for each other.
//     An entry may pass up to two undecided ones before it where it is proven without them and passes with each combination of them; the
//     [Certificate] lists the verdicts, and [Verify] checks them again.
//  4. [world.evict]: an entry is blamed when it failed on a proven base and it alone, so often that a flake is ruled out. While it is run again it stands last, so
//     that nobody waits for it. If nobody has tested the base, a control run comes first; if the base fails, the check is frozen and nobody is blamed.
//  5. [world.work]: what is missing in the likeliest world is started by value: the chance that it is needed, times the minutes of waiting that it ends, divided by
//     its cost. What room is left goes to other outcomes of the entries before, likeliest first, from a heap that is expanded lazily, and then to what is far back
//     and hardly likely. Dear pools ask for a higher chance. What runs is kept unless its tuple cannot be what lands any more, or far likelier work needs its slot.
//
// A check of a higher tier starts only where those of lower tiers have not refuted the entry; a check that an entry has passed in another candidate does
// not hold the next tier up while it is run again, but what lands was proven in full.
//
// # Why it never stands still
//
// Units (entries and batches) have an order in which each stands behind what it depends on, also by way of batches; a batch for which there is no such order is not made
// or comes apart, and entries that depend on each other without being one change set leave. So the first unit that is not set aside stands on the base alone: nothing
// before it is undecided, and no floor, window or chance bars it; only a freeze of the queue does, or that there is nothing of the kind that it needs. Whatever is known of each of its checks, something follows: nothing yet, it is run; it failed too seldom
// to blame it, it is run again; it failed often enough, it is evicted on a proven base, and a batch comes apart; the base is untested, the base is run; there was no
// verdict too often, it leaves or comes apart; everything passed, it lands. Each of these is a start, a landing or an eviction once a slot is free, and none can be
// repeated for ever. By induction every entry ends.
//
// Set aside are those that nobody waits for: what failed on the base alone and is run again; what needs a check that fails on the base; and what depends on such. The
// first ends by its runs. The second ends when the base is mended: by hand, by the run that shows that it was a flake, or by an entry with which the check passes, which each
// of them is tried for once, alone on the base.
//
// # For the controller
//
// The controller owns the ledger, [Need.Passed] and [Need.Failed], and stores [Memory] with the queue. It removes entries that are dequeued, sets Invalid for a lost approval or a
// manifest that does not merge, gives ranks by [Place] and makes circles of Depends-On one entry by [ChangeSets]. When the base is moved by hand
// the state of what moved is new, and nothing proven of the old one counts for it.
package speculate
