package artifact

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"

	"slipway.dev/slipway/internal/slipway"
)

// newChecked wraps a blob's reader so that its end is an error if the bytes do not match the digest. A reader of [Disk]
// checks itself and is returned as it is.
func newChecked(r io.Reader, d Digest) io.Reader {
	if v, ok := r.(*verified); ok {
		return v
	}
	return &checked{r: r, h: sha256.New(), want: d}
}

type checked struct {
	r    io.Reader
	h    hash.Hash
	want Digest
}

func (c *checked) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.h.Write(p[:n])
	if err == io.EOF {
		if got := Prefix + hex.EncodeToString(c.h.Sum(nil)); got != c.want {
			return n, slipway.Errorf(slipway.Unavailable, "the bytes received for %s are others (they hash to %s)", c.want, got).Try("try again")
		}
	}
	return n, err
}
