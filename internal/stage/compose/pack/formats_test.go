package pack_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/blakesmith/ar"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/compose/pack"
	"slipway.dev/slipway/internal/stage/compose/pgp"
)

func TestDEBIsSigned(t *testing.T) {
	key, err := pgp.Open(t.TempDir(), "test")
	if err != nil {
		t.Fatal(err)
	}
	file := made(t, pack.DEB, input(t), pack.Keys{Armored: key.Armored})
	contains(t, output(t, "dpkg-deb", "-I", file), "Package: ferry") // who does not check it passes over it
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dir := t.TempDir()
	var body bytes.Buffer // debsig-verify(1): the members before the signature, one after the other
	archive := ar.NewReader(f)
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
		if strings.HasPrefix(h.Name, "_gpgorigin") {
			if err := os.WriteFile(filepath.Join(dir, "sig"), text, 0o600); err != nil {
				t.Fatal(err)
			}
			continue
		}
		body.Write(text)
	}
	public, err := key.Public()
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"body": body.Bytes(), "changed": append([]byte("x"), body.Bytes()...), "key.asc": public} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	output(t, "gpg", "--homedir", dir, "--batch", "--yes", "--dearmor", "-o", filepath.Join(dir, "key.gpg"), filepath.Join(dir, "key.asc"))
	verify := []string{"--keyring", filepath.Join(dir, "key.gpg"), filepath.Join(dir, "sig")}
	contains(t, output(t, "gpgv", append(verify, filepath.Join(dir, "body"))...), "Good signature")
	if out := fails(t, "gpgv", append(verify, filepath.Join(dir, "changed"))...); !strings.Contains(out, "BAD signature") {
		t.Error(out)
	}
}

// unpacked is the folder with an OCI package's layout.
func unpacked(t *testing.T, file string) string {
	t.Helper()
	dir := t.TempDir()
	output(t, "tar", "-xf", file, "-C", dir)
	return dir
}

// imageOf reads the one image of a layout.
func imageOf(t *testing.T, dir string) (v1.Image, v1.Descriptor) {
	t.Helper()
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil || len(m.Manifests) != 1 {
		t.Fatal(m, err)
	}
	img, err := index.Image(m.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return img, m.Manifests[0]
}

func filesOf(t *testing.T, img v1.Image) map[string]string {
	t.Helper()
	r := mutate.Extract(img)
	defer r.Close()
	archive, files := tar.NewReader(r), map[string]string{}
	for {
		h, err := archive.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = fmt.Sprintf("%o %s%s", h.Mode, h.Linkname, text[:min(len(text), 40)])
	}
}

func image(t *testing.T) pack.Input {
	in := input(t)
	in.Package.Scripts, in.Artifact = nil, "sha256:"+strings.Repeat("1", 64)
	in.Package.Image = &spec.Image{Entrypoint: []string{"/usr/bin/ferry"}, Cmd: []string{"--serve"}, Env: map[string]string{"PORT": "80"}, User: "1000",
		Workdir: "/srv", Ports: []string{"80", "53/udp"}, Labels: map[string]string{"team": "quay"}}
	return in
}

func TestImageIsReadByOthers(t *testing.T) {
	file := made(t, pack.OCI, image(t), pack.Keys{})
	if got, want := filepath.Base(file), "ferry-1.4.0~rc.1-2.amd64.oci.tar"; got != want {
		t.Errorf("file name %s, want %s", got, want)
	}
	img, d := imageOf(t, unpacked(t, file))
	if d.Annotations["org.opencontainers.image.ref.name"] != "ferry:1.4.0-rc.1-2" || d.MediaType != "application/vnd.oci.image.manifest.v1+json" {
		t.Errorf("%+v", d)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c := cfg.Config
	if cfg.Architecture != "amd64" || !slices.Equal(c.Entrypoint, []string{"/usr/bin/ferry"}) || !slices.Equal(c.Env, []string{"PORT=80"}) || c.User != "1000" || len(c.ExposedPorts) != 2 ||
		c.Labels["team"] != "quay" || c.Labels[pack.LabelArtifact] != "sha256:"+strings.Repeat("1", 64) || !cfg.Created.Equal(day) {
		t.Errorf("%+v", cfg)
	}
	files := filesOf(t, img)
	if files["usr/bin/ferry"] != "755 #!/bin/sh\necho ferry\n" || files["usr/share/ferry/routes/default"] != "777 a.txt" {
		t.Errorf("%q", files)
	}
	// Another program: skopeo copies it from archive to folder, checking every digest on the way.
	to := t.TempDir()
	output(t, "skopeo", "--insecure-policy", "copy", "--quiet", "oci-archive:"+file, "dir:"+to)
	var about struct{ Labels map[string]string }
	if err := json.Unmarshal([]byte(output(t, "skopeo", "inspect", "dir:"+to)), &about); err != nil || about.Labels["team"] != "quay" {
		t.Errorf("skopeo reads %+v, %v", about, err)
	}
}

func TestImageOnABase(t *testing.T) {
	base := image(t)
	base.Package.Image.Env, base.Package.Image.Entrypoint = map[string]string{"PATH": "/opt/bin", "PORT": "1"}, []string{"/init"}
	in := image(t)
	at := filepath.Join(in.Tree, "base")
	if err := os.Rename(unpacked(t, made(t, pack.OCI, base, pack.Keys{})), at); err != nil {
		t.Fatal(err)
	}
	in.Package.Image.Base, in.Package.Files = "base", map[string]string{"/usr/bin/second": "bin/ferry"}
	img, _ := imageOf(t, unpacked(t, made(t, pack.OCI, in, pack.Keys{})))
	layers, err := img.Layers()
	if err != nil || len(layers) != 2 {
		t.Fatal(layers, err)
	}
	files := filesOf(t, img)
	if files["usr/bin/ferry"] == "" || files["usr/bin/second"] == "" {
		t.Errorf("%q", files)
	}
	cfg, err := img.ConfigFile()
	if err != nil || !slices.Equal(cfg.Config.Env, []string{"PATH=/opt/bin", "PORT=80"}) || !slices.Equal(cfg.Config.Entrypoint, []string{"/usr/bin/ferry"}) {
		t.Errorf("%+v, %v", cfg, err)
	}
	in.Package.Image.Base = "nowhere"
	if err := pack.Write(io.Discard, pack.OCI, in, pack.Keys{}); !slipway.Is(err, slipway.Invalid) || !strings.Contains(err.Error(), `"nowhere"`) {
		t.Error(err)
	}
	in.Package.Image.Base, in.Package.Arch = "base", "arm64"
	if err := pack.Write(io.Discard, pack.OCI, in, pack.Keys{}); err != nil { // the base does not say what it is for
		t.Error(err)
	}
}

func TestArtifactHoldsItsFiles(t *testing.T) {
	dir := unpacked(t, made(t, pack.OCIArtifact, image(t), pack.Keys{}))
	img, _ := imageOf(t, dir)
	m, err := img.Manifest()
	if err != nil || m.ArtifactType != "application/vnd.slipway.package.v1" {
		t.Fatal(m, err)
	}
	titles := map[string]v1.Descriptor{}
	for _, l := range m.Layers {
		titles[l.Annotations["org.opencontainers.image.title"]] = l
	}
	blob, err := os.ReadFile(filepath.Join(dir, "blobs/sha256", titles["usr/bin/ferry"].Digest.Hex))
	if err != nil || string(blob) != "#!/bin/sh\necho ferry\n" || titles["usr/share/ferry/routes/a.txt"].MediaType != "text/plain" {
		t.Errorf("%s, %v, %v", blob, titles, err)
	}
}

func npm(t *testing.T) pack.Input {
	return pack.Input{Tree: tree(t), Version: "v1.4.0-rc.1", Release: 2, Time: day, Vendor: "Ferry works", License: "MIT", Package: spec.Package{
		Name: "ferry", Arch: "all", Summary: "The ferry", Files: map[string]string{"/bin/ferry": "bin/ferry", "/routes/a.txt": "share/routes/a.txt"},
		Depends: []string{"libc", "wire = 1.4.0", "frame >= 2"}, Names: map[string]map[string]string{"wire": {"npm": "@ferry/wire"}, "frame": {"npm": "none"}},
		NPM: &spec.NPM{Name: "@ferry/app", Bin: map[string]string{"ferry": "bin/ferry"}}}}
}

func TestNPMInstallsIt(t *testing.T) {
	in := npm(t)
	about, err := pack.DescribeNPM(in)
	if err != nil || about.Version != "1.4.0-rc.1" || len(about.Dependencies) != 1 || about.Dependencies["@ferry/wire"] != "1.4.0" || about.CPU != nil {
		t.Errorf("%+v, %v", about, err)
	}
	in.Package.Depends = nil
	file := made(t, pack.NPM, in, pack.Keys{})
	if filepath.Base(file) != "ferry-app-1.4.0-rc.1-2.tgz" {
		t.Errorf("file name %s", file)
	}
	prefix := t.TempDir()
	output(t, "npm", "install", "--offline", "--no-audit", "--no-fund", "--global", "--prefix", prefix, "--cache", t.TempDir(), file)
	contains(t, output(t, filepath.Join(prefix, "bin", "ferry")), "ferry")
	contains(t, output(t, "npm", "ls", "--global", "--prefix", prefix, "--cache", t.TempDir()), "@ferry/app@1.4.0-rc.1")

	for want, change := range map[string]func(*pack.Input){
		"semantic":      func(in *pack.Input) { in.Version = "main" },
		"scripts":       func(in *pack.Input) { in.Package.Scripts = map[string]string{"postinstall": "x"} },
		"symbolic link": func(in *pack.Input) { in.Package.Files = map[string]string{"/share": "share"} },
		"package.json":  func(in *pack.Input) { in.Package.Files = map[string]string{"/package.json": "share/routes/a.txt"} },
	} {
		in := npm(t)
		change(&in)
		if err := pack.Write(io.Discard, pack.NPM, in, pack.Keys{}); !slipway.Is(err, slipway.Invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestEveryFormatIsReproducible(t *testing.T) {
	apk := func(digest []byte) ([]byte, error) { return digest, nil }
	for format, in := range map[string]func(*testing.T) pack.Input{pack.APK: input, pack.OCI: image, pack.OCIArtifact: image, pack.NPM: npm} {
		digest := func() string {
			sum := sha256.New()
			if err := pack.Write(sum, format, in(t), pack.Keys{APK: apk, APKName: "k"}); err != nil { // a new tree with new times
				t.Fatal(err)
			}
			return fmt.Sprintf("%x", sum.Sum(nil))
		}
		first := digest()
		for range 4 { // an order that comes from a map shows only now and then
			if again := digest(); again != first {
				t.Errorf("%s: made again, %s is %s", format, first, again)
			}
		}
	}
}

func TestAPKVersions(t *testing.T) {
	for in, want := range map[string]string{"v1.4.0": "1.4.0", "1.4.0-rc.1+g12": "1.4.0_rc1", "1.0.0-beta": "1.0.0_beta", "1.0.0-dev.3": "1.0.0_alpha3", "main": "0", "": "0"} {
		if got := pack.APKVersion(in); got != want {
			t.Errorf("APKVersion(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestNamesForEachFormat(t *testing.T) {
	p := spec.Package{Names: map[string]map[string]string{"frame": {"rpm": "frame-libs", "deb": "libframe1", "apk": spec.NotNeeded}}}
	for format, want := range map[string]string{pack.RPM: "frame-libs >= 1.4", pack.DEB: "libframe1 (>= 1.4)", pack.APK: ""} {
		if got, err := pack.Dependency(format, p, "frame >= 1.4"); err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: %q, %v, want %q", format, got, err, want)
		}
	}
	for in, want := range map[string]string{"libc": "musl", "wire-devel": "wire-dev", "wire = 1.4": "wire>=1.4 wire<1.4_p", "wire > 1.4": "wire>=1.4_p", "wire <= 1": "wire<1_p", "wire < 1": "wire<1"} {
		if got, err := pack.Dependency(pack.APK, spec.Package{}, in); err != nil || strings.Join(got, " ") != want {
			t.Errorf("apk: %q became %q, %v, want %q", in, got, err, want)
		}
	}
}
