package debian

import (
	"os/exec"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"slipway.dev/slipway/internal/platform/seeded"
)

// dpkg is the judge.
func TestVersionsAsDpkgDoes(t *testing.T) {
	ask := func(t interface{ Fatal(...any) }, a, op, b string) bool {
		err := exec.Command("dpkg", "--compare-versions", a, op, b).Run()
		if exit := (*exec.ExitError)(nil); err != nil && !asExit(err, &exit) {
			t.Fatal(err)
		}
		return err == nil
	}
	check := func(t interface {
		Fatal(...any)
		Fatalf(string, ...any)
	}, a, b string) {
		c := CompareVersions(a, b)
		if lt, gt := ask(t, a, "lt", b), ask(t, a, "gt", b); lt != (c < 0) || gt != (c > 0) {
			t.Fatalf("%s and %s compare as %d; dpkg says less %t, greater %t", a, b, c, lt, gt)
		}
		if back := CompareVersions(b, a); back != -c && (back < 0) == (c < 0) {
			t.Fatalf("%s and %s: %d one way, %d the other", a, b, c, back)
		}
	}
	for _, pair := range [][2]string{
		{"1.0", "1.0-0"}, {"1.0", "1.0-1"}, {"1.0~rc1", "1.0"}, {"1.0~~", "1.0~"}, {"1:0", "2"}, {"0:1", "1"}, {"1.02", "1.2"}, {"1.0a", "1.0+"},
		{"1.0+b1", "1.0"}, {"1-1-1", "1-1"}, {"99999999999999999999998", "99999999999999999999999"}, {"2.36-9+deb12u8", "2.36-9"}, {"1.0A", "1.0a"},
	} {
		check(t, pair[0], pair[1])
	}
	part := rapid.StringMatching(`[0-9]{1,2}([.+~a-c][0-9a~+.]{0,3}){0,2}`)
	version := rapid.Custom(func(t *rapid.T) string {
		v := part.Draw(t, "upstream")
		if rapid.Bool().Draw(t, "has revision") {
			v += "-" + part.Draw(t, "revision")
		}
		if rapid.Bool().Draw(t, "has epoch") {
			v = rapid.SampledFrom([]string{"0:", "1:", "12:"}).Draw(t, "epoch") + v
		}
		return v
	})
	seeded.Check(t, func(t *rapid.T) { check(t, version.Draw(t, "a"), version.Draw(t, "b")) })
}

func asExit(err error, exit **exec.ExitError) bool {
	e, ok := err.(*exec.ExitError)
	*exit = e
	return ok
}

// So is it for wildcards of architectures.
func TestArchitecturesAsDpkgDoes(t *testing.T) {
	arches := []string{"amd64", "armhf", "x32", "mips64el", "hurd-i386", "musl-linux-amd64"}
	words := append(slices.Clone(arches), "any", "linux-any", "hurd-any", "any-amd64", "any-arm", "any-i386", "gnu-any-any", "musl-any-any", "any-any-any-amd64",
		"eabihf-any-any-any")
	for _, arch := range arches {
		for _, word := range words {
			err := exec.Command("dpkg-architecture", "-a"+arch, "-i"+word).Run()
			if got := matches(arch, word); got != (err == nil) {
				t.Errorf("%s is %s: %t, dpkg says %t", arch, word, got, err == nil)
			}
		}
	}
}

func TestRestrictions(t *testing.T) {
	for _, c := range []struct {
		list string
		want bool
	}{{"", true}, {"amd64", true}, {"i386 linux-any", true}, {"i386 arm64", false}, {"!i386", true}, {"!i386 !amd64", false}, {"!linux-any", false}} {
		if got := listed("amd64", c.list); got != c.want {
			t.Errorf("[%s]: %t", c.list, got)
		}
	}
	for _, c := range []struct {
		formula  string
		profiles []string
		want     bool
	}{
		{"", nil, true}, {"!nocheck", nil, true}, {"!nocheck", []string{"nocheck"}, false}, {"cross", nil, false}, {"cross", []string{"cross"}, true},
		{"!a !b", nil, true}, {"!a !b", []string{"b"}, false}, {"a> <!b", nil, true}, {"a> <!b", []string{"b"}, false}, {"a> <!b", []string{"a", "b"}, true},
	} {
		if got := active(c.profiles, c.formula); got != c.want {
			t.Errorf("<%s> with %v: %t", c.formula, c.profiles, got)
		}
	}
}
