package artifact

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Together calls f with a store whose blobs become durable, and visible to others, all at once when f has returned nil: with one
// sync of the file system, or a few of single files, instead of one a blob. Through that store they are there at once. When f
// returns an error nothing is kept.
func (d *Disk) Together(ctx context.Context, f func(ctx context.Context, st Store) error) error {
	b := &batch{d: d, by: map[string]*staged{}}
	defer b.drop()
	if err := f(ctx, b); err != nil {
		return err
	}
	return b.commit()
}

// batch collects blobs that become durable together.
type batch struct {
	d  *Disk
	mu sync.Mutex
	in []*staged
	by map[string]*staged // by name, the first of each
}

// Put writes a blob that nobody else can see before commit.
func (b *batch) Put(ctx context.Context, r io.Reader) (Digest, int64, error) {
	if m, ok := r.(*bytes.Reader); ok {
		if digest, size, known := b.d.holds(m); known {
			return digest, size, nil
		}
	}
	t, err := b.d.stage(ctx, r)
	if err != nil {
		return "", 0, err
	}
	if t.file != "" {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.in = append(b.in, t)
		if b.by[t.hex] == nil {
			b.by[t.hex] = t
		}
	}
	return Prefix + t.hex, t.size, nil
}

// Open implements [Opener].
func (b *batch) Open(ctx context.Context, d Digest) (io.ReadCloser, error) {
	if t := b.find(d); t != nil {
		f, err := os.Open(t.file)
		if err != nil {
			return nil, storeError(err)
		}
		return newVerified(f, t.hex, func(string) {}), nil
	}
	return b.d.Open(ctx, d)
}

// Stat implements [Store].
func (b *batch) Stat(ctx context.Context, d Digest) (int64, error) {
	if t := b.find(d); t != nil {
		return t.size, nil
	}
	return b.d.Stat(ctx, d)
}

func (b *batch) find(d Digest) *staged {
	name, err := ParseDigest(d)
	if err != nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.by[name]
}

// few is how many files are synced one by one: that does not wait for what others write to the same file system.
const few = 8

// commit makes all bytes durable, then all names.
func (b *batch) commit() error {
	if len(b.in) == 0 {
		return nil
	}
	var files []string
	dirs := map[string]bool{}
	for _, t := range b.in {
		files = append(files, t.file)
		dirs[filepath.Dir(b.d.blob(t.hex))] = true
	}
	if err := b.sync(files); err != nil {
		return err
	}
	for _, t := range b.in {
		if err := t.publish(); err != nil {
			return err
		}
	}
	var names []string
	for dir := range dirs {
		names = append(names, dir)
	}
	return b.sync(names)
}

// sync makes files or folders durable.
func (b *batch) sync(paths []string) error {
	if len(paths) <= few {
		var g errgroup.Group
		for _, p := range paths {
			g.Go(func() error { return syncFile(p) })
		}
		return g.Wait()
	}
	fs, err := os.Open(b.d.dir)
	if err != nil {
		return storeError(err)
	}
	defer fs.Close()
	return storeErrorOrNil(unix.Syncfs(int(fs.Fd())))
}

// drop removes what was not committed.
func (b *batch) drop() {
	for _, t := range b.in {
		t.drop()
	}
}
