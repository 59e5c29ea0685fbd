package sandbox

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"slipway.dev/slipway/internal/slipway"
)

// etcFiles are the files of /etc that every sandbox has for its own; see [New].
var etcFiles = []string{"passwd", "group", "hosts", "nsswitch.conf"}

// rootEntry is one thing that the command sees below /.
type rootEntry struct {
	path string // inside, and below the root on the host
	link string // target of a symbolic link; empty: bound read-only
}

// hostRoot is what a sandbox without a root of its own shows of the host: the tools, and where the alternatives point.
func hostRoot() []rootEntry {
	all := []rootEntry{{path: "/usr"}}
	for _, name := range []string{"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"} {
		if target, err := os.Readlink(name); err == nil {
			all = append(all, rootEntry{name, target})
		} else if _, err := os.Stat(name); err == nil { // a host whose /usr is not merged
			all = append(all, rootEntry{path: name})
		}
	}
	if _, err := os.Stat("/etc/alternatives"); err == nil {
		all = append(all, rootEntry{path: "/etc/alternatives"})
	}
	return all
}

// ownFolders are those of / that every sandbox makes for itself, whatever its root has there.
var ownFolders = []string{"build", "dev", "etc", "proc", "sys", "tmp"}

// readRoot lists what of a root filesystem is shown. The entries of its /etc are bound one by one, so that the sandbox's
// own files can stand among them although the root is never written to. Links are made anew, and mean what they
// say inside; devices, sockets and pipes are left out.
func readRoot(dir string) ([]rootEntry, error) {
	if !filepath.IsAbs(dir) {
		return nil, slipway.Errorf(slipway.Internal, "the root of a sandbox is relative").At(dir)
	}
	all, err := readFolder(nil, dir, "/", ownFolders)
	if err != nil {
		return nil, err
	}
	if fi, err := os.Lstat(filepath.Join(dir, "etc")); err == nil && fi.IsDir() {
		if all, err = readFolder(all, dir, "/etc", etcFiles); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func readFolder(all []rootEntry, root, folder string, without []string) ([]rootEntry, error) {
	entries, err := os.ReadDir(filepath.Join(root, folder))
	if err != nil {
		return nil, slipway.Errorf(slipway.Unavailable, "the sandbox cannot read its root: %w", err)
	}
	for _, e := range entries {
		if slices.Contains(without, e.Name()) {
			continue
		}
		entry := rootEntry{path: filepath.Join(folder, e.Name())}
		switch e.Type() {
		case fs.ModeSymlink:
			if entry.link, err = os.Readlink(filepath.Join(root, entry.path)); err != nil {
				return nil, slipway.Errorf(slipway.Unavailable, "the sandbox cannot read its root: %w", err)
			}
		case 0, fs.ModeDir:
		default:
			continue
		}
		all = append(all, entry)
	}
	return all, nil
}
