package compose_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/jobs/jobstest"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/compose"
	"slipway.dev/slipway/internal/stage/compose/composetest"
	"slipway.dev/slipway/internal/store"
	"slipway.dev/slipway/internal/store/storetest"
)

const productFile = `product: ferry
summary: Carries boxes to and fro
components:
  libwire: {repo: components/libwire}
  ferry: {repo: components/ferry}
  tool: {repo: components/tool}
configurations:
  edge: {components: [libwire, ferry]}
  desk: {}
compose:
  variants:
    Edge: {summary: For the quay, configuration: edge, components: [ferry]}
    Desk: {summary: For the office, configuration: desk}
`

// keys is the folder of the signing key that all tests share: making one takes longer than a test.
var keys string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "slipway-compose-keys-")
	if err != nil {
		panic(err)
	}
	keys = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// world holds what the stage asks others for: releases and files by hand, artifacts in a real store, packages and
// composes in a real database.
type world struct {
	t        *testing.T
	db       *store.DB
	disk     *artifact.Disk
	dir      string
	releases map[string]slipway.Release
	recipes  map[string]spec.Component // by component@commit
	files    map[string]string         // of the integration repository
	waves    map[string]slipway.WaveRequest
	answer   slipway.WaveStatus
}

func newWorld(t *testing.T, db *store.DB) *world {
	disk, err := artifact.OpenDisk(filepath.Join(t.TempDir(), "artifacts"))
	if err != nil {
		t.Fatal(err)
	}
	return &world{t: t, db: db, disk: disk, dir: t.TempDir(), releases: map[string]slipway.Release{}, recipes: map[string]spec.Component{},
		files: map[string]string{spec.ProductFile: productFile}, waves: map[string]slipway.WaveRequest{}}
}

func (w *world) service() *compose.Service {
	return compose.New(store.Scope(w.db, func(tx *store.Tx) compose.Tx { return tx }), w, w, w.disk, w, w.config())
}

func (w *world) config() compose.Config {
	return compose.Config{Dir: filepath.Join(w.dir, "composes"), URL: "http://ferry.test/composes", Key: keys}
}

func (w *world) Release(_ context.Context, id string) (slipway.Release, error) {
	r, ok := w.releases[id]
	if !ok {
		return r, slipway.Errorf(slipway.NotFound, "no release %q", id)
	}
	return r, nil
}

func (w *world) ProductFile(_ context.Context, product, commit, path string) ([]byte, error) {
	text, ok := w.files[path]
	if !ok {
		return nil, slipway.Errorf(slipway.NotFound, "no file %s in %s", path, commit)
	}
	return []byte(text), nil
}

func (w *world) Recipe(_ context.Context, pin slipway.Pin) (spec.Component, time.Time, error) {
	r, ok := w.recipes[pin.Component+"@"+pin.Commit]
	if !ok {
		return r, time.Time{}, slipway.Errorf(slipway.NotFound, "no commit %s in %s", pin.Commit, pin.Repo)
	}
	return r, composetest.Day, nil
}

func (w *world) StartWave(_ context.Context, req slipway.WaveRequest) (slipway.WaveStatus, error) {
	w.waves[req.ID] = req
	st := w.answer
	st.ID, st.For = req.ID, req.For
	return st, nil
}

// output puts a tree into the store and returns its digest.
func (w *world) output(files map[string]string) string {
	w.t.Helper()
	d, err := artifact.PutTree(w.t.Context(), w.disk, composetest.Outputs(w.t, files))
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

// commit is one component's part of a release.
type commit struct {
	name, version, artifact string
	packages                []spec.Package
}

// release records a release of the components in both configurations, and its event.
func (w *world) release(tag string, at time.Time, components ...commit) slipway.Release {
	w.t.Helper()
	rel := slipway.Release{ID: "ferry-" + tag, Product: "ferry", Tag: tag, Commit: strings.Repeat("c", 40), Time: at,
		Notes: "- ferry: go <faster>", Manifests: map[string]slipway.Manifest{}}
	edge := slipway.Manifest{Product: "ferry", Configuration: "edge", Components: map[string]slipway.Locked{}}
	desk := slipway.Manifest{Product: "ferry", Configuration: "desk", Components: map[string]slipway.Locked{}}
	for _, c := range components {
		id := fmt.Sprintf("%040x", len(w.recipes)+1)
		w.recipes[c.name+"@"+id] = spec.Component{Name: c.name, Summary: "The " + c.name, License: "MIT", Packages: c.packages}
		l := slipway.Locked{Repo: "components/" + c.name, Version: c.version, Commit: id, Artifact: c.artifact}
		desk.Components[c.name] = l
		if c.name != "tool" {
			edge.Components[c.name] = l
		}
		rel.Moved = append(rel.Moved, l.Pin(c.name))
	}
	rel.Manifests["edge"], rel.Manifests["desk"] = edge, desk
	for name, m := range rel.Manifests {
		text, err := yaml.Marshal(m)
		if err != nil {
			w.t.Fatal(err)
		}
		w.files["manifests/"+name+".yaml"] = string(text)
	}
	w.releases[rel.ID] = rel
	w.emit(slipway.Event{Type: slipway.ReleaseCreated, Subject: slipway.Ref("release", rel.ID), Product: "ferry"})
	return rel
}

func (w *world) emit(e slipway.Event) {
	w.t.Helper()
	if err := w.db.Update(w.t.Context(), func(tx *store.Tx) error { return tx.Emit(w.t.Context(), e) }); err != nil {
		w.t.Fatal(err)
	}
}

func libwire(version, artifact string) commit {
	return commit{"libwire", version, artifact, []spec.Package{{Name: "libwire", Section: "libs", Files: map[string]string{"/usr/lib/libwire.so.1": "lib/libwire.so.1"}}}}
}

func ferry(version, artifact string) commit {
	return commit{"ferry", version, artifact, []spec.Package{{Name: "ferry", Section: "net", Depends: []string{"libwire >= 1.0"},
		Files: map[string]string{"/usr/bin/ferry": "bin/ferry", "/etc/ferry.conf": "etc/ferry.conf"}}}}
}

func tool(version, artifact string) commit {
	return commit{"tool", version, artifact, []spec.Package{{Name: "tool", Arch: "all", Files: map[string]string{"/usr/bin/tool": "bin/tool"}}}}
}

var (
	libwireFiles = map[string]string{"lib/libwire.so.1": "so"}
	ferryFiles   = map[string]string{"bin/ferry": "#!/bin/sh\necho ferry 1\n", "etc/ferry.conf": "port=1\n"}
	toolFiles    = map[string]string{"bin/tool": "#!/bin/sh\necho tool\n"}
)

// first makes the release v2026.11.1 of all three components.
func (w *world) first() slipway.Release {
	return w.release("v2026.11.1", composetest.Day, libwire("1.4.0", w.output(libwireFiles)), ferry("1.0.0", w.output(ferryFiles)), tool("0.3.0", w.output(toolFiles)))
}

func (w *world) get(id string) compose.Compose {
	w.t.Helper()
	c, err := w.service().Compose(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) finished(id string) compose.Compose {
	w.t.Helper()
	c := w.get(id)
	if c.State != compose.Finished {
		w.t.Fatalf("compose %s is %s: %s", id, c.State, c.Reason)
	}
	return c
}

func fetch(t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func TestReleaseBecomesInstallable(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		s := w.service()
		web := httptest.NewServer(s.Handler())
		defer web.Close()
		rel := w.first()
		jobstest.Drain(t, db, s.Handlers()...)
		c := w.finished(rel.ID)

		desk, edge := c.Variants[0], c.Variants[1]
		if names := packageNames(edge); !slices.Equal(names, []string{"ferry", "libwire"}) {
			t.Errorf("variant Edge has %v", names)
		}
		if names := packageNames(desk); !slices.Equal(names, []string{"ferry", "libwire", "tool"}) {
			t.Errorf("variant Desk has %v", names)
		}
		if why := edge.Packages[1].Reason; why != "ferry depends on it" {
			t.Errorf("libwire is in Edge because %q", why)
		}

		_, repo := fetch(t, web.URL+"/composes/"+rel.ID+"/ferry.repo")
		dnf := composetest.NewDnf(t, repo)
		if out := dnf.Run("group", "list"); !strings.Contains(out, "Net") || !strings.Contains(out, "Libs") || !strings.Contains(out, "Edge") {
			t.Errorf("dnf group list:\n%s", out)
		}
		dnf.Run("install", "ferry", "tool")
		same(t, filepath.Join(dnf.Root, "usr/bin/ferry"), ferryFiles["bin/ferry"])
		same(t, filepath.Join(dnf.Root, "usr/bin/tool"), toolFiles["bin/tool"])
		same(t, filepath.Join(dnf.Root, "usr/lib/libwire.so.1"), "so")

		_, sources := fetch(t, web.URL+"/composes/ferry/latest/ferry.sources")
		apt := composetest.NewApt(t, sources)
		if out := apt.Run("update"); strings.Contains(out, "W:") {
			t.Errorf("apt-get update warns:\n%s", out)
		}
		apt.Run("install", "ferry", "tool")
		same(t, filepath.Join(apt.Root, "usr/bin/ferry"), ferryFiles["bin/ferry"])

		code, page := fetch(t, web.URL+"/composes/"+rel.ID+"/")
		for _, want := range []string{"v2026.11.1", "http://ferry.test/composes/" + rel.ID, "go &lt;faster&gt;", c.Signed, "1.4.0-1"} {
			if !strings.Contains(page, want) {
				t.Errorf("the index page (%d) has no %q", code, want)
			}
		}
		sums := exec.Command("sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS")
		sums.Dir = filepath.Join(w.config().Dir, rel.ID)
		if out, err := sums.CombinedOutput(); err != nil {
			t.Errorf("sha256sum: %v\n%s", err, out)
		}
		w.metadata(rel.ID)
		if v, err := s.Verify(t.Context(), rel.ID); err != nil || !v.OK || v.Files != c.Files {
			t.Errorf("verify: %+v, %v", v, err)
		}
	}, compose.Routes()...)
}

func packageNames(v compose.Variant) (names []string) {
	for _, p := range v.Packages {
		names = append(names, p.Name)
	}
	return names
}

func same(t *testing.T, file, want string) {
	t.Helper()
	got, err := os.ReadFile(file)
	if err != nil || string(got) != want {
		t.Errorf("%s holds %q, %v; want %q", file, got, err, want)
	}
}

// metadata reads composeinfo.json and rpms.json and checks that what they name is there.
func (w *world) metadata(id string) {
	w.t.Helper()
	dir := filepath.Join(w.config().Dir, id)
	var info struct {
		Header  struct{ Type, Version string }
		Payload struct {
			Compose  struct{ ID, Type string }
			Release  struct{ Short, Version string }
			Variants map[string]struct {
				UID   string
				Paths map[string]map[string]string
			}
		}
	}
	var rpms struct {
		Payload struct {
			RPMs map[string]map[string]map[string]map[string]struct{ Path, SigKey string }
		}
	}
	for name, into := range map[string]any{"composeinfo.json": &info, "rpms.json": &rpms} {
		data, err := os.ReadFile(filepath.Join(dir, "metadata", name))
		if err == nil {
			err = json.Unmarshal(data, into)
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
	if info.Header.Type != "productmd.composeinfo" || info.Header.Version != "1.2" || info.Payload.Compose.ID != "ferry-2026.11.1-20261103.0" {
		w.t.Errorf("composeinfo: %+v", info)
	}
	for _, v := range info.Payload.Variants {
		for _, byArch := range v.Paths {
			for _, p := range byArch {
				if st, err := os.Stat(filepath.Join(dir, p)); err != nil || !st.IsDir() {
					w.t.Errorf("composeinfo names %s: %v", p, err)
				}
			}
		}
	}
	count := 0
	for _, arches := range rpms.Payload.RPMs {
		for _, sources := range arches {
			for _, packages := range sources {
				for nevra, p := range packages {
					count++
					if _, err := os.Stat(filepath.Join(dir, p.Path)); err != nil || p.SigKey == "" {
						w.t.Errorf("rpms.json names %s at %s: %v", nevra, p.Path, err)
					}
				}
			}
		}
	}
	if count != 5 {
		w.t.Errorf("rpms.json names %d packages, want 5", count)
	}
}

func TestNextReleaseUpgrades(t *testing.T) {
	w := newWorld(t, storetest.Open(t, compose.Routes()...))
	s := w.service()
	web := httptest.NewServer(s.Handler())
	defer web.Close()
	one := w.first()
	jobstest.Drain(t, w.db, s.Handlers()...)
	_, repo := fetch(t, web.URL+"/composes/ferry/latest/ferry.repo")
	dnf := composetest.NewDnf(t, repo)
	dnf.Run("install", "ferry")
	_, sources := fetch(t, web.URL+"/composes/ferry/latest/ferry.sources")
	apt := composetest.NewApt(t, sources)
	apt.Run("update")
	apt.Run("install", "ferry")

	// libwire moves on; ferry has no new version but was rebuilt against it; tool is as before.
	rebuilt := map[string]string{"bin/ferry": "#!/bin/sh\necho ferry 1 again\n", "etc/ferry.conf": "port=1\n"}
	two := w.release("v2026.11.2", composetest.Day.Add(time.Hour),
		libwire("1.5.0", w.output(map[string]string{"lib/libwire.so.1": "so 2"})), ferry("1.0.0", w.output(rebuilt)), tool("0.3.0", w.output(toolFiles)))
	jobstest.Drain(t, w.db, s.Handlers()...)
	before, after := w.finished(one.ID).Variants[0], w.finished(two.ID).Variants[0]
	if p := after.Packages[0]; p.Name != "ferry" || p.Version != "1.0.0" || p.Release != 2 || p.Reused {
		t.Errorf("the rebuilt package is %+v", p)
	}
	if p := after.Packages[2]; p.Name != "tool" || p.Release != 1 || !p.Reused {
		t.Errorf("the unchanged package is %+v", p)
	}
	for format, file := range after.Packages[2].Files {
		a, err1 := os.ReadFile(filepath.Join(w.config().Dir, one.ID, before.Packages[2].Files[format]))
		b, err2 := os.ReadFile(filepath.Join(w.config().Dir, two.ID, file))
		if err := errors.Join(err1, err2); err != nil || string(a) != string(b) {
			t.Errorf("the unchanged %s has other bytes (%v)", format, err)
		}
	}
	dnf.Run("--refresh", "upgrade")
	same(t, filepath.Join(dnf.Root, "usr/bin/ferry"), rebuilt["bin/ferry"])
	same(t, filepath.Join(dnf.Root, "usr/lib/libwire.so.1"), "so 2")
	apt.Run("update")
	apt.Run("upgrade")
	same(t, filepath.Join(apt.Root, "usr/bin/ferry"), rebuilt["bin/ferry"])
}

func TestMissingOutputsAreBuiltAgain(t *testing.T) {
	lost := map[string]string{"bin/tool": "#!/bin/sh\necho lost\n"}
	elsewhere, err := artifact.OpenDisk(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	digest, err := artifact.PutTree(t.Context(), elsewhere, composetest.Outputs(t, lost))
	if err != nil {
		t.Fatal(err)
	}
	begin := func(t *testing.T) (*world, *compose.Service, slipway.Release) {
		w := newWorld(t, storetest.Open(t, compose.Routes()...))
		w.answer = slipway.WaveStatus{State: slipway.WaveRunning}
		s := w.service()
		rel := w.release("v2026.11.1", composetest.Day, libwire("1.4.0", w.output(libwireFiles)), ferry("1.0.0", w.output(ferryFiles)), tool("0.3.0", digest))
		jobstest.Drain(t, w.db, s.Handlers()...)
		c := w.get(rel.ID)
		if c.State != compose.Waiting || !strings.Contains(c.Reason, "tool") || !strings.Contains(c.Reason, c.Wave) {
			t.Fatalf("compose is %s: %s", c.State, c.Reason)
		}
		if req := w.waves[c.Wave]; !slices.Equal(req.Targets, []string{"tool"}) || len(req.Pins) != 3 || req.For != "compose/"+rel.ID {
			t.Errorf("asked for %+v", req)
		}
		return w, s, rel
	}
	done := func(w *world, s *compose.Service, rel slipway.Release, st slipway.WaveStatus) compose.Compose {
		w.answer = st
		w.emit(slipway.Event{Type: slipway.WaveFinished, Subject: "wave/" + w.get(rel.ID).Wave, Links: []string{"compose/" + rel.ID}})
		jobstest.Drain(w.t, w.db, s.Handlers()...)
		return w.get(rel.ID)
	}
	t.Run("same bytes", func(t *testing.T) {
		w, s, rel := begin(t)
		w.output(lost)
		if c := done(w, s, rel, slipway.WaveStatus{State: slipway.WavePassed}); c.State != compose.Finished {
			t.Errorf("compose is %s: %s", c.State, c.Reason)
		}
	})
	t.Run("other bytes", func(t *testing.T) {
		w, s, rel := begin(t)
		c := done(w, s, rel, slipway.WaveStatus{State: slipway.WavePassed, Components: map[string]slipway.ComponentBuild{"tool": {Artifact: w.output(toolFiles)}}})
		if c.State != compose.Failed || !strings.Contains(c.Reason, "which was tested") {
			t.Errorf("compose is %s: %s", c.State, c.Reason)
		}
	})
	t.Run("build fails, then is retried", func(t *testing.T) {
		w, s, rel := begin(t)
		c := done(w, s, rel, slipway.WaveStatus{State: slipway.WaveFailed, Reason: "tool: exit 2"})
		if c.State != compose.Failed || !strings.Contains(c.Reason, "tool: exit 2") {
			t.Errorf("compose is %s: %s", c.State, c.Reason)
		}
		w.output(lost)
		if _, err := s.Retry(t.Context(), rel.ID, "ann"); err != nil {
			t.Fatal(err)
		}
		jobstest.Drain(t, w.db, s.Handlers()...)
		if c := w.finished(rel.ID); c.Attempt != 2 {
			t.Errorf("attempt %d", c.Attempt)
		}
	})
}

func TestWhatCannotBeComposedFailsWithReason(t *testing.T) {
	cases := map[string]struct {
		change func(*world, []commit) []commit
		says   string
	}{
		"missing output": {func(w *world, c []commit) []commit {
			c[2].packages[0].Files = map[string]string{"/usr/bin/tool": "bin/gone"}
			return c
		}, `package tool: cannot make the`},
		"two of one name": {func(w *world, c []commit) []commit {
			c[2].packages[0].Name = "ferry"
			return c
		}, "both make a package ferry"},
		"no such configuration": {func(w *world, c []commit) []commit {
			w.files[spec.ProductFile] = strings.ReplaceAll(productFile, "configuration: edge", "configuration: nowhere")
			return c
		}, "nowhere"},
		"escape": {func(w *world, c []commit) []commit {
			c[2].packages[0].Files = map[string]string{"/usr/bin/tool": "../../../etc/passwd"}
			return c
		}, "outside of the outputs"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, storetest.Open(t, compose.Routes()...))
			s := w.service()
			rel := w.release("v2026.11.1", composetest.Day,
				c.change(w, []commit{libwire("1.4.0", w.output(libwireFiles)), ferry("1.0.0", w.output(ferryFiles)), tool("0.3.0", w.output(toolFiles))})...)
			jobstest.Drain(t, w.db, s.Handlers()...)
			got := w.get(rel.ID)
			if got.State != compose.Failed || !strings.Contains(got.Reason, c.says) {
				t.Errorf("compose is %s: %s", got.State, got.Reason)
			}
			if _, err := os.Stat(filepath.Join(w.config().Dir, rel.ID)); !os.IsNotExist(err) {
				t.Errorf("a failed compose has a folder: %v", err)
			}
		})
	}
}

func TestLatestIsNeverKnownByItsTime(t *testing.T) {
	w := newWorld(t, storetest.Open(t, compose.Routes()...))
	s := w.service()
	web := httptest.NewServer(s.Handler())
	defer web.Close()
	w.first()
	jobstest.Drain(t, w.db, s.Handlers()...)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, web.URL+"/composes/ferry/latest/SHA256SUMS", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("If-Modified-Since", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Last-Modified") != "" {
		t.Errorf("%s, last modified %q; want the file without a time", resp.Status, resp.Header.Get("Last-Modified"))
	}
}
