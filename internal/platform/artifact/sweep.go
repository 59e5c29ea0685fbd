package artifact

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"slipway.dev/slipway/internal/slipway"
)

// A blob's access time is when it was last put, opened or asked for, to [touchEvery]: it is set by hand, whatever the file system
// does by itself.
const touchEvery = time.Minute

// lookup is Stat of a file of the store that notes the use. No sweep removes the file between the look and the note.
func (d *Disk) lookup(file string) (fs.FileInfo, error) {
	d.sweep.RLock()
	defer d.sweep.RUnlock()
	fi, err := os.Stat(file)
	if err == nil && time.Since(lastUse(fi)) > touchEvery {
		times := []unix.Timespec{{Nsec: unix.UTIME_NOW}, {Nsec: unix.UTIME_OMIT}}
		_ = unix.UtimesNanoAt(unix.AT_FDCWD, file, times, 0) // a read-only store is not swept either
	}
	return fi, err
}

func lastUse(fi fs.FileInfo) time.Time {
	t := fi.ModTime()
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		if a := time.Unix(st.Atim.Unix()); a.After(t) {
			return a
		}
	}
	return t
}

// Root is a blob that is kept, with everything that it names if it is a Directory or an Action.
type Root struct {
	Digest Digest
	Why    string // a word for the report: "release"
}

// Amount is how much of something there is.
type Amount struct {
	Blobs int   `json:"blobs"`
	Bytes int64 `json:"bytes"`
}

func (a *Amount) add(size int64) { a.Blobs++; a.Bytes += size }

// Swept tells what a sweep kept and removed.
type Swept struct {
	Kept    map[string]Amount `json:"kept"` // by the reason of the first root that leads to it; "used lately" for what no root needs yet
	Removed Amount            `json:"removed"`
	Trees   int               `json:"trees"` // expanded trees removed
}

// usedLately is the reason for keeping what nothing refers to yet.
const usedLately = "used lately"

// Sweep removes the blobs that no root leads to and that were not used for the grace period, at least a minute. With dry set it only
// tells. It may run beside everything else, and be killed at any point:
//
//   - what is used after the sweep began is kept, with all that it names;
//   - a blob is removed only after all that name it, so that what is there is whole.
func (d *Disk) Sweep(ctx context.Context, roots []Root, grace time.Duration, dry bool) (Swept, error) {
	s := &sweep{d: d, before: time.Now().Add(-max(grace, touchEvery)), index: map[string]int{}, swept: Swept{Kept: map[string]Amount{}}}
	if err := s.list(ctx); err != nil {
		return s.swept, err
	}
	for _, r := range roots {
		if name, err := ParseDigest(r.Digest); err == nil {
			if err := s.mark(ctx, name, r.Why); err != nil {
				return s.swept, err
			}
		}
	}
	for i := range s.all {
		if s.all[i].why == "" && s.all[i].used.After(s.before) {
			if err := s.mark(ctx, s.all[i].name, usedLately); err != nil {
				return s.swept, err
			}
		}
	}
	err := s.remove(ctx, dry)
	for _, b := range s.all {
		if b.why != "" {
			a := s.swept.Kept[b.why]
			a.add(b.size)
			s.swept.Kept[b.why] = a
		}
	}
	if err == nil && !dry {
		err = s.orphans(ctx)
	}
	return s.swept, err
}

type sweep struct {
	d      *Disk
	before time.Time // what was used later is kept
	all    []blobInfo
	index  map[string]int // by name
	swept  Swept
}

type blobInfo struct {
	name string
	size int64
	used time.Time
	why  string // kept for
	kids []int  // of one that is to go
	refs int    // of one that is to go: how many others name it that are to go
}

func (s *sweep) list(ctx context.Context) error {
	err := filepath.WalkDir(s.d.path("blobs"), func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		fi, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		s.index[e.Name()] = len(s.all)
		s.all = append(s.all, blobInfo{name: e.Name(), size: fi.Size(), used: lastUse(fi)})
		return ctx.Err()
	})
	if err != nil {
		return storeError(err)
	}
	return nil
}

// mark keeps a blob and what it leads to. Blobs that came after the listing are kept anyway.
func (s *sweep) mark(ctx context.Context, name, why string) error {
	todo := []string{name}
	for len(todo) > 0 {
		i, ok := s.index[todo[len(todo)-1]]
		todo = todo[:len(todo)-1]
		if !ok || s.all[i].why != "" {
			continue
		}
		s.all[i].why = why
		names, err := s.names(ctx, i)
		if err != nil {
			return err
		}
		todo = append(todo, names...)
	}
	return ctx.Err()
}

// names returns what a blob names if it can be read as a Directory or an Action. What merely looks like one keeps too much, which
// does no harm.
func (s *sweep) names(ctx context.Context, i int) (all []string, err error) {
	b := s.all[i]
	if b.size == 0 || b.size > maxDirectory || ctx.Err() != nil {
		return nil, ctx.Err()
	}
	f, err := os.OpenFile(s.d.blob(b.name), os.O_RDONLY|unix.O_NOATIME, 0) // this look is no use
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, storeError(err)
	}
	defer f.Close()
	first := make([]byte, 1)
	if _, err := f.ReadAt(first, 0); err != nil {
		return nil, storeError(err)
	}
	if !slices.Contains([]byte{0x0a, 0x12, 0x1a, 0x2a}, first[0]) { // the fields of a Directory; an Action begins with one of them
		return nil, nil
	}
	data := make([]byte, b.size)
	if _, err := f.ReadAt(data, 0); err != nil {
		return nil, storeError(err)
	}
	valid := func(d *repb.Digest) bool {
		_, err := ParseDigest(Prefix + d.GetHash())
		return err == nil
	}
	var dir repb.Directory
	if proto.Unmarshal(data, &dir) == nil {
		for _, sub := range dir.Directories {
			if valid(sub.Digest) {
				all = append(all, sub.Digest.Hash)
			}
		}
		for _, file := range dir.Files {
			if valid(file.Digest) {
				all = append(all, file.Digest.Hash)
			}
		}
	}
	var action repb.Action
	if proto.Unmarshal(data, &action) == nil && valid(action.CommandDigest) && valid(action.InputRootDigest) {
		all = append(all, action.InputRootDigest.Hash, action.CommandDigest.Hash)
	}
	return all, nil
}

// remove removes what is not marked: level by level, what names others before them.
func (s *sweep) remove(ctx context.Context, dry bool) error {
	for i := range s.all {
		if s.all[i].why != "" {
			continue
		}
		names, err := s.names(ctx, i)
		if err != nil {
			return err
		}
		for _, name := range names {
			if k, ok := s.index[name]; ok && s.all[k].why == "" && k != i {
				s.all[i].kids = append(s.all[i].kids, k)
				s.all[k].refs++
			}
		}
	}
	var level []int
	for i, b := range s.all {
		if b.why == "" && b.refs == 0 {
			level = append(level, i)
		}
	}
	for len(level) > 0 {
		var next []int
		for _, i := range level {
			if err := ctx.Err(); err != nil {
				return err
			}
			b := &s.all[i]
			for _, k := range b.kids {
				if s.all[k].refs--; s.all[k].refs == 0 {
					next = append(next, k)
				}
			}
			if b.why != "" { // kept by one that named it
				continue
			}
			if dry {
				s.swept.Removed.add(b.size)
				continue
			}
			gone, err := s.unlink(b.name)
			if err != nil {
				return err
			}
			if gone {
				s.swept.Removed.add(b.size)
				b.why = ""
				s.index[b.name] = -1
				continue
			}
			s.keep(i)
		}
		level = next
		if !dry && len(level) > 0 { // what names is gone from the disk before what it names
			if err := s.d.syncAll(); err != nil {
				return err
			}
		}
	}
	return nil
}

// keep keeps a blob that was used while the sweep ran, with all that it leads to: nothing of that is gone yet.
func (s *sweep) keep(i int) {
	if s.all[i].why != "" {
		return
	}
	s.all[i].why = usedLately
	for _, k := range s.all[i].kids {
		s.keep(k)
	}
}

// unlink removes a blob with what was made of it, unless it was used meanwhile.
func (s *sweep) unlink(name string) (gone bool, err error) {
	d := s.d
	d.sweep.Lock()
	defer d.sweep.Unlock()
	fi, err := os.Stat(d.blob(name))
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, storeError(err)
	}
	if lastUse(fi).After(s.before) {
		return false, nil
	}
	if err := s.dropTree(name); err != nil {
		return false, err
	}
	for _, file := range []string{d.path("exec", name[:2], name), d.blob(name)} {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, storeError(err)
		}
	}
	return true, nil
}

// dropTree takes an expanded tree away at once; its files go afterwards.
func (s *sweep) dropTree(name string) error {
	trash, err := os.MkdirTemp(s.d.path("tmp"), "trash-")
	if err != nil {
		return storeError(err)
	}
	err = os.Rename(s.d.path("trees", name), filepath.Join(trash, "tree"))
	if err == nil {
		s.swept.Trees++
	} else if !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(storeError(err), removeTree(trash))
	}
	return removeTree(trash)
}

// orphans removes expanded trees and executable copies whose blobs a killed sweep has removed.
func (s *sweep) orphans(ctx context.Context) error {
	trees, err := os.ReadDir(s.d.path("trees"))
	if err != nil {
		return storeError(err)
	}
	for _, e := range trees {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.orphan(e.Name(), func() error { return s.dropTree(e.Name()) }); err != nil {
			return err
		}
	}
	return filepath.WalkDir(s.d.path("exec"), func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		return s.orphan(e.Name(), func() error { return os.Remove(p) })
	})
}

func (s *sweep) orphan(name string, remove func() error) error {
	if len(name) != 64 || strings.Trim(name, "0123456789abcdef") != "" {
		return nil
	}
	s.d.sweep.Lock()
	defer s.d.sweep.Unlock()
	if _, err := os.Stat(s.d.blob(name)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := remove(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return slipway.Errorf(slipway.Unavailable, "clean the artifact store: %w", err)
	}
	return nil
}

func (d *Disk) syncAll() error {
	f, err := os.Open(d.dir)
	if err != nil {
		return storeError(err)
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return storeError(err)
	}
	return nil
}

// Has reports whether a blob is there, without counting that as a use.
func (d *Disk) Has(digest Digest) bool {
	name, err := ParseDigest(digest)
	if err != nil {
		return false
	}
	_, err = os.Stat(d.blob(name))
	return err == nil
}
