package pack_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/compose/pack"
	"slipway.dev/slipway/internal/stage/compose/pgp"
)

var day = time.Date(2026, 11, 3, 12, 0, 0, 0, time.UTC)

func tree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("bin/ferry", "#!/bin/sh\necho ferry\n", 0o711)
	write("share/routes/a.txt", "a\n", 0o600)
	write("share/routes/b.txt", "b\n", 0o640)
	write("etc/ferry.conf", "port=1\n", 0o600)
	noise := make([]byte, 3<<20) // several blocks for a compressor that works in parallel
	rand.NewChaCha8([32]byte{1}).Read(noise)
	write("share/noise", string(noise), 0o600)
	if err := os.Symlink("a.txt", filepath.Join(dir, "share/routes/default")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func input(t *testing.T) pack.Input {
	return pack.Input{
		Tree: tree(t), Version: "1.4.0-rc.1", Release: 2, Time: day, Vendor: "Ferry works", License: "MIT",
		Package: spec.Package{
			Name: "ferry", Summary: "The ferry\nGoes to and fro.", Section: "net", Depends: []string{"libwire >= 1.4", "ca-certificates"},
			Files:   map[string]string{"/usr/bin/": "bin/ferry", "/usr/share/ferry": "share", "/etc/ferry/ferry.conf": "etc/ferry.conf"},
			Scripts: map[string]string{"postinstall": "echo installed"},
		},
	}
}

func made(t *testing.T, format string, in pack.Input, keys pack.Keys) string {
	t.Helper()
	var b bytes.Buffer
	if err := pack.Write(&b, format, in, keys); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), pack.FileName(format, in.Package, in.Version, in.Release))
	if err := os.WriteFile(name, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// fails runs a program that must fail and returns what it said.
func fails(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err == nil {
		t.Fatalf("%s %v succeeded:\n%s", name, args, out)
	}
	return string(out)
}

func contains(t *testing.T, text string, wants ...string) {
	t.Helper()
	for _, w := range wants {
		if !strings.Contains(text, w) {
			t.Errorf("no %q in:\n%s", w, text)
		}
	}
}

func TestRPMIsReadByRPM(t *testing.T) {
	in := input(t)
	key, err := pgp.Open(t.TempDir(), "test")
	if err != nil {
		t.Fatal(err)
	}
	file := made(t, pack.RPM, in, pack.Keys{Binary: key.Sign})
	if got, want := filepath.Base(file), "ferry-1.4.0~rc.1-2.x86_64.rpm"; got != want {
		t.Errorf("file name %s, want %s", got, want)
	}
	db := "--dbpath=" + t.TempDir()
	contains(t, output(t, "rpm", db, "-qp", "--nosignature", "--qf", "%{nevra}|%{license}|%{vendor}|%{summary}|%{buildtime}|%{buildhost}\n", file),
		"ferry-1.4.0~rc.1-2.x86_64|MIT|Ferry works|The ferry|", fmt.Sprint(day.Unix()), "|slipway")
	contains(t, output(t, "rpm", db, "-qp", "--nosignature", "--requires", file), "libwire >= 1.4", "ca-certificates")
	contains(t, output(t, "rpm", db, "-qplv", "--nosignature", file),
		"-rwxr-xr-x", "/usr/bin/ferry", "/usr/share/ferry/routes/b.txt", "/usr/share/ferry/routes/default -> a.txt", "root     root")
	contains(t, output(t, "rpm", db, "-qp", "--nosignature", "--configfiles", file), "/etc/ferry/ferry.conf")
	contains(t, output(t, "rpm", db, "-qp", "--nosignature", "--scripts", file), "echo installed")

	public, err := key.Public()
	if err != nil {
		t.Fatal(err)
	}
	asc := filepath.Join(t.TempDir(), "key.asc")
	if err := os.WriteFile(asc, public, 0o600); err != nil {
		t.Fatal(err)
	}
	output(t, "rpm", db, "--import", asc)
	contains(t, output(t, "rpm", db, "-Kv", file), "Header V4 RSA/SHA256 Signature, key ID "+key.ID()[8:]+": OK")
}

func TestDEBIsReadByDpkg(t *testing.T) {
	file := made(t, pack.DEB, input(t), pack.Keys{})
	if got, want := filepath.Base(file), "ferry_1.4.0~rc.1-2_amd64.deb"; got != want {
		t.Errorf("file name %s, want %s", got, want)
	}
	contains(t, output(t, "dpkg-deb", "-I", file), "Package: ferry", "Version: 1.4.0~rc.1-2", "Architecture: amd64",
		"Depends: libwire (>= 1.4), ca-certificates", "Section: net")
	contains(t, output(t, "dpkg-deb", "-c", file), "-rwxr-xr-x root/root", "./usr/bin/ferry", "default -> a.txt", "2026-11-03 12:00")
}

func TestTarUnpacks(t *testing.T) {
	file := made(t, pack.TAR, input(t), pack.Keys{})
	dir := t.TempDir()
	output(t, "tar", "-xzf", file, "-C", dir)
	got, err := os.ReadFile(filepath.Join(dir, "ferry-1.4.0~rc.1/usr/share/ferry/routes/default"))
	if err != nil || string(got) != "a\n" {
		t.Errorf("the linked file holds %q, %v", got, err)
	}
}

func TestBytesAreReproducible(t *testing.T) {
	key, err := pgp.Open(t.TempDir(), "test")
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range pack.Formats(spec.Package{}) {
		digest := func() string {
			var b bytes.Buffer
			if err := pack.Write(&b, format, input(t), pack.Keys{Binary: key.Sign, Armored: key.Armored}); err != nil { // a new tree with new times
				t.Fatal(err)
			}
			return fmt.Sprintf("%x", sha256.Sum256(b.Bytes()))
		}
		if a, b := digest(), digest(); a != b {
			t.Errorf("%s: made twice, %s and %s", format, a, b)
		}
	}
}

func TestWrongPackages(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		change func(*pack.Input)
		says   string
	}{
		"missing output":  {func(in *pack.Input) { in.Package.Files = map[string]string{"/usr/bin/x": "bin/x"} }, `there is no output "bin/x"`},
		"dots":            {func(in *pack.Input) { in.Package.Files = map[string]string{"/x": "../../etc/passwd"} }, "outside of the outputs"},
		"absolute":        {func(in *pack.Input) { in.Package.Files = map[string]string{"/x": "/etc/passwd"} }, "outside of the outputs"},
		"relative target": {func(in *pack.Input) { in.Package.Files = map[string]string{"usr/bin/ferry": "bin/ferry"} }, "not an absolute path"},
		"dotted target":   {func(in *pack.Input) { in.Package.Files = map[string]string{"/usr/../../x": "bin/ferry"} }, "not an absolute path"},
		"same target": {func(in *pack.Input) {
			in.Package.Files = map[string]string{"/usr/share/a.txt": "share/routes/b.txt", "/usr/share": "share/routes"}
		}, "would be installed as /usr/share/a.txt"},
		"link out": {func(in *pack.Input) {
			if err := os.Symlink(filepath.Dir(outside), filepath.Join(in.Tree, "away")); err != nil {
				t.Fatal(err)
			}
			in.Package.Files = map[string]string{"/x": "away/secret"}
		}, "no output"},
		"dependency": {func(in *pack.Input) { in.Package.Depends = []string{"libwire 1.4"} }, "not a name"},
		"script":     {func(in *pack.Input) { in.Package.Scripts = map[string]string{"posttrans": "x"} }, `no script "posttrans"`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			in := input(t)
			c.change(&in)
			err := pack.Write(&bytes.Buffer{}, pack.RPM, in, pack.Keys{})
			if !slipway.Is(err, slipway.Invalid) {
				t.Fatalf("got %v, want an error of kind invalid", err)
			}
			contains(t, err.Error(), "package ferry", c.says)
		})
	}
}

func TestUpstreamSortsLikeSemver(t *testing.T) {
	ordered := []string{"v0.9.0", "1.0.0-alpha.1", "1.0.0-alpha.2", "1.0.0-rc.1", "1.0.0", "1.0.0+g12", "1.0.1", "1.10.0"}
	for i := 1; i < len(ordered); i++ {
		a, b := pack.Upstream(ordered[i-1]), pack.Upstream(ordered[i])
		if err := exec.Command("dpkg", "--compare-versions", a, "lt", b).Run(); err != nil {
			t.Errorf("dpkg does not sort %s before %s", a, b)
		}
		script := fmt.Sprintf("%%{lua: print(rpm.vercmp('%s', '%s'))}", a, b)
		if got := strings.TrimSpace(output(t, "rpm", "--eval", script)); got != "-1" {
			t.Errorf("rpm compares %s with %s as %s", a, b, got)
		}
	}
	for in, want := range map[string]string{"": "0", "main": "0.main", "2026-11-03": "2026~11.03"} {
		if got := pack.Upstream(in); got != want {
			t.Errorf("Upstream(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestDependencyNames(t *testing.T) {
	for _, c := range []struct{ in, rpm, deb string }{
		{"libwire", "libwire", "libwire"},
		{"My_Lib > 1.0-rc.1", "My_Lib > 1.0~rc.1", "my-lib (>= 1.0~rc.1+~)"},
		{"wire = 1.4", "wire = 1.4", "wire (>= 1.4), wire (<< 1.4+~)"},
		{"wire < 1.4", "wire < 1.4", "wire (<< 1.4)"},
		{"wire <= 1.4", "wire <= 1.4", "wire (<< 1.4+~)"},
		{"libc", "glibc", "libc6"},
		{"wire-devel", "wire-devel", "wire-dev"},
		{"wire-dev", "wire-devel", "wire-dev"},
	} {
		for format, want := range map[string]string{pack.RPM: c.rpm, pack.DEB: c.deb} {
			lines, err := pack.Dependency(format, spec.Package{}, c.in)
			if got := strings.Join(lines, " "); err != nil || got != want {
				t.Errorf("%s: %q became %q, %v; want %q", format, c.in, lines, err, want)
			}
		}
	}
}
