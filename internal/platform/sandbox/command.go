package sandbox

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"

	"slipway.dev/slipway/internal/slipway"
)

// processScript bounds the processes from inside, where only those of the sandbox count. Arguments: how many, and what to run. Shells
// differ in the letter.
const processScript = `ulimit -u "$1" 2>/dev/null || ulimit -p "$1"; shift; exec "$@"`

// hostname is what a sandbox believes its host to be.
const hostname = "slipway"

// command returns the whole command line for a spec, and the stage that it needs, if any.
func (r *Runner) command(spec Spec, g *group) ([]string, *stage, error) {
	bwrap, err := exec.LookPath("bwrap")
	if err != nil {
		return nil, nil, slipway.Errorf(slipway.Unavailable, "bubblewrap is not installed: %w", err).Try("apt-get install bubblewrap")
	}
	if len(spec.Argv) == 0 {
		return nil, nil, slipway.Errorf(slipway.Internal, "a sandbox needs a command")
	}
	root := hostRoot()
	sources := []string{r.etc}
	if spec.Root != "" {
		if root, err = readRoot(spec.Root); err != nil {
			return nil, nil, err
		}
		sources = append(sources, spec.Root)
	}
	for _, m := range spec.Mounts {
		sources = append(sources, m.Source)
	}
	if !g.counts("pids") && (spec.Root == "" || exists(filepath.Join(spec.Root, "bin/sh"))) {
		spec.Argv = append([]string{"/bin/sh", "-c", processScript, "sh", strconv.Itoa(spec.Limits.Processes)}, spec.Argv...)
	}
	if !r.cfg.Root {
		return append([]string{bwrap}, bwrapArgs(spec, root, sources)...), nil, nil
	}
	stage, err := pickStage(sources, r.cfg.UID)
	if err != nil {
		return nil, nil, err
	}
	return append([]string{bwrap}, bwrapArgs(spec, root, stage.reach())...), stage, nil
}

func exists(path string) bool { _, err := os.Lstat(path); return err == nil }

// bwrapArgs is bubblewrap's command line; sources are where it finds /etc, the root if there is one, and then the spec's mounts.
func bwrapArgs(spec Spec, root []rootEntry, sources []string) []string {
	args := []string{"--unshare-all", "--unshare-user", "--disable-userns", "--cap-drop", "ALL"}
	if spec.Superuser {
		args = append(args, "--cap-add", "CAP_SYS_CHROOT", "--uid", "0", "--gid", "0")
	} else {
		args = append(args, "--uid", "1000", "--gid", "1000")
	}
	args = append(args, "--die-with-parent", "--new-session", "--clearenv", "--hostname", hostname, "--perms", "0755", "--tmpfs", "/etc")
	base, mounts := "", sources[1:]
	if spec.Root != "" {
		base, mounts = sources[1], sources[2:]
	}
	for _, e := range root {
		if e.link != "" {
			args = append(args, "--symlink", e.link, e.path)
		} else {
			args = append(args, "--ro-bind", base+e.path, e.path)
		}
	}
	for _, name := range etcFiles {
		args = append(args, "--ro-bind", sources[0]+"/"+name, "/etc/"+name)
	}
	args = append(args, "--remount-ro", "/etc",
		"--proc", "/proc", "--dev", "/dev",
		"--perms", "1777", "--size", strconv.FormatInt(spec.Limits.TempBytes, 10), "--tmpfs", "/tmp", "--dir", "/tmp/home")
	whole := slices.ContainsFunc(spec.Mounts, func(m Mount) bool { return m.Target == "/build" })
	if !whole {
		args = append(args, "--size", "1048576", "--tmpfs", "/build")
	}
	for i, m := range spec.Mounts {
		how := "--ro-bind"
		if m.Writable {
			how = "--bind"
		}
		args = append(args, how, mounts[i], m.Target)
	}
	if !slices.ContainsFunc(spec.Mounts, func(m Mount) bool { return m.Target == "/build" }) {
		args = append(args, "--remount-ro", "/build")
	}
	args = append(args, "--remount-ro", "/", "--chdir", spec.Dir)
	for _, name := range slices.Sorted(maps.Keys(spec.Env)) {
		args = append(args, "--setenv", name, spec.Env[name])
	}
	args = append(args, "--json-status-fd", "3", "--block-fd", "4", "--")
	return append(args, spec.Argv...)
}
