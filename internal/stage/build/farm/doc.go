// Package farm runs actions on workers.
//
// A [Task] is one action in flight: it is asked for by one or more owners (a build, a call of the Remote Execution API), waits,
// is claimed by a worker, and ends. While it is in flight, who asks for the same action joins it.
//
//	queued    waits for a worker; package plan says whose turn it is
//	claimed   a worker has it, under an epoch that each claim raises, and renews the claim
//	done      with an outcome and a reason; or ended before it ran
//
// A claim that is not renewed expires; one that a worker gives back, or cannot run, ends too. Then the task is queued again, for
// another worker if there is one, at most [MaxAttempts] times; then its outcome is infra, with all the reasons. What a worker says
// under an old epoch is refused, so that a late one changes nothing; and a worker whose claim is gone stops what it
// runs and drops it. A worker that is told to stop gives back nothing it has begun: it ends it, and claims no more.
//
// Workers are slots in the server and processes elsewhere that dial out (package worker); both do the same through [Server]. A
// worker brings its host's fingerprint and labels; an action names the ones that it needs as platform properties.
//
// The truth is in the database: a row a task, changed in one transaction with what its owners make of it ([Owner]). The farm mirrors the
// waiting and claimed ones in memory, so that a free slot costs no search; one server works on a database. When the
// server starts again, tasks of its own slots are queued again at once, and workers elsewhere have a whole lease to come back
// and go on: nothing that they have done is lost.
//
// The log of a task is a file while it runs, and an artifact afterwards. Secrets are masked before they reach the file.
//
// Results of actions that exited with 0 are kept in an action cache, which answers as long as every blob of a result is
// there.
package farm
