// Package apkrepo writes repositories that apk, the package manager of Alpine Linux, installs from: an APKINDEX.tar.gz beside the packages of an
// architecture, and the RSA key that signs both.
//
// Formats: apk-package(5) and apk-repositories(5). A package and an index are gzip members one after the other: a signature, then
// (of a package) its description and its files. The index names a package by the SHA-1 of its description's member.
package apkrepo

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"slipway.dev/slipway/internal/slipway"
)

// Package is what an index says of one package.
type Package struct {
	Name, Version, Arch, Description, License, URL, Maintainer string

	Size      int64  // of the file, in bytes
	Installed int64  // of its files, in bytes
	Checksum  string // "Q1" and the SHA-1 of its description in base64
	Depends   []string
	Signer    string // name of the key that signed it; empty: unsigned
}

// maxDescription bounds what is read of a package's description, in bytes.
const maxDescription = 4 << 20

// Read reads a package.
func Read(path string) (Package, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Package{}, err
	}
	p := Package{Size: int64(len(data))}
	bad := func(cause error) (Package, error) {
		return p, slipway.Errorf(slipway.Invalid, "not an APK package: %w", cause).At(path)
	}
	rest := bytes.NewReader(data)
	for range 2 {
		begin := len(data) - rest.Len()
		files, err := member(rest)
		if err != nil {
			return bad(err)
		}
		for name := range files {
			if signer, ok := strings.CutPrefix(name, ".SIGN.RSA."); ok {
				p.Signer = signer
			}
		}
		info, ok := files[".PKGINFO"]
		if !ok {
			continue
		}
		sum := sha1.Sum(data[begin : len(data)-rest.Len()])
		p.Checksum = "Q1" + base64.StdEncoding.EncodeToString(sum[:])
		p.describe(info)
		if p.Name == "" || p.Version == "" {
			return bad(errors.New("its description has no name or no version"))
		}
		return p, nil
	}
	return bad(errors.New("it has no description"))
}

// member reads one gzip member, a tar archive that may lack its end.
func member(r *bytes.Reader) (map[string][]byte, error) {
	zip, err := gzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	zip.Multistream(false)
	text, err := io.ReadAll(io.LimitReader(zip, maxDescription))
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	archive := tar.NewReader(bytes.NewReader(text))
	for {
		h, err := archive.Next()
		if err == io.EOF {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		if files[h.Name], err = io.ReadAll(archive); err != nil {
			return nil, err
		}
	}
}

func (p *Package) describe(info []byte) {
	for line := range strings.Lines(string(info)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " = ")
		switch key {
		case "pkgname":
			p.Name = value
		case "pkgver":
			p.Version = value
		case "arch":
			p.Arch = value
		case "pkgdesc":
			p.Description = value
		case "license":
			p.License = value
		case "url":
			p.URL = value
		case "maintainer":
			p.Maintainer = value
		case "size":
			p.Installed, _ = strconv.ParseInt(value, 10, 64)
		case "depend":
			p.Depends = append(p.Depends, value)
		}
	}
}

// Write writes the index of the packages in dir, a repository's folder for one architecture, as of the given time, and returns what is in it. A nil key leaves
// it unsigned.
func Write(dir string, at time.Time, description string, key *Key) ([]Package, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.apk"))
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var all []Package
	var text strings.Builder
	arch := filepath.Base(dir)
	for _, name := range names {
		p, err := Read(name)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
		if p.Arch == "noarch" { // apk takes it from the folder of the machine's architecture
			p.Arch = arch
		}
		for _, f := range [][2]string{
			{"C", p.Checksum}, {"P", p.Name}, {"V", p.Version}, {"A", p.Arch}, {"S", strconv.FormatInt(p.Size, 10)}, {"I", strconv.FormatInt(p.Installed, 10)},
			{"T", p.Description}, {"U", p.URL}, {"L", p.License}, {"o", p.Name}, {"m", p.Maintainer}, {"t", strconv.FormatInt(at.Unix(), 10)}, {"D", strings.Join(p.Depends, " ")},
		} {
			if f[1] != "" {
				fmt.Fprintf(&text, "%s:%s\n", f[0], f[1])
			}
		}
		text.WriteByte('\n')
	}
	index, err := archive(at, true, [2]string{"DESCRIPTION", description}, [2]string{"APKINDEX", text.String()})
	if err != nil {
		return nil, err
	}
	var out []byte
	if key != nil {
		sum := sha1.Sum(index)
		signature, err := key.Sign(sum[:])
		if err != nil {
			return nil, fmt.Errorf("sign the index: %w", err)
		}
		if out, err = archive(at, false, [2]string{".SIGN.RSA." + key.Name(), string(signature)}); err != nil {
			return nil, err
		}
	}
	return all, os.WriteFile(filepath.Join(dir, "APKINDEX.tar.gz"), append(out, index...), 0o644)
}

// archive makes a gzip member of a tar archive, whole or without the blocks that end it.
func archive(at time.Time, whole bool, files ...[2]string) ([]byte, error) {
	var b bytes.Buffer
	zip := gzip.NewWriter(&b)
	out := tar.NewWriter(zip)
	for _, f := range files {
		h := &tar.Header{Name: f[0], Mode: 0o644, Size: int64(len(f[1])), ModTime: at.Truncate(time.Second), Format: tar.FormatUSTAR, Typeflag: tar.TypeReg}
		if err := out.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := io.WriteString(out, f[1]); err != nil {
			return nil, err
		}
	}
	end := out.Flush // pads the last file
	if whole {
		end = out.Close
	}
	if err := end(); err != nil {
		return nil, err
	}
	if err := zip.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
