package server

import (
	"io"
	"slices"
	"time"

	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/build"
	"slipway.dev/slipway/internal/stage/compose/pack"
)

// packager makes the packages that the build stage tries to install: as a compose makes them, unsigned and of the first release.
type packager struct{}

func (packager) Formats(p spec.Package) []string {
	return slices.DeleteFunc(pack.Formats(p), func(f string) bool { return !slices.Contains([]string{pack.RPM, pack.DEB, pack.APK}, f) })
}

func (packager) Pack(w io.Writer, format string, p build.Parcel) error {
	return pack.Write(w, format, pack.Input{Tree: p.Tree, Package: p.Package, Version: p.Version, Release: 1, Time: p.Time, Summary: p.Summary, License: p.License, Vendor: p.Vendor}, pack.Keys{})
}

func (packager) FileName(format string, p build.Parcel) string {
	return pack.FileName(format, p.Package, p.Version, 1)
}

func (packager) StandIn(w io.Writer, format string, lines []build.DependsLine) ([]string, error) {
	needs := make([]pack.Need, len(lines))
	for i, l := range lines {
		needs[i] = pack.Need(l)
	}
	return pack.WriteStandIn(w, format, needs, time.Unix(0, 0).UTC())
}

var _ build.Packager = packager{}
