package debian

import (
	"cmp"
	"strings"
)

// CompareVersions orders two versions as deb-version(7) does: negative when a is older than b, 0 when they are equal. It does not
// check their form.
func CompareVersions(a, b string) int {
	if a == b {
		return 0
	}
	epochA, a := cutEpoch(a)
	epochB, b := cutEpoch(b)
	if c := compareNumbers(epochA, epochB); c != 0 {
		return c
	}
	upstreamA, revisionA := cutRevision(a)
	upstreamB, revisionB := cutRevision(b)
	if c := compareParts(upstreamA, upstreamB); c != 0 {
		return c
	}
	return compareParts(revisionA, revisionB)
}

func cutEpoch(v string) (epoch, rest string) {
	if i := strings.IndexByte(v, ':'); i >= 0 {
		return v[:i], v[i+1:]
	}
	return "", v
}

func cutRevision(v string) (upstream, revision string) {
	if i := strings.LastIndexByte(v, '-'); i >= 0 {
		return v[:i], v[i+1:]
	}
	return v, ""
}

// compareParts compares runs of other characters and runs of digits in turn.
func compareParts(a, b string) int {
	for a != "" || b != "" {
		i, j := 0, 0
		for (i < len(a) && !digit(a[i])) || (j < len(b) && !digit(b[j])) {
			x, y := rank(a, i), rank(b, j)
			if x != y {
				return cmp.Compare(x, y)
			}
			i, j = i+1, j+1
		}
		a, b = a[i:], b[j:]
		i, j = digits(a), digits(b)
		if c := compareNumbers(a[:i], b[:j]); c != 0 {
			return c
		}
		a, b = a[i:], b[j:]
	}
	return 0
}

// rank orders characters: '~' before the end, then the end or a digit, then letters, then everything else.
func rank(v string, i int) int {
	switch {
	case i >= len(v) || digit(v[i]):
		return 0
	case v[i] == '~':
		return -1
	case 'a' <= v[i]|0x20 && v[i]|0x20 <= 'z':
		return int(v[i])
	}
	return int(v[i]) + 256
}

// compareNumbers compares runs of digits of any length.
func compareNumbers(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	if c := cmp.Compare(len(a), len(b)); c != 0 {
		return c
	}
	return cmp.Compare(a, b)
}

func digits(s string) int {
	n := 0
	for n < len(s) && digit(s[n]) {
		n++
	}
	return n
}

func digit(c byte) bool { return '0' <= c && c <= '9' }
