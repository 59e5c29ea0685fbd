package pack

import (
	"io"
	"slices"
	"time"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/apk"
	"github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/rpm"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
)

// Need is one line of what a package depends on.
type Need struct {
	Package spec.Package
	Depends string
}

// StandInName is the name of the package that [WriteStandIn] makes.
const StandInName = "slipway-distribution"

// WriteStandIn makes an empty package that stands for a distribution: it provides what the needs name, in versions that they are content
// with. So packages of a product can be installed by the real client where no distribution is. It returns what the format calls what is
// provided, in order. The format is RPM, DEB or APK.
func WriteStandIn(w io.Writer, format string, needs []Need, at time.Time) ([]string, error) {
	info := &nfpm.Info{Name: StandInName, Arch: Arch(format, "all"), Platform: "linux", Version: "1", VersionSchema: "none", Release: "1", Section: "misc", Priority: "optional",
		Maintainer: "Slipway <slipway@localhost>", License: "none", Description: "stands for a distribution", MTime: at}
	info.RPM.BuildHost, info.RPM.Summary, info.RPM.Group = "slipway", info.Description, "Unspecified"
	info.RPM.Compression, info.Deb.Compression = "gzip:6", "gzip:6"
	var names []string
	for _, n := range needs {
		name, r, err := translate(format, n.Package, n.Depends)
		if err != nil {
			return nil, err
		}
		if name == "" {
			continue
		}
		names = append(names, name)
		if line := provides(format, name, r); !slices.Contains(info.Provides, line) {
			info.Provides = append(info.Provides, line)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	slices.Sort(info.Provides)
	var err error
	switch format {
	case RPM:
		err = rpm.DefaultRPM.Package(info, w)
	case DEB:
		err = deb.Default.Package(info, w)
	case APK:
		info.Release = "r1"
		err = apk.Default.Package(info, w)
	default:
		err = slipway.Errorf(slipway.Internal, "no package manager installs %s packages", format)
	}
	return names, err
}

// provides writes what satisfies a relation: see [Dependency] for what each format makes of it.
func provides(format, name string, r relation) string {
	if r.op == "" {
		return name
	}
	version := Upstream(r.version)
	later, earlier := version+"+~", version+"~"
	switch format {
	case RPM:
		later = version + ".1"
	case APK:
		version = APKVersion(r.version)
		later, earlier = version+"_p", version+"_alpha"
	}
	switch r.op {
	case ">":
		version = later
	case "<":
		version = earlier
	}
	switch format {
	case DEB:
		return name + " (= " + version + ")"
	case APK:
		return name + "=" + version
	}
	return name + " = " + version
}
