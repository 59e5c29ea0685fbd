package debrepo_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/compose/composetest"
	"slipway.dev/slipway/internal/stage/compose/debrepo"
	"slipway.dev/slipway/internal/stage/compose/pack"
	"slipway.dev/slipway/internal/stage/compose/pgp"
)

func packages(t *testing.T, dir string) {
	t.Helper()
	tree := composetest.Outputs(t, map[string]string{"bin/ferry": "#!/bin/sh\necho ferry\n", "etc/ferry.conf": "port=1\n", "lib/so": "so"})
	composetest.Make(t, filepath.Join(dir, "pool/edge/l/libwire"), pack.DEB, spec.Package{Name: "libwire", Section: "libs",
		Files: map[string]string{"/usr/lib/libwire.so.1": "lib/so"}}, "1.5.0", tree, pack.Keys{})
	composetest.Make(t, filepath.Join(dir, "pool/edge/f/ferry"), pack.DEB, spec.Package{Name: "ferry", Summary: "The ferry",
		Depends: []string{"libwire >= 1.4", "ferry_data = 2.0.0-rc.1"}, Section: "net",
		Files: map[string]string{"/usr/bin/ferry": "bin/ferry", "/etc/ferry.conf": "etc/ferry.conf"}}, "1.2.3", tree, pack.Keys{})
	composetest.Make(t, filepath.Join(dir, "pool/shared/f/ferry-data"), pack.DEB, spec.Package{Name: "ferry_data", Arch: "all",
		Files: map[string]string{"/usr/share/ferry/x": "lib/so"}}, "2.0.0-rc.1", tree, pack.Keys{})
}

func config(t *testing.T) (debrepo.Config, *pgp.Key) {
	t.Helper()
	key, err := pgp.Open(t.TempDir(), "test")
	if err != nil {
		t.Fatal(err)
	}
	return debrepo.Config{Codename: "v2026.11.3", Suite: "ferry", Origin: "Ferry works", Description: "Ferry\nand more",
		Clear:    func(b []byte) ([]byte, error) { return key.Clear(b, composetest.Day) },
		Detached: func(b []byte) ([]byte, error) { return key.Armored(bytes.NewReader(b), composetest.Day) }}, key
}

func TestIndexEqualsDpkgScanpackages(t *testing.T) {
	dir := t.TempDir()
	packages(t, dir)
	cfg, _ := config(t)
	got, err := debrepo.Write(dir, composetest.Day, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 {
		t.Errorf("%d packages", len(got))
	}
	cmd := exec.Command("dpkg-scanpackages", "--multiversion", "--arch", "amd64", "pool/edge")
	cmd.Dir = dir
	theirs, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	ours, err := os.ReadFile(filepath.Join(dir, "dists/v2026.11.3/edge/binary-amd64/Packages"))
	if err != nil {
		t.Fatal(err)
	}
	if a, b := paragraphs(string(ours)), paragraphs(string(theirs)); !slices.Equal(a, b) {
		t.Errorf("Packages differs.\nours:\n%s\ndpkg-scanpackages:\n%s", ours, theirs)
	}
}

// paragraphs returns the fields of each paragraph, sorted, in the order of the paragraphs' names.
func paragraphs(text string) []string {
	var list []string
	for p := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		lines := strings.Split(p, "\n")
		slices.Sort(lines)
		list = append(list, strings.Join(lines, "\n"))
	}
	slices.Sort(list)
	return list
}

func TestAptInstallsOverHTTP(t *testing.T) {
	dir := t.TempDir()
	packages(t, dir)
	cfg, key := config(t)
	if _, err := debrepo.Write(dir, composetest.Day, cfg); err != nil {
		t.Fatal(err)
	}
	public, err := key.Public()
	if err != nil {
		t.Fatal(err)
	}
	asc := filepath.Join(t.TempDir(), "key.asc")
	if err := os.WriteFile(asc, public, 0o644); err != nil {
		t.Fatal(err)
	}
	byHash := make(chan string, 100)
	files := http.FileServer(http.Dir(dir))
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/by-hash/") {
			byHash <- r.URL.Path
		}
		files.ServeHTTP(w, r)
	}))
	defer web.Close()
	sources := "Types: deb\nURIs: " + web.URL + "\nSuites: v2026.11.3\nComponents: edge shared\nSigned-By: " + asc + "\n"
	apt := composetest.NewApt(t, sources)
	if out := apt.Run("update"); strings.Contains(out, "W:") {
		t.Errorf("apt-get update warns:\n%s", out)
	}
	apt.Run("install", "ferry")
	got, err := os.ReadFile(filepath.Join(apt.Root, "usr/bin/ferry"))
	if err != nil || string(got) != "#!/bin/sh\necho ferry\n" {
		t.Errorf("the installed file holds %q, %v", got, err)
	}
	list, err := exec.Command("dpkg-query", "--admindir="+apt.Root+"/var/lib/dpkg", "-W", "-f", "${Package} ${Version} ${Status}\n").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, list)
	}
	if want := "ferry 1.2.3-1 install ok installed\nferry-data 2.0.0~rc.1-1 install ok installed\nlibwire 1.5.0-1 install ok installed\n"; string(list) != want {
		t.Errorf("installed:\n%swant:\n%s", list, want)
	}
	if len(byHash) == 0 {
		t.Error("apt fetched no index by its hash")
	}

	// What another key signed is refused, and so is an index that was changed behind the signature.
	_, stranger := config(t)
	other, err := stranger.Public()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(asc, other, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := composetest.NewApt(t, sources).Try("update"); err == nil || !strings.Contains(out, "NO_PUBKEY") {
		t.Errorf("apt took a repository that another key signed: %v\n%s", err, out)
	}
}

func TestBrokenPackage(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "pool/edge"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "pool/edge/bad.deb"), []byte("!<arch>\nno"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := debrepo.Write(dir, composetest.Day, debrepo.Config{Codename: "x"})
	if !slipway.Is(err, slipway.Invalid) || !strings.Contains(err.Error(), "pool/edge/bad.deb") {
		t.Errorf("got %v", err)
	}
}
