package apkrepo_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/compose/apkrepo"
	"slipway.dev/slipway/internal/stage/compose/composetest"
	"slipway.dev/slipway/internal/stage/compose/pack"
)

// members splits a file into its gzip members: the bytes of each, and what is in its archive.
func members(t *testing.T, file string) (raw [][]byte, files []map[string]string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for r := bytes.NewReader(data); r.Len() > 0; {
		begin := len(data) - r.Len()
		zip, err := gzip.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		zip.Multistream(false)
		archive, in := tar.NewReader(zip), map[string]string{}
		for {
			h, err := archive.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(archive)
			if err != nil {
				t.Fatal(err)
			}
			in[h.Name] = string(text)
		}
		if _, err := io.Copy(io.Discard, zip); err != nil {
			t.Fatal(err)
		}
		raw, files = append(raw, data[begin:len(data)-r.Len()]), append(files, in)
	}
	return raw, files
}

// signed checks the signature in the first member over the second, as apk does.
func signed(t *testing.T, file string, key *apkrepo.Key) []map[string]string {
	t.Helper()
	raw, files := members(t, file)
	public, err := key.Public()
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(public)
	k, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha1.Sum(raw[1])
	if err := rsa.VerifyPKCS1v15(k.(*rsa.PublicKey), crypto.SHA1, sum[:], []byte(files[0][".SIGN.RSA."+key.Name()])); err != nil {
		t.Errorf("%s: %v", filepath.Base(file), err)
	}
	return files
}

func TestIndexNamesSignedPackages(t *testing.T) {
	key, err := apkrepo.OpenKey(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "x86_64")
	tree := composetest.Outputs(t, map[string]string{"bin/ferry": "#!/bin/sh\necho ferry\n", "share/a.txt": "a"})
	keys := pack.Keys{APK: key.Sign, APKName: key.Name()}
	ferry := composetest.Make(t, dir, pack.APK, spec.Package{Name: "ferry", Summary: "The ferry", Files: map[string]string{"/usr/bin/ferry": "bin/ferry"},
		Depends: []string{"libc", "libwire = 1.4", "systemd"}, Names: map[string]map[string]string{"systemd": {"apk": spec.NotNeeded}},
		Scripts: map[string]string{"postinstall": "echo installed", "preremove": "echo bye"}}, "v1.4.0-rc.2", tree, keys)
	composetest.Make(t, dir, pack.APK, spec.Package{Name: "tool", Arch: "all", Files: map[string]string{"/usr/share/tool/a": "share/a.txt"}}, "1.0.0", tree, keys)
	if ferry != "ferry-1.4.0_rc2-r1.apk" {
		t.Errorf("the file is called %s", ferry)
	}
	files := signed(t, filepath.Join(dir, ferry), key)
	for _, want := range []string{"pkgname = ferry\n", "pkgver = 1.4.0_rc2-r1\n", "arch = x86_64\n", "depend = musl\ndepend = libwire>=1.4\ndepend = libwire<1.4_p\n", "license = MIT\n"} {
		if !strings.Contains(files[1][".PKGINFO"], want) {
			t.Errorf("no %q in\n%s", want, files[1][".PKGINFO"])
		}
	}
	if strings.Contains(files[1][".PKGINFO"], "systemd") || !strings.Contains(files[1][".post-install"], "echo installed") || !strings.Contains(files[1][".pre-deinstall"], "echo bye") {
		t.Errorf("%v", files[1])
	}
	if files[2]["usr/bin/ferry"] != "#!/bin/sh\necho ferry\n" {
		t.Errorf("%v", files[2])
	}

	packages, err := apkrepo.Write(dir, composetest.Day, "ferry", key)
	if err != nil || len(packages) != 2 || packages[0].Signer != key.Name() {
		t.Fatal(packages, err)
	}
	index := signed(t, filepath.Join(dir, "APKINDEX.tar.gz"), key)
	raw, _ := members(t, filepath.Join(dir, ferry))
	sum := sha1.Sum(raw[1])
	for _, want := range []string{"C:Q1" + base64.StdEncoding.EncodeToString(sum[:]) + "\nP:ferry\nV:1.4.0_rc2-r1\nA:x86_64\n", "D:musl libwire>=1.4 libwire<1.4_p\n", "P:tool\nV:1.0.0-r1\nA:x86_64\n"} {
		if !strings.Contains(index[1]["APKINDEX"], want) {
			t.Errorf("no %q in\n%s", want, index[1]["APKINDEX"])
		}
	}
	first, err := os.ReadFile(filepath.Join(dir, "APKINDEX.tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := apkrepo.Write(dir, composetest.Day, "ferry", key); err != nil {
		t.Fatal(err)
	}
	if again, err := os.ReadFile(filepath.Join(dir, "APKINDEX.tar.gz")); err != nil || !bytes.Equal(first, again) {
		t.Errorf("written twice, the index differs (%v)", err)
	}
}

func TestKeysAreKept(t *testing.T) {
	dir := t.TempDir()
	a, err := apkrepo.OpenKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	b, err := apkrepo.OpenKey(dir)
	if err != nil || a.Name() != b.Name() {
		t.Fatal(err)
	}
	if fi, err := os.Stat(filepath.Join(dir, "apk.rsa")); err != nil || fi.Mode().Perm() != 0o600 {
		t.Error(fi, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bad"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := apkrepo.LoadKey(filepath.Join(dir, "bad")); !slipway.Is(err, slipway.Invalid) {
		t.Error(err)
	}
}

func TestWhatIsNoPackageIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x.apk"), []byte("nothing"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := apkrepo.Write(dir, composetest.Day, "", nil); !slipway.Is(err, slipway.Invalid) {
		t.Error(err)
	}
}
