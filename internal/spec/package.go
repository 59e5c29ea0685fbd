package spec

import (
	"path"
	"slices"
	"strings"
)

// Image is what a package's OCI image does when it is run.
type Image struct {
	Base       string            `json:"base,omitempty" yaml:"base,omitempty"` // path below $OUT of an OCI image layout; empty: scratch
	Entrypoint []string          `json:"entrypoint,omitempty" yaml:"entrypoint,omitempty"`
	Cmd        []string          `json:"cmd,omitempty" yaml:"cmd,omitempty"`
	Env        map[string]string `json:"env,omitempty" yaml:"env,omitempty"`
	User       string            `json:"user,omitempty" yaml:"user,omitempty"`
	Workdir    string            `json:"workdir,omitempty" yaml:"workdir,omitempty"`
	Ports      []string          `json:"ports,omitempty" yaml:"ports,omitempty"` // "8080/tcp"
	Labels     map[string]string `json:"labels,omitempty" yaml:"labels,omitempty"`
}

// NPM is what a package's npm tarball says in its package.json beside what all formats say.
type NPM struct {
	Name string            `json:"name,omitempty" yaml:"name,omitempty"` // default the package's; may have a scope
	Main string            `json:"main,omitempty" yaml:"main,omitempty"` // path in the package
	Type string            `json:"type,omitempty" yaml:"type,omitempty"` // "module" or "commonjs"
	Bin  map[string]string `json:"bin,omitempty" yaml:"bin,omitempty"`   // command -> path in the package
}

// NotNeeded stands for the name of a dependency in a format that does not need it.
const NotNeeded = "none"

// Called is what a format calls a package that p depends on: as p's file says, or "" where it says nothing.
func (p Package) Called(name, format string) string { return p.Names[name][format] }

// depends reads what a package depends on: plain lines, or mappings with a name for each format.
func (f *file) depends(n *node, p *Package) {
	seen := map[string]bool{}
	if n == nil {
		return
	}
	p.Depends = []string{}
	for _, item := range n.items {
		text := item.text
		if item.members != nil {
			text = item.str("name")
		}
		if seen[text] {
			f.at(item, "remove one of them", "the package %q is listed twice", text)
		}
		seen[text] = true
		name, _, _ := strings.Cut(strings.TrimSpace(text), " ")
		if name == p.Name && name != "" {
			f.at(item, "remove it", "the package depends on itself")
		}
		p.Depends = append(p.Depends, text)
		for _, format := range []string{"rpm", "deb", "apk", "npm"} {
			if called := item.str(format); item.members != nil && called != "" {
				if p.Names == nil {
					p.Names = map[string]map[string]string{}
				}
				if p.Names[name] == nil {
					p.Names[name] = map[string]string{}
				}
				p.Names[name][format] = called
			}
		}
	}
}

// image reads what an OCI image does; nil when the file says nothing.
func (f *file) image(n *node, p Package) *Image {
	if n == nil {
		return nil
	}
	if !slices.Contains(p.Formats, "oci") {
		f.at(n, "add oci to the formats", "image is used only with the format oci")
	}
	im := &Image{Base: n.str("base"), Entrypoint: n.list("entrypoint"), Cmd: n.list("cmd"), Env: n.texts("env"), User: n.str("user"),
		Workdir: n.str("workdir"), Ports: n.list("ports"), Labels: n.texts("labels")}
	if im.Base != "" {
		f.inside(n.get("base"), im.Base, "$OUT")
		im.Base = path.Clean(im.Base)
	}
	return im
}

// npm reads what a package.json says; nil when the file says nothing.
func (f *file) npm(n *node, p Package) *NPM {
	if n == nil {
		return nil
	}
	if !slices.Contains(p.Formats, "npm") {
		f.at(n, "add npm to the formats", "npm is used only with the format npm")
	}
	return &NPM{Name: n.str("name"), Main: n.str("main"), Type: n.str("type"), Bin: n.texts("bin")}
}
