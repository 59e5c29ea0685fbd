package debrepo

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/blakesmith/ar"

	"slipway.dev/slipway/internal/slipway"
)

// Package is what a repository says of one DEB.
type Package struct {
	Filename string // slash-separated path below the repository
	Size     int64  // of the file, in bytes
	MD5      string // digests of the file, hexadecimal
	SHA1     string
	SHA256   string
	Name     string
	Version  string
	Arch     string
	fields   []field // of the control file, in its order
}

type field struct{ name, value string }

// maxControl bounds what is read of a control file, in bytes.
const maxControl = 1 << 20

// read reads the control file of the package at name in the repository dir, and digests the file.
func read(dir *os.Root, name string) (Package, error) {
	p := Package{Filename: name}
	f, err := dir.Open(name)
	if err != nil {
		return p, err
	}
	defer f.Close()
	m, s1, s256 := md5.New(), sha1.New(), sha256.New()
	counted := io.TeeReader(f, io.MultiWriter(m, s1, s256))
	control, err := controlFile(counted)
	if err != nil {
		return p, slipway.Errorf(slipway.Invalid, "not a DEB package: %w", err).At(name)
	}
	if _, err := io.Copy(io.Discard, counted); err != nil {
		return p, err
	}
	info, err := f.Stat()
	if err != nil {
		return p, err
	}
	p.Size = info.Size()
	p.MD5, p.SHA1, p.SHA256 = hex.EncodeToString(m.Sum(nil)), hex.EncodeToString(s1.Sum(nil)), hex.EncodeToString(s256.Sum(nil))
	p.fields = parse(control)
	p.Name, p.Version, p.Arch = p.field("Package"), p.field("Version"), p.field("Architecture")
	if p.Name == "" || p.Version == "" || p.Arch == "" {
		return p, slipway.Errorf(slipway.Invalid, "its control file names no package, version or architecture").At(name)
	}
	return p, nil
}

// controlFile returns the text of ./control in control.tar.gz (deb(5)).
func controlFile(r io.Reader) (string, error) {
	archive := ar.NewReader(r)
	for {
		h, err := archive.Next()
		if err != nil {
			return "", fmt.Errorf("no control.tar.gz: %w", err)
		}
		if strings.TrimSuffix(h.Name, "/") != "control.tar.gz" {
			continue
		}
		zip, err := gzip.NewReader(archive)
		if err != nil {
			return "", err
		}
		members := tar.NewReader(zip)
		for {
			m, err := members.Next()
			if err != nil {
				return "", fmt.Errorf("no control file: %w", err)
			}
			if path.Clean(m.Name) == "control" {
				text, err := io.ReadAll(io.LimitReader(members, maxControl))
				return string(text), err
			}
		}
	}
}

// parse splits one paragraph of deb-control(5) into fields; continued lines stay part of the value.
func parse(text string) []field {
	var fields []field
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if line == "" {
			continue
		}
		if (line[0] == ' ' || line[0] == '\t') && len(fields) > 0 {
			fields[len(fields)-1].value += "\n" + line
			continue
		}
		if name, value, ok := strings.Cut(line, ":"); ok {
			fields = append(fields, field{name, strings.TrimSpace(value)})
		}
	}
	return fields
}

func (p Package) field(name string) string {
	i := slices.IndexFunc(p.fields, func(f field) bool { return strings.EqualFold(f.name, name) })
	if i < 0 {
		return ""
	}
	return p.fields[i].value
}

// paragraph writes the package's entry in Packages: its control fields, and where the file is.
func (p Package) paragraph(w *bytes.Buffer) {
	for _, f := range p.fields {
		if f.name != "Description" {
			fmt.Fprintf(w, "%s: %s\n", f.name, f.value)
		}
	}
	fmt.Fprintf(w, "Filename: %s\nSize: %d\nMD5sum: %s\nSHA1: %s\nSHA256: %s\n", p.Filename, p.Size, p.MD5, p.SHA1, p.SHA256)
	fmt.Fprintf(w, "Description: %s\n\n", p.field("Description"))
}
