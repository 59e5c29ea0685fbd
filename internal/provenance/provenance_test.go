package provenance_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/jobs/jobstest"
	"slipway.dev/slipway/internal/platform/signing"
	"slipway.dev/slipway/internal/provenance"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/store"
	"slipway.dev/slipway/internal/store/storetest"
)

var day = time.Date(2026, 11, 3, 12, 0, 0, 0, time.UTC)

// world has builds, packages and releases by hand; keys, artifacts and the database are real.
type world struct {
	t        testing.TB
	db       *store.DB
	disk     *artifact.Disk
	put      artifact.Store // what the service writes to
	keys     string
	builds   map[string]provenance.Build
	packages map[string][]provenance.Package
	releases map[string]slipway.Release
}

func (w *world) Attestable(_ context.Context, id string) (provenance.Build, bool, error) {
	for _, b := range w.builds {
		if b.ID == id || b.Key == id {
			return b, true, nil
		}
	}
	return provenance.Build{}, false, nil
}

func (w *world) ComposePackages(_ context.Context, id string) ([]provenance.Package, error) {
	return w.packages[id], nil
}

func (w *world) Release(_ context.Context, id string) (slipway.Release, error) {
	r, ok := w.releases[id]
	if !ok {
		return r, slipway.Errorf(slipway.NotFound, "no release %q", id)
	}
	return r, nil
}

func (w *world) service() *provenance.Service {
	w.t.Helper()
	s, err := provenance.New(store.Scope(w.db, func(tx *store.Tx) provenance.Tx { return tx }),
		provenance.Deps{Builds: w, Composes: w, Releases: w, Artifacts: w.put},
		provenance.Config{Keys: w.keys, Builder: provenance.Builder{ID: "http://slipway.test", Version: "1.2.3"}})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

func sum(text string) string { return artifact.DigestOf([]byte(text)) }

// newWorld has libwire; ferry, a Go program that needs it; and a release of both with one package.
func newWorld(t testing.TB, db *store.DB) *world {
	t.Helper()
	disk, err := artifact.OpenDisk(filepath.Join(t.TempDir(), "artifacts"))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, db: db, disk: disk, put: disk, keys: t.TempDir(), builds: map[string]provenance.Build{}, packages: map[string][]provenance.Package{},
		releases: map[string]slipway.Release{}}
	lib := w.tree(map[string]string{"lib/wire.txt": "wire"})
	app := w.tree(map[string]string{"bin/ferry": program(t), "bin/hello": "#!/bin/sh\necho hello\n"})
	w.builds["libwire"] = provenance.Build{ID: "1", Key: sum("key 1"), Product: "ferry", Component: "libwire", Repo: "components/libwire", Version: "1.4.0",
		Commit: strings.Repeat("a", 40), Output: lib, Source: sum("src 1"), Log: sum("log"), Command: []string{"sh", "-eu", "-c", "make"},
		Environment: map[string]string{"TZ": "UTC", "CFLAGS": "-O2 <fast>"}, Timeout: time.Minute, Host: "linux-amd64-1234", Executor: "local", Worker: "w1",
		Buildroot: []provenance.Item{{Name: "gcc", Version: "4:12.2.0-3", Arch: "amd64", Kind: "package"}, {Name: "musl", Version: "1.2.5-r0", Kind: "package"}, {Name: "sh", Kind: "tool", Digest: sum("sh"), At: "/bin/sh"}}, Root: sum("root"), Lock: sum("lock"),
		Started: day, Finished: day.Add(time.Second)}
	w.builds["ferry"] = provenance.Build{ID: "2", Key: sum("key 2"), Product: "ferry", Component: "ferry", Repo: "components/mono", Path: "ferry", Version: "1.0.0+g1",
		Commit: strings.Repeat("b", 40), Output: app, Source: sum("src 2"), Command: []string{"sh", "-eu", "-c", "go build"}, Timeout: time.Minute,
		Host: "linux-amd64-1234", Executor: "local", Worker: "w1", Unconfined: true, Started: day, Finished: day.Add(time.Minute),
		Inputs: []provenance.Input{{Component: "libwire", Digest: lib, Build: "1", Key: sum("key 1"), Version: "1.4.0", Commit: strings.Repeat("a", 40)}}}
	lock := func(name string) slipway.Locked {
		b := w.builds[name]
		return slipway.Locked{Repo: b.Repo, Path: b.Path, Version: b.Version, Commit: b.Commit, Build: b.Key, Artifact: b.Output}
	}
	w.releases["ferry-v2026.11.1"] = slipway.Release{ID: "ferry-v2026.11.1", Product: "ferry", Tag: "v2026.11.1", Time: day, Manifests: map[string]slipway.Manifest{
		"edge": {Components: map[string]slipway.Locked{"libwire": lock("libwire"), "ferry": lock("ferry")}},
		"desk": {Components: map[string]slipway.Locked{"ferry": lock("ferry"), "lost": {Repo: "components/lost", Version: "0.1.0", Commit: strings.Repeat("c", 40), Build: sum("lost key"), Artifact: sum("lost")}}},
	}}
	w.packages["ferry-v2026.11.1"] = []provenance.Package{{Key: sum("package"), Product: "ferry", Name: "ferry", Version: "1.0.0", Release: 1, Format: "rpm",
		File: "ferry-1.0.0-1.x86_64.rpm", Digest: sum("rpm"), Component: "ferry", Artifact: app, Repo: "components/mono", Commit: strings.Repeat("b", 40), Path: "ferry",
		Build: sum("key 2"), Compose: "ferry-v2026.11.1", Signer: "ABCD", Time: day}}
	return w
}

// program is a Go program with a module in it.
func program(t testing.TB) string {
	t.Helper()
	built.Do(func() {
		dir := t.TempDir()
		run := func(args ...string) string {
			cmd := exec.Command("go", args...)
			cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOSUMDB=off", "GOWORK=off", "CGO_ENABLED=0")
			if args[0] == "build" {
				cmd.Dir = dir
			}
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("go %v: %v\n%s", args, err, out)
			}
			return strings.TrimSpace(string(out))
		}
		syncVersion = run("list", "-m", "-f", "{{.Version}}", "golang.org/x/sync")
		for name, text := range map[string]string{
			"go.mod":  "module example.org/ferry\n\ngo 1.25\n\nrequire golang.org/x/sync " + syncVersion + "\n",
			"main.go": "package main\n\nimport \"golang.org/x/sync/errgroup\"\n\nfunc main() { new(errgroup.Group).Wait() }\n",
		} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		run("build", "-o", "ferry", ".")
		text, err := os.ReadFile(filepath.Join(dir, "ferry"))
		if err != nil {
			t.Fatal(err)
		}
		programText = string(text)
	})
	return programText
}

var (
	built                    sync.Once
	programText, syncVersion string
)

func (w *world) tree(files map[string]string) string {
	w.t.Helper()
	dir := w.t.TempDir()
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			w.t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
			w.t.Fatal(err)
		}
	}
	d, err := artifact.PutTree(w.t.Context(), w.disk, dir)
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

func (w *world) finished(kind slipway.EventType, subject string) {
	w.t.Helper()
	err := w.db.Update(w.t.Context(), func(tx *store.Tx) error {
		return tx.Emit(w.t.Context(), slipway.Event{Type: kind, Subject: subject, Product: "ferry"})
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) everything(s *provenance.Service) {
	w.t.Helper()
	w.finished(slipway.BuildFinished, "build/1")
	w.finished(slipway.BuildFinished, "build/2")
	w.finished(slipway.BuildFinished, "build/3") // a test, or one that failed
	w.finished(slipway.ComposeFinished, "compose/ferry-v2026.11.1")
	jobstest.Drain(w.t, w.db, s.Handlers()...)
}

func TestEndOfABuildIsAttested(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db)
		s := w.service()
		w.everything(s)
		all, err := s.Attestations(t.Context(), slipway.Query{Product: "ferry"})
		if err != nil || len(all) != 3 {
			t.Fatal(all, err)
		}
		for what, name := range map[string]string{"1": "libwire", "2": "ferry", sum("rpm"): "ferry-1.0.0-1.x86_64.rpm", w.builds["ferry"].Output: "ferry", sum("key 1"): "libwire"} {
			found, err := s.Find(t.Context(), what)
			if err != nil || len(found) != 1 || found[0].Name != name {
				t.Fatalf("%s: %+v, %v", what, found, err)
			}
			envelope, err := s.Envelope(t.Context(), found[0])
			if err != nil {
				t.Fatal(err)
			}
			v, err := provenance.Verify(t.Context(), envelope, found[0].Subject, s.Keys()...)
			if err != nil || v.Name != name || v.Commit != found[0].Commit {
				t.Fatalf("%s: %+v, %v", what, v, err)
			}
			if v.Unconfined != (what == "2" || what == w.builds["ferry"].Output) {
				t.Errorf("%s: unconfined %v", what, v.Unconfined)
			}
			if _, err := provenance.Verify(t.Context(), envelope, sum("something else"), s.Keys()...); !slipway.Is(err, slipway.Conflict) {
				t.Errorf("%s: about something else: %v", what, err)
			}
		}
		if _, err := s.Find(t.Context(), "3"); !slipway.Is(err, slipway.NotFound) {
			t.Error(err)
		}
		if _, err := s.Find(t.Context(), sum("nothing")); !slipway.Is(err, slipway.NotFound) {
			t.Error(err)
		}
	}, provenance.Routes()...)
}

func TestStatementNamesTheBuildroot(t *testing.T) {
	w := newWorld(t, storetest.Open(t))
	text, err := provenance.OfBuild(w.builds["libwire"], provenance.Builder{ID: "http://slipway.test", Version: "1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`{"digest":{"sha256":"` + strings.TrimPrefix(sum("root"), "sha256:") + `"},"mediaType":"application/vnd.slipway.tree.v1","name":"root"}`,
		`{"annotations":{"arch":"amd64","kind":"package","version":"4:12.2.0-3"},"name":"root/gcc"}`,
		`{"annotations":{"at":"/bin/sh","kind":"tool"},"digest":{"sha256":"` + strings.TrimPrefix(sum("sh"), "sha256:") + `"},"name":"root/sh"}`,
		strings.TrimPrefix(sum("lock"), "sha256:"),
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}

func TestStatementNamesEveryInput(t *testing.T) {
	w := newWorld(t, storetest.Open(t))
	text, err := provenance.OfBuild(w.builds["ferry"], provenance.Builder{ID: "http://slipway.test", Version: "1"})
	if err != nil {
		t.Fatal(err)
	}
	again, err := provenance.OfBuild(w.builds["ferry"], provenance.Builder{ID: "http://slipway.test", Version: "1"})
	if err != nil || !bytes.Equal(text, again) {
		t.Fatal("the same build was told in other bytes", err)
	}
	var st struct {
		Type      string `json:"_type"`
		Subject   []struct{ Digest map[string]string }
		Predicate struct {
			BuildDefinition struct {
				BuildType            string
				ExternalParameters   map[string]any
				InternalParameters   map[string]any
				ResolvedDependencies []struct {
					Name, URI   string
					Digest      map[string]string
					Annotations map[string]any
				}
			}
			RunDetails struct {
				Builder  struct{ ID string }
				Metadata struct{ InvocationID, StartedOn, FinishedOn string }
			}
		}
	}
	if err := json.Unmarshal(text, &st); err != nil {
		t.Fatal(err)
	}
	def, run := st.Predicate.BuildDefinition, st.Predicate.RunDetails
	if st.Type != "https://in-toto.io/Statement/v1" || def.BuildType != provenance.BuildType || "sha256:"+st.Subject[0].Digest["sha256"] != w.builds["ferry"].Output {
		t.Errorf("%s", text)
	}
	if def.ExternalParameters["path"] != "ferry" || def.InternalParameters["unconfined"] != true || run.Builder.ID != "http://slipway.test#unconfined" {
		t.Errorf("%s", text)
	}
	if run.Metadata.InvocationID != "slipway:build/2" || run.Metadata.FinishedOn != "2026-11-03T12:01:00Z" {
		t.Errorf("%+v", run)
	}
	got := map[string]string{}
	for _, d := range def.ResolvedDependencies {
		got[d.Name] = d.URI + " " + d.Digest["sha256"] + d.Digest["gitCommit"]
	}
	want := map[string]string{
		"source":       "git+slipway:components/mono@" + strings.Repeat("b", 40) + "#ferry " + strings.Repeat("b", 40),
		"src":          " " + strings.TrimPrefix(sum("src 2"), "sha256:"),
		"deps/libwire": "slipway:build/1 " + strings.TrimPrefix(w.builds["libwire"].Output, "sha256:"),
		"host":         "slipway:host/linux-amd64-1234 ",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("made from\n%v, want\n%v", got, want)
	}
}

// cut is a store that fails from the nth Put on, as a full disk or a killed process does.
type cut struct {
	artifact.Store
	left int
}

func (c *cut) Put(ctx context.Context, r io.Reader) (artifact.Digest, int64, error) {
	if c.left--; c.left < 0 {
		return "", 0, errors.New("cut off")
	}
	return c.Store.Put(ctx, r)
}

func TestSigningGoesOnWhereItWasCutOff(t *testing.T) {
	var first string
	for cutAt := range 4 {
		w := newWorld(t, storetest.Open(t, provenance.Routes()...))
		if first == "" {
			first = w.keys
		}
		w.keys = first // the same instance
		w.put = &cut{w.disk, cutAt}
		s := w.service()
		w.finished(slipway.BuildFinished, "build/1")
		handler := s.Handlers()[0]
		if err := handler.Do(t.Context(), "1"); (err == nil) != (cutAt >= 2) {
			t.Fatalf("cut at %d: %v", cutAt, err)
		}
		w.put = w.disk
		s = w.service() // the process starts again
		jobstest.Drain(t, w.db, s.Handlers()...)
		if err := s.Handlers()[0].Do(t.Context(), "1"); err != nil { // delivered once more
			t.Fatal(err)
		}
		all, err := s.Attestations(t.Context(), slipway.Query{})
		if err != nil || len(all) != 1 {
			t.Fatal(all, err)
		}
		var events int
		err = w.db.View(t.Context(), func(tx *store.Tx) error {
			found, err := tx.Events(t.Context(), store.EventQuery{Type: string(slipway.ArtifactAttested)})
			events = len(found)
			return err
		})
		if err != nil || events != 1 {
			t.Fatalf("cut at %d: %d events, %v", cutAt, events, err)
		}
	}
}

func TestWhatTheStoreLostIsMadeAgain(t *testing.T) {
	w := newWorld(t, storetest.Open(t, provenance.Routes()...))
	s := w.service()
	w.everything(s)
	before, err := s.Find(t.Context(), "1")
	if err != nil {
		t.Fatal(err)
	}
	disk, err := artifact.OpenDisk(filepath.Join(t.TempDir(), "artifacts")) // an empty one
	if err != nil {
		t.Fatal(err)
	}
	w.disk, w.put = disk, disk
	s = w.service()
	after, err := s.Find(t.Context(), "1")
	if err != nil || after[0].Envelope != before[0].Envelope {
		t.Fatalf("%+v, %v; it was %+v", after, err, before)
	}
	if _, err := s.Envelope(t.Context(), after[0]); err != nil {
		t.Fatal(err)
	}
	sbom, err := s.SBOM(t.Context(), "1")
	if err != nil || !strings.Contains(string(sbom), "no longer in the store") {
		t.Fatalf("%s, %v", sbom, err)
	}
}

func TestStatementsOutliveTheirKey(t *testing.T) {
	w := newWorld(t, storetest.Open(t, provenance.Routes()...))
	s := w.service()
	w.everything(s)
	old := s.Keys()[0]
	if _, err := s.Rotate(t.Context(), "ann"); err != nil {
		t.Fatal(err)
	}
	s = w.service()
	found, err := s.Find(t.Context(), "1")
	if err != nil || found[0].KeyID != old.ID() || s.Keys()[0].ID() == old.ID() {
		t.Fatal(found, err)
	}
	envelope, err := s.Envelope(t.Context(), found[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := signing.Verify(t.Context(), envelope, s.Keys()...); err != nil {
		t.Error(err)
	}
	if _, err := provenance.Verify(t.Context(), envelope, found[0].Subject, s.Keys()[0]); !slipway.Is(err, slipway.Invalid) {
		t.Errorf("the new key alone verifies what the old one signed: %v", err)
	}
}

// schema is CycloneDX's own, which the library ships beside its code.
func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/CycloneDX/cyclonedx-go").Output()
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	const base = "http://cyclonedx.org/schema/"
	for file, id := range map[string]string{"bom-1.6.schema.json": "bom-1.6.schema.json", "spdx.schema.json": "spdx.schema.json", "jsf-0.82.schemax.json": "jsf-0.82.schema.json"} {
		text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "schema", file))
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.AddResource(base+id, doc); err != nil {
			t.Fatal(err)
		}
	}
	sch, err := c.Compile(base + "bom-1.6.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return sch
}

func TestSBOMsAreValid(t *testing.T) {
	w := newWorld(t, storetest.Open(t, provenance.Routes()...))
	s := w.service()
	w.everything(s)
	valid := schema(t)
	for what, wants := range map[string][]string{
		"1":                {"gcc 4:12.2.0-3 pkg:deb/debian/gcc@4:12.2.0-3?arch=amd64", "musl 1.2.5-r0 pkg:apk/alpine/musl@1.2.5-r0"},
		"2":                {"libwire 1.4.0 pkg:generic/libwire@1.4.0", "gcc 4:12.2.0-3", "std 1.", "golang.org/x/sync " + syncVersion + " pkg:golang/golang.org/x/sync@" + syncVersion},
		sum("rpm"):         {"ferry 1.0.0+g1 pkg:generic/ferry@1.0.0%2Bg1", "libwire 1.4.0", "std 1."},
		"ferry-v2026.11.1": {"ferry 1.0.0+g1", "libwire 1.4.0", "lost 0.1.0", "gcc 4:12.2.0-3", "std 1."},
	} {
		text, err := s.SBOM(t.Context(), what)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := valid.Validate(doc); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if odd, err := provenance.CheckReferences(text); err != nil || len(odd) > 0 {
			t.Errorf("%s: %v, %v", what, odd, err)
		}
		if again, err := s.SBOM(t.Context(), what); err != nil || !bytes.Equal(text, again) {
			t.Errorf("%s: asked twice, it differs (%v)", what, err)
		}
		var bom cdx.BOM
		if err := json.Unmarshal(text, &bom); err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, c := range *bom.Components {
			lines = append(lines, c.Name+" "+c.Version+" "+c.PackageURL)
		}
		for _, want := range wants {
			if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, want) }) {
				t.Errorf("%s: no %q in\n%s", what, want, strings.Join(lines, "\n"))
			}
		}
	}
	broken, err := s.SBOM(t.Context(), "2")
	if err != nil {
		t.Fatal(err)
	}
	if odd, err := provenance.CheckReferences(bytes.Replace(broken, []byte(`"bom-ref": "slipway:libwire`), []byte(`"bom-ref": "slipway:other`), 1)); err != nil || len(odd) == 0 {
		t.Errorf("a broken reference was not noticed: %v, %v", odd, err)
	}
}
