package buildroot

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"slipway.dev/slipway/internal/slipway"
)

// Bounds of what is unpacked, so that a small archive cannot fill the disk.
const (
	maxBytes   = 64 << 30
	maxEntries = 2_000_000
)

// ownFolders are made for every build; what a root filesystem has there is not shown.
var ownFolders = []string{"build", "dev", "proc", "sys", "tmp"}

// unpacker writes archives into a folder, one over the other.
type unpacker struct {
	root     *os.Root
	layers   bool // entries named .wh.NAME take NAME of earlier archives away
	skip     []string
	dropped  []string
	entries  int
	bytes    int64
	location string // for errors
}

// decompressed recognizes the compression by its first bytes.
func decompressed(r io.Reader) (io.Reader, func(), error) {
	b := bufio.NewReaderSize(r, 1<<20)
	head, _ := b.Peek(6)
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(b)
		return z, func() {}, err
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	case bytes.HasPrefix(head, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		z, err := xz.NewReader(b)
		return z, func() {}, err
	}
	return b, func() {}, nil
}

func (u *unpacker) bad(format string, args ...any) error {
	return slipway.Errorf(slipway.Invalid, format, args...).At(u.location).Try("make the archive anew, from inside the folder that it holds")
}

// unpack lays one archive over what is there.
func (u *unpacker) unpack(ctx context.Context, r io.Reader) error {
	plain, done, err := decompressed(r)
	if err != nil {
		return u.bad("cannot be decompressed: %w", err)
	}
	defer done()
	made := map[string]bool{} // by this archive, which its whiteouts do not concern
	for in := tar.NewReader(plain); ; {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return u.bad("is no tar archive, or a damaged one: %w", err)
		}
		if u.entries++; u.entries > maxEntries {
			return slipway.Errorf(slipway.TooLarge, "has more than %d entries", maxEntries).At(u.location)
		}
		name, err := u.name(h.Name)
		if err != nil {
			return err
		}
		if top, _, _ := strings.Cut(name, "/"); name == "." || slices.Contains(u.skip, top) {
			continue
		}
		if dir, base := path.Split(name); u.layers && strings.HasPrefix(base, ".wh.") {
			if base == ".wh..wh..opq" {
				err = u.clear(path.Clean(dir), made)
			} else if p := path.Join(dir, strings.TrimPrefix(base, ".wh.")); !made[p] {
				err = u.root.RemoveAll(p)
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return u.failed(name, err)
			}
			continue
		}
		if err := u.entry(in, h, name); err != nil {
			return err
		}
		for p := name; p != "." && !made[p]; p = path.Dir(p) {
			made[p] = true
		}
	}
}

// clear takes away what earlier layers have in a folder.
func (u *unpacker) clear(dir string, made map[string]bool) error {
	f, err := u.root.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if p := path.Join(dir, name); !made[p] {
			if err := u.root.RemoveAll(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// name is an entry's path below the root.
func (u *unpacker) name(of string) (string, error) {
	if strings.ContainsRune(of, 0) || slices.Contains(strings.Split(of, "/"), "..") {
		return "", u.bad("holds the path %q, which leads out of it", of)
	}
	return path.Clean(strings.TrimLeft(of, "/")), nil
}

// entry writes one entry, in place of what is there by its name.
func (u *unpacker) entry(in io.Reader, h *tar.Header, name string) error {
	if dir := path.Dir(name); dir != "." {
		if err := u.folder(dir); err != nil {
			return err
		}
	}
	if h.Typeflag != tar.TypeDir {
		if err := u.root.RemoveAll(name); err != nil {
			return u.failed(name, err)
		}
	}
	if h.Mode&0o6000 != 0 && h.Typeflag == tar.TypeReg {
		u.drop("/%s: its set-user-id bit", name)
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if fi, err := u.root.Stat(name); err == nil && fi.IsDir() {
			return nil
		}
		if err := u.root.RemoveAll(name); err != nil {
			return u.failed(name, err)
		}
		return u.failed(name, u.root.Mkdir(name, 0o755))
	case tar.TypeReg:
		return u.file(in, h, name)
	case tar.TypeSymlink:
		target, err := relative(name, h.Linkname)
		if err != nil {
			return u.bad("the symbolic link /%s %w", name, err)
		}
		return u.failed(name, u.root.Symlink(target, name))
	case tar.TypeLink:
		old, err := u.name(h.Linkname)
		if err != nil {
			return u.bad("the hard link /%s leads to %q, out of the archive", name, h.Linkname)
		}
		if err := u.root.Link(old, name); err != nil {
			return u.bad("the hard link /%s leads to /%s, which is not there", name, old)
		}
		return nil
	case tar.TypeChar, tar.TypeBlock:
		u.drop("/%s: a device", name)
	case tar.TypeFifo:
		u.drop("/%s: a pipe", name)
	case tar.TypeXGlobalHeader:
	default:
		return u.bad("holds /%s of a kind that is not known (%q)", name, h.Typeflag)
	}
	return nil
}

// maxDropped bounds what a lock says of what is left out.
const maxDropped = 200

func (u *unpacker) drop(format string, args ...any) {
	if len(u.dropped) < maxDropped {
		u.dropped = append(u.dropped, fmt.Sprintf(format, args...))
	}
}

// folder makes the folders above an entry that the archive does not list.
func (u *unpacker) folder(dir string) error {
	if fi, err := u.root.Stat(dir); err == nil && fi.IsDir() {
		return nil
	}
	if up := path.Dir(dir); up != "." {
		if err := u.folder(up); err != nil {
			return err
		}
	}
	if err := u.root.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return u.failed(dir, err)
	}
	return u.failed(dir, u.root.Mkdir(dir, 0o755))
}

func (u *unpacker) file(in io.Reader, h *tar.Header, name string) error {
	mode := fs.FileMode(0o644)
	if h.Mode&0o111 != 0 {
		mode = 0o755
	}
	if u.bytes += h.Size; u.bytes > maxBytes {
		return slipway.Errorf(slipway.TooLarge, "has more than %d bytes", int64(maxBytes)).At(u.location)
	}
	f, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return u.failed(name, err)
	}
	_, err = io.Copy(f, in)
	if err == nil {
		err = f.Chmod(mode) // whatever the umask says
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return u.bad("ends within /%s", name)
	}
	return u.failed(name, err)
}

// failed words what the disk, or a link on the way, has against an entry.
func (u *unpacker) failed(name string, err error) error {
	switch {
	case err == nil:
		return nil
	case strings.Contains(err.Error(), "path escapes"):
		return u.bad("holds /%s below a link that leads out of it", name)
	}
	return slipway.Errorf(slipway.Unavailable, "cannot unpack /%s: %w", name, err).At(u.location)
}

// relative rewrites the target of a link at a path of a root filesystem, so that it means the same wherever that root is: ".." of / is /.
func relative(at, target string) (string, error) {
	if target == "" || strings.ContainsRune(target, 0) {
		return "", errors.New("has no valid target")
	}
	to := target
	if !strings.HasPrefix(target, "/") {
		to = path.Join("/", path.Dir(at), target)
	}
	to = strings.TrimPrefix(path.Clean(to), "/")
	from := strings.Split(path.Dir(at), "/")
	if path.Dir(at) == "." {
		from = nil
	}
	parts := strings.Split(to, "/")
	for len(from) > 0 && len(parts) > 1 && from[0] == parts[0] {
		from, parts = from[1:], parts[1:]
	}
	out := strings.Repeat("../", len(from)) + strings.Join(parts, "/")
	if out = strings.TrimSuffix(out, "/"); out == "" {
		out = "."
	}
	return out, nil
}
