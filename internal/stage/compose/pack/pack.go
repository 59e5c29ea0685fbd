// Package pack makes installable packages from the outputs of a component: RPM, DEB, APK, OCI images and artifacts, npm tarballs, and
// plain tar.gz.
//
// Takes in a directory of outputs, the package's part of the component's file, a version, a release number and a time;
// gives out the file's bytes and its name. The bytes depend on nothing else: modes are normalised to 0755 and 0644,
// owners are root, every time is the given one, and signatures carry that time too. So whoever makes a package again
// gets the same digest.
//
// The version is translated by [Upstream] and dependencies by [Dependency], to each format's rules. What is wrong with
// a package's description is an error of kind Invalid that names the package.
package pack

import (
	"cmp"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/apk"
	"github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
	"github.com/goreleaser/nfpm/v2/rpm"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
)

// The formats.
const (
	RPM         = "rpm"
	DEB         = "deb"
	APK         = "apk"
	OCI         = "oci"          // an image: what the package installs, as one layer
	OCIArtifact = "oci-artifact" // the package's files as they are, one blob each
	NPM         = "npm"
	TAR         = "tar"
)

// Formats returns the formats that p is made in.
func Formats(p spec.Package) []string {
	if len(p.Formats) == 0 {
		return []string{RPM, DEB, TAR}
	}
	return slices.Clone(p.Formats)
}

// Input is everything that a package is made from.
type Input struct {
	Tree    string // directory that holds the component's outputs
	Package spec.Package
	Version string    // of the component
	Release int       // from 1; counts the different packages made of one version
	Time    time.Time // of every file in it
	Summary string    // where the package has none
	License string    // where the package has none
	Vendor  string    // who ships it: the product
	URL     string    // where to read more; may be empty

	Artifact string // digest of the tree; told in OCI images, by which their provenance is found
}

// Sign makes an OpenPGP signature over data, as of the given time.
type Sign func(data io.Reader, at time.Time) ([]byte, error)

// Keys sign packages; a format whose key is missing is left unsigned. OCI images, npm tarballs and archives are never signed themselves:
// they are named by their digests, which statements of provenance vouch for.
type Keys struct {
	Binary  Sign                                // OpenPGP, binary: RPM
	Armored Sign                                // OpenPGP, armored: DEB, as debsig-verify reads it
	APK     func(digest []byte) ([]byte, error) // RSA (PKCS #1 v1.5) over a SHA-1
	APKName string                              // file name of the APK key's public half, as in /etc/apk/keys
}

// FileName is what the package's file is called, by the custom of the format.
func FileName(format string, p spec.Package, version string, release int) string {
	v, r := Upstream(version), strconv.Itoa(release)
	switch format {
	case RPM:
		return p.Name + "-" + v + "-" + r + "." + Arch(RPM, p.Arch) + ".rpm"
	case DEB:
		return Name(DEB, p.Name) + "_" + v + "-" + r + "_" + Arch(DEB, p.Arch) + ".deb"
	case APK: // apk asks a repository for exactly this name
		return Name(APK, p.Name) + "-" + APKVersion(version) + "-r" + r + ".apk"
	case OCI, OCIArtifact:
		return p.Name + "-" + v + "-" + r + "." + Arch(OCI, p.Arch) + "." + format + ".tar"
	case NPM:
		return strings.NewReplacer("@", "", "/", "-").Replace(npmName(p)) + "-" + strings.TrimPrefix(version, "v") + "-" + r + ".tgz"
	default:
		return p.Name + "-" + v + "-" + r + "." + Arch(TAR, p.Arch) + ".tar.gz"
	}
}

// Arch is what the format calls a Go architecture; empty counts as amd64, "all" fits every machine.
func Arch(format, arch string) string {
	arch = cmp.Or(arch, "amd64")
	names := map[string]map[string]string{
		RPM: {"amd64": "x86_64", "arm64": "aarch64", "386": "i686", "arm": "armv7hl", "ppc64le": "ppc64le", "riscv64": "riscv64", "all": "noarch"},
		DEB: {"386": "i386", "arm": "armhf", "ppc64le": "ppc64el"},
		APK: {"amd64": "x86_64", "arm64": "aarch64", "386": "x86", "arm": "armv7", "all": "noarch"},
		OCI: {"all": "amd64"}, // an image is for one machine; what runs on every machine is made for this one
		TAR: {"all": "any"},
	}
	return cmp.Or(names[format][arch], arch)
}

// Write makes the package in the given format, signed where the format has signatures and there is a key.
func Write(w io.Writer, format string, in Input, keys Keys) error {
	if err := write(w, format, in, keys); err != nil {
		kind := slipway.KindOf(err)
		return slipway.Errorf(kind, "cannot make the %s package: %w", format, err).At("package " + in.Package.Name)
	}
	return nil
}

func write(w io.Writer, format string, in Input, keys Keys) error {
	list, err := contents(in.Tree, in.Package.Files)
	if err != nil {
		return err
	}
	switch format {
	case TAR:
		return writeTar(w, in, list)
	case OCI:
		return writeImage(w, in, list)
	case OCIArtifact:
		return writeOCIArtifact(w, in, list)
	case NPM:
		return writeNPM(w, in, list)
	case RPM, DEB, APK:
		return writeNative(w, format, in, list, keys)
	}
	return slipway.Errorf(slipway.Invalid, "there is no package format %q", format).Try("use rpm, deb, apk, oci, oci-artifact, npm or tar")
}

// writeNative makes a package of a distribution's own format.
func writeNative(w io.Writer, format string, in Input, list []entry, keys Keys) error {
	info, err := describe(format, in, list)
	if err != nil {
		return err
	}
	scripts, err := os.MkdirTemp("", "slipway-scripts-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scripts)
	if err := addScripts(info, scripts, in.Package.Scripts, in.Time); err != nil {
		return err
	}
	switch format {
	case DEB:
		if keys.Armored != nil {
			info.Deb.Signature.SignFn = func(data io.Reader) ([]byte, error) { return keys.Armored(data, in.Time) }
			info.Deb.Signature.Type = "origin"
		}
		return deb.Default.Package(info, w)
	case APK:
		if keys.APK != nil {
			info.APK.Signature.KeyName = keys.APKName
			info.APK.Signature.SignFn = func(data io.Reader) ([]byte, error) {
				digest, err := io.ReadAll(data)
				if err != nil {
					return nil, err
				}
				return keys.APK(digest)
			}
		}
		return apk.Default.Package(info, w)
	}
	if keys.Binary != nil {
		info.RPM.Signature.SignFn = func(data io.Reader) ([]byte, error) { return keys.Binary(data, in.Time) }
	}
	return rpm.DefaultRPM.Package(info, w)
}

func describe(format string, in Input, list []entry) (*nfpm.Info, error) {
	p := in.Package
	summary := cmp.Or(p.Summary, in.Summary, p.Name)
	info := &nfpm.Info{
		Name:            Name(format, p.Name),
		Arch:            Arch(format, p.Arch),
		Platform:        "linux",
		Version:         Upstream(in.Version),
		VersionSchema:   "none",
		Release:         strconv.Itoa(in.Release),
		Section:         cmp.Or(p.Section, "misc"),
		Priority:        "optional",
		Maintainer:      cmp.Or(in.Vendor, "Slipway") + " <slipway@localhost>",
		Vendor:          in.Vendor,
		Homepage:        in.URL,
		License:         cmp.Or(p.License, in.License, "unknown"),
		Description:     summary,
		DisableGlobbing: true,
		MTime:           in.Time,
	}
	info.RPM.BuildHost = "slipway"
	info.RPM.Group = cmp.Or(p.Section, "Unspecified")
	info.RPM.Summary, _, _ = strings.Cut(summary, "\n")
	info.RPM.Compression, info.Deb.Compression = "gzip:6", "gzip:6"
	if format == APK {
		info.Version = APKVersion(in.Version)
		info.Release = "r" + info.Release
	}
	for _, d := range p.Depends {
		names, err := Dependency(format, p, d)
		if err != nil {
			return nil, err
		}
		info.Depends = append(info.Depends, names...)
	}
	for _, e := range list {
		c := &files.Content{
			Source:      e.source,
			Destination: e.target,
			FileInfo:    &files.ContentFileInfo{Owner: "root", Group: "root", Mode: e.mode, MTime: in.Time},
		}
		switch {
		case e.dir:
			c.Type = files.TypeDir
		case e.link != "":
			c.Type, c.Source = files.TypeSymlink, e.link
		case e.config:
			c.Type = files.TypeConfigNoReplace
		default:
			c.Type = files.TypeFile
		}
		info.Contents = append(info.Contents, c)
	}
	return info, nil
}

// addScripts writes the maintainer scripts to dir, because nfpm reads them from files.
func addScripts(info *nfpm.Info, dir string, scripts map[string]string, at time.Time) error {
	for name, text := range scripts {
		file := filepath.Join(dir, name)
		switch name {
		case "preinstall":
			info.Scripts.PreInstall = file
		case "postinstall":
			info.Scripts.PostInstall = file
		case "preremove":
			info.Scripts.PreRemove = file
		case "postremove":
			info.Scripts.PostRemove = file
		default:
			return slipway.Errorf(slipway.Invalid, "there is no script %q", name).
				Try("use preinstall, postinstall, preremove or postremove")
		}
		if !strings.HasPrefix(text, "#!") {
			text = "#!/bin/sh\nset -e\n" + text
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return err
		}
		if err := os.Chtimes(file, at, at); err != nil {
			return err
		}
	}
	return nil
}
