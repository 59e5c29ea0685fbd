// Package sandbox runs one command in a bubblewrap sandbox and says how it ended.
//
// What the command sees is built from nothing: /usr of the host (read-only, and with it /bin, /lib, /lib64, /sbin),
// /etc with four made-up files (passwd, group, hosts, nsswitch.conf) and the host's alternatives links, a fresh /proc,
// /dev and /tmp, and the mounts that the [Spec] names. There is no network but its own loopback, which has the name
// localhost, no process, user or host name of the host, no capability, no way to make user namespaces, and no variable
// of the caller's environment. A Spec with a root of its own shows that folder's usr, bin, lib, etc and so on instead of the host's.
//
// The first process of a sandbox waits until it is in its control groups and has the limits that hold for each process, and all others come from it.
//
// Limits hold for all processes of a run together where this process may make control groups (version 2, delegated; version 1, as
// root): memory with what lies in /tmp, processes, processor time. Where it may not, memory and processor time are bounded for each
// process and processes by the sandbox's user namespace; [Runner.Bounds] says which. A run that met such a limit
// says so in [Exit].Limit.
//
// It never runs as root. When this process is root, the sandbox belongs to an unprivileged user id that no account
// has; a thread, alone in its own mount namespace, first binds the mounts to a place where that user can reach
// them, so the data folder itself may be closed to everybody but root. When this process is an ordinary user, the
// sandbox is that user's.
//
// A run ends in one of five ways ([Status]); an error means that the sandbox itself could not run, which says nothing
// about the command. However it ends, when [Runner.Run] returns every process of it is gone: they share a process
// namespace whose first process dies with bubblewrap, which dies with this process, also by SIGKILL. What a killed process left in its control groups is ended when the next one begins.
package sandbox
