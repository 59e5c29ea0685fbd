package pack

import (
	"slices"
	"strings"

	"slipway.dev/slipway/internal/slipway"
)

// foreign names the packages of the distributions below a product whose names differ, by the name that a component's
// file uses. What is not listed has the same name in both.
func foreign(name string) (rpm, deb string, ok bool) {
	switch name {
	case "libc", "glibc":
		return "glibc", "libc6", true
	case "sh":
		return "/bin/sh", "dash", true
	case "libstdc++":
		return "libstdc++", "libstdc++6", true
	case "zlib":
		return "zlib", "zlib1g", true
	case "libssl", "openssl-libs":
		return "openssl-libs", "libssl3", true
	case "libcurl":
		return "libcurl", "libcurl4", true
	case "sqlite-libs":
		return "sqlite-libs", "libsqlite3-0", true
	case "ssh", "openssh-client":
		return "openssh-clients", "openssh-client", true
	case "cron":
		return "cronie", "cron", true
	case "iproute":
		return "iproute", "iproute2", true
	}
	return "", "", false
}

// Name is how a package of this name is called in the format: dpkg knows only lower case and no underscores.
func Name(format, name string) string {
	if format != DEB {
		return name
	}
	return strings.ReplaceAll(strings.ToLower(name), "_", "-")
}

// Dependency translates one line of a package's depends: a name, or a name, an operator (=, >=, <=, >, <) and a
// version. Names ending in -devel or -dev become what the format calls them.
func Dependency(format, depends string) (string, error) {
	fields := strings.Fields(depends)
	bad := slipway.Errorf(slipway.Invalid, "the dependency %q is not a name, nor a name, an operator and a version", depends).
		Try(`write "libwire" or "libwire >= 1.4"`)
	if len(fields) != 1 && len(fields) != 3 {
		return "", bad
	}
	name := fields[0]
	if rpm, deb, ok := foreign(name); ok {
		name = rpm
		if format == DEB {
			name = deb
		}
	} else if stem, ok := strings.CutSuffix(name, "-devel"); ok && format == DEB {
		name = stem + "-dev"
	} else if stem, ok := strings.CutSuffix(name, "-dev"); ok && format == RPM {
		name = stem + "-devel"
	}
	name = Name(format, name)
	if len(fields) == 1 {
		return name, nil
	}
	op, version := fields[1], Upstream(fields[2])
	if !slices.Contains([]string{"=", ">=", "<=", ">", "<"}, op) {
		return "", bad
	}
	if format != DEB {
		return name + " " + op + " " + version, nil
	}
	// A component knows no release numbers: "= 1.4" means 1.4 in whatever release. rpm compares so by itself, dpkg
	// counts 1.4-1 as later than 1.4. What "+~" ends sorts after all releases of a version and before anything later.
	past := version + "+~"
	switch op {
	case "=":
		return name + " (>= " + version + "), " + name + " (<< " + past + ")", nil
	case ">":
		return name + " (>= " + past + ")", nil
	case "<=":
		return name + " (<< " + past + ")", nil
	case "<":
		return name + " (<< " + version + ")", nil
	}
	return name + " (>= " + version + ")", nil
}
