// Package git runs the system's git on bare repositories.
//
// It is a thin wrapper: one method is one or two git processes, nothing is cached, and no state is kept between
// calls; but who has [Readers] has questions about objects that are named by their full ids answered by kept processes.
// What it adds to the command line is safety:
//
//   - The environment is pinned. No system or user configuration is read, nothing prompts, hooks run only where
//     a caller asks for them, and the same input gives the same object ids on every machine.
//   - Nothing a person typed can become an option: revisions and paths travel over standard input or after
//     --end-of-options, and ref names are checked by [CheckRef] first.
//   - [Repo.Export] writes exactly the bytes of a tree. It reads blobs itself and does not use git-archive, whose
//     output depends on attributes inside the tree (export-ignore, eol, ident). It cannot write outside its target,
//     whatever names or symbolic links the tree holds.
//   - [Repo.UpdateRefs] is a compare-and-swap of several refs, and is never interrupted half-way by a cancelled
//     context.
//
// Objects are written before the refs that need them, and writing an object twice is harmless; so every method but
// UpdateRefs may be repeated after a crash. A crash inside UpdateRefs can leave some refs moved and lock files behind:
// [Repo.RemoveStaleLocks] clears those once the caller knows that no git process is left (see stage/source, which holds
// a lock file for that purpose).
//
// Errors are [slipway.Error]: NotFound for an unknown revision, path or ref, Conflict for a lost compare-and-swap,
// Invalid for names that git would not accept, Internal for anything else, with git's own words as cause.
package git
