package sandbox

import (
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"slipway.dev/slipway/internal/slipway"
)

// startScript begins a command without a sandbox. Arguments: how many control groups to join, and their folders; the limits of each process: bytes of a
// file in blocks of 512, seconds of processor time, private memory in KiB or "unlimited". A lower limit that this process has itself
// stays. What is left is run.
const startScript = `n=$1; shift
while [ $n -gt 0 ]; do
  echo $$ > "$1/cgroup.procs"
  shift; n=$((n-1))
done
ulimit -c 0
ulimit -f "$1" 2>/dev/null || :
ulimit -t "$2" 2>/dev/null || :
ulimit -d "$3" 2>/dev/null || :
shift 3
`

// plainScript ends it. Arguments: its folder, its variables, and the command.
const plainScript = `exec 3>&-
cd "$1"; shift
exec env -i "$@"`

// unconfined lays the mounts out in a folder of its own and returns the command line, and what takes the folder away again. Writable
// mounts are links to where they are; the others are copied, because nothing else would keep the command from changing them.
func (r *Runner) unconfined(spec Spec, g *group) (argv []string, clear func(), err error) {
	clear = func() {}
	if spec.Root != "" {
		return nil, clear, slipway.Errorf(slipway.Unavailable, "without a sandbox no root can be shown").Try("install bubblewrap, or use the tools of the host")
	}
	if spec.Superuser {
		return nil, clear, slipway.Errorf(slipway.Unavailable, "without a sandbox nothing runs as its user 0").Try("install bubblewrap")
	}
	if len(spec.Argv) == 0 {
		return nil, clear, slipway.Errorf(slipway.Internal, "a command is empty")
	}
	base, err := os.MkdirTemp(r.cfg.Dir, "plain-")
	if err != nil {
		return nil, clear, infra(err, "")
	}
	clear = func() { removeAll(base) }
	build := filepath.Join(base, "build")
	for _, m := range spec.Mounts {
		at := filepath.Join(base, filepath.FromSlash(m.Target))
		err := os.MkdirAll(filepath.Dir(at), 0o755)
		if err == nil && m.Writable {
			err = os.Symlink(m.Source, at)
		} else if err == nil {
			err = os.CopyFS(at, os.DirFS(m.Source))
		}
		if err != nil {
			return nil, clear, slipway.Errorf(slipway.Unavailable, "cannot lay out %s without a sandbox: %w", m.Target, err)
		}
	}
	env := maps.Clone(spec.Env)
	for _, name := range []string{"HOME", "TMPDIR"} { // in a sandbox they are its own
		if _, ok := env[name]; ok {
			env[name] = filepath.Join(base, strings.ToLower(name))
			if err := os.MkdirAll(env[name], 0o755); err != nil {
				return nil, clear, infra(err, "")
			}
		}
	}
	if err := os.MkdirAll(build, 0o755); err != nil {
		return nil, clear, infra(err, "")
	}
	dir := spec.Dir
	if rest, ok := strings.CutPrefix(path.Clean(dir)+"/", "/build/"); ok {
		dir = filepath.Join(build, rest)
	}
	l := spec.Limits
	memory := "unlimited"
	if !g.counts("memory") {
		memory = strconv.FormatInt(l.Memory>>10, 10)
	}
	argv = []string{"/bin/sh", "-euc", startScript + plainScript, "plain", strconv.Itoa(len(g.folders()))}
	argv = append(argv, g.folders()...)
	argv = append(argv, strconv.FormatInt((l.OutputBytes+511)/512, 10), strconv.FormatInt(int64(l.CPU.Seconds())+1, 10), memory, dir)
	for _, name := range slices.Sorted(maps.Keys(env)) {
		argv = append(argv, name+"="+env[name])
	}
	return append(argv, spec.Argv...), clear, nil
}

// removeAll takes away what a command may have made unwritable for itself.
func removeAll(dir string) {
	_ = filepath.WalkDir(dir, func(p string, e os.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			_ = os.Chmod(p, 0o700)
		}
		return nil
	})
	_ = os.RemoveAll(dir)
}

// endGrace is how long what escaped its process group may hold the log open.
const endGrace = 5 * time.Second

// endAll ends what an unconfined command left: its process group, and its control group where there is one.
func (r *run) endAll(cmd *exec.Cmd, log *os.File) *time.Timer {
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	r.group.kill()
	return time.AfterFunc(endGrace, func() { log.Close() })
}
