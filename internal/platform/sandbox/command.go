package sandbox

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"slipway.dev/slipway/internal/slipway"
)

// stages are the folders over which a root process may mount, in its own mount namespace, the place where the
// sandbox's user reaches the mounts.
var stages = []string{"/mnt", "/media", "/srv", "/opt", "/home"}

// stageScript runs as root, alone in its mount namespace. Arguments: the stage, the user id, the number of mounts, their
// sources, and what to become.
const stageScript = `stage=$1 uid=$2 n=$3; shift 3
mount -t tmpfs -o mode=755,size=1m slipway "$stage"
i=0
while [ $i -lt $n ]; do
  mkdir "$stage/$i"
  mount --bind "$1" "$stage/$i"
  shift; i=$((i+1))
done
exec setpriv --reuid "$uid" --regid "$uid" --clear-groups --inh-caps=-all --bounding-set=-all --no-new-privs --pdeathsig KILL -- "$@"`

// command returns the whole command line for a spec.
func (r *Runner) command(spec Spec) ([]string, error) {
	bwrap, err := exec.LookPath("bwrap")
	if err != nil {
		return nil, slipway.Errorf(slipway.Unavailable, "bubblewrap is not installed: %w", err).Try("apt-get install bubblewrap")
	}
	if len(spec.Argv) == 0 {
		return nil, slipway.Errorf(slipway.Internal, "a sandbox needs a command")
	}
	sources := []string{r.etc}
	for _, m := range spec.Mounts {
		sources = append(sources, m.Source)
	}
	if !r.cfg.Root {
		return append([]string{bwrap}, bwrapArgs(spec, sources)...), nil
	}
	stage, err := pickStage(sources)
	if err != nil {
		return nil, err
	}
	reach := make([]string, len(sources))
	for i := range sources {
		reach[i] = filepath.Join(stage, strconv.Itoa(i))
	}
	argv := []string{"/bin/sh", "-euc", stageScript, "sandbox", stage, strconv.Itoa(r.cfg.UID), strconv.Itoa(len(sources))}
	argv = append(argv, sources...)
	argv = append(argv, bwrap)
	return append(argv, bwrapArgs(spec, reach)...), nil
}

// pickStage returns a folder that hides none of the sources when something is mounted over it.
func pickStage(sources []string) (string, error) {
	for _, stage := range stages {
		if fi, err := os.Lstat(stage); err != nil || !fi.IsDir() {
			continue
		}
		hides := slices.ContainsFunc(sources, func(s string) bool {
			return s == stage || strings.HasPrefix(s, stage+"/")
		})
		if !hides {
			return stage, nil
		}
	}
	return "", slipway.Errorf(slipway.Unavailable, "the sandbox needs one of %s as a mount point", strings.Join(stages, ", ")).Try("mkdir /mnt")
}

// bwrapArgs is bubblewrap's command line; sources are where it finds /etc and then the spec's mounts.
func bwrapArgs(spec Spec, sources []string) []string {
	args := []string{
		"--unshare-all", "--unshare-user", "--disable-userns", "--cap-drop", "ALL",
		"--die-with-parent", "--new-session", "--clearenv",
		"--uid", "1000", "--gid", "1000", "--hostname", "slipway",
		"--ro-bind", "/usr", "/usr",
	}
	for _, link := range []string{"bin", "sbin", "lib", "lib32", "lib64", "libx32"} {
		if target, err := os.Readlink("/" + link); err == nil {
			args = append(args, "--symlink", target, "/"+link)
		} else if _, err := os.Stat("/" + link); err == nil { // a host whose /usr is not merged
			args = append(args, "--ro-bind", "/"+link, "/"+link)
		}
	}
	args = append(args, "--perms", "0755", "--tmpfs", "/etc",
		"--ro-bind", sources[0]+"/passwd", "/etc/passwd", "--ro-bind", sources[0]+"/group", "/etc/group",
		"--ro-bind", sources[0]+"/hosts", "/etc/hosts", "--ro-bind", sources[0]+"/nsswitch.conf", "/etc/nsswitch.conf",
		"--ro-bind-try", "/etc/alternatives", "/etc/alternatives", "--remount-ro", "/etc",
		"--proc", "/proc", "--dev", "/dev",
		"--perms", "1777", "--size", strconv.FormatInt(spec.Limits.TempBytes, 10), "--tmpfs", "/tmp", "--dir", "/tmp/home",
		"--size", "1048576", "--tmpfs", "/build")
	for i, m := range spec.Mounts {
		how := "--ro-bind"
		if m.Writable {
			how = "--bind"
		}
		args = append(args, how, sources[i+1], m.Target)
	}
	args = append(args, "--remount-ro", "/build", "--remount-ro", "/", "--chdir", spec.Dir)
	for _, name := range slices.Sorted(maps.Keys(spec.Env)) {
		args = append(args, "--setenv", name, spec.Env[name])
	}
	l := spec.Limits
	args = append(args, "--json-status-fd", "3", "/usr/bin/prlimit",
		limit("nproc", int64(l.Processes)),
		limit("fsize", l.OutputBytes),
		limit("data", l.Memory),
		limit("cpu", int64(l.CPU.Seconds())+1),
		limit("core", 0),
		"--")
	return append(args, spec.Argv...)
}

func limit(name string, n int64) string { return fmt.Sprintf("--%s=%d:%d", name, n, n) }
