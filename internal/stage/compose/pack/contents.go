package pack

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"slipway.dev/slipway/internal/slipway"
)

// entry is one file, directory or symbolic link of a package.
type entry struct {
	target string      // absolute path on the installed system
	source string      // path of the file on this machine; empty for directories and links
	link   string      // what a symbolic link points to
	mode   fs.FileMode // permission bits, normalised: 0755 or 0644
	dir    bool
	config bool // below /etc: kept when the administrator changed it
	size   int64
}

// contents lists what a package installs, sorted by target. Sources are looked up inside the tree and never outside:
// a symbolic link is packaged as a link, and a path that leaves the tree through "..", or through a link, is refused.
func contents(tree string, files map[string]string) ([]entry, error) {
	root, err := os.OpenRoot(tree)
	if err != nil {
		return nil, slipway.Errorf(slipway.Unavailable, "cannot open the outputs: %w", err)
	}
	defer root.Close()
	byTarget := map[string]entry{}
	add := func(e entry) error {
		if old, ok := byTarget[e.target]; ok && !(old.dir && e.dir) {
			return slipway.Errorf(slipway.Invalid, "two files of the package would be installed as %s", e.target)
		}
		byTarget[e.target] = e
		return nil
	}
	for target, source := range files {
		if !path.IsAbs(target) || strings.Contains(target, "/../") || strings.HasSuffix(target, "/..") {
			return nil, slipway.Errorf(slipway.Invalid, "%q is not an absolute path to install to", target)
		}
		asked := target
		target, source = path.Clean(target), path.Clean(source)
		if path.IsAbs(source) || source == ".." || strings.HasPrefix(source, "../") {
			return nil, slipway.Errorf(slipway.Invalid, "the source %q of %s is outside of the outputs", files[asked], target).
				Try("name a path below $OUT")
		}
		info, err := root.Lstat(source)
		if err != nil {
			return nil, slipway.Errorf(slipway.Invalid, "there is no output %q to install as %s", source, target).
				Try("write it to $OUT in the component's build, or correct the package's files")
		}
		if !info.IsDir() {
			if strings.HasSuffix(asked, "/") {
				target = path.Join(target, path.Base(source))
			}
			e, err := one(root, tree, source, target, info)
			if err != nil {
				return nil, err
			}
			if err := add(e); err != nil {
				return nil, err
			}
			continue
		}
		err = fs.WalkDir(root.FS(), source, func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(source, p)
			if err != nil {
				return err
			}
			to := path.Join(target, filepath.ToSlash(rel))
			info, err := root.Lstat(p)
			if err != nil {
				return err
			}
			e, err := one(root, tree, p, to, info)
			if err != nil {
				return err
			}
			if e.dir && systemDir(to) {
				return nil
			}
			return add(e)
		})
		if err != nil {
			return nil, err
		}
	}
	list := make([]entry, 0, len(byTarget))
	for _, e := range byTarget {
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b entry) int { return strings.Compare(a.target, b.target) })
	return list, nil
}

func one(root *os.Root, tree, source, target string, info fs.FileInfo) (entry, error) {
	e := entry{target: target}
	switch {
	case info.IsDir():
		e.dir, e.mode = true, 0o755
	case info.Mode()&fs.ModeSymlink != 0:
		link, err := root.Readlink(source)
		if err != nil {
			return e, err
		}
		e.link, e.mode = link, 0o777
	case info.Mode().IsRegular():
		// Opening through the root proves that no directory on the way is a link out of the tree.
		f, err := root.Open(source)
		if err != nil {
			return e, slipway.Errorf(slipway.Invalid, "cannot read the output %q: %w", source, err)
		}
		f.Close()
		e.source, e.mode, e.size = filepath.Join(tree, filepath.FromSlash(source)), 0o644, info.Size()
		if info.Mode()&0o111 != 0 {
			e.mode = 0o755
		}
		e.config = strings.HasPrefix(target, "/etc/")
	default:
		return e, slipway.Errorf(slipway.Invalid, "the output %q is neither a file, a directory nor a link", source)
	}
	return e, nil
}

// systemDir reports whether every system has the directory, so that no package owns it (Filesystem Hierarchy Standard 3.0).
func systemDir(p string) bool {
	switch p {
	case "/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/media", "/mnt", "/opt", "/run", "/sbin", "/srv", "/tmp",
		"/usr", "/usr/bin", "/usr/include", "/usr/lib", "/usr/lib64", "/usr/libexec", "/usr/local", "/usr/sbin", "/usr/share", "/usr/src",
		"/usr/lib/systemd", "/usr/lib/systemd/system", "/lib/systemd", "/lib/systemd/system", "/etc/systemd", "/etc/systemd/system",
		"/usr/lib/tmpfiles.d", "/usr/lib/sysusers.d", "/usr/share/doc", "/usr/share/licenses", "/usr/share/man", "/usr/share/man/man1",
		"/usr/share/man/man5", "/usr/share/man/man8", "/var", "/var/cache", "/var/lib", "/var/log", "/var/spool", "/var/tmp", "/etc/default":
		return true
	}
	return false
}
