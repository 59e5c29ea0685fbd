// Package resource makes things so on a node. There is a [Handler] for each type of resource: Diff reads what is
// there and says what is not as desired, Apply makes it so, Purge takes it away. The agent's deploy module decides
// what to apply and when; this package keeps no plan, but it owns what must live on beside it:
// the [Supervisor] with the processes, and the trees of artifacts.
//
// Everything happens below a [Root]: an agent with a root directory of its own maps absolute paths below it and never
// writes outside, also not through symbolic links. Every write is atomic: a temporary file is written, synced and renamed, or
// a symbolic link is renamed over another. Killing the agent anywhere leaves either the old or the new, and
// running Diff again tells which.
//
// An error of kind Unavailable says that the node has no means for the resource (systemd, dnf, apt); a [Later] that it
// is not time yet; every other error is a failure that may be tried again.
package resource
