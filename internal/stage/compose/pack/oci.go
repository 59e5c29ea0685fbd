package pack

import (
	"archive/tar"
	"bytes"
	"cmp"
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
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"slipway.dev/slipway/internal/slipway"
)

// An OCI package is a tar archive of an OCI image layout (image-spec, image-layout.md) with one manifest; skopeo and podman read it as
// oci-archive:FILE. Its index names the manifest NAME:VERSION-RELEASE.
const (
	refName      = "org.opencontainers.image.ref.name"
	artifactType = "application/vnd.slipway.package.v1"

	// LabelArtifact names the output tree that an image holds; `slipway provenance verify` takes it.
	LabelArtifact = "dev.slipway.artifact"
)

func ociRef(in Input) string {
	return fmt.Sprintf("%s:%s-%d", in.Package.Name, strings.NewReplacer("+", "_", "~", "-").Replace(Upstream(in.Version)), in.Release)
}

func ociAnnotations(in Input) map[string]string {
	all := map[string]string{
		"org.opencontainers.image.title": in.Package.Name, "org.opencontainers.image.version": in.Version,
		"org.opencontainers.image.created":  in.Time.UTC().Format(time.RFC3339),
		"org.opencontainers.image.vendor":   in.Vendor,
		"org.opencontainers.image.licenses": cmp.Or(in.Package.License, in.License), "org.opencontainers.image.description": cmp.Or(in.Package.Summary, in.Summary),
		LabelArtifact: in.Artifact,
	}
	maps.DeleteFunc(all, func(_, v string) bool { return v == "" })
	return all
}

// writeImage writes an image: what the package installs as one layer, on an empty image or on one that lies in the outputs.
func writeImage(w io.Writer, in Input, list []entry) error {
	if len(in.Package.Scripts) > 0 {
		return slipway.Errorf(slipway.Invalid, "scripts cannot be run when an image is made").Try("do their work in the component's build, or leave oci out of the formats")
	}
	base, err := baseImage(in)
	if err != nil {
		return err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		r, w := io.Pipe()
		go func() { w.CloseWithError(writeFiles(w, in, list, "", "")) }()
		return r, nil
	}, tarball.WithMediaType(types.OCILayer), tarball.WithCompressionLevel(6))
	if err != nil {
		return fmt.Errorf("make a layer: %w", err)
	}
	img := mutate.ConfigMediaType(mutate.MediaType(base, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err = mutate.Append(img, mutate.Addendum{Layer: layer, History: v1.History{Created: v1.Time{Time: in.Time.UTC()}, CreatedBy: "slipway"}})
	if err != nil {
		return fmt.Errorf("add a layer: %w", err)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return fmt.Errorf("read the base's configuration: %w", err)
	}
	cfg = cfg.DeepCopy()
	cfg.Created, cfg.OS, cfg.Architecture = v1.Time{Time: in.Time.UTC()}, "linux", Arch(OCI, in.Package.Arch)
	configure(&cfg.Config, in)
	if img, err = mutate.ConfigFile(img, cfg); err != nil {
		return fmt.Errorf("set the image's configuration: %w", err)
	}
	img, ok := mutate.Annotations(img, ociAnnotations(in)).(v1.Image)
	if !ok {
		return slipway.Errorf(slipway.Internal, "an image with annotations is no image")
	}
	return writeLayout(w, in, func(l layout.Path) error {
		return l.AppendImage(img, layout.WithAnnotations(map[string]string{refName: ociRef(in)}))
	})
}

// configure sets what the package's file says of the image, over what its base says.
func configure(c *v1.Config, in Input) {
	if c.Labels == nil {
		c.Labels = map[string]string{}
	}
	maps.Copy(c.Labels, ociAnnotations(in))
	im := in.Package.Image
	if im == nil {
		return
	}
	maps.Copy(c.Labels, im.Labels)
	if len(im.Entrypoint) > 0 {
		c.Entrypoint, c.Cmd = im.Entrypoint, nil // as docker does: the base's command is for the base's entrypoint
	}
	if len(im.Cmd) > 0 {
		c.Cmd = im.Cmd
	}
	for _, name := range slices.Sorted(maps.Keys(im.Env)) {
		c.Env = slices.DeleteFunc(c.Env, func(e string) bool { return strings.HasPrefix(e, name+"=") })
		c.Env = append(c.Env, name+"="+im.Env[name])
	}
	c.User, c.WorkingDir = cmp.Or(im.User, c.User), cmp.Or(im.Workdir, c.WorkingDir)
	for _, p := range im.Ports {
		if c.ExposedPorts == nil {
			c.ExposedPorts = map[string]struct{}{}
		}
		if !strings.Contains(p, "/") {
			p += "/tcp"
		}
		c.ExposedPorts[p] = struct{}{}
	}
}

// baseImage is the image in the layout that the package names, or an empty one.
func baseImage(in Input) (v1.Image, error) {
	if in.Package.Image == nil || in.Package.Image.Base == "" {
		return empty.Image, nil
	}
	at := in.Package.Image.Base
	bad := func(cause error) error {
		return slipway.Errorf(slipway.Invalid, "the base image %q cannot be read: %w", at, cause).Try("write an OCI image layout to $OUT/" + at + " in the component's build")
	}
	root, err := os.OpenRoot(in.Tree)
	if err != nil {
		return nil, slipway.Errorf(slipway.Unavailable, "cannot open the outputs: %w", err)
	}
	defer root.Close()
	if _, err := root.Stat(path.Join(at, "index.json")); err != nil { // through the root: it cannot lie elsewhere
		return nil, bad(err)
	}
	index, err := layout.ImageIndexFromPath(filepath.Join(in.Tree, filepath.FromSlash(at)))
	if err != nil {
		return nil, bad(err)
	}
	return pick(index, Arch(OCI, in.Package.Arch), bad)
}

// pick finds the image for the architecture; one alone that does not say what it is for is taken.
func pick(index v1.ImageIndex, arch string, bad func(error) error) (v1.Image, error) {
	m, err := index.IndexManifest()
	if err != nil {
		return nil, bad(err)
	}
	for _, d := range m.Manifests {
		if d.MediaType.IsIndex() {
			nested, err := index.ImageIndex(d.Digest)
			if err != nil {
				return nil, bad(err)
			}
			return pick(nested, arch, bad)
		}
		if !d.MediaType.IsImage() || d.Platform != nil && d.Platform.Architecture != arch {
			continue
		}
		img, err := index.Image(d.Digest)
		if err != nil {
			return nil, bad(err)
		}
		return img, nil
	}
	return nil, bad(fmt.Errorf("it has no image for %s", arch))
}

// writeOCIArtifact writes the package's files as blobs, each titled with its path, as oras(1) pulls them (image-spec, manifest.md, "Guidelines
// for Artifact Usage").
func writeOCIArtifact(w io.Writer, in Input, list []entry) error {
	return writeLayout(w, in, func(l layout.Path) error {
		put := func(r func() (io.ReadCloser, error), kind types.MediaType) (v1.Descriptor, error) {
			src, err := r()
			if err != nil {
				return v1.Descriptor{}, err
			}
			hash, size, err := v1.SHA256(src)
			err = errors.Join(err, src.Close())
			if err != nil {
				return v1.Descriptor{}, err
			}
			if src, err = r(); err != nil {
				return v1.Descriptor{}, err
			}
			return v1.Descriptor{MediaType: kind, Size: size, Digest: hash}, l.WriteBlob(hash, src)
		}
		text := func(b []byte) func() (io.ReadCloser, error) {
			return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
		}
		m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: artifactType, Layers: []v1.Descriptor{}, Annotations: ociAnnotations(in)}
		var err error
		if m.Config, err = put(text([]byte("{}")), "application/vnd.oci.empty.v1+json"); err != nil {
			return err
		}
		for _, e := range list {
			if e.source == "" {
				continue // an artifact is a set of files; folders follow from their paths, and links have no blob
			}
			kind := types.MediaType("application/octet-stream")
			switch path.Ext(e.target) {
			case ".json":
				kind = "application/json"
			case ".txt":
				kind = "text/plain"
			}
			d, err := put(func() (io.ReadCloser, error) { return os.Open(e.source) }, kind)
			if err != nil {
				return fmt.Errorf("read %s: %w", e.target, err)
			}
			d.Annotations = map[string]string{"org.opencontainers.image.title": strings.TrimPrefix(e.target, "/")}
			m.Layers = append(m.Layers, d)
		}
		data, err := json.Marshal(m)
		if err != nil {
			return err
		}
		d, err := put(text(data), types.OCIManifestSchema1)
		if err != nil {
			return err
		}
		d.Annotations = map[string]string{refName: ociRef(in)}
		return l.AppendDescriptor(d)
	})
}

// writeLayout makes an image layout in a folder, lets fill put something into it, and writes it as a tar archive.
func writeLayout(w io.Writer, in Input, fill func(layout.Path) error) error {
	dir, err := os.MkdirTemp("", "slipway-oci-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	l, err := layout.Write(dir, empty.Index)
	if err != nil {
		return fmt.Errorf("make an image layout: %w", err)
	}
	if err := fill(l); err != nil {
		return err
	}
	out := tar.NewWriter(w)
	err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error { // in lexical order
		if err != nil || p == dir {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		h := &tar.Header{Name: filepath.ToSlash(rel), Mode: 0o644, Size: info.Size(), ModTime: in.Time.Truncate(time.Second), Typeflag: tar.TypeReg, Format: tar.FormatPAX}
		if d.IsDir() {
			h.Name, h.Mode, h.Size, h.Typeflag = h.Name+"/", 0o755, 0, tar.TypeDir
		}
		if err := out.WriteHeader(h); err != nil || d.IsDir() {
			return err
		}
		return copyFile(out, p)
	})
	if err != nil {
		return err
	}
	return out.Close()
}
