package pack

import (
	"regexp"
	"strings"
)

// Upstream turns a version of a component, usually semantic, into the version part of a package of either format:
// "1.4.0" stays, "v1.4.0-rc.1+g12" becomes "1.4.0~rc.1+g12". The tilde makes a pre-release sort before its release in
// rpm and in dpkg. A character that neither format allows becomes a dot; an empty version becomes "0".
//
// Formats: rpm-version(7) and deb-version(7); both compare runs of digits and letters alike.
func Upstream(version string) string {
	v := strings.TrimPrefix(version, "v")
	v, meta, hasMeta := strings.Cut(v, "+")
	v, pre, hasPre := strings.Cut(v, "-")
	out := clean(v)
	if out == "" {
		out = "0"
	}
	if out[0] < '0' || out[0] > '9' { // deb-version(7): starts with a digit
		out = "0." + out
	}
	if hasPre && pre != "" {
		out += "~" + clean(pre)
	}
	if hasMeta && meta != "" {
		out += "+" + clean(meta)
	}
	return out
}

// clean keeps what both formats allow in a version beside the separators that Upstream sets itself.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= '0' && r <= '9', r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r == '.', r == '~':
			return r
		default:
			return '.'
		}
	}, s)
}

var apkNumber = regexp.MustCompile(`^[0-9]+(\.[0-9]+)*`)

// APKVersion turns a version of a component into one that apk knows: "1.4.0" stays, "v1.4.0-rc.1+g12" becomes "1.4.0_rc1". Of a
// pre-release apk knows the words alpha, beta, pre and rc with a number, and anything else counts as alpha; build metadata it does not know
// at all, and it is left out. A version that begins with no number becomes "0".
//
// Format: apk-package(5), "Package version".
func APKVersion(version string) string {
	v, _, _ := strings.Cut(strings.TrimPrefix(version, "v"), "+")
	v, pre, hasPre := strings.Cut(v, "-")
	out := apkNumber.FindString(v)
	if out == "" {
		out = "0"
	}
	if !hasPre || pre == "" {
		return out
	}
	word, digits := "alpha", ""
	for _, known := range []string{"alpha", "beta", "pre", "rc"} {
		if strings.HasPrefix(pre, known) {
			word = known
		}
	}
	for _, r := range pre {
		if r >= '0' && r <= '9' && len(digits) < 9 {
			digits += string(r)
		}
	}
	return out + "_" + word + digits
}
