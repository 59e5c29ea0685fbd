package compose

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/compose/debrepo"
	"slipway.dev/slipway/internal/stage/compose/pack"
	"slipway.dev/slipway/internal/stage/compose/pgp"
	"slipway.dev/slipway/internal/stage/compose/productmd"
	"slipway.dev/slipway/internal/stage/compose/rpmrepo"
)

// place makes the compose's folder appear under its final name, whole, and returns what is in it. A folder that a run
// before a crash has put there is kept if it is undamaged.
func (s *Service) place(ctx context.Context, j *job, made map[string]Package) ([]Variant, error) {
	variants := layout(j, made)
	final := filepath.Join(s.cfg.Dir, j.compose.ID)
	if _, err := os.Stat(final); err == nil {
		if problems, err := check(final); err != nil {
			return nil, err
		} else if len(problems) == 0 {
			return variants, nil
		}
		if err := remove(final); err != nil {
			return nil, err
		}
	}
	tmp := filepath.Join(s.cfg.Dir, ".tmp-"+j.compose.ID)
	if err := remove(tmp); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		return nil, err
	}
	w := &writer{s: s, j: j, dir: tmp, key: j.keys.pgp, variants: variants}
	if err := w.write(ctx, made); err != nil {
		return nil, err
	}
	if err := seal(tmp); err != nil {
		return nil, err
	}
	if err := os.Rename(tmp, final); err != nil {
		return nil, err
	}
	return variants, syncDir(s.cfg.Dir)
}

// writer fills one compose's folder.
type writer struct {
	s        *Service
	j        *job
	dir      string
	key      *pgp.Key
	variants []Variant
	rpms     []productmd.RPM
	images   []productmd.Image
}

func (w *writer) write(ctx context.Context, made map[string]Package) error {
	if err := w.lay(ctx, made); err != nil {
		return err
	}
	for i, v := range w.variants {
		for _, arch := range v.Arches {
			if err := w.dnf(i, v, arch); err != nil {
				return fmt.Errorf("write the dnf repository of %s: %w", v.Name, err)
			}
		}
	}
	if err := w.apt(); err != nil {
		return fmt.Errorf("write the apt repository: %w", err)
	}
	if err := w.channels(); err != nil {
		return err
	}
	if err := w.metadata(ctx); err != nil {
		return fmt.Errorf("write the metadata: %w", err)
	}
	if err := w.papers(ctx); err != nil {
		return err
	}
	return nil
}

// lay copies the packages to where they belong.
func (w *writer) lay(ctx context.Context, made map[string]Package) error {
	files := map[string]PackageFile{} // by file name
	for _, p := range made {
		for _, f := range p.Files {
			if other, ok := files[f.Name]; ok && other.Digest != f.Digest {
				return slipway.Errorf(slipway.Conflict, "two configurations lock different outputs for %s", f.Name).
					Try("give the variants' packages different names, or lock the same output")
			}
			files[f.Name] = f
		}
	}
	for _, v := range w.variants {
		for _, arch := range v.Arches {
			if err := os.MkdirAll(w.path(repoDir(v, arch), "Packages"), 0o755); err != nil {
				return err
			}
		}
		if err := os.MkdirAll(w.path("apt/pool", aptComponent(v)), 0o755); err != nil {
			return err
		}
		for _, p := range v.Packages {
			for format := range p.Files {
				for _, to := range paths(v, p, format) {
					if err := w.copy(ctx, files[path.Base(to)].Digest, to); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

func (w *writer) path(elem ...string) string {
	return filepath.Join(append([]string{w.dir}, elem...)...)
}

func (w *writer) copy(ctx context.Context, digest, to string) (err error) {
	from, err := w.s.artifacts.Open(ctx, digest)
	if err != nil {
		return fmt.Errorf("read package %s: %w", path.Base(to), err)
	}
	defer from.Close()
	if err := os.MkdirAll(filepath.Dir(w.path(to)), 0o755); err != nil {
		return err
	}
	f, err := os.Create(w.path(to))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = io.Copy(f, from)
	return err
}

func (w *writer) dnf(i int, v Variant, arch string) error {
	cfg := rpmrepo.Config{Sign: w.detached}
	env := rpmrepo.Environment{ID: strings.ToLower(v.ID), Name: v.Name, Description: v.Summary}
	for _, g := range w.j.plan.Variants[i].Groups {
		group := rpmrepo.Group{ID: g.ID, Name: g.Name}
		for _, name := range g.Packages {
			if inRepo(v, name, arch) {
				group.Packages = append(group.Packages, name)
			}
		}
		cfg.Groups = append(cfg.Groups, group)
		env.Groups = append(env.Groups, g.ID)
	}
	cfg.Environments = []rpmrepo.Environment{env}
	packages, err := rpmrepo.Write(w.path(repoDir(v, arch)), w.j.release.Time, cfg)
	if err != nil {
		return err
	}
	for _, p := range packages {
		w.rpms = append(w.rpms, productmd.RPM{Variant: v.ID, Arch: arch, SourceNEVRA: p.SourceNEVRA(), NEVRA: p.NEVRA(),
			Path: path.Join(repoDir(v, arch), p.Location), SigKey: w.key.ID()[8:]})
	}
	return nil
}

// inRepo reports whether the variant's repository for arch holds an RPM of the package.
func inRepo(v Variant, name, arch string) bool {
	for _, p := range v.Packages {
		if p.Name != name || p.Files[pack.RPM] == "" {
			continue
		}
		for _, at := range paths(v, p, pack.RPM) {
			if strings.HasPrefix(at, repoDir(v, arch)+"/") {
				return true
			}
		}
	}
	return false
}

func (w *writer) apt() error {
	_, err := debrepo.Write(w.path("apt"), w.j.release.Time, debrepo.Config{
		Codename: short(w.j), Origin: w.j.release.Product, Version: strings.TrimPrefix(w.j.release.Tag, "v"), Description: w.j.product.Summary,
		Clear:    func(text []byte) ([]byte, error) { return w.key.Clear(text, w.j.release.Time) },
		Detached: w.detached,
	})
	return err
}

func (w *writer) detached(data []byte) ([]byte, error) {
	return w.key.Armored(bytes.NewReader(data), w.j.release.Time)
}

func (w *writer) metadata(ctx context.Context) error {
	c := productmd.Compose{Short: short(w.j), Name: w.j.release.Product, Version: strings.TrimPrefix(w.j.release.Tag, "v"), Date: w.j.release.Time}
	var list []productmd.Variant
	for _, v := range w.variants {
		paths := map[string]map[string]string{"os_tree": {}, "packages": {}, "repository": {}}
		for _, arch := range v.Arches {
			paths["os_tree"][arch] = repoDir(v, arch)
			paths["repository"][arch] = repoDir(v, arch)
			paths["packages"][arch] = path.Join(repoDir(v, arch), "Packages")
		}
		list = append(list, productmd.Variant{ID: v.ID, Name: v.Name, Arches: v.Arches, Paths: paths})
	}
	info, err := productmd.Info(c, list)
	if err != nil {
		return err
	}
	if err := w.file("metadata/composeinfo.json", info); err != nil {
		return err
	}
	rpms, err := productmd.RPMs(c, w.rpms)
	if err != nil {
		return err
	}
	if err := w.file("metadata/rpms.json", rpms); err != nil {
		return err
	}
	if len(w.images) > 0 {
		images, err := productmd.Images(c, w.images)
		if err != nil {
			return err
		}
		if err := w.file("metadata/images.json", images); err != nil {
			return err
		}
	}
	if w.s.cfg.SBOM == nil {
		return nil
	}
	sbom, err := w.s.cfg.SBOM(ctx, w.j.release)
	if err != nil {
		return fmt.Errorf("write the SBOM: %w", err)
	}
	return w.file(sbomFile, sbom)
}

// papers writes what people read: manifests, notes, the key and the index page.
func (w *writer) papers(ctx context.Context) error {
	rel := w.j.release
	for conf := range rel.Manifests {
		name := "manifests/" + conf + ".yaml"
		text, err := w.s.source.ProductFile(ctx, rel.Product, rel.Commit, name)
		if err != nil {
			return fmt.Errorf("read the manifest of %s: %w", conf, err)
		}
		if err := w.file(name, text); err != nil {
			return err
		}
	}
	notes := fmt.Sprintf("# %s %s\n\n%s\n", rel.Product, rel.Tag, strings.TrimSpace(rel.Notes))
	if err := w.file(notesFile, []byte(notes)); err != nil {
		return err
	}
	public, err := w.key.Public()
	if err != nil {
		return err
	}
	if err := w.file(keyFile, public); err != nil {
		return err
	}
	page, err := w.page()
	if err != nil {
		return err
	}
	return w.file(indexFile, page)
}

// file writes a file whose path may come from a product file: it cannot leave the folder.
func (w *writer) file(name string, data []byte) error {
	if !fs.ValidPath(name) {
		return slipway.Errorf(slipway.Invalid, "%q is not a path inside a compose", name)
	}
	if err := os.MkdirAll(filepath.Dir(w.path(name)), 0o755); err != nil {
		return err
	}
	return os.WriteFile(w.path(name), data, 0o644)
}
