// Package change is stage 2 of 9: it takes in proposed commits and gives out reviewed and landed commits with bumped versions.
//
// A push to refs/for/BRANCH opens a [Change]; another push of the same identity adds a patchset. The identity is
// the Change-Id trailer of the tip commit, else the topic (git push -o topic=X, or refs/for/BRANCH/X), else author and
// subject. A change is the whole range of commits between the branch and the pushed tip.
//
// What happens next is decided by package plan and done by one reconciler per change ([Service.Handlers]):
//
//   - open: one wave per product that uses a touched component is asked for, by name (change-12.1), so asking twice is one wave.
//   - testing: when the waves have finished, their results are recorded and the gate decides.
//   - tested: it waits for a gatekeeper's +2, or not, as the product's review policy says. A gatekeeper's -2 holds it back.
//   - approved, landing: see below.
//
// # Landing
//
// The commits (picked one by one for "rebase", joined by a merge commit for "merge"), the version commit and the annotated
// tags are written first, as objects that no ref names. Then the row says which refs have to move from where to where;
// then branch and tags move in one compare-and-swap (Source.Move); then the row says landed and the events tell. Killed before
// the move, the landing moves what the row says, or begins anew when the branch is elsewhere by now; killed after it, it finds that the
// branch holds its commit and only records. Conflicting files are named in the reason, and the change waits for another patchset.
//
// Each touched component gets its own version and tag: by conventional commits, from its version file, or none, as its slipway.yaml,
// else the product's policy says. One ChangeLanded event per component and product carries the pin.
package change
