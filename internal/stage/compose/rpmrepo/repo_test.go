package rpmrepo_test

import (
	"bytes"
	"compress/gzip"
	"encoding/xml"
	"fmt"
	"io"
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
	"slipway.dev/slipway/internal/stage/compose/pack"
	"slipway.dev/slipway/internal/stage/compose/pgp"
	"slipway.dev/slipway/internal/stage/compose/rpmrepo"
)

var groups = rpmrepo.Config{
	Groups: []rpmrepo.Group{
		{ID: "net", Name: "Network", Packages: []string{"ferry", "libwire"}},
		{ID: "empty", Name: "Nothing"},
	},
	Environments: []rpmrepo.Environment{{ID: "edge", Name: "Edge", Description: "An edge node.", Groups: []string{"net", "empty"}}},
}

// packages makes three packages in dir/Packages, with every kind of file and dependency that pack can make.
func packages(t *testing.T, dir string, keys pack.Keys) {
	t.Helper()
	tree := composetest.Outputs(t, map[string]string{"bin/ferry": "#!/bin/sh\necho ferry\n", "etc/ferry.conf": "port=1\n", "share/a": "a\n", "lib/libwire.so.1": "so"})
	dir = filepath.Join(dir, "Packages")
	composetest.Make(t, dir, pack.RPM, spec.Package{Name: "libwire", Section: "libs",
		Files: map[string]string{"/usr/lib/libwire.so.1": "lib/libwire.so.1"}}, "1.5.0", tree, keys)
	composetest.Make(t, dir, pack.RPM, spec.Package{Name: "ferry", Summary: "The <ferry> & its crew", Section: "net",
		Depends: []string{"libwire >= 1.4", "ferry-data = 2.0.0-rc.1"},
		Files:   map[string]string{"/usr/bin/ferry": "bin/ferry", "/etc/ferry.conf": "etc/ferry.conf"},
		Scripts: map[string]string{"postinstall": ":"}}, "1.2.3", tree, keys)
	composetest.Make(t, dir, pack.RPM, spec.Package{Name: "ferry-data", Arch: "all",
		Files: map[string]string{"/usr/share/ferry": "share"}}, "2.0.0-rc.1", tree, keys)
}

func TestMetadataEqualsCreaterepo(t *testing.T) {
	ours, theirs := t.TempDir(), t.TempDir()
	packages(t, ours, pack.Keys{})
	packages(t, theirs, pack.Keys{})
	got, err := rpmrepo.Write(ours, composetest.Day, groups)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || got[0].NEVRA() != "ferry-0:1.2.3-1.x86_64" {
		t.Errorf("packages: %v", got)
	}
	if out, err := exec.Command("createrepo_c", "-q", "--no-database", "--general-compress-type=gz", theirs).CombinedOutput(); err != nil {
		t.Fatalf("createrepo_c: %v\n%s", err, out)
	}
	for _, kind := range []string{"primary", "filelists", "other"} {
		a, b := canonical(t, metadata(t, ours, kind)), canonical(t, metadata(t, theirs, kind))
		if a != b {
			t.Errorf("%s differs.\nours:\n%s\ncreaterepo_c:\n%s", kind, a, b)
		}
	}
}

// metadata reads the document that repomd.xml names, and checks sizes and digests by the client's own rules.
func metadata(t *testing.T, dir, kind string) []byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "repodata", "*-"+kind+".xml.gz"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%s: %v, %v", kind, files, err)
	}
	f, err := os.Open(files[0])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zip, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(zip)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

type element struct {
	XMLName  xml.Name
	Attrs    []xml.Attr `xml:",any,attr"`
	Text     string     `xml:",chardata"`
	Children []element  `xml:",any"`
}

// canonical prints a document with one element a line, attributes sorted, without the times at which files were
// written, and the packages and their relations sorted.
func canonical(t *testing.T, data []byte) string {
	t.Helper()
	var root element
	if err := xml.Unmarshal(data, &root); err != nil {
		t.Fatal(err)
	}
	return show(root, "")
}

func show(e element, indent string) string {
	var attrs []string
	for _, a := range e.Attrs {
		if a.Name.Space == "xmlns" || a.Name.Local == "xmlns" || e.XMLName.Local == "time" && a.Name.Local == "file" {
			continue
		}
		attrs = append(attrs, fmt.Sprintf("%s=%q", a.Name.Local, a.Value))
	}
	slices.Sort(attrs)
	line := fmt.Sprintf("%s%s %s %s\n", indent, e.XMLName.Local, strings.Join(attrs, " "), strings.TrimSpace(e.Text))
	var inner []string
	for _, c := range e.Children {
		inner = append(inner, show(c, indent+"  "))
	}
	slices.Sort(inner)
	return line + strings.Join(inner, "")
}

func TestDnfInstallsOverHTTP(t *testing.T) {
	dir := t.TempDir()
	key, err := pgp.Open(t.TempDir(), "test")
	if err != nil {
		t.Fatal(err)
	}
	packages(t, dir, pack.Keys{Binary: key.Sign})
	cfg := groups
	cfg.Sign = func(md []byte) ([]byte, error) { return key.Armored(bytes.NewReader(md), composetest.Day) }
	if _, err := rpmrepo.Write(dir, composetest.Day, cfg); err != nil {
		t.Fatal(err)
	}
	public, err := key.Public()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "key.asc"), public, 0o644); err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer web.Close()
	dnf := composetest.NewDnf(t, "[test]\nname=Test\nbaseurl="+web.URL+"\ngpgkey="+web.URL+"/key.asc\ngpgcheck=1\nrepo_gpgcheck=1\n")
	if out := dnf.Run("group", "list", "-v"); !strings.Contains(out, "Network (net)") || !strings.Contains(out, "Edge (edge)") || strings.Contains(out, "Nothing") {
		t.Errorf("dnf group list:\n%s", out)
	}
	dnf.Run("group", "install", "net")
	got, err := os.ReadFile(filepath.Join(dnf.Root, "usr/bin/ferry"))
	if err != nil || string(got) != "#!/bin/sh\necho ferry\n" {
		t.Errorf("the installed file holds %q, %v", got, err)
	}
	list := dnf.Run("list", "--installed")
	for _, want := range []string{"ferry.x86_64", "libwire.x86_64", "ferry-data.noarch", "2.0.0~rc.1-1"} {
		if !strings.Contains(list, want) {
			t.Errorf("%s is not installed:\n%s", want, list)
		}
	}
	// What another key signed is refused: the signature is really checked.
	other, err := pgp.Open(t.TempDir(), "somebody else")
	if err != nil {
		t.Fatal(err)
	}
	md, err := os.ReadFile(filepath.Join(dir, "repodata/repomd.xml"))
	if err != nil {
		t.Fatal(err)
	}
	sig, err := other.Armored(bytes.NewReader(md), composetest.Day)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "repodata/repomd.xml.asc"), sig, 0o644); err != nil {
		t.Fatal(err)
	}
	stranger := composetest.NewDnf(t, "[test]\nname=Test\nbaseurl="+web.URL+"\ngpgkey="+web.URL+"/key.asc\nrepo_gpgcheck=1\n")
	if out, err := stranger.Try("makecache"); err == nil || !strings.Contains(out, "GPG") {
		t.Errorf("dnf took metadata that another key signed: %v\n%s", err, out)
	}
}

func TestSamePackagesSameBytes(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	for _, dir := range []string{a, b} {
		packages(t, dir, pack.Keys{})
		if _, err := rpmrepo.Write(dir, composetest.Day, groups); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("diff", "-r", a, b).CombinedOutput(); err != nil {
		t.Errorf("two repositories of the same packages differ:\n%s", out)
	}
}

func TestBrokenPackage(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "Packages"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "Packages/bad.rpm"), []byte("no"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := rpmrepo.Write(dir, composetest.Day, rpmrepo.Config{})
	if !slipway.Is(err, slipway.Invalid) || !strings.Contains(err.Error(), "Packages/bad.rpm") {
		t.Errorf("got %v", err)
	}
}
