// Package buildroot resolves buildroots: from what a product's file says one consists of to a tree in the artifact store, which is
// shown to a build as /, and to a [Lock] that says what is in it.
//
// Each base comes to the same thing, a tree of files by digest, so that the key of an action holds all that it can see, and any worker
// with the store can run it:
//
//	host     the named programs of this host with the libraries and interpreters that they need, and the named folders. The
//	         digests of files are kept by path, size, times and inode, so that to look again costs a stat of each.
//	archive  a root filesystem in a tar (plain, gzip, xz, zstd), by the digest of its bytes
//	oci      an image of an OCI layout (image-spec 1.1: a folder, or a tar of one), by the digest of its manifest or index; the layers
//	         are applied in order, with their whiteouts
//
// Items are laid over the base at their paths. What an archive or image comes from is kept in the store by its digest, so a
// buildroot that was resolved once, or whose lock is committed, is resolved again without a network, by any server with that store.
//
// Of a root filesystem a build sees files (executable or not), folders and symbolic links. Absolute links are rewritten as relative
// ones that mean the same inside. Devices, pipes, sockets and set-user-id bits are left out, and the lock says so. A
// path that leads out of the root is an error, because nobody can have meant it.
//
// Nothing is kept in the database: what a buildroot comes to follows from its description, and the cache below the
// data folder may be lost at any time.
package buildroot
