package debrepo

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"slipway.dev/slipway/internal/slipway"
)

// Config is how a repository is written.
type Config struct {
	Codename    string   // of the distribution: the folder below dists/
	Suite       string   // default the codename
	Origin      string   // who publishes it; apt can pin by it
	Label       string   // default the origin
	Version     string   // of the distribution; may be empty
	Description string   // one line; may be empty
	Arches      []string // Debian names; those of the packages are added, and amd64 when there are none
	// Clear signs Release inline, Detached apart (armored); nil: unsigned.
	Clear    func(release []byte) ([]byte, error)
	Detached func(release []byte) ([]byte, error)
}

// Write writes dists/CODENAME for every package below dir/pool/COMPONENT, as of the given time, and returns the packages,
// sorted by file name. There must be no dists yet. A file that is not a DEB is an error of kind Invalid.
func Write(dir string, at time.Time, cfg Config) ([]Package, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	byComponent, all, err := scan(root)
	if err != nil {
		return nil, err
	}
	components := slices.Sorted(maps.Keys(byComponent))
	arches := arches(cfg.Arches, all)
	w := writer{root: root, base: "dists/" + cfg.Codename}
	for _, component := range components {
		for _, arch := range arches {
			var text bytes.Buffer
			for _, p := range byComponent[component] {
				if p.Arch == arch || p.Arch == "all" {
					p.paragraph(&text)
				}
			}
			w.index(component+"/binary-"+arch, text.Bytes())
		}
	}
	if w.err != nil {
		return nil, w.err
	}
	release := w.release(at, cfg, components, arches)
	if err := w.publish(release, cfg); err != nil {
		return nil, err
	}
	return all, nil
}

func scan(root *os.Root) (byComponent map[string][]Package, all []Package, err error) {
	byComponent = map[string][]Package{}
	dirs, err := fs.ReadDir(root.FS(), "pool")
	if err != nil {
		return nil, nil, err
	}
	for _, d := range dirs {
		if d.IsDir() {
			byComponent[d.Name()] = nil // an empty component is one too
		}
	}
	err = fs.WalkDir(root.FS(), "pool", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".deb") {
			return err
		}
		p, err := read(root, name)
		if err != nil {
			return err
		}
		component, _, ok := strings.Cut(strings.TrimPrefix(name, "pool/"), "/")
		if !ok {
			return slipway.Errorf(slipway.Invalid, "the package lies in no component").At(name)
		}
		byComponent[component] = append(byComponent[component], p)
		all = append(all, p)
		return nil
	})
	return byComponent, all, err
}

func arches(asked []string, packages []Package) []string {
	list := slices.Clone(asked)
	for _, p := range packages {
		if p.Arch != "all" {
			list = append(list, p.Arch)
		}
	}
	if len(list) == 0 {
		list = []string{"amd64"}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// writer adds indices to dists/CODENAME, and keeps the first error.
type writer struct {
	root  *os.Root
	base  string
	lines []string // of Release: digest, size and name of each index
	err   error
}

func (w *writer) index(dir string, text []byte) {
	var zipped bytes.Buffer
	zip := gzip.NewWriter(&zipped)
	_, err := zip.Write(text)
	if err == nil {
		err = zip.Close()
	}
	if err != nil {
		w.err = err
		return
	}
	w.file(dir, "Packages", text)
	w.file(dir, "Packages.gz", zipped.Bytes())
}

func (w *writer) file(dir, name string, data []byte) {
	if w.err != nil {
		return
	}
	sum := sha256.Sum256(data)
	digest := hex.EncodeToString(sum[:])
	hashed := path.Join(w.base, dir, "by-hash/SHA256")
	if w.err = w.root.MkdirAll(hashed, 0o755); w.err != nil {
		return
	}
	if w.err = w.root.WriteFile(path.Join(hashed, digest), data, 0o644); w.err != nil {
		return
	}
	w.err = w.root.WriteFile(path.Join(w.base, dir, name), data, 0o644)
	w.lines = append(w.lines, fmt.Sprintf(" %s %16d %s/%s", digest, len(data), dir, name))
}

func (w *writer) release(at time.Time, cfg Config, components, arches []string) []byte {
	var b bytes.Buffer
	or := func(v, or string) string {
		if v == "" {
			return or
		}
		return v
	}
	add := func(name, value string) {
		if value = strings.TrimSpace(strings.ReplaceAll(value, "\n", " ")); value != "" {
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	add("Origin", cfg.Origin)
	add("Label", or(cfg.Label, cfg.Origin))
	add("Suite", or(cfg.Suite, cfg.Codename))
	add("Codename", cfg.Codename)
	add("Version", cfg.Version)
	add("Date", at.UTC().Format("Mon, 02 Jan 2006 15:04:05 UTC"))
	add("Acquire-By-Hash", "yes")
	add("Architectures", strings.Join(arches, " "))
	add("Components", strings.Join(components, " "))
	add("Description", cfg.Description)
	b.WriteString("SHA256:\n" + strings.Join(w.lines, "\n") + "\n")
	return b.Bytes()
}

func (w *writer) publish(release []byte, cfg Config) error {
	if err := w.root.WriteFile(w.base+"/Release", release, 0o644); err != nil {
		return err
	}
	for name, sign := range map[string]func([]byte) ([]byte, error){"InRelease": cfg.Clear, "Release.gpg": cfg.Detached} {
		if sign == nil {
			continue
		}
		data, err := sign(release)
		if err != nil {
			return err
		}
		if err := w.root.WriteFile(w.base+"/"+name, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}
