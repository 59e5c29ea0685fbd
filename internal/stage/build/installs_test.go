package build_test

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/build"
	"slipway.dev/slipway/internal/stage/compose/pack"
	"slipway.dev/slipway/internal/store/storetest"
)

// packager is the compose stage's, as internal/server wires it.
type packager struct{}

func (packager) Formats(p spec.Package) []string {
	return slices.DeleteFunc(pack.Formats(p), func(f string) bool { return f != pack.RPM && f != pack.DEB && f != pack.APK })
}

func (packager) Pack(w io.Writer, format string, p build.Parcel) error {
	return pack.Write(w, format, pack.Input{Tree: p.Tree, Package: p.Package, Version: p.Version, Release: 1, Time: p.Time, Vendor: p.Vendor}, pack.Keys{})
}

func (packager) FileName(format string, p build.Parcel) string {
	return pack.FileName(format, p.Package, p.Version, 1)
}

func (packager) StandIn(w io.Writer, format string, lines []build.DependsLine) ([]string, error) {
	needs := make([]pack.Need, len(lines))
	for i, l := range lines {
		needs[i] = pack.Need(l)
	}
	return pack.WriteStandIn(w, format, needs, time.Unix(0, 0))
}

// packaged adds packages to the recipe of a component that makes one file.
func (w *world) packaged(name, needs, packages string) {
	w.t.Helper()
	w.commit(name, "components/"+name, map[string]string{"slipway.yaml": recipe(name, needs, "echo "+name+" > $OUT/"+name) + "packages:\n" + packages})
}

const (
	wirePackage = "  - {name: wire, depends: [libc], files: {/usr/share/wire: wire}}\n"
	dataPackage = "  - {name: ferry-data, arch: all, formats: [rpm, deb], files: {/usr/share/data: data}}\n"
	ferry       = "  - name: ferry\n    depends: [wire >= 1.0, ferry-data, sh, 'libcurl > 7.0', zlib <= 1.2, 'libssl = 3.0', 'ca-certificates < 99']\n    files: {/usr/bin/ferry: app}\n"
)

// TestInstalls installs what a rebuild makes with the real rpm and dpkg, and hears their own words when they refuse.
func TestInstalls(t *testing.T) {
	w, shelf := newShelf(t, storetest.Open(t))
	w.packaged("wire", "", wirePackage)
	w.packaged("app", "wire", ferry+"    scripts:\n      postinstall: test -s /usr/bin/ferry && echo it is there | sed s/is/was/ && id -un\n")
	w.packaged("data", "app", dataPackage) // the other way round: built with the program, and installed with it
	w.packaged("web", "", "  - {name: web, formats: [npm, oci], files: {/usr/share/web: web}}\n")
	w.commit("bare", "components/bare", map[string]string{"slipway.yaml": recipe("bare", "wire", "echo bare > $OUT/bare")})
	w.start()
	all := w.rebuilt(build.RebuildCause{All: true})
	if all.State != build.RebuildPassed {
		t.Fatal(all.Reason)
	}
	for item, want := range map[string]string{
		"app":  "deb: ferry_1.0.0-1_amd64.deb, wire_1.0.0-1_amd64.deb, ferry-data_1.0.0-1_all.deb; taken to be there: ca-certificates, dash, libc6, libcurl4, libssl3, zlib1g; rpm: ferry-1.0.0-1.x86_64.rpm, ",
		"wire": "deb: wire_1.0.0-1_amd64.deb; taken to be there: libc6; rpm: wire-1.0.0-1.x86_64.rpm; taken to be there: glibc",
		"data": "deb: ferry-data_1.0.0-1_all.deb; rpm: ferry-data-1.0.0-1.noarch.rpm",
		"web":  "not applicable: no package manager installs the formats of its packages",
		"bare": "not applicable: the component makes no packages",
	} {
		if r := shelf.result("rebuild/1", "installs", item); r.Outcome != slipway.Pass || !strings.HasPrefix(r.Reason, want) {
			t.Errorf("%s: %s %q", item, r.Outcome, r.Reason)
		}
		if r := shelf.result("rebuild/1", "starts", item); r.Outcome != slipway.Pass || !strings.HasPrefix(r.Reason, "not applicable: ") {
			t.Errorf("%+v", r)
		}
	}
	check := w.check(all, "app", "installs")
	log := w.log(check.Build)
	if strings.Count(log, "it was there") != 2 || strings.Count(log, "root") < 2 {
		t.Fatalf("the scripts did not run in both:\n%s", log)
	}
	b, err := w.s.Build(t.Context(), check.Build)
	if err != nil || b.Name() != "app:installs" || len(b.Inputs) != 2 || b.Own == "" || b.Inputs["data"] == "" {
		t.Fatalf("%+v %v", b, err)
	}

	// Equal packages are not installed again.
	again := w.rebuilt(build.RebuildCause{All: true})
	if c := w.check(again, "app", "installs"); !c.Reused || c.Build != check.Build {
		t.Fatalf("%+v", c)
	}

	// What a component runs with beside what it is built with comes along, also when that is not asked for.
	w.packaged("app", "wire", ferry)
	alone := w.rebuilt(build.RebuildCause{Components: []string{"app"}, Strategy: "by-key"})
	if c := w.check(alone, "app", "installs"); alone.State != build.RebuildPassed || c.Outcome != slipway.Pass {
		t.Fatalf("%s %+v", alone.Reason, c)
	}

	for _, c := range []struct{ name, packages, want string }{
		{"a version that nobody has", strings.Replace(ferry, "wire >= 1.0", "wire >= 2.0", 1), "wire (>= 2.0)"},
		{"for rpm alone", strings.Replace(ferry, "wire >= 1.0", "wire >= 2.0", 1) + "    formats: [rpm]\n", "wire >= 2.0 is needed by ferry-1.0.0-1.x86_64"},
		{"a file of another package", strings.Replace(ferry, "/usr/bin/ferry", "/usr/share/wire", 1), "trying to overwrite '/usr/share/wire'"},
		{"a script that fails", ferry + "    scripts: {postinstall: echo no harbour >&2; exit 3}\n", "no harbour"},
		{"a script that fails, for rpm", ferry + "    formats: [rpm]\n    scripts: {postinstall: exit 3}\n", "scriptlet failed, exit status 3"},
		{"a file that is not there", "  - {name: ferry, files: {/usr/bin/ferry: nothing}}\n", "nothing"},
	} {
		w.packaged("app", "wire", c.packages)
		r := w.rebuilt(build.RebuildCause{Components: []string{"app"}})
		got := w.check(r, "app", "installs")
		if r.State != build.RebuildStuck || got.Outcome != slipway.Fail || !strings.Contains(got.Reason, c.want) {
			t.Errorf("%s: %s: %+v", c.name, r.State, got)
		}
		if err := w.s.CancelRebuild(t.Context(), r.ID, "ann", "done"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestWaivedInstallation lets a rebuild go on past packages that cannot be installed.
func TestWaivedInstallation(t *testing.T) {
	w, gate := gated(t, storetest.Open(t))
	w.packaged("wire", "", "  - {name: wire, depends: [ferry-data >= 2], files: {/usr/share/wire: wire}}\n")
	w.packaged("data", "", dataPackage)
	w.commit("app", "components/app", map[string]string{"slipway.yaml": recipe("app", "wire", "cp $DEPS/wire/wire $OUT/app")})
	w.start()
	stuck := w.rebuilt(build.RebuildCause{All: true})
	if stuck.State != build.RebuildStuck || stuck.Counts.Skipped != 1 {
		t.Fatalf("%+v", stuck)
	}
	w.waiver(gate, "installs", "wire")
	if went := w.settled(stuck.ID, 2); went.State != build.RebuildPassed || went.Attempts[1].Why != "wire:installs is waived" || w.check(went, "wire", "installs").State != "waived" {
		t.Fatalf("%+v", went)
	}
}

// TestChecksInABuildroot looks for libraries in the root that a component is built in, and not on the host; and installs nothing with the
// host's package managers there.
func TestChecksInABuildroot(t *testing.T) {
	w, shelf := newShelf(t, storetest.Open(t))
	w.commit("tool", "components/tool", map[string]string{"slipway.yaml": recipe("tool", "", "cp /usr/bin/rpm $OUT/tool")})
	w.commit("app", "components/app", map[string]string{"slipway.yaml": recipe("app", "tool", "cat $DEPS/tool/tool > $OUT/app") + "buildroot: small\npackages:\n  - {name: app, files: {/usr/bin/app: app}}\n"})
	shelf.rules = w.rules(map[string]string{"product.yaml": smallRoot})
	w.start()
	r := w.rebuilt(build.RebuildCause{All: true})
	if got := shelf.result("rebuild/1", "linkage", "tool"); got.Outcome != slipway.Pass {
		t.Errorf("%+v", got)
	}
	if got := shelf.result("rebuild/1", "linkage", "app"); r.State != build.RebuildStuck || got.Outcome != slipway.Fail || !strings.Contains(got.Reason, "librpm.so") {
		t.Errorf("%s %+v", r.Reason, got)
	}
	if got := shelf.result("rebuild/1", "installs", "app"); got.Outcome != slipway.Pass || got.Reason != "deb: not applicable: small has no dpkg; rpm: not applicable: small has no rpm" {
		t.Errorf("%+v", got)
	}
}
