package artifact

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sync/singleflight"

	"slipway.dev/slipway/internal/slipway"
)

// Disk is a [Store] in a folder of a local file system.
type Disk struct {
	dir    string
	expand singleflight.Group // one expansion of a tree at a time
	sweep  sync.RWMutex       // held for writing while a sweep decides about one blob
}

// OpenDisk opens the store in dir, which is made if it does not exist, and removes what a crash left in tmp/. Only
// one process may have a folder open.
func OpenDisk(dir string) (*Disk, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open artifact store: %w", err)
	}
	d := &Disk{dir: abs}
	if err := removeTree(d.path("tmp")); err != nil {
		return nil, fmt.Errorf("clean artifact store: %w", err)
	}
	for _, sub := range []string{"blobs", "exec", "trees", "tmp", "quarantine"} {
		if err := os.MkdirAll(d.path(sub), 0o755); err != nil {
			return nil, fmt.Errorf("open artifact store: %w", err)
		}
	}
	for _, sub := range []string{"blobs", "exec"} {
		for i := range 256 {
			if err := os.Mkdir(d.path(sub, fmt.Sprintf("%02x", i)), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return nil, fmt.Errorf("open artifact store: %w", err)
			}
		}
	}
	return d, nil
}

func (d *Disk) path(elem ...string) string { return filepath.Join(append([]string{d.dir}, elem...)...) }

func (d *Disk) blob(hex string) string { return d.path("blobs", hex[:2], hex) }

// Put implements [Store].
func (d *Disk) Put(ctx context.Context, r io.Reader) (Digest, int64, error) {
	if m, ok := r.(*bytes.Reader); ok {
		if digest, size, known := d.holds(m); known {
			return digest, size, nil
		}
	}
	t, err := d.stage(ctx, r)
	if err != nil {
		return "", 0, err
	}
	defer t.drop()
	if err := t.sync(); err != nil {
		return "", 0, err
	}
	if err := t.publish(); err != nil {
		return "", 0, err
	}
	return Prefix + t.hex, t.size, syncDir(filepath.Dir(d.blob(t.hex)))
}

// holds reports whether bytes that are in memory are there already; it leaves the reader as it was.
func (d *Disk) holds(m *bytes.Reader) (Digest, int64, bool) {
	if m.Size() != int64(m.Len()) {
		return "", 0, false
	}
	h := sha256.New()
	if _, err := m.WriteTo(h); err != nil {
		return "", 0, false
	}
	if _, err := m.Seek(0, io.SeekStart); err != nil {
		return "", 0, false
	}
	name := hex.EncodeToString(h.Sum(nil))
	fi, err := d.lookup(d.blob(name))
	return Prefix + name, m.Size(), err == nil && fi.Size() == m.Size()
}

// staged is a blob that is written but has no name yet.
type staged struct {
	d    *Disk
	file string // its path in tmp/; "" once published or when the blob was there already
	hex  string
	size int64
}

func (d *Disk) stage(ctx context.Context, r io.Reader) (*staged, error) {
	f, err := os.CreateTemp(d.path("tmp"), "put-")
	if err != nil {
		return nil, storeError(err)
	}
	t := &staged{d: d, file: f.Name()}
	h := sha256.New()
	t.size, err = io.Copy(io.MultiWriter(f, h), ctxReader{ctx, r})
	if err == nil {
		err = f.Chmod(0o444)
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		t.drop()
		return nil, storeError(err)
	}
	t.hex = hex.EncodeToString(h.Sum(nil))
	if fi, err := d.lookup(d.blob(t.hex)); err == nil && fi.Size() == t.size {
		t.drop()
	}
	return t, nil
}

func (t *staged) sync() error {
	if t.file == "" {
		return nil
	}
	return syncFile(t.file)
}

func (t *staged) publish() error {
	if t.file == "" {
		return nil
	}
	if err := os.Rename(t.file, t.d.blob(t.hex)); err != nil {
		return storeError(err)
	}
	t.file = ""
	return nil
}

func (t *staged) drop() {
	if t.file != "" {
		os.Remove(t.file)
		t.file = ""
	}
}

// Stat implements [Store].
func (d *Disk) Stat(_ context.Context, digest Digest) (int64, error) {
	name, err := ParseDigest(digest)
	if err != nil {
		return 0, err
	}
	fi, err := d.lookup(d.blob(name))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, missing(digest)
	}
	if err != nil {
		return 0, storeError(err)
	}
	return fi.Size(), nil
}

// Open implements [Store].
func (d *Disk) Open(_ context.Context, digest Digest) (io.ReadCloser, error) {
	name, err := ParseDigest(digest)
	if err != nil {
		return nil, err
	}
	if _, err := d.lookup(d.blob(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, storeError(err)
	}
	f, err := os.Open(d.blob(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, missing(digest)
	}
	if err != nil {
		return nil, storeError(err)
	}
	return newVerified(f, name, d.quarantine), nil
}

// quarantine moves a blob with wrong bytes out of the way, and forgets what was expanded from it.
func (d *Disk) quarantine(name string) {
	_ = os.Rename(d.blob(name), d.path("quarantine", name))
	_ = os.Remove(d.path("exec", name[:2], name))
	// Any expanded tree may hold a link to the bad bytes. They are a cache: drop them all.
	if entries, err := os.ReadDir(d.path("trees")); err == nil {
		for _, e := range entries {
			trash, err := os.MkdirTemp(d.path("tmp"), "trash-")
			if err == nil && os.Rename(d.path("trees", e.Name()), filepath.Join(trash, "tree")) == nil {
				_ = removeTree(trash)
			}
		}
	}
}

// verified reads a blob and checks it against its name at the end.
type verified struct {
	f          *os.File
	h          hash.Hash
	name       string
	quarantine func(name string)
}

func newVerified(f *os.File, name string, quarantine func(string)) *verified {
	return &verified{f: f, h: sha256.New(), name: name, quarantine: quarantine}
}

func (v *verified) Read(p []byte) (int, error) {
	n, err := v.f.Read(p)
	v.h.Write(p[:n])
	if err == io.EOF {
		if got := hex.EncodeToString(v.h.Sum(nil)); got != v.name {
			v.quarantine(v.name)
			return n, slipway.Errorf(slipway.Internal, "the bytes of %s%s are damaged (they hash to %s%s); moved to quarantine", Prefix, v.name, Prefix, got).
				Try("build it again; check the disk")
		}
	}
	return n, err
}

func (v *verified) Close() error { return v.f.Close() }

// ctxReader ends a copy when its context does.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

func missing(d Digest) error {
	return slipway.Errorf(slipway.NotFound, "there is no artifact %s", d)
}

func storeError(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var known *slipway.Error
	if errors.As(err, &known) {
		return err
	}
	return slipway.Errorf(slipway.Unavailable, "the artifact store's disk: %w", err).Try("check free space and permissions")
}

func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return storeError(err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return storeError(err)
	}
	return nil
}

func syncDir(path string) error { return syncFile(path) }

// RemoveTree removes dir also when folders in it are not writable, as builds may leave them.
func RemoveTree(dir string) error { return removeTree(dir) }

func removeTree(dir string) error {
	err := os.RemoveAll(dir)
	if err == nil {
		return nil
	}
	_ = filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			_ = os.Chmod(p, 0o755)
		}
		return nil
	})
	return os.RemoveAll(dir)
}
