package rpmrepo

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/cavaliergopher/rpm"

	"slipway.dev/slipway/internal/slipway"
)

// Package is what a repository says of one RPM.
type Package struct {
	Location  string // slash-separated path below the repository
	Checksum  string // SHA-256 of the file, hexadecimal
	Size      int64  // of the file, in bytes
	Name      string
	Epoch     int
	Version   string
	Release   string
	Arch      string
	SourceRPM string
	header    *rpm.Package
}

// NEVRA is the full name: name-epoch:version-release.arch.
func (p Package) NEVRA() string {
	return fmt.Sprintf("%s-%d:%s-%s.%s", p.Name, p.Epoch, p.Version, p.Release, p.Arch)
}

// SourceNEVRA is the full name of the source package that p names as its origin.
func (p Package) SourceNEVRA() string {
	return fmt.Sprintf("%s-%d:%s-%s.src", p.Name, p.Epoch, p.Version, p.Release)
}

// read reads the header of the RPM at location in the repository dir, and digests the file.
func read(dir *os.Root, location string) (Package, error) {
	p := Package{Location: location}
	f, err := dir.Open(location)
	if err != nil {
		return p, err
	}
	defer f.Close()
	sum := sha256.New()
	digested := io.TeeReader(f, sum)
	if p.header, err = rpm.Read(digested); err != nil {
		return p, slipway.Errorf(slipway.Invalid, "not an RPM package: %w", err).At(location)
	}
	if _, err := io.Copy(io.Discard, digested); err != nil {
		return p, err
	}
	info, err := f.Stat()
	if err != nil {
		return p, err
	}
	p.Size, p.Checksum = info.Size(), hex.EncodeToString(sum.Sum(nil))
	h := p.header
	p.Name, p.Epoch, p.Version, p.Release, p.Arch = h.Name(), h.Epoch(), h.Version(), h.Release(), h.Architecture()
	p.SourceRPM = h.SourceRPM()
	return p, nil
}

// The elements of primary.xml, filelists.xml and other.xml, in the order createrepo_c gives them.
type (
	evr struct {
		Epoch int    `xml:"epoch,attr"`
		Ver   string `xml:"ver,attr"`
		Rel   string `xml:"rel,attr"`
	}
	primaryPackage struct {
		Type        string      `xml:"type,attr"`
		Name        string      `xml:"name"`
		Arch        string      `xml:"arch"`
		Version     evr         `xml:"version"`
		Checksum    checksum    `xml:"checksum"`
		Summary     string      `xml:"summary"`
		Description string      `xml:"description"`
		Packager    string      `xml:"packager"`
		URL         string      `xml:"url"`
		Time        fileTime    `xml:"time"`
		Size        sizes       `xml:"size"`
		Location    href        `xml:"location"`
		Format      formatEntry `xml:"format"`
	}
	checksum struct {
		Type  string `xml:"type,attr"`
		PkgID string `xml:"pkgid,attr,omitempty"`
		Hex   string `xml:",chardata"`
	}
	fileTime struct {
		File  int64 `xml:"file,attr"`
		Build int64 `xml:"build,attr"`
	}
	sizes struct {
		Package   int64  `xml:"package,attr"`
		Installed uint64 `xml:"installed,attr"`
		Archive   uint64 `xml:"archive,attr"`
	}
	href struct {
		Href string `xml:"href,attr"`
	}
	formatEntry struct {
		License     string      `xml:"rpm:license"`
		Vendor      string      `xml:"rpm:vendor"`
		Group       string      `xml:"rpm:group"`
		BuildHost   string      `xml:"rpm:buildhost"`
		SourceRPM   string      `xml:"rpm:sourcerpm"`
		HeaderRange headerRange `xml:"rpm:header-range"`
		Provides    *relations  `xml:"rpm:provides"`
		Requires    *relations  `xml:"rpm:requires"`
		Conflicts   *relations  `xml:"rpm:conflicts"`
		Obsoletes   *relations  `xml:"rpm:obsoletes"`
		Suggests    *relations  `xml:"rpm:suggests"`
		Enhances    *relations  `xml:"rpm:enhances"`
		Recommends  *relations  `xml:"rpm:recommends"`
		Supplements *relations  `xml:"rpm:supplements"`
		Files       []fileEntry `xml:"file"`
	}
	headerRange struct {
		Start int `xml:"start,attr"`
		End   int `xml:"end,attr"`
	}
	relations struct {
		Entries []relation `xml:"rpm:entry"`
	}
	relation struct {
		Name  string `xml:"name,attr"`
		Flags string `xml:"flags,attr,omitempty"`
		Epoch string `xml:"epoch,attr,omitempty"`
		Ver   string `xml:"ver,attr,omitempty"`
		Rel   string `xml:"rel,attr,omitempty"`
		Pre   string `xml:"pre,attr,omitempty"`
	}
	fileEntry struct {
		Type string `xml:"type,attr,omitempty"`
		Path string `xml:",chardata"`
	}
	listedPackage struct {
		PkgID   string      `xml:"pkgid,attr"`
		Name    string      `xml:"name,attr"`
		Arch    string      `xml:"arch,attr"`
		Version evr         `xml:"version"`
		Files   []fileEntry `xml:"file"`
	}
)

func (p Package) evr() evr { return evr{p.Epoch, p.Version, p.Release} }

func (p Package) primary(modified int64) primaryPackage {
	h := p.header
	start, end := h.HeaderRange()
	return primaryPackage{
		Type: "rpm", Name: p.Name, Arch: p.Arch, Version: p.evr(), Checksum: checksum{"sha256", "YES", p.Checksum},
		Summary: h.Summary(), Description: h.Description(), Packager: h.Packager(), URL: h.URL(),
		Time: fileTime{modified, h.BuildTime().Unix()}, Size: sizes{p.Size, h.Size(), h.ArchiveSize()}, Location: href{p.Location},
		Format: formatEntry{
			License: h.License(), Vendor: h.Vendor(), Group: strings.Join(h.Groups(), "\n"), BuildHost: h.BuildHost(),
			SourceRPM: p.SourceRPM, HeaderRange: headerRange{start, end},
			Provides: related(h.Provides(), false), Requires: related(h.Requires(), true), Conflicts: related(h.Conflicts(), false),
			Obsoletes: related(h.Obsoletes(), false), Suggests: related(h.Suggests(), false), Enhances: related(h.Enhances(), false),
			Recommends: related(h.Recommends(), false), Supplements: related(h.Supplements(), false),
			Files: p.files(primaryFile),
		},
	}
}

func (p Package) listed(files bool) listedPackage {
	l := listedPackage{PkgID: p.Checksum, Name: p.Name, Arch: p.Arch, Version: p.evr()}
	if files {
		l.Files = p.files(func(string) bool { return true })
	}
	return l
}

func (p Package) files(want func(string) bool) []fileEntry {
	var list []fileEntry
	for _, f := range p.header.Files() {
		if !want(f.Name()) {
			continue
		}
		e := fileEntry{Path: f.Name()}
		switch {
		case f.IsDir():
			e.Type = "dir"
		case f.Flags()&rpm.FileFlagGhost != 0:
			e.Type = "ghost"
		}
		list = append(list, e)
	}
	return list
}

// primaryFile reports whether primary.xml lists the file, so that a dependency on its path is solved without filelists.
func primaryFile(name string) bool {
	return strings.HasPrefix(name, "/etc/") || strings.Contains(path.Dir(name)+"/", "bin/") || name == "/usr/lib/sendmail"
}

// related turns dependencies into entries; nil when there are none. Requirements on rpm itself are left out, doubles too.
func related(deps []rpm.Dependency, requires bool) *relations {
	var r relations
	seen := map[relation]bool{}
	for _, d := range deps {
		if requires && strings.HasPrefix(d.Name(), "rpmlib(") {
			continue
		}
		e := relation{Name: d.Name()}
		switch d.Flags() & (rpm.DepFlagLesser | rpm.DepFlagGreater | rpm.DepFlagEqual) {
		case rpm.DepFlagLesser:
			e.Flags = "LT"
		case rpm.DepFlagGreater:
			e.Flags = "GT"
		case rpm.DepFlagEqual:
			e.Flags = "EQ"
		case rpm.DepFlagLesserOrEqual:
			e.Flags = "LE"
		case rpm.DepFlagGreaterOrEqual:
			e.Flags = "GE"
		}
		if e.Flags != "" {
			e.Epoch, e.Ver, e.Rel = strconv.Itoa(d.Epoch()), d.Version(), d.Release()
		}
		if requires && d.Flags()&(rpm.DepFlagPrereq|rpm.DepFlagScriptPre|rpm.DepFlagScriptPost) != 0 {
			e.Pre = "1"
		}
		if !seen[e] {
			seen[e] = true
			r.Entries = append(r.Entries, e)
		}
	}
	if len(r.Entries) == 0 {
		return nil
	}
	return &r
}
