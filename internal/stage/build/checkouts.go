package build

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/git"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/build/buildroot"
)

// product reads the product's file, which says where its components are.
func (k *desk) product() error {
	name := filepath.Join(k.Product, spec.ProductFile)
	text, err := os.ReadFile(name)
	if err != nil {
		return slipway.Errorf(slipway.Invalid, "there is no product: %w", err).At("--product").Try("give the folder with " + spec.ProductFile)
	}
	p, err := spec.ParseProduct(text, name)
	if err != nil {
		return err
	}
	k.refs = p.Components
	rs := &rules{file: name, text: text, product: p, files: folderFiles(k.Product)}
	lock := filepath.Join(k.Product, buildroot.LockFile)
	if text, err := os.ReadFile(lock); err == nil {
		if rs.locks, err = buildroot.ParseLocks(text, lock); err != nil {
			return err
		}
	}
	k.s.rules.known = map[string]*rules{"\x00" + deskRules: rs}
	k.rules = deskRules
	return nil
}

// deskRules stands for the commit of a product's checkout.
const deskRules = "checkout"

// folderFiles are the files of a checkout, for its buildroots.
type folderFiles string

// Open implements [buildroot.Files].
func (f folderFiles) Open(_ context.Context, name string) (io.ReadCloser, error) {
	r, err := os.Open(filepath.Join(string(f), filepath.FromSlash(name)))
	if err != nil {
		return nil, slipway.Errorf(slipway.NotFound, "there is no %s: %w", name, err)
	}
	return r, nil
}

// Export implements [buildroot.Files].
func (f folderFiles) Export(_ context.Context, name, dir string) error {
	from := filepath.Join(string(f), filepath.FromSlash(name))
	if fi, err := os.Stat(from); err != nil || !fi.IsDir() {
		return slipway.Errorf(slipway.NotFound, "there is no folder %s", name)
	}
	return os.CopyFS(dir, os.DirFS(from))
}

// extra reads the paths in that a checkout's component declares besides its own folder, as they are.
func (k *desk) extra(ctx context.Context, dir string, rec *recipe) error {
	if len(rec.Paths) == 0 {
		return nil
	}
	cmd := exec.CommandContext(ctx, "git", "rev-parse", "--show-toplevel")
	cmd.Dir, cmd.Env = dir, git.Environ()
	out, err := cmd.Output()
	if err != nil {
		return slipway.Errorf(slipway.Invalid, "%s declares paths of its repository, and is in none", rec.Name).At(rec.file).Try("run it in a git checkout")
	}
	top := folderFiles(strings.TrimSpace(string(out)))
	tmp, err := os.MkdirTemp(k.work, "paths-")
	if err != nil {
		return fmt.Errorf("copy the checkout: %w", err)
	}
	defer artifact.RemoveTree(tmp)
	for _, p := range rec.Paths {
		to := filepath.Join(tmp, filepath.FromSlash(p))
		err := top.Export(ctx, p, to)
		if slipway.Is(err, slipway.NotFound) { // a file
			var data []byte
			if data, err = os.ReadFile(filepath.Join(string(top), filepath.FromSlash(p))); err != nil {
				return slipway.Errorf(slipway.Invalid, "the checkout has no %s: %w", p, err).At(rec.file)
			}
			if err = os.MkdirAll(filepath.Dir(to), 0o755); err == nil {
				err = os.WriteFile(to, data, 0o644)
			}
		}
		if err != nil {
			return fmt.Errorf("copy the checkout: %w", err)
		}
	}
	tree, err := artifact.PutTree(ctx, k.artifacts, tmp)
	if err != nil {
		return err
	}
	rec.extra = "checkout-" + strings.TrimPrefix(tree, artifact.Prefix)
	return k.known(rec.extra, tree)
}

// known gives a tree a name that no git tree has.
func (k *desk) known(id string, tree artifact.Digest) error {
	name := k.s.trees.file(id)
	err := os.MkdirAll(filepath.Dir(name), 0o700)
	if err == nil {
		err = os.WriteFile(name, []byte(tree+"\n"), 0o600)
	}
	if err != nil {
		return fmt.Errorf("copy the checkout: %w", err)
	}
	return nil
}

// Bounds of the search for checkouts.
const (
	maxUp      = 3     // folders above the component's
	maxDown    = 2     // levels below each of those
	maxFolders = 5_000 // looked into in all
)

// find looks for a checkout of a needed component: where the product's file says that its repository is, relative to the product's own
// checkout; then in the folders around the component that needs it, nearest first, and no further than beside its own checkout: what lies
// elsewhere is others'. It returns "" when there is none, and an error when several are equally near.
func (k *desk) find(by, name string) (string, error) {
	if ref, ok := k.refs[name]; ok {
		product, err := filepath.Abs(k.Product)
		if err != nil {
			return "", err
		}
		for range maxUp {
			product = filepath.Dir(product)
			for _, repo := range []string{ref.Repo, filepath.Base(ref.Repo)} {
				dir := filepath.Join(product, filepath.FromSlash(repo), filepath.FromSlash(ref.Path))
				if isComponent(dir, name) {
					return dir, nil
				}
			}
		}
	}
	dir, err := filepath.Abs(filepath.Dir(by))
	if err != nil {
		return "", err
	}
	left, last := maxFolders, filepath.Dir(checkoutOf(dir))
	for range maxUp {
		up := filepath.Dir(dir)
		if up == dir || up == string(filepath.Separator) {
			return "", nil
		}
		dir = up
		found := search(dir, name, maxDown, &left)
		switch {
		case len(found) == 0 && dir == last:
			return "", nil
		case len(found) == 0:
			continue
		case len(found) == 1:
			return found[0], nil
		}
		slices.Sort(found)
		return "", slipway.Errorf(slipway.Invalid, "there are several checkouts of %s: %s", name, strings.Join(found, ", ")).
			Try("say which with --dep " + name + "=FOLDER, made by slipway build --out FOLDER there")
	}
	return "", nil
}

// checkoutOf is the folder of the git checkout that dir is in; dir itself when it is in none.
func checkoutOf(dir string) string {
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Lstat(filepath.Join(at, ".git")); err == nil {
			return at
		}
		if at == filepath.Dir(at) {
			return dir
		}
	}
}

// search lists the checkouts of a component at or below dir.
func search(dir, name string, depth int, left *int) (found []string) {
	if *left--; *left < 0 {
		return nil
	}
	if isComponent(dir, name) {
		return []string{dir}
	}
	if depth == 0 {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if e.Type()&fs.ModeType == fs.ModeDir && !strings.HasPrefix(e.Name(), ".") && e.Name() != "node_modules" {
			found = append(found, search(filepath.Join(dir, e.Name()), name, depth-1, left)...)
		}
	}
	return found
}

// isComponent reports whether the folder has the recipe of the component.
func isComponent(dir, name string) bool {
	text, err := os.ReadFile(filepath.Join(dir, spec.ComponentFile))
	if err != nil {
		return false
	}
	c, err := spec.ParseComponent(text, spec.ComponentFile)
	return err == nil && c.Name == name
}
