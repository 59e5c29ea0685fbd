package compose

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha1"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/compose/apkrepo"
	"slipway.dev/slipway/internal/stage/compose/pack"
	"slipway.dev/slipway/internal/stage/compose/productmd"
)

// channels writes what apk, npm and the readers of OCI layouts install from.
func (w *writer) channels() error {
	for _, v := range w.variants {
		if err := w.apk(v); err != nil {
			return fmt.Errorf("write the apk repository of %s: %w", v.Name, err)
		}
		if err := w.ociLayout(v); err != nil {
			return fmt.Errorf("write the images of %s: %w", v.Name, err)
		}
		if err := w.npm(v); err != nil {
			return fmt.Errorf("write the npm registry of %s: %w", v.Name, err)
		}
	}
	return nil
}

// having lists the paths of the variant's packages of a format.
func having(v Variant, formats ...string) (files []string) {
	for _, p := range v.Packages {
		for _, f := range formats {
			if p.Files[f] != "" {
				files = append(files, p.Files[f])
			}
		}
	}
	return files
}

// apk writes an index for each architecture, and the key that checks it.
func (w *writer) apk(v Variant) error {
	if len(having(v, pack.APK)) == 0 {
		return nil
	}
	for _, arch := range v.Arches {
		dir := w.path(apkDir(v, arch))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if _, err := apkrepo.Write(dir, w.j.release.Time, w.j.release.Product+" "+w.j.release.Tag, w.j.keys.apk); err != nil {
			return err
		}
	}
	public, err := w.j.keys.apk.Public()
	if err != nil {
		return err
	}
	return w.file("keys/"+w.j.keys.apk.Name(), public)
}

// ociLayout puts the variant's images and artifacts into one image layout, in which equal blobs lie once.
func (w *writer) ociLayout(v Variant) error {
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{}}
	for _, file := range having(v, pack.OCI, pack.OCIArtifact) {
		manifests, err := w.unpackLayout(file, imagesDir(v))
		if err != nil {
			return fmt.Errorf("unpack %s: %w", path.Base(file), err)
		}
		index.Manifests = append(index.Manifests, manifests...)
	}
	if len(index.Manifests) == 0 {
		return nil
	}
	text, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		return err
	}
	if err := w.file(path.Join(imagesDir(v), "index.json"), append(text, '\n')); err != nil {
		return err
	}
	if err := w.file(path.Join(imagesDir(v), "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`+"\n")); err != nil {
		return err
	}
	for _, p := range v.Packages {
		file := p.Files[pack.OCI]
		if file == "" {
			continue
		}
		sum, size, err := sumFile(w.path(file))
		if err != nil {
			return err
		}
		arch := v.Arches[0]
		for _, a := range v.Arches {
			if strings.Contains(path.Base(file), "."+map[string]string{"x86_64": "amd64", "aarch64": "arm64"}[a]+".") {
				arch = a
			}
		}
		w.images = append(w.images, productmd.Image{Variant: v.ID, Arch: arch, Path: file, Size: size, SHA256: sum, Time: w.j.release.Time})
	}
	return nil
}

func sumFile(name string) (sum string, size int64, err error) {
	f, err := os.Open(name)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	hash, size, err := v1.SHA256(f)
	return hash.Hex, size, err
}

// unpackLayout takes the blobs of an archived layout to a folder of the compose and returns its manifests.
func (w *writer) unpackLayout(file, to string) (manifests []v1.Descriptor, err error) {
	f, err := os.Open(w.path(file))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	archive := tar.NewReader(f)
	for {
		h, err := archive.Next()
		if err == io.EOF {
			return manifests, nil
		}
		if err != nil {
			return nil, err
		}
		switch name := path.Clean(h.Name); {
		case h.Typeflag != tar.TypeReg:
		case name == "index.json":
			var index v1.IndexManifest
			if err := json.NewDecoder(archive).Decode(&index); err != nil {
				return nil, err
			}
			manifests = append(manifests, index.Manifests...)
		case strings.HasPrefix(name, "blobs/sha256/") && fs.ValidPath(name):
			if err := writeOnce(w.path(to, name), archive); err != nil {
				return nil, err
			}
		}
	}
}

// writeOnce writes a file unless it is there.
func writeOnce(name string, r io.Reader) (err error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

// packument is what npm asks a registry of a package (https://github.com/npm/registry/blob/main/docs/responses/package-metadata.md). As a
// file it names the tarball relative to the registry, because it does not know where it will be served; [Service.Handler] says that.
type packument struct {
	Name     string                `json:"name"`
	DistTags map[string]string     `json:"dist-tags"`
	Versions map[string]npmVersion `json:"versions"`
}

type npmVersion struct {
	pack.PackageJSON
	Dist npmDist `json:"dist"`
}

type npmDist struct {
	Tarball   string `json:"tarball"`
	Integrity string `json:"integrity"`
	Shasum    string `json:"shasum"`
}

func packumentFile(v Variant, name string) string {
	return path.Join(npmDir(v), "packuments", name+".json")
}

// npm writes what a registry says of each package.
func (w *writer) npm(v Variant) error {
	seen := map[string]string{}
	for _, file := range having(v, pack.NPM) {
		about, dist, err := readNPM(w.path(file))
		if err != nil {
			return fmt.Errorf("read %s: %w", path.Base(file), err)
		}
		if other := seen[about.Name]; other != "" {
			return slipway.Errorf(slipway.Invalid, "%s and %s are both called %s by npm", other, path.Base(file), about.Name).Try("give one of them another name under npm: in the component's file")
		}
		seen[about.Name] = path.Base(file)
		dist.Tarball = path.Join("-", path.Base(file))
		text, err := json.MarshalIndent(packument{Name: about.Name, DistTags: map[string]string{"latest": about.Version},
			Versions: map[string]npmVersion{about.Version: {about, dist}}}, "", "  ")
		if err != nil {
			return err
		}
		if err := w.file(packumentFile(v, about.Name), append(text, '\n')); err != nil {
			return err
		}
	}
	if len(seen) == 0 {
		return nil
	}
	text, err := json.MarshalIndent(slices.Sorted(maps.Keys(seen)), "", "  ")
	if err != nil {
		return err
	}
	return w.file(path.Join(npmDir(v), "packages.json"), append(text, '\n'))
}

// readNPM reads a tarball's package.json and digests the file.
func readNPM(name string) (about pack.PackageJSON, dist npmDist, err error) {
	f, err := os.Open(name)
	if err != nil {
		return about, dist, err
	}
	defer f.Close()
	s1, s512 := sha1.New(), sha512.New()
	all := io.TeeReader(f, io.MultiWriter(s1, s512))
	zip, err := gzip.NewReader(all)
	if err != nil {
		return about, dist, err
	}
	archive := tar.NewReader(zip)
	if _, err := archive.Next(); err != nil { // package.json comes first
		return about, dist, err
	}
	if err := json.NewDecoder(archive).Decode(&about); err != nil {
		return about, dist, err
	}
	if _, err := io.Copy(io.Discard, all); err != nil {
		return about, dist, err
	}
	dist.Shasum, dist.Integrity = hex.EncodeToString(s1.Sum(nil)), "sha512-"+base64.StdEncoding.EncodeToString(s512.Sum(nil))
	return about, dist, nil
}
