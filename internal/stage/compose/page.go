package compose

import (
	"bytes"
	_ "embed"
	"html/template"
	"maps"
	"path"
	"slices"
	"strings"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/compose/pack"
)

//go:embed index.html.tmpl
var indexTemplate string

// page writes the compose's index page: how to install from it, and what is in it. Its links are relative, so that a
// mirror can serve the folder; its commands name the instance, and a script in the page replaces that by wherever the
// page was opened.
func (w *writer) page() ([]byte, error) {
	t, err := template.New(indexFile).Funcs(template.FuncMap{
		"short": func(commit string) string { return commit[:min(10, len(commit))] },
		"base":  path.Base,
		"first": firstOf,
	}).Parse(indexTemplate)
	if err != nil {
		return nil, err
	}
	rel := w.j.release
	var b bytes.Buffer
	err = t.Execute(&b, map[string]any{
		"Product": rel.Product, "Tag": rel.Tag, "Summary": w.j.product.Summary, "Release": rel, "Variants": w.variants,
		"Base":      strings.TrimSuffix(w.s.cfg.URL, "/") + "/" + w.j.compose.ID,
		"Short":     short(w.j),
		"Manifests": slices.Sorted(maps.Keys(rel.Manifests)),
		"Key":       w.key.Fingerprint(),
		"First":     firstPackage(w.variants),
		"Moved":     moved(rel),
		"SBOM":      w.s.cfg.SBOM != nil,
		"APKKey":    w.j.keys.names().apk,
	})
	return b.Bytes(), err
}

// firstPackage is the one that the page's commands install.
func firstPackage(variants []Variant) VariantPackage {
	for _, v := range variants {
		for _, p := range v.Packages {
			if p.Files[pack.RPM] != "" || p.Files[pack.DEB] != "" {
				return p
			}
		}
	}
	return VariantPackage{Name: "PACKAGE"}
}

// firstOf says how the variant's first package of a format is asked for: by its name, or, of an image, by its path. "" when there is none.
func firstOf(v Variant, format string) string {
	for _, p := range v.Packages {
		file := p.Files[format]
		switch {
		case file == "":
		case format == pack.OCI:
			return file
		case format == pack.NPM && p.NPM != "":
			return p.NPM
		default:
			return p.Name
		}
	}
	return ""
}

func moved(rel slipway.Release) []slipway.Pin {
	list := slices.Clone(rel.Moved)
	slices.SortFunc(list, func(a, b slipway.Pin) int { return strings.Compare(a.Component, b.Component) })
	return list
}
