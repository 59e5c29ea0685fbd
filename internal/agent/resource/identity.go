package resource

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// identity names a process for good: a pid is used again, a pid with its start time since boot is not.
type identity struct {
	Pid   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks after boot, field 22 of /proc/PID/stat (proc(5))
	Boot  string `json:"boot"`
}

// identify reads who has the pid now; ok is false when nobody has, or only as a zombie.
func identify(pid int) (identity, bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return identity{}, false
	}
	_, rest, found := strings.Cut(string(stat[max(bytes.LastIndexByte(stat, ')'), 0):]), " ") // the name before may hold anything
	fields := strings.Fields(rest)
	if !found || len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return identity{}, false
	}
	start, err := strconv.ParseUint(fields[19], 10, 64)
	return identity{Pid: pid, Start: start, Boot: bootID()}, err == nil
}

// alive reports whether this very process still runs.
func (i identity) alive() bool {
	now, ok := identify(i.Pid)
	return ok && i.Pid > 0 && now == i
}

func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "" // then reboots are told by the start time alone
	}
	return strings.TrimSpace(string(id))
}

// marked returns the processes whose environment holds the variable with a value that begins with prefix, by pid, and
// the rest of the value.
func marked(variable, prefix string) map[int]string {
	found := map[int]string{}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return found // the pattern is constant
	}
	start := variable + "=" + prefix
	for _, dir := range dirs {
		env, err := os.ReadFile(filepath.Join(dir, "environ"))
		if err != nil {
			continue // ended meanwhile, or another user's
		}
		for _, kv := range strings.Split(string(env), "\x00") {
			if rest, ok := strings.CutPrefix(kv, start); ok {
				if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil {
					found[pid] = rest
				}
			}
		}
	}
	return found
}
