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
	desk := func(d build.Desk) error {
		log.Reset()
		d.Log = &log
		d.Dir = filepath.Join(w.dir, "git", d.Dir)
		return build.RunDesk(t.Context(), exec, disk, tmp, d)
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
