// Package compose is stage 8 of 9: it takes in releases and the variants of the product file; it gives out distributions,
// folders that dnf, apt and people with a browser install from.
//
// A compose is named after its release, PRODUCT-TAG, and made once. Its states:
//
//	waiting   outputs that the release locks are no longer in the store; they are being built again, and must come
//	          out with the digests that were tested
//	building  its folder is being written, under a name that is not served
//	finished  its folder has its final name, and nothing in it changes any more
//	failed    something about the release cannot be composed; the reason says what. People retry it
//
// The parts: plan decides which packages go into which variant; pack makes each package once for all composes; rpmrepo
// debrepo and apkrepo write the repositories over them, productmd the metadata; pgp and apkrepo hold the keys, which sign
// packages and repositories.
//
// A package is kept under its key, the digest of the output tree, its description and version: the same package has the
// same bytes in every compose. When a component was rebuilt without a new version, because something below it changed,
// its package gets the next release number, so that dnf and apt see an upgrade.
//
// A crash anywhere leaves either a folder with a temporary name, which the next run throws away, or the finished
// folder without its record, which the next run verifies and adopts. The folder's SHA256SUMS names every file in it; its
// own digest is in the record, so [Service.Verify] notices any change.
package compose
