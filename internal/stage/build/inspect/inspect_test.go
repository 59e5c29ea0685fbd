package inspect

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"slipway.dev/slipway/internal/slipway"
)

// tree makes a folder of files; a name that ends in "->" is a symbolic link to what follows.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		to := filepath.Join(dir, strings.TrimSuffix(name, "->"))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if strings.HasSuffix(name, "->") {
			err = os.Symlink(text, to)
		} else {
			err = os.WriteFile(to, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// said maps each check to what it found.
func said(t *testing.T, s Subject) map[string]string {
	t.Helper()
	findings, err := Tree(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, f := range findings {
		if f.Outcome != slipway.Pass && f.Outcome != slipway.Fail || f.Reason == "" && f.Check != "paths" {
			t.Errorf("%+v", f)
		}
		all[f.Check] = f.String()
	}
	if len(all) != 5 {
		t.Fatalf("%v", all)
	}
	return all
}

func expect(t *testing.T, got map[string]string, check, want string) {
	t.Helper()
	if !strings.Contains(got[check], want) {
		t.Errorf("got %q\nwant %q", got[check], want)
	}
}

func TestFiles(t *testing.T) {
	dir := tree(t, map[string]string{"share/doc": "hello\n", "share/same->": "doc", "share/out->": "/etc/passwd", "share/none->": "nothing", "share/up->": "../../x", "open": "x", "owner": "x"})
	if err := os.Chmod(filepath.Join(dir, "open"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "owner"), 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	got := said(t, Subject{Dir: dir, Outputs: []string{"share/doc", "bin/app"}})
	expect(t, got, "outputs", "outputs: fail: bin/app is not there")
	for _, want := range []string{
		"files: fail: ", "open may be written by everybody", "owner runs as its owner", "share/out is a symbolic link to the absolute path /etc/passwd",
		"share/none is a symbolic link to nothing, which is not in the output", "share/up is a symbolic link to ../../x, which is not in the output",
	} {
		expect(t, got, "files", want)
	}
	if strings.Contains(got["files"], "share/same") || strings.Contains(got["files"], "share/doc") {
		t.Error(got["files"])
	}
	expect(t, got, "arch", "arch: pass: not applicable: there is no ELF file")
	expect(t, got, "linkage", "linkage: pass: not applicable: nothing is linked dynamically")

	empty := said(t, Subject{Dir: t.TempDir()})
	expect(t, empty, "outputs", "not applicable: the component declares none")
	expect(t, empty, "files", "not applicable: the output is empty")
	expect(t, empty, "paths", "not applicable: there is no file")
}

// TestPathsAcrossChunks finds a path wherever it lies in a large file.
func TestPathsAcrossChunks(t *testing.T) {
	for _, at := range []int{0, 100, 256<<10 - 3, 256 << 10, 256<<10 + 1, 512<<10 - 15, 700_000} {
		text := strings.Repeat("x", at) + "/build/src" + strings.Repeat("y", 1000)
		got := said(t, Subject{Dir: tree(t, map[string]string{"lib.o": text}), Paths: []string{"/build/src", "/build/out"}})
		expect(t, got, "paths", "paths: pass; warning: lib.o names /build/src")
	}
	got := said(t, Subject{Dir: tree(t, map[string]string{"lib.o": strings.Repeat("/build/sr ", 100_000)}), Paths: []string{"/build/src"}})
	if strings.Contains(got["paths"], "warning") {
		t.Error(got["paths"])
	}
}

// TestLinkage looks at real programs: one that is linked against a library of another component.
func TestLinkage(t *testing.T) {
	lib, app := t.TempDir(), t.TempDir()
	source := tree(t, map[string]string{"wire.c": "int wire(void) { return 1; }\n", "app.c": "int wire(void);\nint main(void) { return wire() - 1; }\n"})
	run := func(args ...string) {
		t.Helper()
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = source
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	run("gcc", "-shared", "-fPIC", "-Wl,-soname,libwire.so.1", "-o", filepath.Join(lib, "libwire.so.1"), "wire.c")
	run("gcc", "-o", filepath.Join(app, "app"), "app.c", filepath.Join(lib, "libwire.so.1"))

	alone := said(t, Subject{Dir: app, System: []string{"/"}})
	expect(t, alone, "linkage", "linkage: fail: app needs libwire.so.1, which is neither in the output")
	if strings.Contains(alone["linkage"], "libc.so") {
		t.Error(alone["linkage"])
	}
	expect(t, said(t, Subject{Dir: app, System: []string{"/"}, Libraries: []string{lib}}), "linkage", "linkage: pass: 1 linked dynamically")
	expect(t, said(t, Subject{Dir: app, System: []string{t.TempDir()}, Libraries: []string{lib}}), "linkage", "app needs libc.so.6")
	expect(t, alone, "arch", "arch: pass: 1 for "+runtime.GOARCH)
	other := "arm64"
	if runtime.GOARCH == other {
		other = "amd64"
	}
	expect(t, said(t, Subject{Dir: app, System: []string{"/"}, Arch: other}), "arch", "arch: fail: app is for ")
	expect(t, said(t, Subject{Dir: app, System: []string{"/"}, Arch: "abacus"}), "arch", "not applicable: nothing is known of the machine abacus")
}
