// Package composetest has what the tests of composes share: packages made from small outputs, and the real dnf and apt
// pointed at a scratch root.
package composetest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/compose/pack"
)

// Day is the time of every package made here.
var Day = time.Date(2026, 11, 3, 12, 0, 0, 0, time.UTC)

// Outputs writes files (path below the directory -> text) to a new directory; those below bin/ can be executed.
func Outputs(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		file, mode := filepath.Join(dir, name), os.FileMode(0o644)
		if strings.HasPrefix(name, "bin/") {
			mode = 0o755
		}
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Make makes a package in the folder dir and returns its file name.
func Make(t testing.TB, dir, format string, p spec.Package, version, tree string, keys pack.Keys) string {
	t.Helper()
	var b bytes.Buffer
	in := pack.Input{Tree: tree, Package: p, Version: version, Release: 1, Time: Day, Vendor: "Test", License: "MIT"}
	if err := pack.Write(&b, format, in, keys); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	name := pack.FileName(format, p, version, 1)
	if err := os.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

// try runs a program as root, or as root of a user namespace of its own.
func try(t testing.TB, env []string, name string, args ...string) (string, error) {
	if os.Getuid() != 0 {
		name, args = "unshare", append([]string{"--map-root-user", name}, args...)
	}
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(append(os.Environ(), "LC_ALL=C", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Dnf is the real dnf with a root, a configuration and caches of its own.
type Dnf struct {
	t    testing.TB
	Root string // what it installs into
	conf string
}

// NewDnf points dnf at the repositories of a .repo file.
func NewDnf(t testing.TB, repo string) *Dnf {
	t.Helper()
	dir := t.TempDir()
	d := &Dnf{t: t, Root: filepath.Join(dir, "root"), conf: filepath.Join(dir, "dnf.conf")}
	for name, text := range map[string]string{
		"dnf.conf": "[main]\nreposdir=" + dir + "/repos\ncachedir=" + dir + "/cache\nlogdir=" + dir + "/log\npersistdir=" + dir +
			"/persist\nmodule_platform_id=platform:slipway\nassumeyes=1\n",
		"repos/test.repo": repo,
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// Run runs one dnf command; it fails the test when dnf fails.
func (d *Dnf) Run(args ...string) string {
	d.t.Helper()
	out, err := d.Try(args...)
	if err != nil {
		d.t.Fatalf("dnf %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// Try runs one dnf command and returns what it wrote, also when it fails.
func (d *Dnf) Try(args ...string) (string, error) {
	return try(d.t, nil, "dnf", append([]string{"-c", d.conf, "--installroot=" + d.Root, "--releasever=1"}, args...)...)
}

// Apt is the real apt with a root, a configuration and state of its own.
type Apt struct {
	t    testing.TB
	Root string // what it installs into
	conf string
}

// NewApt points apt at the sources of a deb822 file.
func NewApt(t testing.TB, sources string) *Apt {
	t.Helper()
	dir := t.TempDir()
	a := &Apt{t: t, Root: filepath.Join(dir, "root"), conf: filepath.Join(dir, "apt.conf")}
	for _, sub := range []string{"etc/sources.list.d", "etc/preferences.d", "etc/apt.conf.d", "etc/trusted.gpg.d", "state/lists/partial",
		"cache/archives/partial", "log", "root/var/lib/dpkg/info", "root/var/lib/dpkg/updates", "root/var/lib/dpkg/triggers"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"root/var/lib/dpkg/status":        "",
		"etc/sources.list.d/test.sources": sources,
		"apt.conf": `Dir::Etc "` + dir + `/etc"; Dir::Etc::parts "` + dir + `/etc/apt.conf.d"; Dir::State "` + dir + `/state"; Dir::Cache "` + dir + `/cache";
Dir::Log "` + dir + `/log"; Dir::State::status "` + dir + `/root/var/lib/dpkg/status"; APT::Architecture "amd64"; APT::Architectures { "amd64"; };
APT::Sandbox::User "root"; DPkg::Options { "--root=` + dir + `/root"; "--force-not-root"; "--force-script-chrootless"; "--log=/dev/null"; };
Acquire::Languages "none"; APT::Get::Assume-Yes "true"; DPkg::Use-Pty "false";
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

// Run runs one apt-get command; it fails the test when apt fails.
func (a *Apt) Run(args ...string) string {
	a.t.Helper()
	out, err := a.Try(args...)
	if err != nil {
		a.t.Fatalf("apt-get %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// Try runs one apt-get command and returns what it wrote, also when it fails.
func (a *Apt) Try(args ...string) (string, error) {
	return try(a.t, []string{"APT_CONFIG=" + a.conf, "DEBIAN_FRONTEND=noninteractive"}, "apt-get", args...)
}
