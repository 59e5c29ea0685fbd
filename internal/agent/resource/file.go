package resource

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"syscall"
	"unicode/utf8"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/deploy/plan"
)

type fileHandler struct{ root *Root }

func (h fileHandler) Diff(_ context.Context, w Want) (Diff, error) {
	attrs, err := decode[plan.File](w)
	if err != nil {
		return Diff{}, err
	}
	rel, err := h.root.rel(attrs.Path)
	if err != nil {
		return Diff{}, err
	}
	var d Diff
	info, err := h.root.os.Lstat(rel)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.Absent = true
		d.change("content", "absent", bytesText(len(attrs.Content)))
		return d, nil
	case err != nil:
		return d, h.root.say(err, "look at file", attrs.Path)
	case !info.Mode().IsRegular():
		d.change("kind", kind(info.Mode()), "file")
		return d, nil
	}
	current, err := h.read(rel, int64(len(attrs.Content)))
	if err != nil {
		return d, h.root.say(err, "read file", attrs.Path)
	}
	if !bytes.Equal(current, attrs.Content) || info.Size() != int64(len(attrs.Content)) {
		d.change("content", excerpt(current, attrs.Content), excerpt(attrs.Content, current))
	}
	d.fact("digest", digestOf(current))
	d.fact("path", h.root.real(attrs.Path))
	return d, permissionsDiff(&d, info, attrs.Mode, attrs.Owner)
}

// read returns at most a little more than is wanted; a longer file differs anyway.
func (h fileHandler) read(rel string, wanted int64) ([]byte, error) {
	f, err := h.root.os.Open(rel)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, wanted+256))
}

func (h fileHandler) Apply(_ context.Context, w Want) error {
	attrs, err := decode[plan.File](w)
	if err != nil {
		return err
	}
	rel, err := h.root.rel(attrs.Path)
	if err != nil {
		return err
	}
	uid, gid, err := owner(attrs.Owner)
	if err != nil {
		return err
	}
	if info, err := h.root.os.Lstat(rel); err == nil && info.IsDir() {
		return slipway.Errorf(slipway.Conflict, "there is a directory where the file is to be").At(attrs.Path).Try("remove it, or deploy the file elsewhere")
	}
	return h.root.say(h.root.write(rel, attrs.Content, fileMode(attrs.Mode), uid, gid), "write file", attrs.Path)
}

func (h fileHandler) Purge(_ context.Context, w Want) error {
	attrs, err := decode[plan.File](w)
	if err != nil {
		return err
	}
	rel, err := h.root.rel(attrs.Path)
	if err != nil {
		return err
	}
	info, err := h.root.os.Lstat(rel)
	if gone(err) || err == nil && info.IsDir() { // a directory is not what was deployed
		return nil
	}
	if err == nil {
		err = h.root.os.Remove(rel)
	}
	return h.root.say(err, "remove file", attrs.Path)
}

type directoryHandler struct{ root *Root }

func (h directoryHandler) Diff(_ context.Context, w Want) (Diff, error) {
	attrs, err := decode[plan.Directory](w)
	if err != nil {
		return Diff{}, err
	}
	rel, err := h.root.rel(attrs.Path)
	if err != nil {
		return Diff{}, err
	}
	var d Diff
	info, err := h.root.os.Stat(rel)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.Absent = true
		d.change("kind", "absent", "directory")
		return d, nil
	case err != nil:
		return d, h.root.say(err, "look at directory", attrs.Path)
	case !info.IsDir():
		d.change("kind", kind(info.Mode()), "directory")
		return d, nil
	}
	d.fact("path", h.root.real(attrs.Path))
	return d, permissionsDiff(&d, info, attrs.Mode, attrs.Owner)
}

func (h directoryHandler) Apply(_ context.Context, w Want) error {
	attrs, err := decode[plan.Directory](w)
	if err != nil {
		return err
	}
	rel, err := h.root.rel(attrs.Path)
	if err != nil {
		return err
	}
	uid, gid, err := owner(attrs.Owner)
	if err != nil {
		return err
	}
	if err := h.root.os.MkdirAll(rel, 0o755); err != nil {
		if errors.Is(err, syscall.ENOTDIR) || errors.Is(err, fs.ErrExist) {
			return slipway.Errorf(slipway.Conflict, "there is something else where the directory is to be").At(attrs.Path).Try("remove it")
		}
		return h.root.say(err, "make directory", attrs.Path)
	}
	if uid >= 0 || gid >= 0 {
		if err := h.root.os.Chown(rel, uid, gid); err != nil {
			return h.root.say(err, "change owner", attrs.Path)
		}
	}
	return h.root.say(h.root.os.Chmod(rel, fileMode(attrs.Mode)), "change mode", attrs.Path)
}

// Purge removes the directory when it is empty; what others put there is not ours to remove.
func (h directoryHandler) Purge(_ context.Context, w Want) error {
	attrs, err := decode[plan.Directory](w)
	if err != nil {
		return err
	}
	rel, err := h.root.rel(attrs.Path)
	if err != nil {
		return err
	}
	err = h.root.os.Remove(rel)
	if gone(err) || errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, syscall.EEXIST) {
		return nil
	}
	return h.root.say(err, "remove directory", attrs.Path)
}

// gone reports whether an error says that there is nothing there.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) }

// permissionsDiff compares mode and owner.
func permissionsDiff(d *Diff, info fs.FileInfo, mode uint32, who string) error {
	if have := permissions(info.Mode()); have != mode {
		d.change("mode", fmt.Sprintf("%04o", have), fmt.Sprintf("%04o", mode))
	}
	uid, gid, err := owner(who)
	if err != nil {
		return err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		if uid >= 0 && int(stat.Uid) != uid || gid >= 0 && int(stat.Gid) != gid {
			d.change("owner", fmt.Sprintf("%d:%d", stat.Uid, stat.Gid), who)
		}
	}
	return nil
}

func kind(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "directory"
	case m&fs.ModeSymlink != 0:
		return "symbolic link"
	case m.IsRegular():
		return "file"
	}
	return "special file"
}

// excerpt shows the first line of a that differs from b's, and a's digest.
func excerpt(a, b []byte) string {
	name := fmt.Sprintf("%s, %s", short(digestOf(a)), bytesText(len(a)))
	if !utf8.Valid(a) || !utf8.Valid(b) {
		return name
	}
	lines, others := strings.Split(string(a), "\n"), strings.Split(string(b), "\n")
	for i, line := range lines {
		if i >= len(others) || others[i] != line {
			if len(line) > 120 {
				line = strings.ToValidUTF8(line[:120], "") + "..."
			}
			return fmt.Sprintf("line %d: %q (%s)", i+1, line, name)
		}
	}
	return fmt.Sprintf("ends at line %d (%s)", len(lines), name)
}
