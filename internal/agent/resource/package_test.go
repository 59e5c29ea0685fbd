package resource_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
	_ "github.com/goreleaser/nfpm/v2/rpm"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/compose/pgp"
	"slipway.dev/slipway/internal/stage/deploy/plan"
)

// repository builds two versions of a package, signed with the key, and serves them over HTTP as the manager's own tools index them.
func repository(t *testing.T, key *pgp.Key, format, pattern string, index ...string) string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "payload"), []byte("hello\n"), 0o644))
	for _, version := range []string{"1.0.0", "1.1.0"} {
		info := nfpm.WithDefaults(&nfpm.Info{Name: "ferry-hello", Version: version, Release: "1", Arch: "amd64", Maintainer: "tests <tests@localhost>",
			Description: "says hello", Overridables: nfpm.Overridables{Contents: files.Contents{
				{Source: filepath.Join(dir, "payload"), Destination: "/usr/share/ferry/hello-" + version},
			}}})
		info.RPM.Signature.SignFn = func(r io.Reader) ([]byte, error) { return key.Sign(r, time.Now()) }
		packager, err := nfpm.Get(format)
		must(t, err)
		must(t, nfpm.PrepareForPackager(info, format))
		f, err := os.Create(filepath.Join(dir, strings.ReplaceAll(pattern, "VERSION", version)))
		must(t, err)
		must(t, packager.Package(info, f))
		must(t, f.Close())
	}
	must(t, os.Remove(filepath.Join(dir, "payload")))
	cmd := exec.Command(index[0], index[1:]...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", index, err, out)
	}
	if release, err := os.ReadFile(filepath.Join(dir, "Release")); err == nil {
		signature, err := key.Armored(bytes.NewReader(release), time.Now())
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, "Release.gpg"), signature, 0o644))
	}
	srv := httptest.NewServer(http.FileServer(http.Dir(dir)))
	t.Cleanup(srv.Close)
	return srv.URL
}

// newKey makes a signing key and returns its public half beside it.
func newKey(t *testing.T) (*pgp.Key, string) {
	t.Helper()
	key, err := pgp.Open(t.TempDir(), "vendor")
	must(t, err)
	public, err := key.Public()
	must(t, err)
	return key, string(public)
}

// upgradeAndBack installs a version into a scratch root, upgrades it, goes back, and removes it. What another has signed is not installed.
func upgradeAndBack(t *testing.T, manager, repo, key string) {
	h := host(t, nil)
	if os.Geteuid() == 0 {
		_, other := newKey(t)
		w := want(t, plan.TypePackage, "ferry-hello", plan.Package{Name: "ferry-hello", Version: "1.0.0", Repo: repo, Key: other, Manager: manager})
		if err := handler(t, h, w).Apply(t.Context(), w); err == nil {
			t.Fatal("a package was installed that somebody else had signed")
		} else {
			t.Log(err)
		}
	}
	at := func(version string) {
		t.Helper()
		w := want(t, plan.TypePackage, "ferry-hello", plan.Package{Name: "ferry-hello", Version: version, Repo: repo, Key: key, Manager: manager})
		if os.Geteuid() != 0 {
			if err := handler(t, h, w).Apply(t.Context(), w); !slipway.Is(err, slipway.Unavailable) || !strings.Contains(err.Error(), "root rights") {
				t.Fatalf("error %v", err)
			}
			return
		}
		if d := diff(t, h, w); d.Clean() {
			t.Fatalf("version %s is there already: %+v", version, d)
		}
		if d := applied(t, h, w); !strings.HasPrefix(d.Actual["version"], version) {
			t.Fatalf("actual %v", d.Actual)
		}
		if _, err := os.Stat(filepath.Join(h.Root(), "usr/share/ferry/hello-"+version)); err != nil {
			t.Fatal(err)
		}
	}
	at("1.0.0")
	at("1.1.0")
	at("1.0.0")
	if os.Geteuid() != 0 {
		return
	}
	none := want(t, plan.TypePackage, "ferry-hello", plan.Package{Name: "ferry-hello", Version: "9.9", Repo: repo, Key: key, Manager: manager})
	if err := handler(t, h, none).Apply(t.Context(), none); err == nil {
		t.Fatal("a version that is nowhere was installed")
	} else {
		t.Log(err)
	}
	must(t, handler(t, h, none).Purge(t.Context(), none))
	if _, err := os.Stat(filepath.Join(h.Root(), "usr/share/ferry/hello-1.0.0")); !os.IsNotExist(err) {
		t.Fatalf("still there: %v", err)
	}
}

func TestPackageByDnf(t *testing.T) {
	key, public := newKey(t)
	upgradeAndBack(t, "dnf", repository(t, key, "rpm", "ferry-hello-VERSION-1.x86_64.rpm", "createrepo_c", "-q", "."), public)
}

func TestPackageByApt(t *testing.T) {
	key, public := newKey(t)
	url := repository(t, key, "deb", "ferry-hello_VERSION-1_amd64.deb", "sh", "-euc", "apt-ftparchive packages . > Packages && apt-ftparchive release . > Release")
	upgradeAndBack(t, "apt", "deb "+url+" ./", public)
}
