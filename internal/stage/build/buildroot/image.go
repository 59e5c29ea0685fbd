package buildroot

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/slipway"
)

// maxManifest bounds manifests and indexes, in bytes.
const maxManifest = 8 << 20

// fromImage applies the layers of an image of an OCI layout.
func (in *resolution) fromImage(ctx context.Context) (artifact.Digest, error) {
	b := in.req.Spec
	l := &source{in: in}
	m, err := l.manifest(ctx, b.Digest)
	if err != nil {
		return "", err
	}
	in.lock.Items = append(in.lock.Items, Item{Kind: KindImage, Name: path.Base(b.From), Digest: b.Digest, From: b.From})
	var layers []artifact.Digest
	for _, d := range m.Layers {
		if !d.MediaType.IsLayer() {
			return "", slipway.Errorf(slipway.Invalid, "the image has a layer of the media type %q", d.MediaType).At(b.From).Try("give an image with a root filesystem")
		}
		if err := l.blob(ctx, d.Digest.String()); err != nil {
			return "", err
		}
		in.lock.Items = append(in.lock.Items, Item{Kind: KindLayer, Name: d.Digest.Hex[:12], Digest: d.Digest.String()})
		layers = append(layers, d.Digest.String())
	}
	return in.unpack(ctx, b.From, layers, ownFolders)
}

// source is where an image is. Its blobs are copied into the store by their digests, so that later it is not looked at again.
type source struct {
	in  *resolution
	dir string // once it was needed
}

// manifest reads the manifest of a digest, or for an index that of this platform.
func (l *source) manifest(ctx context.Context, d artifact.Digest) (*v1.Manifest, error) {
	for range 3 { // an index may name an index
		if err := l.blob(ctx, d); err != nil {
			return nil, err
		}
		data, err := artifact.Bytes(ctx, l.in.store, d, maxManifest)
		if err != nil {
			return nil, err
		}
		bad := func(err error) error {
			return slipway.Errorf(slipway.Invalid, "%s is no manifest of an image: %w", d, err).At(l.in.req.Spec.From).
				Try("give the digest of a manifest or an index, as index.json of the layout has it")
		}
		m, err := v1.ParseManifest(bytes.NewReader(data))
		if err == nil && m.MediaType.IsImage() {
			return m, nil
		}
		if err == nil && m.MediaType == "" && len(m.Layers) > 0 {
			return m, nil // the OCI format does not demand that it says what it is
		}
		index, err := v1.ParseIndexManifest(bytes.NewReader(data))
		if err != nil {
			return nil, bad(err)
		}
		next := artifact.Digest("")
		for _, one := range index.Manifests {
			if p := one.Platform; one.MediaType.IsIndex() || p == nil || p.OS == runtime.GOOS && p.Architecture == runtime.GOARCH {
				next = one.Digest.String()
				break
			}
		}
		if next == "" {
			if index.MediaType != types.OCIImageIndex && index.MediaType != types.DockerManifestList {
				return nil, bad(errors.New("it is of the media type " + string(index.MediaType)))
			}
			return nil, slipway.Errorf(slipway.Invalid, "the index %s has no image for %s/%s", d, runtime.GOOS, runtime.GOARCH).At(l.in.req.Spec.From)
		}
		d = next
	}
	return nil, slipway.Errorf(slipway.Invalid, "the index %s leads to no image", d).At(l.in.req.Spec.From)
}

// blob makes sure that the store has a blob of the layout.
func (l *source) blob(ctx context.Context, d artifact.Digest) error {
	if _, err := l.in.store.Stat(ctx, d); err == nil {
		return nil
	}
	hex, err := artifact.ParseDigest(d)
	if err != nil {
		return err
	}
	if err := l.open(ctx); err != nil {
		return err
	}
	from := l.in.req.Spec.From
	root, err := os.OpenRoot(l.dir)
	if err != nil {
		return slipway.Errorf(slipway.NotFound, "cannot read the layout: %w", err).At(from)
	}
	defer root.Close()
	f, err := root.Open("blobs/sha256/" + hex)
	if errors.Is(err, fs.ErrNotExist) {
		return slipway.Errorf(slipway.Invalid, "the layout has no blob %s", d).At(from).Try("check the digest, and that the layout is complete")
	}
	if err != nil {
		return slipway.Errorf(slipway.Unavailable, "cannot read the layout: %w", err).At(from)
	}
	defer f.Close()
	got, _, err := l.in.store.Put(ctx, f)
	if err != nil {
		return err
	}
	if got != d {
		return slipway.Errorf(slipway.Invalid, "the blob %s of the layout has other bytes: they hash to %s", d, got).At(from).Try("make the layout anew")
	}
	return nil
}

// open finds the layout's folder, or makes one of an archive.
func (l *source) open(ctx context.Context) error {
	if l.dir != "" {
		return nil
	}
	from := l.in.req.Spec.From
	u, err := url.Parse(from)
	if err != nil {
		return slipway.Errorf(slipway.Invalid, "%q is no URL: %w", from, err)
	}
	if fi, err := os.Stat(u.Path); u.Scheme == "file" && err == nil && fi.IsDir() {
		l.dir = u.Path
		return nil
	}
	dir := filepath.Join(l.in.work, "layout")
	if u.Scheme == "" && l.in.req.Files.Export(ctx, from, dir) == nil {
		l.dir = dir
		return nil
	}
	r, err := l.in.open(ctx, from)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return slipway.Errorf(slipway.Unavailable, "make the work folder: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return slipway.Errorf(slipway.Unavailable, "make the work folder: %w", err)
	}
	defer root.Close()
	if err := (&unpacker{root: root, location: from}).unpack(ctx, io.LimitReader(r, maxBytes)); err != nil {
		return err
	}
	if _, err := root.Stat("oci-layout"); err != nil {
		return slipway.Errorf(slipway.Invalid, "is no OCI layout: it has no file oci-layout").At(strings.TrimSpace(from)).
			Try("make one, as by skopeo copy ... oci-archive:FILE")
	}
	l.dir = dir
	return nil
}
