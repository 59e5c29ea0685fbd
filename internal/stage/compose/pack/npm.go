package pack

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
)

// PackageJSON is the part of an npm package's own description that Slipway writes (package.json(5)).
type PackageJSON struct {
	Name         string            `json:"name"`
	Version      string            `json:"version"`
	Description  string            `json:"description,omitempty"`
	License      string            `json:"license,omitempty"`
	Author       string            `json:"author,omitempty"`
	Main         string            `json:"main,omitempty"`
	Type         string            `json:"type,omitempty"`
	Bin          map[string]string `json:"bin,omitempty"`
	Dependencies map[string]string `json:"dependencies,omitempty"`
	OS           []string          `json:"os,omitempty"`
	CPU          []string          `json:"cpu,omitempty"`
}

func npmName(p spec.Package) string {
	if p.NPM != nil && p.NPM.Name != "" {
		return p.NPM.Name
	}
	return p.Name
}

var semantic = regexp.MustCompile(`^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`)

// DescribeNPM is the package.json of a package. npm knows no release numbers: another package of the same version has the same name.
func DescribeNPM(in Input) (PackageJSON, error) {
	p := in.Package
	d := PackageJSON{Name: npmName(p), Version: strings.TrimPrefix(in.Version, "v"), Description: cmp.Or(p.Summary, in.Summary), License: cmp.Or(p.License, in.License), Author: in.Vendor}
	if !semantic.MatchString(d.Version) {
		return d, slipway.Errorf(slipway.Invalid, "npm knows only semantic versions, and %q is none", in.Version).Try("give the component a version such as 1.4.0, or leave npm out of the formats")
	}
	if p.NPM != nil {
		d.Main, d.Type, d.Bin = p.NPM.Main, p.NPM.Type, p.NPM.Bin
	}
	if cpu := map[string]string{"amd64": "x64", "arm64": "arm64", "386": "ia32"}[cmp.Or(p.Arch, "amd64")]; cpu != "" && p.Arch != "all" {
		d.OS, d.CPU = []string{"linux"}, []string{cpu}
	}
	for _, line := range p.Depends {
		r, err := parseRelation(line)
		if err != nil {
			return d, err
		}
		name := p.Called(r.name, NPM)
		if name == "" || name == spec.NotNeeded { // what the other formats depend on is mostly nothing of npm's
			continue
		}
		wanted := "*"
		if r.op != "" {
			wanted = strings.TrimPrefix(r.op, "=") + strings.TrimPrefix(r.version, "v")
		}
		if d.Dependencies == nil {
			d.Dependencies = map[string]string{}
		}
		d.Dependencies[name] = wanted
	}
	return d, nil
}

// writeNPM writes what "npm pack" would: a gzip-compressed tar archive whose one directory, package, holds a package.json and the files. Their
// absolute targets count from that directory.
func writeNPM(w io.Writer, in Input, list []entry) error {
	about, err := DescribeNPM(in)
	if err != nil {
		return err
	}
	if len(in.Package.Scripts) > 0 {
		return slipway.Errorf(slipway.Invalid, "scripts cannot be run by npm, which is set to ignore them in most places").Try("leave npm out of the formats, or make another package without scripts")
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(about); err != nil {
		return err
	}
	zip := gzip.NewWriter(w)
	out := tar.NewWriter(zip)
	header := func(name string, mode, size int64) *tar.Header {
		return &tar.Header{Name: "package" + name, Mode: mode, Size: size, ModTime: in.Time.Truncate(time.Second), Typeflag: tar.TypeReg, Format: tar.FormatPAX}
	}
	if err := out.WriteHeader(header("/package.json", 0o644, int64(text.Len()))); err != nil {
		return err
	}
	if _, err := out.Write(text.Bytes()); err != nil {
		return err
	}
	for _, e := range list {
		switch {
		case e.dir:
			continue // npm makes the folders that it needs
		case e.link != "":
			return slipway.Errorf(slipway.Invalid, "%s is a symbolic link, which npm does not install", e.target).Try("package the file that it points to")
		case e.target == "/package.json":
			return slipway.Errorf(slipway.Invalid, "package.json is written by Slipway").Try("say what it shall hold under npm: in the component's file")
		}
		if err := out.WriteHeader(header(e.target, int64(e.mode), e.size)); err != nil {
			return err
		}
		if err := copyFile(out, e.source); err != nil {
			return fmt.Errorf("read %s: %w", e.target, err)
		}
	}
	if err := out.Close(); err != nil {
		return err
	}
	return zip.Close()
}
