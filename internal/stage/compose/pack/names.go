package pack

import (
	"slices"
	"strings"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
)

// foreign names the packages of the distributions below a product whose names differ, by the name that a component's
// file uses. What is not listed has the same name in all. A component's file may say otherwise.
func foreign(name string) (called map[string]string, ok bool) {
	names := func(rpm, deb, apk string) map[string]string { return map[string]string{RPM: rpm, DEB: deb, APK: apk} }
	switch name {
	case "libc", "glibc":
		return names("glibc", "libc6", "musl"), true
	case "sh":
		return names("/bin/sh", "dash", "busybox"), true
	case "libstdc++":
		return names("libstdc++", "libstdc++6", "libstdc++"), true
	case "zlib":
		return names("zlib", "zlib1g", "zlib"), true
	case "libssl", "openssl-libs":
		return names("openssl-libs", "libssl3", "libssl3"), true
	case "libcurl":
		return names("libcurl", "libcurl4", "libcurl"), true
	case "sqlite-libs":
		return names("sqlite-libs", "libsqlite3-0", "sqlite-libs"), true
	case "ssh", "openssh-client":
		return names("openssh-clients", "openssh-client", "openssh-client"), true
	case "cron":
		return names("cronie", "cron", "cronie"), true
	case "iproute":
		return names("iproute", "iproute2", "iproute2"), true
	}
	return nil, false
}

// Name is how a package of this name is called in the format: dpkg knows only lower case and no underscores.
func Name(format, name string) string {
	if format != DEB {
		return name
	}
	return strings.ReplaceAll(strings.ToLower(name), "_", "-")
}

// relation is a dependency taken apart.
type relation struct{ name, op, version string }

func parseRelation(depends string) (relation, error) {
	fields := strings.Fields(depends)
	bad := slipway.Errorf(slipway.Invalid, "the dependency %q is not a name, nor a name, an operator and a version", depends).
		Try(`write "libwire" or "libwire >= 1.4"`)
	switch len(fields) {
	case 1:
		return relation{name: fields[0]}, nil
	case 3:
		if slices.Contains([]string{"=", ">=", "<=", ">", "<"}, fields[1]) {
			return relation{fields[0], fields[1], fields[2]}, nil
		}
	}
	return relation{}, bad
}

// Dependency translates one line of a package's depends to a format of a distribution: a name, or a name, an operator (=, >=, <=, >, <) and
// a version. What the package says of a name comes first; else names ending in -devel or -dev become what the format calls them. The
// result has no line where the format does not need it, and two where it takes two to say the same.
func Dependency(format string, p spec.Package, depends string) ([]string, error) {
	r, err := parseRelation(depends)
	if err != nil {
		return nil, err
	}
	name := r.name
	if called := p.Called(name, format); called == spec.NotNeeded {
		return nil, nil
	} else if called != "" {
		name = called
	} else if called, ok := foreign(name); ok {
		name = called[format]
	} else if stem, ok := strings.CutSuffix(name, "-devel"); ok && format != RPM {
		name = stem + "-dev"
	} else if stem, ok := strings.CutSuffix(name, "-dev"); ok && format == RPM {
		name = stem + "-devel"
	}
	name = Name(format, name)
	if r.op == "" {
		return []string{name}, nil
	}
	switch format {
	case DEB:
		return []string{debRelation(name, r)}, nil
	case APK:
		return apkRelation(name, r), nil
	}
	return []string{name + " " + r.op + " " + Upstream(r.version)}, nil
}

// debRelation writes a relation for dpkg. A component knows no release numbers: "= 1.4" means 1.4 in whatever release. rpm compares so by
// itself, dpkg counts 1.4-1 as later than 1.4. What "+~" ends sorts after all releases of a version and before anything later.
func debRelation(name string, r relation) string {
	version := Upstream(r.version)
	past := version + "+~"
	switch r.op {
	case "=":
		return name + " (>= " + version + "), " + name + " (<< " + past + ")"
	case ">":
		return name + " (>= " + past + ")"
	case "<=":
		return name + " (<< " + past + ")"
	case "<":
		return name + " (<< " + version + ")"
	}
	return name + " (>= " + version + ")"
}

// apkRelation writes a relation for apk, which counts 1.4-r1 as later than 1.4, too. What "_p" ends sorts after all releases of a version.
func apkRelation(name string, r relation) []string {
	version := APKVersion(r.version)
	past := version + "_p"
	switch r.op {
	case "=":
		return []string{name + ">=" + version, name + "<" + past}
	case ">":
		return []string{name + ">=" + past}
	case "<=":
		return []string{name + "<" + past}
	case "<":
		return []string{name + "<" + version}
	}
	return []string{name + ">=" + version}
}
