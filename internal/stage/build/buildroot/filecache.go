package buildroot

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sync/errgroup"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/slipway"
)

// fileCache knows the digests of files of this host. A file whose size, times and inode are as they were has the digest that it had:
// who changes its bytes changes the time of its inode, which nobody can set back.
type fileCache struct {
	file string

	mu    sync.Mutex
	known map[string]stamped
	dirty bool
}

type stamped struct {
	Size   int64           `json:"size"`
	Inode  uint64          `json:"inode"`
	Mtime  int64           `json:"mtime"` // nanoseconds
	Ctime  int64           `json:"ctime"`
	Digest artifact.Digest `json:"digest"`
}

func stamp(fi fs.FileInfo) stamped {
	s := stamped{Size: fi.Size(), Mtime: fi.ModTime().UnixNano()}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		s.Inode, s.Ctime = st.Ino, st.Ctim.Nano()
	}
	return s
}

func (c *fileCache) open(file string) {
	c.file, c.known = file, map[string]stamped{}
	if data, err := os.ReadFile(file); err == nil && json.Unmarshal(data, &c.known) != nil {
		c.known = map[string]stamped{}
	}
}

func (c *fileCache) save() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.dirty {
		return
	}
	c.dirty = false
	if data, err := json.Marshal(c.known); err == nil && os.WriteFile(c.file+".new", data, 0o600) == nil {
		_ = os.Rename(c.file+".new", c.file) // only a cache
	}
}

// digests returns the digests of files by path; the store has them then.
func (c *fileCache) digests(ctx context.Context, st artifact.Store, files map[string]fs.FileInfo) (map[string]artifact.Digest, error) {
	var mu sync.Mutex
	out := make(map[string]artifact.Digest, len(files))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(runtime.NumCPU(), 4))
	for p, fi := range files {
		g.Go(func() error {
			d, err := c.digest(ctx, st, p, fi)
			mu.Lock()
			defer mu.Unlock()
			out[p] = d
			return err
		})
	}
	return out, g.Wait()
}

func (c *fileCache) digest(ctx context.Context, st artifact.Store, p string, fi fs.FileInfo) (artifact.Digest, error) {
	now := stamp(fi)
	c.mu.Lock()
	old := c.known[p]
	c.mu.Unlock()
	now.Digest = old.Digest
	if now == old {
		if _, err := st.Stat(ctx, old.Digest); err == nil {
			return old.Digest, nil
		}
	}
	f, err := os.Open(p)
	if err != nil {
		return "", slipway.Errorf(slipway.Unavailable, "cannot read a file of this host: %w", err)
	}
	defer f.Close()
	d, n, err := st.Put(ctx, io.LimitReader(f, maxBytes))
	if err != nil {
		return "", err
	}
	if after, err := f.Stat(); err != nil || n != now.Size || after.ModTime() != fi.ModTime() {
		return "", slipway.Errorf(slipway.Unavailable, "%s of this host changes while it is read", p).Try("try again when nothing is being installed")
	}
	now.Digest = d
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known[p], c.dirty = now, true
	return d, nil
}

// owners asks the package database for the packages of tools and libraries, and returns "PACKAGE VERSION" by path. A host without dpkg
// has none: versions are for people, digests count.
func owners(ctx context.Context, g *gathering) map[string]string {
	var paths []string
	for p, kind := range g.kinds {
		if kind != KindFolder {
			paths = append(paths, p)
			if short, ok := strings.CutPrefix(p, "/usr/"); ok { // dpkg of a merged /usr knows some files by their old names
				paths = append(paths, "/"+short)
			}
		}
	}
	slices.Sort(paths)
	found, _ := exec.CommandContext(ctx, "dpkg-query", append([]string{"-S"}, paths...)...).Output() // fails for those that no package has
	list, err := exec.CommandContext(ctx, "dpkg-query", "-W", "-f", "${binary:Package} ${Version}\n").Output()
	if err != nil {
		return nil
	}
	versions := map[string]string{}
	for line := range strings.Lines(string(list)) {
		if name, version, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			versions[name] = name + " " + version
			bare, _, _ := strings.Cut(name, ":")
			versions[bare] = bare + " " + version
		}
	}
	out := map[string]string{}
	for line := range bytes.Lines(found) {
		names, p, ok := strings.Cut(strings.TrimSpace(string(line)), ": /")
		if !ok {
			continue
		}
		name, _, _ := strings.Cut(names, ", ")
		out["/"+p] = versions[name]
		if _, there := g.kinds["/usr/"+p]; there {
			out["/usr/"+p] = versions[name]
		}
	}
	return out
}
