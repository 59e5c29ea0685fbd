// Package provenance tells of every artifact what it was made from, by whom and how, in forms that others read and check.
//
// Takes in finished builds and composes; gives out, for every output tree and every package file,
//
//	a statement  in-toto Statement v1 with a SLSA Provenance v1 predicate (https://slsa.dev/spec/v1.0/provenance), in a DSSE
//	             envelope that the instance's key signs (package signing)
//	an SBOM      CycloneDX 1.6 (https://cyclonedx.org), of the artifact and all that went into it, also of a whole release
//
// Envelope and SBOM are artifacts; an [Attestation] says which belong to what. It is written once, by a reconciler that the end of a build or of
// a compose wakes in the transaction that ended it: however often the process is killed, each artifact gets one. What is signed
// follows from the record of the build, and Ed25519 signatures from what is signed, so a run that a crash cut short makes the same bytes again.
//
// A stored SBOM holds the artifact, what it needs directly, and the Go modules in its binaries; the SBOM that people ask for
// is put together from those of everything below, so a thousand components do not store a thousand copies of their base.
package provenance
