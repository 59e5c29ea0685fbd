package sandbox

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestOrphansAreEnded kills bubblewrap while the first process of its sandbox waits, as a server that is killed in a bad moment leaves it.
func TestOrphansAreEnded(t *testing.T) {
	status, statusIn, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	gateOut, gate, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer gate.Close()
	cmd := exec.Command("bwrap", "--unshare-all", "--uid", "1000", "--gid", "1000", "--hostname", hostname, "--ro-bind", "/", "/", "--json-status-fd", "3", "--block-fd", "4", "--", "true")
	cmd.ExtraFiles = []*os.File{statusIn, gateOut}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	statusIn.Close()
	gateOut.Close()
	var said struct {
		Child int `json:"child-pid"`
	}
	if err := json.NewDecoder(status).Decode(&said); err != nil || said.Child == 0 {
		t.Fatalf("%+v %v", said, err)
	}
	child, err := unix.PidfdOpen(said.Child, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(child)
	gone := func(within time.Duration) bool {
		n, _ := unix.Poll([]unix.PollFd{{Fd: int32(child), Events: unix.POLLIN}}, int(within.Milliseconds()))
		return n > 0
	}

	endOrphans()
	if gone(100 * time.Millisecond) {
		t.Fatal("a sandbox that somebody looks after was ended")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	// Without New it would wait for ever: the gate is closed. Another test's runner may be quicker.
	if _, err := New(filepath.Join(t.TempDir(), "sandbox")); err != nil {
		t.Fatal(err)
	}
	if !gone(30 * time.Second) {
		t.Fatal("the orphan is still there")
	}
}
