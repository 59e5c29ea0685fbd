package artifact

import (
	"context"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// batch collects blobs that become durable together: one sync of the file system instead of one a file.
type batch struct {
	d  *Disk
	mu sync.Mutex
	in []*staged
}

// put writes a blob that nobody can see before commit.
func (b *batch) put(ctx context.Context, r io.Reader) (Digest, int64, error) {
	t, err := b.d.stage(ctx, r)
	if err != nil {
		return "", 0, err
	}
	if t.file != "" {
		b.mu.Lock()
		b.in = append(b.in, t)
		b.mu.Unlock()
	}
	return Prefix + t.hex, t.size, nil
}

// commit makes all bytes durable, then all names.
func (b *batch) commit() error {
	if len(b.in) == 0 {
		return nil
	}
	fs, err := os.Open(b.d.dir)
	if err != nil {
		return storeError(err)
	}
	defer fs.Close()
	if err := unix.Syncfs(int(fs.Fd())); err != nil {
		return storeError(err)
	}
	dirs := map[string]bool{}
	for _, t := range b.in {
		dirs[t.hex[:2]] = true
		if err := t.publish(); err != nil {
			return err
		}
	}
	if len(dirs) > 8 {
		if err := unix.Syncfs(int(fs.Fd())); err != nil {
			return storeError(err)
		}
		return nil
	}
	for dir := range dirs {
		if err := syncDir(b.d.path("blobs", dir)); err != nil {
			return err
		}
	}
	return nil
}

// drop removes what was not committed.
func (b *batch) drop() {
	for _, t := range b.in {
		t.drop()
	}
}
