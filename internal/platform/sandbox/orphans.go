package sandbox

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// endOrphans ends sandboxes that an earlier process left half made. A sandbox dies with the process that started it; but where that was killed in
// the few instructions before bubblewrap's first process has said so to the kernel, this one waits for bubblewrap for ever. It runs nothing, and
// holds its mounts. Sandboxes of processes that live are not touched: their first process has bubblewrap as its parent.
func endOrphans() {
	all, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return
	}
	for _, file := range all {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil || comm(pid) != "bwrap" {
			continue
		}
		fd, err := unix.PidfdOpen(pid, 0) // from here on the number is nobody else's
		if err != nil {
			continue
		}
		if orphan(pid) {
			_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) // not permitted: it is another user's
		}
		_ = unix.Close(fd)
	}
}

// orphan reports whether a process is the first one of a sandbox of ours that nobody looks after.
func orphan(pid int) bool {
	args, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	if err != nil || comm(pid) != "bwrap" || !bytes.Contains(args, []byte("\x00--hostname\x00"+hostname+"\x00")) || !bytes.Contains(args, []byte("\x00--block-fd\x00")) {
		return false
	}
	inside := strings.Fields(field(pid, "NSpid"))
	if len(inside) < 2 || inside[len(inside)-1] != "1" {
		return false
	}
	parent, err := strconv.Atoi(field(pid, "PPid"))
	return err == nil && comm(parent) != "bwrap"
}

// comm is the name of the program that a process runs; empty when it is gone.
func comm(pid int) string {
	text, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "comm"))
	return strings.TrimSpace(string(text))
}

// field is a line of a process's status; empty when it is gone.
func field(pid int, name string) string {
	text, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
