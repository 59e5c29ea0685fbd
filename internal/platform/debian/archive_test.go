package debian

import (
	"compress/gzip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"slipway.dev/slipway/internal/platform/graph"
	"slipway.dev/slipway/internal/slipway"
)

// A small archive with what is hard in the large one.
const packages = `Package: libc6
Source: glibc
Version: 2.36-9
Architecture: amd64
Multi-Arch: same
Depends: libgcc-s1
Description: C library
 Lines of text: with a colon.
 .
 More.

Package: libgcc-s1
Source: gcc-12 (12.2.0-14)
Version: 12.2.0-14
Architecture: amd64
Depends: libc6 (>= 2.35)
Provides: libgcc1 (= 1:12.2.0-14)

Package: build-essential
Version: 12.9
Architecture: amd64
Depends: gcc-12 (>= 12.2), make

Package: gcc-12
Version: 12.2.0-14
Architecture: amd64
Depends: libc6 (>= 2.36), libgcc1 (>= 1:12)

Package: make
Source: make-dfsg
Version: 4.3-4.1
Architecture: amd64
Multi-Arch: allowed
Depends: libc6 (>= 2.34)

Package: base-files
Essential: yes
Version: 12.4
Architecture: amd64
Pre-Depends: awk

Package: mawk
Version: 1.3.4
Architecture: amd64
Pre-Depends: libc6 (>= 2.36)
Provides: awk

Package: gawk
Version: 1:5.2.1-2
Architecture: amd64
Pre-Depends: libc6
Depends: libc6 (>= 2.33)
Provides: awk

Package: exim
Version: 4
Architecture: amd64
Provides: mta
Depends: libc6

Package: postfix
Version: 3
Architecture: amd64
Provides: mta
Depends: libc6

Package: mutt
Version: 2.2
Architecture: amd64
Depends: libc6 (>= 2.36), exim (>= 9) | mta,
 libsasl (>= 2) | libgcc1 (<< 1:12)
Recommends: locales, sl:any, make:any, mawk:any

Package: locales
Source: glibc
Version: 2.36
Architecture: all
Depends: libc-bin (>> 2.36~)

Package: locales
Source: glibc
Version: 2.36~rc1-1
Architecture: all
Depends: make

Package: i386-only
Version: 1
Architecture: i386
Depends: libc6
`

const sources = `Package: glibc
Binary: libc6, locales
Version: 2.36-9
Architecture: any all
Build-Depends: gawk, linux-headers [linux-any], hurd-dev [hurd-any], make:native <!nocheck>, mutt <check>
Package-List:
 libc6 deb libs optional arch=any
Files:
 0123 45 glibc.dsc

Package: gcc-12
Binary: gcc-12,
 libgcc-s1
Version: 12.2.0-14
Architecture: any
Build-Depends: mawk [!amd64], libc6 (>= 2.36) [!hurd-i386] <!stage1> <cross>

Package: make-dfsg
Binary: make
Version: 4.3-4.1
Architecture: any
Build-Depends-Arch: exim

Package: mutt
Binary: mutt
Version: 2.2
Architecture: any
Build-Depends: postfix | exim
Build-Depends-Indep: locales

Package: glibc
Binary: libc6
Version: 2.31
Extra-Source-Only: yes
`

func parse(t *testing.T) *Archive {
	t.Helper()
	a, err := Parse("amd64", []List{{"Packages", packages}}, []List{{"Sources", sources}})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func resolve(t *testing.T, a *Archive, rules Rules) *Graph {
	t.Helper()
	g, err := a.Graph(rules)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func vertex(t *testing.T, g *Graph, name string) int32 {
	t.Helper()
	v, err := g.Vertex(name)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func names(g *Graph, vertices []int32) string {
	var all []string
	for _, v := range vertices {
		all = append(all, g.Name(v))
	}
	return strings.Join(all, " ")
}

func TestNeedsOfEachPackage(t *testing.T) {
	a := parse(t)
	for _, c := range []struct {
		rules Rules
		name  string
		want  string
	}{
		{Rules{}, "libc6", "libgcc-s1 src:glibc"},
		{Rules{}, "base-files", "gawk mawk"},                        // a virtual package: all that provide it
		{Rules{NoProvides: true}, "base-files", ""},                 //
		{Rules{}, "gcc-12", "libc6 libgcc-s1 src:gcc-12"},           // provided with a version
		{Rules{}, "mutt", "exim libc6 postfix src:mutt"},            // exim is too old but provides mta; a field over two lines; nothing satisfies libsasl
		{Rules{First: true}, "mutt", "exim libc6 postfix src:mutt"}, // the first that can be satisfied is mta: whatever provides it
		{Rules{AnyVersion: true}, "mutt", "exim libc6 postfix src:mutt"},
		{Rules{Recommends: true}, "mutt", "exim libc6 locales make postfix src:mutt"}, // make is Multi-Arch: allowed, mawk is not
		{Rules{Recommends: true, NoQualified: true}, "mutt", "exim libc6 locales postfix src:mutt"},
		{Rules{}, "locales", "src:glibc"}, // of its two versions the higher; nothing is libc-bin
		{Rules{AllVersions: true}, "locales", "make src:glibc"},
		{Rules{}, "src:glibc", "base-files build-essential gawk make"},
		{Rules{Profiles: []string{"nocheck"}}, "src:glibc", "base-files build-essential gawk"},
		{Rules{Profiles: []string{"check"}}, "src:glibc", "base-files build-essential gawk make mutt"},
		{Rules{}, "src:gcc-12", "base-files build-essential libc6"},
		{Rules{Profiles: []string{"stage1"}}, "src:gcc-12", "base-files build-essential"},
		{Rules{Profiles: []string{"stage1", "cross"}}, "src:gcc-12", "base-files build-essential libc6"},
		{Rules{}, "src:mutt", "base-files build-essential exim locales postfix"},
		{Rules{First: true}, "src:mutt", "base-files build-essential locales postfix"},
		{Rules{Rivals: true}, "exim", "libc6"}, // nobody asks for exim in a version that others provide
	} {
		g := resolve(t, a, c.rules)
		if got := names(g, g.Graph.Needs(vertex(t, g, c.name))); got != c.want {
			t.Errorf("%+v: %s needs %q, want %q", c.rules, c.name, got, c.want)
		}
	}
	if g := resolve(t, a, Rules{}); g.Open != 3 { // libsasl or libgcc1, libc-bin, linux-headers
		t.Errorf("%d dependencies are open, want 3", g.Open)
	}
	if len(a.Sources) != 4 {
		t.Errorf("%d sources; one is not to be built", len(a.Sources))
	}
}

func TestQuestions(t *testing.T) {
	g := resolve(t, parse(t), Rules{})
	set := func(s graph.Set) string { return names(g, slices.Collect(s.All())) }
	if got, want := set(g.Dependents(vertex(t, g, "make"))), "build-essential make src:gcc-12 src:glibc src:make-dfsg src:mutt"; got != want {
		t.Errorf("dependents of make: %s, want %s", got, want)
	}
	if got, want := set(g.Dependents(vertex(t, g, "locales"))), "locales src:mutt"; got != want {
		t.Errorf("dependents of locales: %s, want %s", got, want)
	}
	if got, want := set(g.Needs(vertex(t, g, "mutt"))), "exim libc6 libgcc-s1 mutt postfix src:gcc-12 src:glibc src:mutt"; got != want {
		t.Errorf("needs of mutt: %s, want %s", got, want)
	}
	ways := g.DependentWays(vertex(t, g, "libc6"))
	if got := names(g, ways.Back(vertex(t, g, "src:mutt"))); got != "src:mutt exim libc6" && got != "src:mutt postfix libc6" {
		t.Errorf("why src:mutt: %s", got)
	}

	// All builds need make by way of build-essential, and make needs its own source: what does not spread has that cycle alone.
	r := g.Rebuild(vertex(t, g, "locales"), false)
	if len(r.Tiers) != 1 || names(g, r.Tiers[0]) != "src:mutt" || r.Cycles != nil {
		t.Errorf("rebuild for locales: %v %v", r.Tiers, r.Cycles)
	}
	r = g.Rebuild(vertex(t, g, "exim"), false)
	if len(r.Tiers) != 2 || names(g, r.Tiers[0]) != "src:make-dfsg" || names(g, r.Tiers[1]) != "src:mutt" {
		t.Errorf("rebuild for exim: %v", r.Tiers)
	}
	r = g.Rebuild(vertex(t, g, "exim"), true) // make is in every buildroot, and the C library below every package
	if len(r.Tiers) != 2 || names(g, r.Tiers[0]) != "src:gcc-12 src:glibc src:make-dfsg" || names(g, r.Tiers[1]) != "src:mutt" {
		t.Errorf("rebuild for exim that spreads: %v", r.Tiers)
	}
	if len(r.Cycles) != 1 || names(g, r.Cycles[0]) != "src:gcc-12 src:glibc src:make-dfsg" {
		t.Fatalf("cycles: %v", r.Cycles)
	}
	way := g.Circle(r.Cycles[0])
	if len(way) < 3 || way[0] != r.Cycles[0][0] || way[len(way)-1] != way[0] {
		t.Errorf("circle: %s", names(g, way))
	}
	r = g.Rebuild(vertex(t, g, "src:mutt"), true) // it makes mutt, which no build needs
	if len(r.Tiers) != 0 {
		t.Errorf("rebuild for src:mutt: %v", r.Tiers)
	}
}

// What apt-cache rdepends would also list: other packages that content a dependent.
func TestRivals(t *testing.T) {
	a, err := Parse("amd64", []List{{"Packages", `Package: a
Version: 1
Architecture: all

Package: b
Version: 1
Architecture: all
Provides: a

Package: user
Version: 1
Architecture: all
Depends: a
`}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for rivals, want := range map[bool]string{false: "a user", true: "a b user"} {
		g := resolve(t, a, Rules{NoProvides: true, Rivals: rivals})
		if got := names(g, slices.Collect(g.Dependents(vertex(t, g, "a")).All())); got != want {
			t.Errorf("rivals %t: %s, want %s", rivals, got, want)
		}
	}
}

func TestUnknownPackage(t *testing.T) {
	g := resolve(t, parse(t), Rules{})
	for name, try := range map[string]string{"glibc": "src:glibc", "mut": "mutt", "none": ""} {
		_, err := g.Vertex(name)
		if !slipway.Is(err, slipway.NotFound) || !strings.Contains(err.Error(), try) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMalformedLists(t *testing.T) {
	const head = "Package: a\nVersion: 1\nArchitecture: all\n"
	for _, c := range []struct{ packages, sources, want string }{
		{" lost\n", "", "Packages:1: a continuation line belongs to no field"},
		{head + "\n" + head + "what is this\n", "", `Packages:8: "what is this" is no field: it has no name and colon`},
		{head + ": empty\n", "", `Packages:4: ": empty" is no field`},
		{head + "\n\nPackage: b\nVersion: 1\n", "", "Packages:6: the paragraph has no field Architecture"},
		{"Package: b\nArchitecture: all\n", "", "Packages:1: the paragraph has no field Version"},
		{head, "Version: 1\n", "Sources:1: the paragraph has no field Package"},
		{head + "Depends: b, c (>= 1\n", "", `Packages:4: Depends: "(" is not closed`},
		{head + "Depends: b,\n c (~ 1)\n", "", `Packages:5: Depends: "(~ 1)" does not compare with`},
		{head + "Depends: b (>=)\n", "", `Packages:4: Depends: "(>=)" has no version`},
		{head + "Depends: b c\n", "", `Packages:4: Depends: "c" after b is neither`},
		{head + "Depends: b |\n", "", `Packages:4: Depends: an alternative is missing after "|"`},
		{head + "Depends: b:\n", "", `Packages:4: Depends: an architecture is missing after "b:"`},
		{head + "Pre-Depends: (>= 1)\n", "", `Packages:4: Pre-Depends: a package name is missing`},
		{head + "Provides: b, c d\n", "", `Packages:4: Provides: "d" after c is neither`},
		{head, "Package: s\nVersion: 1\nBuild-Depends: a,\n b [amd64\n", `Sources:4: Build-Depends: "[" is not closed`},
		{head, "Package: s\nVersion: 1\nBuild-Depends-Indep: a <!nocheck\n", `Sources:3: Build-Depends-Indep: "<" is not closed`},
	} {
		a, err := Parse("amd64", []List{{"Packages", c.packages}}, []List{{"Sources", c.sources}})
		if err == nil {
			_, err = a.Graph(Rules{})
		}
		if !slipway.Is(err, slipway.Invalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q %q:\n got %v\nwant %s", c.packages, c.sources, err, c.want)
		}
	}
}

// A list is read in pieces by all processors; where it is cut makes no difference, to errors neither.
func TestPieces(t *testing.T) {
	l := List{"Packages", packages}
	want, err := l.packages("amd64", 0, len(l.Text))
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n < 60; n++ {
		var got []Package
		end := 0
		for _, p := range l.pieces(n) {
			if p[0] != end {
				t.Fatalf("%d pieces leave a gap at %d", n, end)
			}
			end = p[1]
			some, err := l.packages("amd64", p[0], p[1])
			if err != nil {
				t.Fatal(n, err)
			}
			got = append(got, some...)
		}
		if end != len(l.Text) || !slices.Equal(got, want) {
			t.Fatalf("%d pieces: %d packages, want %d", n, len(got), len(want))
		}
	}
	if (&List{}).pieces(3) != nil {
		t.Error("an empty list has pieces")
	}
}

func TestOpen(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "var/lib/apt/lists")
	put := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if strings.HasSuffix(name, ".gz") {
			z := gzip.NewWriter(f)
			defer z.Close()
			_, err = z.Write([]byte(text))
		} else {
			_, err = f.WriteString(text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	open := func(arch string) (*Archive, error) { return Open(t.Context(), root, arch) }
	if _, err := open(""); !slipway.Is(err, slipway.NotFound) {
		t.Fatal(err)
	}
	put("example.org_dists_stable_Release", "Suite: stable\n")
	if _, err := open(""); !slipway.Is(err, slipway.NotFound) || !strings.Contains(err.Error(), "apt-get update") {
		t.Fatal(err)
	}
	put("example.org_dists_stable_main_binary-amd64_Packages.gz", packages)
	put("example.org_dists_stable_main_binary-all_Packages", packages)
	put("example.org_dists_stable_main_source_Sources", sources)
	a, err := open("")
	if err != nil || a.Architecture != "amd64" || len(a.Packages) != 13 || len(a.Sources) != 4 {
		t.Fatal(a, err)
	}
	put("example.org_dists_stable_main_binary-arm64_Packages", "Package: x\nVersion: 1\nArchitecture: arm64\n")
	if _, err := open(""); !slipway.Is(err, slipway.Invalid) || !strings.Contains(err.Error(), "--arch") {
		t.Fatal(err)
	}
	if a, err = open("arm64"); err != nil || len(a.Packages) != 3 { // x and what is for all
		t.Fatal(len(a.Packages), err)
	}
	// Compressed as apt does it here, where its helper reads it, and damaged.
	put("other_main_binary-arm64_Packages.xz", "this is not xz")
	if _, err := open("arm64"); err == nil || !strings.Contains(err.Error(), "other_main_binary-arm64_Packages.xz") {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "other_main_binary-arm64_Packages")
	put(filepath.Base(path), "Package: y\nVersion: 1\nArchitecture: arm64\n")
	if out, err := exec.CommandContext(t.Context(), "xz", "--force", path).CombinedOutput(); err != nil {
		t.Fatalf("%s %v", out, err)
	}
	if a, err = open("arm64"); err != nil || len(a.Packages) != 4 {
		t.Fatal(a, err)
	}
}
