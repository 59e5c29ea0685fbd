package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
)

// host fingerprints the tools that builds take from the host: every installed package with its version, the Go toolchain, what
// lies in /usr/local, and where the alternatives point.
type host struct {
	mu    sync.Mutex
	stamp string
	value string
}

// fingerprint returns "linux-amd64-" and 16 hexadecimal digits. It looks again when the package database or /usr/local changed.
func (h *host) fingerprint(ctx context.Context) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	sum := sha256.New()
	for _, p := range []string{"/var/lib/dpkg/status", "/var/lib/rpm", "/usr/lib/sysimage/rpm", "/usr/local/go/VERSION", "/usr/local/bin", "/usr/local/lib", "/etc/alternatives"} {
		if fi, err := os.Stat(p); err == nil {
			fmt.Fprintln(sum, p, fi.Size(), fi.ModTime().UnixNano())
		}
	}
	stamp := hex.EncodeToString(sum.Sum(nil))
	if stamp == h.stamp {
		return h.value, nil
	}
	sum.Reset()
	known := false
	for _, query := range [][]string{
		{"dpkg-query", "-W", "-f", "${Package} ${Version} ${Architecture}\n"},
		{"rpm", "-qa", "--qf", "%{NEVRA}\n", "--root", "/"},
	} {
		out, err := exec.CommandContext(ctx, query[0], query[1:]...).Output()
		if err != nil {
			if ctx.Err() != nil {
				return "", context.Cause(ctx)
			}
			continue
		}
		known = true
		sum.Write(out)
	}
	if !known { // no package database: by the programs' sizes and times
		listing(sum, "/usr/bin", 1)
		listing(sum, "/usr/lib", 1)
	}
	if version, err := os.ReadFile("/usr/local/go/VERSION"); err == nil {
		sum.Write(version)
	}
	listing(sum, "/usr/local/bin", 1)
	listing(sum, "/usr/local/lib", 2)
	if links, err := os.ReadDir("/etc/alternatives"); err == nil {
		for _, l := range links {
			target, _ := os.Readlink(filepath.Join("/etc/alternatives", l.Name()))
			fmt.Fprintln(sum, l.Name(), target)
		}
	}
	h.value = runtime.GOOS + "-" + runtime.GOARCH + "-" + hex.EncodeToString(sum.Sum(nil))[:16]
	h.stamp = stamp
	return h.value, nil
}

// Fingerprint returns the fingerprint of this host's tools, as often as it is asked; while nothing changes that costs little.
func Fingerprint() func(ctx context.Context) (string, error) { return new(host).fingerprint }

// listing writes names, sizes and times of the files below dir, to the given depth. Slipway's own program is left out.
func listing(to interface{ Write([]byte) (int, error) }, dir string, depth int) {
	entries, err := os.ReadDir(dir)
	if err != nil || depth == 0 {
		return
	}
	for _, e := range entries {
		if e.Name() == "slipway" {
			continue
		}
		fi, err := os.Stat(filepath.Join(dir, e.Name()))
		if err != nil {
			continue
		}
		if fi.Mode().Type() == fs.ModeDir {
			listing(to, filepath.Join(dir, e.Name()), depth-1)
			continue
		}
		fmt.Fprintln(to, dir, e.Name(), fi.Size(), fi.ModTime().UnixNano())
	}
}
