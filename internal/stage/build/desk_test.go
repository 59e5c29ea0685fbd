package build_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/execution/local"
	"slipway.dev/slipway/internal/platform/sandbox"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build"
	"slipway.dev/slipway/internal/store/storetest"
)

// TestDesk builds two checkouts on a desk, with files that git does not know yet, and compares with what the server makes.
func TestDesk(t *testing.T) {
	w := newWorld(t, storetest.Open(t), build.Config{})
	w.product()
	w.commit("libwire", "components/libwire", map[string]string{".gitignore": "*.tmp\n"})
	tmp := t.TempDir()
	disk, err := artifact.OpenDisk(filepath.Join(tmp, "artifacts"))
	if err != nil {
		t.Fatal(err)
	}
	runner, err := sandbox.New(filepath.Join(tmp, "sandbox"))
	if err != nil {
		t.Fatal(err)
	}
	exec, err := local.New(disk, runner, local.Config{Dir: filepath.Join(tmp, "work"), Host: build.Fingerprint()})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	var made build.DeskBuild
	desk := func(d build.Desk) (err error) {
		log.Reset()
		d.Log = &log
		d.Dir = filepath.Join(w.dir, "git", d.Dir)
		made, err = build.RunDesk(t.Context(), exec, disk, tmp, d)
		return err
	}
	lib, link := filepath.Join(tmp, "libwire"), filepath.Join(tmp, "link")
	if err := desk(build.Desk{Dir: "components/libwire", Out: lib, Tests: true}); err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	if !strings.Contains(log.String(), "# libwire: pass") || !strings.Contains(log.String(), "# libwire:unit: pass") {
		t.Fatal(log.String())
	}
	if err := desk(build.Desk{Dir: "components/mono/link", Deps: map[string]string{"libwire": lib}, Out: link, Tests: true}); err != nil {
		t.Fatalf("%v\n%s", err, &log)
	}
	st := w.wave("w", "link")
	w.passed(st)
	for name, got := range map[string]build.DeskBuild{"link": made} {
		want := st.Components[name]
		if got.Key != want.Key || got.Output != want.Artifact || got.Commit != w.pins[name].Commit {
			t.Errorf("the desk's %s: %+v, the server's %+v", name, got, want)
		}
	}
	// What is needed is found in the folders around, and is the server's, too, to the key.
	if err := desk(build.Desk{Dir: "components/mono/link"}); err != nil {
		t.Fatal(err)
	}
	if len(made.Needs) != 1 || made.Needs[0].Key != st.Components["libwire"].Key || made.Key != st.Components["link"].Key {
		t.Errorf("%+v", made)
	}
	if d, err := artifact.PutTree(t.Context(), disk, link); err != nil || d != st.Components["link"].Artifact {
		t.Fatalf("the desk made %s, the server %s (%v)", d, st.Components["link"].Artifact, err)
	}
	// A file that is not committed counts, one that is ignored does not.
	for name, text := range map[string]string{"wire.txt": "wire 9\n", "x.tmp": "x"} {
		if err := os.WriteFile(filepath.Join(w.dir, "git/components/libwire", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	edited := filepath.Join(tmp, "edited")
	if err := desk(build.Desk{Dir: "components/libwire", Out: edited}); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(edited, "wire.txt")); string(text) != "wire 9\n" || err != nil {
		t.Fatal(string(text), err)
	}
	if made.Commit != "" || made.Key == st.Components["libwire"].Key {
		t.Errorf("a checkout with changes is said to be a commit: %+v", made)
	}
	if err := os.Rename(filepath.Join(w.dir, "git/components/libwire/slipway.yaml"), filepath.Join(tmp, "away")); err != nil {
		t.Fatal(err)
	}
	if err := desk(build.Desk{Dir: "components/mono/link"}); !slipway.Is(err, slipway.Invalid) || !strings.Contains(err.Error(), "--dep libwire=") {
		t.Fatal(err)
	}
	if err := desk(build.Desk{Dir: "components"}); !slipway.Is(err, slipway.Invalid) {
		t.Fatal(err)
	}
	w.commit("bad", "components/bad", map[string]string{"slipway.yaml": recipe("bad", "", "true", "echo no; exit 4")})
	if err := desk(build.Desk{Dir: "components/bad", Tests: true}); !slipway.Is(err, slipway.Invalid) || !strings.Contains(err.Error(), "bad:unit: exit code 4") {
		t.Fatal(err)
	}
	if left, err := filepath.Glob(filepath.Join(tmp, "desk-*")); err != nil || len(left) != 0 {
		t.Fatal(left, err)
	}
}

// TestCheckFindsWhatDiffers builds twice what a careless build makes, and what a careful one does.
func TestCheckFindsWhatDiffers(t *testing.T) {
	place := func(dir string) (*artifact.Disk, *local.Executor) {
		disk, err := artifact.OpenDisk(filepath.Join(dir, "artifacts"))
		if err != nil {
			t.Fatal(err)
		}
		runner, err := sandbox.New(filepath.Join(dir, "sandbox"))
		if err != nil {
			t.Fatal(err)
		}
		exec, err := local.New(disk, runner, local.Config{Dir: filepath.Join(dir, "work"), Host: build.Fingerprint()})
		if err != nil {
			t.Fatal(err)
		}
		return disk, exec
	}
	tmp := t.TempDir()
	disk, exec := place(filepath.Join(tmp, "a"))
	elsewhere, second := place(filepath.Join(tmp, "another-place"))
	check := func(script string) build.Check {
		t.Helper()
		dir := t.TempDir()
		for name, text := range map[string]string{"slipway.yaml": recipe("thing", "", script), "a.txt": "a\n", "b.txt": "b\n"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		var log bytes.Buffer
		c, err := build.CheckDesk(t.Context(), exec, disk, tmp, build.Desk{Dir: dir, Log: &log}, build.Place{Executor: second, Artifacts: elsewhere, Varied: []string{"work folder"}})
		if err != nil {
			t.Fatalf("%v\n%s", err, &log)
		}
		return c
	}
	if c := check("cat a.txt b.txt > $OUT/all; tar --sort=name --mtime=@$SOURCE_DATE_EPOCH --owner=0 --group=0 -cf - *.txt | gzip -n > $OUT/all.tar.gz"); !c.Same || len(c.Differences) > 0 || c.Again != c.Output {
		t.Errorf("a careful build: %+v", c)
	}
	c := check("date > $OUT/date; tar -cf - $OUT/date | gzip > $OUT/all.tar.gz; cat /proc/sys/kernel/random/uuid > $OUT/id; mkdir $TMPDIR/tmp.$(cut -c1-8 $OUT/id); echo $TMPDIR/tmp.* > $OUT/where")
	if c.Same || c.Again == c.Output {
		t.Fatalf("a careless build: %+v", c)
	}
	got := map[string]string{}
	for _, d := range c.Differences {
		if got[d.Path] == "" {
			got[d.Path] = string(d.Kind)
		}
		if d.Remedy == "" {
			t.Errorf("%v has no remedy", d)
		}
	}
	for path, want := range map[string]string{"date": "timestamp", "all.tar.gz": "timestamp", "id": "content", "where": "path"} {
		if got[path] != want {
			t.Errorf("%s: %q, want %s; all: %v", path, got[path], want, c.Differences)
		}
	}
	if c := check("[ $(( $(date +%s) % 1000000 )) -ge 0 ]; echo x > $OUT/x; ! [ -e " + filepath.Join(tmp, "never") + " ]"); !c.Same {
		t.Errorf("%+v", c)
	}
}
