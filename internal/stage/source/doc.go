// Package source is stage 1 of 9: it takes in pushes, webhooks and polls, and gives out refs and their history.
//
// It hosts bare repositories at DIR/NAMESPACE/NAME.git, in the dist-git namespaces components/, modules/ and products/
// (a product's integration repository). Every move of a branch or tag is a row of branch history and a RefUpdated event,
// so that "where did this ref point at time T" and "what has pointed at this commit" are queries.
//
// # Crash safety
//
// A ref lives in git, its history in the database, and no transaction spans the two. So every move goes through an
// [Intent]:
//
//  1. under the repository's lock, a row says which refs are about to go from where to where, and who wants it;
//  2. git moves the refs, each by compare-and-swap;
//  3. one transaction appends the history and the events, and deletes the row.
//
// When the process dies in between, [Service.Start] finds the row and settles it by looking at the refs. A push
// (receive-pack moved each ref or did not) is recorded as far as it came. A [Service.Move] is all or nothing: if every ref
// is at its old or its new place, it is finished. Whatever else differs between refs and history (somebody ran git in the
// folder) is recorded too, as done by "unknown".
//
// Git processes outlive a killed server for a moment. Those that move refs hold a shared lock on DIR/lock, which Start takes
// exclusively before it looks; so it never judges a ref that is still about to move, and may remove stale lock files. For
// the same reason one folder has one server; a second one is refused.
//
// # States
//
// A repository is "hosted" or, when it follows a remote, "mirror"; the latter takes no pushes. A [Mirror] is new, ok or
// failing, always with its reason; it is fetched every so often, and at once when a webhook says so. Fetching goes into
// refs/mirror/ first and then through Move, so a mirror's history is as safe as any.
package source
