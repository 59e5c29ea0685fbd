package build_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/execution"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build"
	"slipway.dev/slipway/internal/stage/build/buildroot"
	"slipway.dev/slipway/internal/store/storetest"
)

// rules commits a product's file and returns the commit.
func (w *world) rules(files map[string]string) string {
	w.t.Helper()
	for name, text := range files {
		if name == "product.yaml" {
			files[name] = "product: ferry\ncomponents: {app: }\nconfigurations: {main: }\n" + text
		}
	}
	pin := w.commit("product", "products/ferry", files)
	delete(w.pins, "product")
	return pin.Commit
}

// waveBy is a wave with the rules of a commit.
func (w *world) waveBy(id, rules string, targets ...string) slipway.WaveStatus {
	w.t.Helper()
	req := w.request(id, targets...)
	req.Rules = rules
	if _, err := w.s.StartWave(w.t.Context(), req); err != nil {
		w.t.Fatal(err)
	}
	return w.ended(id)
}

const smallRoot = "buildroots:\n  small: {base: host, tools: [sh, cat, ls, mkdir]}\n"

// TestBuildroots builds one component in the host's tools, in a few of them, and in an archive made of those.
func TestBuildroots(t *testing.T) {
	w := newWorld(t, storetest.Open(t), build.Config{})
	w.commit("base", "components/base", map[string]string{"slipway.yaml": recipe("base", "", "echo base > $OUT/base")})
	w.commit("app", "components/app", map[string]string{"slipway.yaml": recipe("app", "base", "ls /usr/bin > $OUT/tools; cat $DEPS/base/base > $OUT/base; echo ${COLOR:-none} > $OUT/color", "cat $OUT/base") + "buildroot: small\n"})
	small := w.rules(map[string]string{"product.yaml": smallRoot})
	first := w.waveBy("w1", small, "app")
	w.passed(first)
	b, err := w.s.Build(t.Context(), first.Components["app"].Build)
	if err != nil || b.Buildroot != "small" || b.Root == "" || b.Lock == "" || b.Host != "" {
		t.Fatalf("%+v %v", b, err)
	}
	if tools := strings.Fields(w.file(b.Output, "tools")); len(tools) > 6 || !slices.Contains(tools, "cat") {
		t.Fatalf("it sees %q", tools)
	}
	base, err := w.s.Build(t.Context(), first.Components["base"].Build)
	if err != nil || base.Root != "" || base.Host == "" {
		t.Fatalf("%+v %v", base, err)
	}

	// The lock says what was in it, and the test ran in it too.
	data, err := artifact.Bytes(t.Context(), w.disk, b.Lock, 1<<20)
	var lock buildroot.Lock
	if err == nil {
		err = json.Unmarshal(data, &lock)
	}
	if err != nil || lock.Tree != b.Root || len(lock.Items) < 5 {
		t.Fatalf("%+v %v", lock, err)
	}
	unit, err := w.s.Build(t.Context(), first.Components["app"].Tests[0].Build)
	if err != nil || unit.Root != b.Root {
		t.Fatalf("%+v %v", unit, err)
	}

	// The same files in an archive are the same buildroot, and the same key.
	dir := filepath.Join(t.TempDir(), "root")
	if err := artifact.CopyTree(t.Context(), w.disk, b.Root, dir); err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	z := tar.NewWriter(&packed)
	if err := errors.Join(z.AddFS(os.DirFS(dir)), z.Close()); err != nil {
		t.Fatal(err)
	}
	archive := w.rules(map[string]string{"root.tar": packed.String(),
		"product.yaml": fmt.Sprintf("buildroots:\n  small: {base: archive, from: root.tar, digest: %q}\n", artifact.DigestOf(packed.Bytes()))})
	second := w.waveBy("w2", archive, "app")
	w.passed(second)
	if c := second.Components["app"]; !c.Reused || c.Key != first.Components["app"].Key {
		t.Fatalf("%+v", c)
	}

	// Its variables, and the choice of the product, count.
	colour := w.rules(map[string]string{"product.yaml": strings.Replace(smallRoot, "]}", "], env: {COLOR: red}}", 1) + "build: {buildroot: small}\n"})
	third := w.waveBy("w3", colour, "app")
	w.passed(third)
	if got := w.file(third.Components["app"].Artifact, "color"); got != "red\n" {
		t.Fatalf("%q", got)
	}
	if base, err = w.s.Build(t.Context(), third.Components["base"].Build); err != nil || base.Buildroot != "small" {
		t.Fatalf("%+v %v", base, err)
	}

	// A committed lock is what counts, whatever the host has by now.
	lock.Env = map[string]string{"COLOR": "blue"}
	text, err := buildroot.Locks{"small": lock}.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	locked := w.waveBy("w4", w.rules(map[string]string{"product.yaml": smallRoot, buildroot.LockFile: string(text)}), "app")
	w.passed(locked)
	if got := w.file(locked.Components["app"].Artifact, "color"); got != "blue\n" {
		t.Fatalf("%q", got)
	}

	for want, product := range map[string]string{
		`components/app/slipway.yaml:`:                               "build: {}\n",
		`app wants the buildroot "small", which the product ferry`:   "summary: none\n",
		`products/ferry/product.yaml:5:3: the buildroot "small": th`: "buildroots:\n  small: {base: host, tools: [sh, no-such-tool]}\n",
		`file:///nonexistent.tar is not there`:                       "buildroots:\n  small: {base: archive, from: 'file:///nonexistent.tar', digest: 'sha256:" + strings.Repeat("a", 64) + "'}\n",
		`described otherwise than when it was locked`:                strings.Replace(smallRoot, "mkdir", "mkdir, touch", 1),
	} {
		st := w.waveBy("bad-"+want[:9], w.rules(map[string]string{"product.yaml": product, buildroot.LockFile: map[bool]string{true: string(text), false: "{}\n"}[strings.Contains(want, "locked")]}), "app")
		if st.State != slipway.WaveFailed || !strings.Contains(st.Reason, want) {
			t.Errorf("%s: %s\nwant %s", st.State, st.Reason, want)
		}
	}
	w.passed(w.waveBy("healthy", small, "app"))
}

// TestPaths lets a component of a monorepo see a folder and a file beside its own.
func TestPaths(t *testing.T) {
	w := newWorld(t, storetest.Open(t), build.Config{})
	w.commit("mono", "components/mono", map[string]string{"shared/a/text": "one\n", "LICENSE": "free\n", "secret": "x\n"})
	delete(w.pins, "mono")
	text := recipe("app", "", "cat $REPO/shared/a/text $REPO/LICENSE > $OUT/f; ls $REPO >> $OUT/f; ! touch $REPO/x 2>/dev/null") + "paths: [shared/a, LICENSE]\n"
	w.commit("app", "components/mono//app", map[string]string{"slipway.yaml": text})
	first := w.wave("w1", "app")
	w.passed(first)
	if got := w.file(first.Components["app"].Artifact, "f"); got != "one\nfree\nLICENSE\nshared\n" {
		t.Fatalf("%q", got)
	}
	w.commit("app", "components/mono//other", map[string]string{"more": "y\n"})
	pin := w.pins["app"]
	pin.Path = "app"
	w.pins["app"] = pin
	if second := w.wave("w2", "app"); !second.Components["app"].Reused {
		t.Fatalf("%+v", second.Components)
	}
	w.commit("app", "components/mono//shared", map[string]string{"a/text": "two\n"})
	pin = w.pins["app"]
	pin.Path = "app"
	w.pins["app"] = pin
	third := w.wave("w3", "app")
	w.passed(third)
	if got := w.file(third.Components["app"].Artifact, "f"); !strings.HasPrefix(got, "two\n") {
		t.Fatalf("%q", got)
	}
	w.commit("app", "components/mono//app", map[string]string{"slipway.yaml": strings.Replace(text, "LICENSE]", "LICENCE]", 1)})
	if st := w.wave("w4", "app"); st.State != slipway.WaveFailed || !strings.Contains(st.Reason, "components/mono/app/slipway.yaml:4:19: the repository components/mono has no LICENCE") {
		t.Fatalf("%+v", st)
	}
}

// boxless is an executor whose sandbox cannot run, as in a container without the right to make namespaces.
type boxless struct{ execution.Executor }

func (boxless) Check(context.Context) error {
	return slipway.Errorf(slipway.Unavailable, "no sandbox here").Try("install bubblewrap")
}

// TestModuleBuildroots builds the components of a module in its own buildroot, and others in the product's.
func TestModuleBuildroots(t *testing.T) {
	w := newWorld(t, storetest.Open(t), build.Config{})
	see := "ls /usr/bin > $OUT/tools; echo $COLOR > $OUT/color"
	for _, name := range []string{"app", "lib", "tool"} {
		more := ""
		if name == "tool" {
			more = "buildroot: tiny\n"
		}
		w.commit(name, "components/"+name, map[string]string{"slipway.yaml": recipe(name, "", see) + more})
	}
	text := "product: ferry\ncomponents: {app: , lib: , tool: }\nconfigurations: {main: }\nbuildroots:\n  small: {base: host, tools: [sh, ls, cat], env: {COLOR: grey}}\nbuild: {buildroot: small}\n" +
		"modules:\n  base:\n    components: [lib, tool]\n    buildroot: small\n    buildroots:\n      small: {base: host, tools: [sh, ls], env: {COLOR: red}}\n      tiny: {base: host, tools: [sh, ls], env: {COLOR: blue}}\n"
	rules := func(text string) string {
		pin := w.commit("product", "products/ferry", map[string]string{"product.yaml": text})
		delete(w.pins, "product")
		return pin.Commit
	}
	st := w.waveBy("w1", rules(text), "app", "lib", "tool")
	w.passed(st)
	for name, want := range map[string]string{"app": "small grey", "lib": "base.small red", "tool": "base.tiny blue"} {
		b, err := w.s.Build(t.Context(), st.Components[name].Build)
		if err != nil || b.Buildroot+" "+strings.TrimSpace(w.file(b.Output, "color")) != want || strings.Contains(w.file(b.Output, "tools"), "cat") != (name == "app") {
			t.Errorf("%s was built in %q (%v): %s", name, b.Buildroot, err, w.file(b.Output, "color"))
		}
	}
	// A lock names it as builds do, and what is wrong with it is told where the module has it.
	bad := w.waveBy("w2", rules(strings.Replace(text, "tools: [sh, ls], env: {COLOR: red}", "tools: [sh, no-such-tool]", 1)), "lib")
	if bad.State != slipway.WaveFailed || !strings.Contains(bad.Reason, `products/ferry/product.yaml:12:7: the buildroot "base.small"`) {
		t.Errorf("%s", bad.Reason)
	}
}

// TestUnconfined has no sandbox: the build is refused, or with the product's leave run and marked.
func TestUnconfined(t *testing.T) {
	w := newWorld(t, storetest.Open(t), build.Config{})
	w.wrap = func(e execution.Executor) execution.Executor { return boxless{e} }
	w.open(build.Config{})
	w.commit("app", "components/app", map[string]string{"slipway.yaml": recipe("app", "", "echo app > $OUT/app", "cat $OUT/app")})
	strict := w.waveBy("w1", w.rules(map[string]string{"product.yaml": ""}), "app")
	w.passed(strict) // this executor has a sandbox in truth; the key is that of one
	free := w.rules(map[string]string{"product.yaml": "build: {unconfined: allow}\n"})
	st := w.waveBy("w2", free, "app")
	w.passed(st)
	b, err := w.s.Build(t.Context(), st.Components["app"].Build)
	if err != nil || !b.Unconfined || b.Key == strict.Components["app"].Key {
		t.Fatalf("%+v %v", b, err)
	}
	if log := w.log(b.ID); !strings.Contains(log, "unconfined") {
		t.Errorf("the log does not say it: %q", log)
	}
	if !strings.Contains(b.Reason, "unconfined") {
		t.Errorf("the outcome does not say it: %q", b.Reason)
	}
	w.commit("app", "components/app", map[string]string{"slipway.yaml": recipe("app", "", "true") + "buildroot: small\n"})
	st = w.waveBy("w3", w.rules(map[string]string{"product.yaml": smallRoot + "build: {unconfined: allow}\n"}), "app")
	if st.State != slipway.WaveFailed || !strings.Contains(st.Reason, "components/app/slipway.yaml:4:1: app wants the buildroot \"small\", and no buildroot can be shown without a sandbox") {
		t.Fatalf("%+v", st)
	}
}

// TestBadInput gives the stage what people, and builds, do wrong; each is told, the others are built, and all goes on.
func TestBadInput(t *testing.T) {
	w := newWorld(t, storetest.Open(t), build.Config{Limits: build.Limits{LogBytes: 1 << 20, OutputBytes: 20 << 20, Processes: 100, Memory: 200 << 20}})
	for name, script := range map[string]string{
		"fine":    "echo fine > $OUT/f",
		"outside": "echo x > /usr/x || echo x > ../x || echo x > $DEPS/x || echo x > /etc/passwd",
		"bomb":    "perl -e '1 while defined fork; exit 1'",
		"greedy":  "perl -e '$x = \"a\" x (150 << 20); $y = $x . \"b\"; $z = $y . \"c\"; print length $z'",
		"chatty":  "head -c 1073741824 /dev/zero | tr '\\0' x",
		"climber": "ln -s /etc $OUT/etc",
		"through": "ln -s ../../../../../../etc $OUT/etc",
		"piper":   "mkfifo $OUT/p 2>/dev/null || perl -e 'use POSIX; mkfifo(\"$ENV{OUT}/p\", 0600) or die'",
		"odd":     "printf x > \"$OUT/$(printf 'new\\nline')\"; printf x > $OUT/$(printf 'l%.0s' $(seq 250)); ln -s f $OUT/-rf; printf x > $OUT/f",
		"latin":   "printf x > $OUT/$(printf 'caf\\351')",
	} {
		w.commit(name, "components/"+name, map[string]string{"slipway.yaml": recipe(name, "", script)})
	}
	w.commit("selfish", "components/selfish", map[string]string{"slipway.yaml": "component: selfish\nneeds:\n  - fine\n  - selfish\nbuild: \"true\"\n"})
	targets := []string{"fine", "outside", "bomb", "greedy", "chatty", "climber", "through", "piper", "odd", "latin"}
	st := w.wave("w1", targets...)
	for name, want := range map[string][]string{
		"fine":    {"pass"},
		"outside": {"fail", "Read-only file system"},
		"bomb":    {"fail", "exit code 1"},
		"greedy":  {"fail", "exit code"},
		"chatty":  {"fail", "wrote too much to its log"},
		"climber": {"fail", "out/etc", "is absolute"},
		"through": {"fail", "out/etc", "leaves the tree"},
		"piper":   {"fail", "out/p", "neither a file"},
		"odd":     {"pass"},
		"latin":   {"fail", "not UTF-8"},
	} {
		c := st.Components[name]
		if string(c.Outcome) != want[0] {
			t.Errorf("%s: %+v", name, c)
		}
		for _, text := range want[1:] {
			if !strings.Contains(c.Reason, text) {
				t.Errorf("%s: %q lacks %q", name, c.Reason, text)
			}
		}
	}
	if got := w.file(st.Components["odd"].Artifact, "new\nline"); got != "x" {
		t.Errorf("%q", got)
	}
	if st := w.wave("w2", "selfish"); st.State != slipway.WaveFailed || !strings.Contains(st.Reason, "components/selfish/slipway.yaml:4:5: the component needs itself") {
		t.Errorf("%+v", st)
	}
	if fi, err := os.Stat(filepath.Join(w.dir, "data", "logs")); err != nil || !fi.IsDir() {
		t.Error(err)
	}
	if n := len(w.log(st.Components["chatty"].Build)); n > 2<<20 {
		t.Errorf("the log of 1 GiB has %d bytes", n)
	}
	w.passed(w.wave("w3", "fine"))
}

// TestOddSources builds sources whose names are odd, and says of others that they cannot be built.
func TestOddSources(t *testing.T) {
	w := newWorld(t, storetest.Open(t), build.Config{})
	long := strings.Repeat("n", 200)
	w.commit("odd", "components/odd", map[string]string{
		"slipway.yaml": recipe("odd", "", "cat \"$(printf 'a\\nb')\" '*' -- -rf ' ' "+long+"/"+long+"/f > $OUT/f"),
		"a\nb":         "1", "*": "2", "-rf": "3", " ": "4", long + "/" + long + "/f": "5", "caf\u00e9": "6",
	})
	st := w.wave("w1", "odd")
	w.passed(st)
	if got := w.file(st.Components["odd"].Artifact, "f"); got != "12345" {
		t.Fatalf("%q", got)
	}
	for name, c := range map[string]struct {
		make func(dir string) error
		want string
	}{
		"latin":    {func(dir string) error { return os.WriteFile(filepath.Join(dir, "caf\xe9"), nil, 0o644) }, "not UTF-8"},
		"absolute": {func(dir string) error { return os.Symlink("/etc/passwd", filepath.Join(dir, "l")) }, "/l: the symbolic link"},
		"climbing": {func(dir string) error { return os.Symlink("../../x", filepath.Join(dir, "l")) }, "leaves the tree"},
	} {
		w.commit(name, "components/"+name, map[string]string{"slipway.yaml": recipe(name, "", "true")})
		if err := c.make(filepath.Join(w.dir, "git/components", name)); err != nil {
			t.Fatal(err)
		}
		w.commit(name, "components/"+name, nil)
		if st := w.wave("w-"+name, name); st.State != slipway.WaveFailed || !strings.Contains(st.Reason, "the source of "+name+" cannot be built") || !strings.Contains(st.Reason, c.want) {
			t.Errorf("%s: %s", name, st.Reason)
		}
	}
	w.passed(w.wave("healthy", "odd"))
}

// TestFullDisk fills the disk of the work folders: nobody is blamed, the folder is named, and when there is room again all goes on.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		return // nobody else can mount a small disk
	}
	w := newWorld(t, storetest.Open(t), build.Config{Slots: 1}) // one at a time, so that neither makes room for the other
	work := filepath.Join(w.dir, "data", "work")
	mount := func() {
		if err := unix.Mount("small", work, "tmpfs", 0, "size=1m"); err != nil {
			t.Fatal(err)
		}
	}
	unmount := func() { _ = unix.Unmount(work, unix.MNT_DETACH) }
	mount()
	t.Cleanup(unmount)
	w.commit("big", "components/big", map[string]string{"slipway.yaml": recipe("big", "", "head -c 9000000 /dev/zero > $OUT/f")})
	w.commit("source", "components/source", map[string]string{"slipway.yaml": recipe("source", "", "cp f $OUT/f"), "f": strings.Repeat("x", 3<<20)})
	st := w.wave("w1", "big", "source")
	for _, name := range []string{"big", "source"} {
		if c := st.Components[name]; c.Outcome != slipway.Infra || !strings.Contains(c.Reason, work) {
			t.Errorf("%s: %+v", name, c)
		}
	}
	unmount()
	w.passed(w.wave("w2", "big", "source"))
}
