// Package artifact keeps immutable bytes named by their digest, and trees of them.
//
// A blob is named "sha256:HEX" after its bytes. A tree is a blob too: a Directory message of the Remote Execution API
// (build.bazel.remote.execution.v2, in its canonical form: entries sorted by name, no node properties) that names the
// digests of its files and subdirectories. So two trees with the same content have the same digest, whoever made them, and
// any Remote Execution cache can hold them. Of a file's mode only "executable" is kept: setuid bits, owners and
// times do not survive, and everything but files, directories and symbolic links is refused.
//
// A tree cannot point out of itself. A link's target is relative and in normal form (".." only at its beginning) and
// stays below the root; since each link starts from a real directory of the tree, no chain of links leaves it either.
// Trees are checked when they are read in ([PutTree]) and again when they are written out ([CopyTree], [Disk.Tree]),
// because the bytes may have come from another machine.
//
// [Disk] is the store on a local disk:
//
//	blobs/ab/HEX   mode 0444
//	exec/ab/HEX    the same bytes with mode 0555, made when a tree first needs them (a hard link cannot have its own mode)
//	trees/HEX/     expanded trees, hard links into the two above; a cache
//	tmp/           files being written; emptied on open
//	quarantine/    blobs whose bytes were found not to match their name
//
// A blob appears under its name only when its bytes are on the disk (write, sync, rename), so a crash leaves nothing but files
// in tmp/. [PutTree] syncs once for the whole tree instead of once a file. Putting the same blob twice, also at the same
// time, is harmless. Every read compares the bytes with the name at its end; a mismatch is an error, and the blob is
// moved away so that the next Put of it heals the store.
package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"strings"

	"slipway.dev/slipway/internal/slipway"
)

// Digest names bytes: "sha256:" and 64 lower-case hexadecimal digits.
type Digest = string

// Prefix starts every [Digest].
const Prefix = "sha256:"

// Opener reads blobs. Open returns NotFound for a blob that is not there. The reader's last Read returns an error
// instead of io.EOF when the bytes do not match the digest.
type Opener interface {
	Open(ctx context.Context, d Digest) (io.ReadCloser, error)
}

// Store keeps blobs. All methods may be called at the same time, also for the same blob.
type Store interface {
	Opener
	// Put keeps what r gives and returns its digest and size in bytes. When it returns, the blob survives a crash.
	Put(ctx context.Context, r io.Reader) (Digest, int64, error)
	// Stat returns the size of a blob in bytes, or NotFound. It does not look at the bytes.
	Stat(ctx context.Context, d Digest) (int64, error)
}

// DigestOf returns the digest of data.
func DigestOf(data []byte) Digest {
	sum := sha256.Sum256(data)
	return Prefix + hex.EncodeToString(sum[:])
}

// ParseDigest returns the hexadecimal part of d, or an error of kind Invalid.
func ParseDigest(d Digest) (string, error) {
	h, ok := strings.CutPrefix(d, Prefix)
	if !ok || len(h) != 2*sha256.Size || strings.Trim(h, "0123456789abcdef") != "" {
		return "", slipway.Errorf(slipway.Invalid, "%q is no digest", d).Try(`write "sha256:" and 64 lower-case hexadecimal digits`)
	}
	return h, nil
}
