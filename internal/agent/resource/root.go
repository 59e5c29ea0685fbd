package resource

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"slipway.dev/slipway/internal/slipway"
)

// Root is the directory that a host may write below. Paths given to it are absolute, as a model writes them: "/etc/x" is
// DIR/etc/x. A symbolic link that leads out of DIR is refused ([os.Root]). When DIR is "/" there is no
// outside, and links in a path's parents are followed.
type Root struct {
	dir string
	os  *os.Root
}

// OpenRoot opens dir, which is made if it does not exist.
func OpenRoot(dir string) (*Root, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(abs, 0o755); err != nil {
		return nil, slipway.Errorf(slipway.Internal, "no root directory: %w", err).At(abs)
	}
	r, err := os.OpenRoot(abs)
	if err != nil {
		return nil, slipway.Errorf(slipway.Internal, "no root directory: %w", err).At(abs)
	}
	return &Root{dir: abs, os: r}, nil
}

// Close releases the directory.
func (r *Root) Close() error { return r.os.Close() }

// prefix is what to put before an absolute path: "" for "/".
func (r *Root) prefix() string { return strings.TrimSuffix(r.dir, "/") }

// real returns where a path is for programs; it says nothing about links.
func (r *Root) real(p string) string { return r.prefix() + p }

// rel turns a model's path into one for r.os.
func (r *Root) rel(p string) (string, error) {
	if !path.IsAbs(p) || path.Clean(p) != p || p == "/" {
		return "", slipway.Errorf(slipway.Invalid, "path %q is not absolute and clean", p)
	}
	if r.dir == "/" {
		p = followParents(p)
	}
	return p[1:], nil
}

// followParents resolves links in the existing part of a path's parent.
func followParents(p string) string {
	parent, rest := path.Split(p)
	for parent = path.Clean(parent); parent != "/"; parent = path.Dir(parent) {
		if resolved, err := filepath.EvalSymlinks(parent); err == nil {
			return path.Join(resolved, rest)
		}
		rest = path.Join(path.Base(parent), rest)
	}
	return path.Join("/", rest)
}

// say words an error of the file system.
func (r *Root) say(err error, doing, p string) error {
	switch {
	case err == nil:
		return nil
	case strings.Contains(err.Error(), "escapes from parent"):
		return slipway.Errorf(slipway.Forbidden, "%s: a symbolic link leads out of the agent's root", doing).At(p).
			Try("remove the link, or deploy to a path that does not go through it")
	case errors.Is(err, fs.ErrPermission):
		return slipway.Errorf(slipway.Forbidden, "%s: %w", doing, err).At(p).Try("the agent may not; run it as root or choose another path")
	}
	return slipway.Errorf(slipway.Internal, "%s: %w", doing, err).At(p)
}

// write replaces a file atomically. uid or gid -1 leaves them.
func (r *Root) write(rel string, content []byte, mode fs.FileMode, uid, gid int) error {
	parent := path.Dir(rel)
	if err := r.os.MkdirAll(parent, 0o755); err != nil {
		return err
	}
	temp := path.Join(parent, "."+path.Base(rel)+".slipway") // one name per file: what a crash leaves is overwritten
	if err := r.os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := r.os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil && (uid >= 0 || gid >= 0) {
		err = f.Chown(uid, gid)
	}
	if err == nil { // after chown, which clears set-id bits
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if err2 := f.Close(); err == nil {
		err = err2
	}
	if err == nil {
		err = r.os.Rename(temp, rel)
	}
	if err != nil {
		r.os.Remove(temp) // the write failed already
		return err
	}
	return r.syncDir(parent)
}

// link makes rel a symbolic link to target, replacing a link that is there.
func (r *Root) link(rel, target string) error {
	parent := path.Dir(rel)
	temp := path.Join(parent, "."+path.Base(rel)+".link")
	if err := r.os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := r.os.Symlink(target, temp); err != nil {
		return err
	}
	if err := r.os.Rename(temp, rel); err != nil {
		r.os.Remove(temp) // the rename failed already
		return err
	}
	return r.syncDir(parent)
}

func (r *Root) syncDir(rel string) error {
	d, err := r.os.Open(rel)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// permissions are the bits of a mode that a model may set, as chmod writes them.
func permissions(m fs.FileMode) uint32 {
	bits := uint32(m.Perm())
	for flag, bit := range map[fs.FileMode]uint32{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if m&flag != 0 {
			bits |= bit
		}
	}
	return bits
}

// fileMode is the other way round.
func fileMode(bits uint32) fs.FileMode {
	m := fs.FileMode(bits & 0o777)
	for flag, bit := range map[fs.FileMode]uint32{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if bits&bit != 0 {
			m |= flag
		}
	}
	return m
}

// owner looks up USER or USER:GROUP; -1 is "as it is".
func owner(text string) (uid, gid int, err error) {
	if text == "" {
		return -1, -1, nil
	}
	name, group, _ := strings.Cut(text, ":")
	uid, gid = -1, -1
	if uid, err = strconv.Atoi(name); err != nil {
		u, err := user.Lookup(name)
		if err != nil {
			return 0, 0, slipway.Errorf(slipway.Invalid, "the node has no user %q", name).Try("create it before, for instance by a package or an exec that this requires")
		}
		if uid, err = strconv.Atoi(u.Uid); err != nil {
			return 0, 0, fmt.Errorf("id of user %s: %w", name, err)
		}
	}
	if group == "" {
		return uid, -1, nil
	}
	if gid, err = strconv.Atoi(group); err != nil {
		g, err := user.LookupGroup(group)
		if err != nil {
			return 0, 0, slipway.Errorf(slipway.Invalid, "the node has no group %q", group).Try("create it before, for instance by a package or an exec that this requires")
		}
		if gid, err = strconv.Atoi(g.Gid); err != nil {
			return 0, 0, fmt.Errorf("id of group %s: %w", group, err)
		}
	}
	return uid, gid, nil
}

func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}
