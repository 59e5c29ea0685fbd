package compose_test

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"slipway.dev/slipway/internal/platform/jobs/jobstest"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/compose"
	"slipway.dev/slipway/internal/stage/compose/apkrepo"
	"slipway.dev/slipway/internal/stage/compose/composetest"
	"slipway.dev/slipway/internal/store"
	"slipway.dev/slipway/internal/store/storetest"
)

// every makes one package of the ferry in every format, and one for npm that needs it.
func (w *world) every() slipway.Release {
	out := w.output(map[string]string{"bin/ferry": "#!/bin/sh\necho ferry\n"})
	return w.release("v2026.11.1", composetest.Day,
		commit{"ferry", "1.0.0", out, []spec.Package{
			{Name: "ferry", Arch: "all", Formats: []string{"rpm", "deb", "apk", "oci", "oci-artifact", "npm", "tar"}, Files: map[string]string{"/usr/bin/ferry": "bin/ferry"},
				Image: &spec.Image{Entrypoint: []string{"/usr/bin/ferry"}}, NPM: &spec.NPM{Name: "@quay/ferry", Bin: map[string]string{"ferry": "usr/bin/ferry"}}},
			{Name: "dock", Arch: "arm64", Formats: []string{"apk", "oci", "npm"}, Files: map[string]string{"/dock": "bin/ferry"}, Depends: []string{"ferry >= 1.0"},
				Names: map[string]map[string]string{"ferry": {"npm": "@quay/ferry"}}},
		}},
		libwire("1.4.0", w.output(libwireFiles)))
}

func TestComposeForEveryClient(t *testing.T) {
	db := storetest.Open(t, compose.Routes()...)
	w := newWorld(t, db)
	cfg := w.config()
	cfg.SBOM = func(_ context.Context, rel slipway.Release) ([]byte, error) {
		return []byte(`{"bomFormat":"CycloneDX","for":"` + rel.ID + `"}`), nil
	}
	s := compose.New(store.Scope(db, func(tx *store.Tx) compose.Tx { return tx }), w, w, w.disk, w, cfg)
	web := httptest.NewServer(s.Handler())
	defer web.Close()
	rel := w.every()
	jobstest.Drain(t, db, s.Handlers()...)
	c := w.finished(rel.ID)
	dir := filepath.Join(cfg.Dir, rel.ID)
	base := web.URL + "/composes/" + rel.ID

	// npm asks the compose as a registry, follows it to the tarballs and checks their digests.
	prefix := t.TempDir()
	run(t, "npm", "install", "--no-audit", "--no-fund", "--no-update-notifier", "--force", "--prefix", prefix, "--cache", t.TempDir(), "--registry", base+"/Edge/npm/", "dock")
	if out := run(t, filepath.Join(prefix, "node_modules/.bin/ferry")); out != "ferry\n" {
		t.Errorf("what npm installed says %q", out)
	}
	if status, _ := fetch(t, base+"/Edge/npm/nothing"); status != 404 {
		t.Errorf("a package that npm does not find: %d", status)
	}

	// skopeo reads the layout; equal blobs of two images lie there once.
	var about struct {
		Architecture string
		Labels       map[string]string
	}
	text := run(t, "skopeo", "inspect", "oci:"+filepath.Join(dir, "Edge/images")+":ferry:1.0.0-1")
	if err := json.Unmarshal([]byte(text), &about); err != nil || about.Architecture != "amd64" || about.Labels["dev.slipway.artifact"] != w.releases[rel.ID].Manifests["edge"].Components["ferry"].Artifact {
		t.Errorf("%s, %v", text, err)
	}
	_, images := fetch(t, base+"/metadata/images.json")
	for _, want := range []string{`"type": "container"`, `"aarch64"`, "Edge/archives/dock-1.0.0-1.arm64.oci.tar"} {
		if !strings.Contains(images, want) {
			t.Errorf("images.json has no %s:\n%s", want, images)
		}
	}

	// apk: what is for every machine is in each machine's repository.
	for arch, want := range map[string][]string{"x86_64": {"ferry-1.0.0-r1.apk"}, "aarch64": {"ferry-1.0.0-r1.apk", "dock-1.0.0-r1.apk"}} {
		for _, file := range want {
			p, err := apkrepo.Read(filepath.Join(dir, "Desk/apk", arch, file))
			if err != nil || !strings.HasPrefix(p.Signer, "slipway-") {
				t.Errorf("%s/%s: %+v, %v", arch, file, p, err)
				continue
			}
			if _, err := os.Stat(filepath.Join(dir, "keys", p.Signer)); err != nil {
				t.Error(err)
			}
		}
		if status, _ := fetch(t, base+"/Desk/apk/"+arch+"/APKINDEX.tar.gz"); status != 200 {
			t.Errorf("the index of %s: %d", arch, status)
		}
	}

	if _, sbom := fetch(t, base+"/metadata/sbom.cdx.json"); !strings.Contains(sbom, rel.ID) {
		t.Errorf("the SBOM: %s", sbom)
	}
	_, page := fetch(t, base+"/")
	for _, want := range []string{"npm install --registry", "apk add -X", "skopeo copy", "metadata/sbom.cdx.json"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if v, err := s.Verify(t.Context(), c.ID); err != nil || !v.OK {
		t.Errorf("%+v, %v", v, err)
	}
	_, packages, err := s.Packages(t.Context(), c.ID)
	if err != nil || len(packages) != 3 {
		t.Errorf("%+v, %v", packages, err)
	}
}

func TestKeysThatWereGiven(t *testing.T) {
	home := t.TempDir()
	gpg := func(args ...string) string {
		return run(t, "gpg", append([]string{"--homedir", home, "--batch", "--yes", "--pinentry-mode", "loopback", "--passphrase", "open sesame"}, args...)...)
	}
	if err := os.Chmod(home, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { exec.Command("gpgconf", "--homedir", home, "--kill", "all").Run() }) //nolint:errcheck // its agent may be gone
	gpg("--quick-generate-key", "Quay <quay@example.org>", "rsa3072", "sign", "never")
	file := filepath.Join(home, "quay.asc")
	if err := os.WriteFile(file, []byte(gpg("--armor", "--export-secret-keys")), 0o600); err != nil {
		t.Fatal(err)
	}
	db := storetest.Open(t, compose.Routes()...)
	w := newWorld(t, db)
	cfg := w.config()
	cfg.Signing = compose.Signing{OpenPGP: file}
	s := compose.New(store.Scope(db, func(tx *store.Tx) compose.Tx { return tx }), w, w, w.disk, w, cfg)
	rel := w.first()
	jobstest.Drain(t, db, s.Handlers()...)
	if c := w.get(rel.ID); c.State != compose.Failed || !strings.Contains(c.Reason, "locked") {
		t.Fatalf("without a passphrase it is %s: %s", c.State, c.Reason)
	}
	cfg.Signing.Passphrase = "open sesame"
	s = compose.New(store.Scope(db, func(tx *store.Tx) compose.Tx { return tx }), w, w, w.disk, w, cfg)
	if _, err := s.Retry(t.Context(), rel.ID, "ann"); err != nil {
		t.Fatal(err)
	}
	jobstest.Drain(t, db, s.Handlers()...)
	c := w.finished(rel.ID)
	if !strings.Contains(gpg("--fingerprint", "--with-colons"), c.Signed) {
		t.Errorf("it was signed by %s", c.Signed)
	}
	rpms := "--dbpath=" + t.TempDir()
	dir := filepath.Join(cfg.Dir, rel.ID)
	run(t, "rpm", rpms, "--import", filepath.Join(dir, "key.asc"))
	if out := run(t, "rpm", rpms, "-Kv", filepath.Join(dir, c.Variants[1].Packages[0].Files["rpm"])); !strings.Contains(out, ": OK") {
		t.Error(out)
	}
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	var said strings.Builder
	cmd := exec.Command(name, args...)
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, said.String())
	}
	return string(out)
}
