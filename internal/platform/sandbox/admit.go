package sandbox

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// admit bounds the first process of a sandbox, and with it all that come from it, while it waits to be let begin: it joins the control
// groups, and gets the limits of each process.
func (r *run) admit(pid int) error {
	for _, dir := range r.group.folders() {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o600); err != nil && !errors.Is(err, unix.ESRCH) {
			return plain(err)
		}
	}
	l := r.spec.Limits
	limits := map[int]uint64{unix.RLIMIT_CORE: 0, unix.RLIMIT_FSIZE: uint64(l.OutputBytes+511) / 512 * 512, unix.RLIMIT_CPU: uint64(l.CPU.Seconds()) + 1}
	if !r.group.counts("memory") {
		limits[unix.RLIMIT_DATA] = uint64(l.Memory)
	}
	if r.stage == nil {
		return limit(pid, limits)
	}
	// A process is bounded by its own user, or by one with a capability that a container's root has not.
	done := make(chan error)
	ownThread(func() { done <- r.stage.as(func() error { return limit(pid, limits) }) })
	return <-done
}

// limit sets limits of a process.
func limit(pid int, limits map[int]uint64) error {
	for what, most := range limits {
		var old unix.Rlimit
		err := unix.Prlimit(pid, what, nil, &old)
		if most = min(most, old.Max); err == nil { // a lower one that we have ourselves stays
			err = unix.Prlimit(pid, what, &unix.Rlimit{Cur: most, Max: most}, nil)
		}
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}
