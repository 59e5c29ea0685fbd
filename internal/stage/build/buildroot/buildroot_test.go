package buildroot

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/sandbox"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
)

// repository is a folder that stands for the repository of the description.
type repository string

func (r repository) Open(_ context.Context, name string) (io.ReadCloser, error) {
	f, err := os.Open(filepath.Join(string(r), name))
	if err != nil {
		return nil, slipway.Errorf(slipway.NotFound, "%w", err)
	}
	return f, nil
}

func (r repository) Export(_ context.Context, name, dir string) error {
	if fi, err := os.Stat(filepath.Join(string(r), name)); err != nil || !fi.IsDir() {
		return slipway.Errorf(slipway.NotFound, "no folder %s", name)
	}
	return os.CopyFS(dir, os.DirFS(filepath.Join(string(r), name)))
}

type world struct {
	t    *testing.T
	disk *artifact.Disk
	r    *Resolver
	repo string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, repo: t.TempDir()}
	w.fresh()
	return w
}

// fresh takes an empty store and an empty cache.
func (w *world) fresh() {
	w.t.Helper()
	dir := w.t.TempDir()
	var err error
	if w.disk, err = artifact.OpenDisk(filepath.Join(dir, "artifacts")); err != nil {
		w.t.Fatal(err)
	}
	if w.r, err = New(w.disk, Config{Dir: filepath.Join(dir, "buildroots")}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) resolve(b spec.Buildroot) (Root, error) {
	return w.r.Resolve(w.t.Context(), Request{Name: "small", Spec: b, Where: "product.yaml:7:3", Files: repository(w.repo)})
}

func (w *world) must(b spec.Buildroot) Root {
	w.t.Helper()
	root, err := w.resolve(b)
	if err != nil {
		w.t.Fatal(err)
	}
	return root
}

// run runs a script in a root and returns what it says.
func (w *world) run(root Root, script string) string {
	w.t.Helper()
	dir, err := w.disk.Tree(w.t.Context(), root.Tree)
	if err != nil {
		w.t.Fatal(err)
	}
	box, err := sandbox.New(filepath.Join(w.t.TempDir(), "sandbox"))
	if err != nil {
		w.t.Fatal(err)
	}
	var log bytes.Buffer
	exit, err := box.Run(w.t.Context(), sandbox.Spec{Root: dir, Argv: []string{"sh", "-euc", script}, Env: map[string]string{"PATH": "/usr/bin:/bin"}, Dir: "/", Log: &log})
	if err != nil || exit.Code != 0 {
		w.t.Fatalf("%+v %v\n%s", exit, err, &log)
	}
	return strings.TrimSpace(log.String())
}

// write puts a file into the repository and returns its digest.
func (w *world) write(name string, data []byte) artifact.Digest {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.repo, name), data, 0o644); err != nil {
		w.t.Fatal(err)
	}
	return artifact.DigestOf(data)
}

// entry is one of a tar.
type entry struct {
	name, text, link string
	kind             byte
	mode             int64
}

func tarOf(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Typeflag: e.kind, Linkname: e.link, Mode: e.mode, Size: int64(len(e.text))}
		if e.kind == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// tarFolder is a tar of a folder.
func tarFolder(t *testing.T, dir string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var hostSpec = spec.Buildroot{Base: spec.BaseHost, Tools: []string{"sh", "cat", "ls", "sed"}}

// TestHost resolves tools of this host and runs them where nothing else is.
func TestHost(t *testing.T) {
	w := newWorld(t)
	folder := t.TempDir()
	if err := os.MkdirAll(filepath.Join(folder, "x/empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "x/data"), []byte("one\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	b := hostSpec
	root := w.must(b)
	said := w.run(root, "echo hello | sed s/hello/world/; ls /usr/bin")
	if !strings.HasPrefix(said, "world\n") {
		t.Fatal(said)
	}
	for _, name := range strings.Fields(strings.TrimPrefix(said, "world\n")) {
		if !slices.Contains([]string{"cat", "dash", "bash", "ls", "sed", "sh"}, name) {
			t.Errorf("sees /usr/bin/%s", name)
		}
	}
	var tools, libraries int
	for _, i := range root.Items {
		if i.Digest == "" || !strings.HasPrefix(i.At, "/") {
			t.Errorf("item %+v", i)
		}
		switch i.Kind {
		case KindTool:
			tools++
		case KindLibrary:
			libraries++
		}
	}
	if tools != 4 || libraries < 2 {
		t.Fatalf("%+v", root.Items)
	}
	w.r.cfg.Fresh = 1
	if again := w.must(b); again.Tree != root.Tree || again.Digest != root.Digest {
		t.Fatal("another buildroot the second time")
	}

	// A folder counts by its bytes.
	b.Folders = []string{folder}
	one := w.must(b)
	if err := os.WriteFile(filepath.Join(folder, "x/data"), []byte("two\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	two := w.must(b)
	if one.Tree == two.Tree || one.Tree == root.Tree {
		t.Fatalf("%s %s", one.Tree, two.Tree)
	}
	if err := os.WriteFile(filepath.Join(folder, "x/data"), []byte("one\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if again := w.must(b); again.Tree != one.Tree {
		t.Fatal("the same bytes come to another tree")
	}

	_, err := w.resolve(spec.Buildroot{Base: spec.BaseHost, Tools: []string{"no-such-tool"}})
	if !slipway.Is(err, slipway.Invalid) || !strings.Contains(err.Error(), `"no-such-tool" is not on this host`) || !strings.Contains(err.Error(), "product.yaml:7:3") {
		t.Fatal(err)
	}
}

// TestArchive packs the tools of this host into archives: each comes to the same tree, and builds in it.
func TestArchive(t *testing.T) {
	w := newWorld(t)
	host := w.must(hostSpec)
	dir := filepath.Join(t.TempDir(), "root")
	if err := artifact.CopyTree(t.Context(), w.disk, host.Tree, dir); err != nil {
		t.Fatal(err)
	}
	plain := tarFolder(t, dir)
	packed := map[string][]byte{"root.tar": plain}
	var z bytes.Buffer
	g := gzip.NewWriter(&z)
	_, _ = g.Write(plain)
	_ = g.Close()
	packed["root.tar.gz"] = bytes.Clone(z.Bytes())
	z.Reset()
	x, err := xz.NewWriter(&z)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = x.Write(plain)
	_ = x.Close()
	packed["root.tar.xz"] = bytes.Clone(z.Bytes())
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	packed["root.tar.zst"] = e.EncodeAll(plain, nil)
	for name, data := range packed {
		w.fresh()
		root := w.must(spec.Buildroot{Base: spec.BaseArchive, From: name, Digest: w.write(name, data)})
		if root.Tree != host.Tree {
			t.Errorf("%s comes to %s, not %s", name, root.Tree, host.Tree)
		}
		if said := w.run(root, "echo up"); said != "up" {
			t.Error(said)
		}
	}
}

// TestArchiveFrom fetches by each way, and never twice.
func TestArchiveFrom(t *testing.T) {
	w := newWorld(t)
	data := tarOf(t,
		entry{name: "etc/", kind: tar.TypeDir}, entry{name: "./etc/made", text: "made"}, entry{name: "/usr/bin/tool", text: "x", mode: 0o4755},
		entry{name: "bin", link: "/usr/bin", kind: tar.TypeSymlink}, entry{name: "usr/lib/far", link: "/../../etc/made", kind: tar.TypeSymlink},
		entry{name: "usr/bin/alias", link: "usr/bin/tool", kind: tar.TypeLink}, entry{name: "dev/null", kind: tar.TypeChar}, entry{name: "var/pipe", kind: tar.TypeFifo},
		entry{name: "etc/disk", kind: tar.TypeBlock}, entry{name: "bin/through", text: "by the link"},
		entry{name: "var/lib/dpkg/status", text: "Package: libc6\nStatus: install ok installed\nVersion: 2.36-9\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n"})
	d := w.write("root.tar", data)
	gets := 0
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		gets++
		if r.URL.Path != "/root.tar" {
			http.NotFound(rw, r)
			return
		}
		_, _ = rw.Write(data)
	}))
	defer server.Close()
	var first Root
	for _, from := range []string{"root.tar", "file://" + filepath.Join(w.repo, "root.tar"), server.URL + "/root.tar"} {
		w.fresh()
		b := spec.Buildroot{Base: spec.BaseArchive, From: from, Digest: d}
		root := w.must(b)
		w.must(b)
		if first.Tree == "" {
			first = root
		}
		if root.Tree != first.Tree {
			t.Errorf("%s: %s", from, root.Tree)
		}
	}
	if gets != 1 {
		t.Errorf("fetched %d times", gets)
	}
	entries, err := artifact.ListTree(t.Context(), w.disk, first.Tree)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		if e.Dir {
			continue
		}
		got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s", e.Path, e.Target)))
	}
	want := []string{"bin usr/bin", "etc/made", "usr/bin/alias", "usr/bin/through", "usr/bin/tool", "usr/lib/far ../../etc/made", "var/lib/dpkg/status"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if want := []string{"/etc/disk: a device", "/usr/bin/tool: its set-user-id bit", "/var/pipe: a pipe"}; !slices.Equal(first.Dropped, want) {
		t.Errorf("dropped %q", first.Dropped)
	}
	if !slices.Contains(first.Items, Item{Kind: KindPackage, Name: "libc6", Version: "2.36-9"}) || slices.ContainsFunc(first.Items, func(i Item) bool { return i.Name == "gone" }) {
		t.Errorf("items %+v", first.Items)
	}
}

// TestBadArchives feeds what may not be unpacked. Each message names the archive, and what in it is wrong.
func TestBadArchives(t *testing.T) {
	w := newWorld(t)
	const outside = "/srv/slipway-outside" // of this host; nothing may make it
	good := tarOf(t, entry{name: "a", text: strings.Repeat("x", 4000)})
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"path":        {tarOf(t, entry{name: "../../" + outside, text: "x"}), "leads out of it"},
		"middle":      {tarOf(t, entry{name: "a/../../x", text: "x"}), "leads out of it"},
		"hard-link":   {tarOf(t, entry{name: "x", link: "../../etc/passwd", kind: tar.TypeLink}), "out of the archive"},
		"hard-absent": {tarOf(t, entry{name: "x", link: "/etc/passwd", kind: tar.TypeLink}), "which is not there"},
		"truncated":   {good[:1000], "ends within /a"},
		"text":        {[]byte(strings.Repeat("no tar", 1000)), "no tar archive"},
		"gzip":        {[]byte{0x1f, 0x8b, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, "cannot be decompressed"},
		"not-utf-8":   {tarOf(t, entry{name: "bad\xff", text: "x"}), "not UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.resolve(spec.Buildroot{Base: spec.BaseArchive, From: name + ".tar", Digest: w.write(name+".tar", c.data)})
			if !slipway.Is(err, slipway.Invalid) {
				t.Fatalf("%v", err)
			}
			for _, want := range []string{c.want, name + ".tar", `the buildroot "small"`, "product.yaml:7:3"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q is not in: %v", want, err)
				}
			}
		})
	}
	// Links that are absolute, or climb above /, mean what they mean inside: nothing outside is touched.
	root := w.must(spec.Buildroot{Base: spec.BaseArchive, From: "l.tar", Digest: w.write("l.tar", tarOf(t,
		entry{name: "up", link: "../../.." + outside, kind: tar.TypeSymlink}, entry{name: "abs", link: outside, kind: tar.TypeSymlink},
		entry{name: strings.TrimPrefix(outside, "/") + "/", kind: tar.TypeDir}, entry{name: "up/a", text: "x"}, entry{name: "abs/b", text: "x"}))})
	if _, err := os.Stat(outside); err == nil {
		t.Error("wrote through a link")
	}
	if d, err := find(t.Context(), w.disk, root.Tree, strings.TrimPrefix(outside, "/")+"/b"); err != nil || d == "" {
		t.Errorf("%s %v", d, err)
	}
	_, err := w.resolve(spec.Buildroot{Base: spec.BaseArchive, From: "path.tar", Digest: artifact.DigestOf([]byte("other"))})
	if !slipway.Is(err, slipway.Invalid) || !strings.Contains(err.Error(), "other bytes than are pinned") {
		t.Error(err)
	}
	_, err = w.resolve(spec.Buildroot{Base: spec.BaseArchive, From: "file:///nonexistent.tar", Digest: artifact.DigestOf([]byte("absent"))})
	if !slipway.Is(err, slipway.NotFound) || !strings.Contains(err.Error(), "file:///nonexistent.tar is not there") {
		t.Error(err)
	}
}

// image makes an OCI layout in the repository: an image whose second layer takes things of the first away.
func (w *world) image(name string) v1.Hash {
	w.t.Helper()
	layer := func(entries ...entry) v1.Layer {
		data := tarOf(w.t, entries...)
		l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
		if err != nil {
			w.t.Fatal(err)
		}
		return l
	}
	img, err := mutate.AppendLayers(empty.Image,
		layer(entry{name: "etc/keep", text: "1"}, entry{name: "etc/gone", text: "1"}, entry{name: "old/a", text: "1"}, entry{name: "old/b", text: "1"}, entry{name: "f", text: "1"}),
		layer(entry{name: "etc/.wh.gone"}, entry{name: "old/c", text: "2"}, entry{name: "old/.wh..wh..opq"}, entry{name: "f", text: "2"}, entry{name: ".wh.absent"}))
	if err != nil {
		w.t.Fatal(err)
	}
	l, err := layout.Write(filepath.Join(w.repo, name), empty.Index)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := l.AppendImage(img, layout.WithPlatform(v1.Platform{OS: "linux", Architecture: "amd64"})); err != nil {
		w.t.Fatal(err)
	}
	h, err := img.Digest()
	if err != nil {
		w.t.Fatal(err)
	}
	return h
}

func TestImage(t *testing.T) {
	w := newWorld(t)
	h := w.image("image")
	archive := tarFolder(t, filepath.Join(w.repo, "image"))
	w.write("image.tar", archive)
	index, err := os.ReadFile(filepath.Join(w.repo, "image/index.json"))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(index)
	if err := os.WriteFile(filepath.Join(w.repo, "image/blobs/sha256", hex.EncodeToString(sum[:])), index, 0o644); err != nil {
		t.Fatal(err)
	}
	var first Root
	for _, b := range []spec.Buildroot{
		{Base: spec.BaseOCI, From: "image", Digest: h.String()},
		{Base: spec.BaseOCI, From: "image.tar", Digest: h.String()},
		{Base: spec.BaseOCI, From: "file://" + filepath.Join(w.repo, "image"), Digest: h.String()},
		{Base: spec.BaseOCI, From: "image", Digest: artifact.DigestOf(index)},
	} {
		w.fresh()
		root := w.must(b)
		if first.Tree == "" {
			first = root
		}
		if root.Tree != first.Tree {
			t.Errorf("%+v comes to another tree", b)
		}
		var got []string
		entries, err := artifact.ListTree(t.Context(), w.disk, root.Tree)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if !e.Dir {
				got = append(got, e.Path)
			}
		}
		if want := []string{"etc/keep", "f", "old/c"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		text, err := artifact.Bytes(t.Context(), w.disk, artifact.DigestOf([]byte("2")), 10)
		if err != nil || string(text) != "2" {
			t.Errorf("%q %v", text, err)
		}
	}
	if n := len(first.Items); n != 3 {
		t.Errorf("%d items: %+v", n, first.Items)
	}

	// Later the layout is not looked at again, and wrong bytes are found before.
	b := spec.Buildroot{Base: spec.BaseOCI, From: "image", Digest: h.String(), Env: map[string]string{"PATH": "/bin"}}
	blobs, err := filepath.Glob(filepath.Join(w.repo, "image/blobs/sha256/*"))
	if err != nil {
		t.Fatal(err)
	}
	w.fresh()
	w.must(spec.Buildroot{Base: spec.BaseOCI, From: "image", Digest: h.String()})
	for _, blob := range blobs {
		if err := os.WriteFile(blob, []byte("damaged"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	w.must(b)
	w.fresh()
	_, err = w.resolve(b)
	if !slipway.Is(err, slipway.Invalid) || !strings.Contains(err.Error(), h.String()+" of the layout has other bytes") {
		t.Fatal(err)
	}
	_, err = w.resolve(spec.Buildroot{Base: spec.BaseOCI, From: "image", Digest: artifact.DigestOf([]byte("none"))})
	if !slipway.Is(err, slipway.Invalid) || !strings.Contains(err.Error(), "the layout has no blob") {
		t.Fatal(err)
	}
}

// TestItems lays pinned things over a base.
func TestItems(t *testing.T) {
	w := newWorld(t)
	out := t.TempDir()
	if err := os.WriteFile(filepath.Join(out, "lib.a"), []byte("lib"), 0o644); err != nil {
		t.Fatal(err)
	}
	tree, err := artifact.PutTree(t.Context(), w.disk, out)
	if err != nil {
		t.Fatal(err)
	}
	b := hostSpec
	b.Items = []spec.BuildrootItem{
		{Name: "lib", Version: "1.2", Digest: tree, At: "/opt/lib"},
		{Name: "tool", From: "tool.tar", Digest: w.write("tool.tar", tarOf(t, entry{name: "bin/greet", text: "#!/bin/sh\necho greets\n", mode: 0o755})), At: "/usr/local/tool"},
	}
	root := w.must(b)
	if said := w.run(root, "cat /opt/lib/lib.a; echo; /usr/local/tool/bin/greet"); said != "lib\ngreets" {
		t.Fatal(said)
	}
	if !slices.Contains(root.Items, Item{Kind: KindTree, Name: "lib", Version: "1.2", Digest: tree, At: "/opt/lib"}) {
		t.Errorf("%+v", root.Items)
	}
	b.Items[0].Digest = artifact.DigestOf([]byte("nothing"))
	if _, err := w.resolve(b); !slipway.Is(err, slipway.NotFound) || !strings.Contains(err.Error(), `the item "lib"`) {
		t.Fatal(err)
	}
	b.Items[0] = spec.BuildrootItem{Name: "lib", Digest: tree, At: "/bin/x"}
	if _, err := w.resolve(b); !slipway.Is(err, slipway.Invalid) || !strings.Contains(err.Error(), "/bin is a link") {
		t.Fatal(err)
	}
}

// TestLock replays a buildroot of a host's tools from its lock.
func TestLock(t *testing.T) {
	w := newWorld(t)
	folder := t.TempDir()
	file := filepath.Join(folder, "f")
	if err := os.WriteFile(file, []byte("then"), 0o644); err != nil {
		t.Fatal(err)
	}
	b := hostSpec
	b.Folders = []string{folder}
	root := w.must(b)
	data, err := Locks{"small": root.Lock}.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	locks, err := ParseLocks(data, LockFile)
	if err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	lock := locks["small"]
	if err := os.WriteFile(file, []byte("now"), 0o644); err != nil {
		t.Fatal(err)
	}
	req := Request{Name: "small", Spec: b, Lock: &lock, Where: "product.yaml:7:3", Files: repository(w.repo)}
	again, err := w.r.Resolve(t.Context(), req)
	if err != nil || again.Tree != root.Tree || again.Digest != root.Digest {
		t.Fatalf("%+v %v", again, err)
	}
	if d, err := find(t.Context(), w.disk, again.Tree, strings.TrimPrefix(file, "/")); err != nil || d != artifact.DigestOf([]byte("then")) {
		t.Fatalf("%s %v", d, err)
	}
	req.Spec.Tools = append(slices.Clone(b.Tools), "touch")
	if _, err := w.r.Resolve(t.Context(), req); !slipway.Is(err, slipway.Invalid) || !strings.Contains(err.Error(), "lock it again") || !strings.Contains(err.Error(), "product.yaml:7:3") {
		t.Fatal(err)
	}
	req.Spec = b
	w.fresh()
	if _, err := w.r.Resolve(t.Context(), req); !slipway.Is(err, slipway.NotFound) {
		t.Fatal(err)
	}
	for _, bad := range []string{"buildroots: {small: {tree: x}}", "buildroots: [", "other: {}"} {
		if _, err := ParseLocks([]byte(bad), LockFile); !slipway.Is(err, slipway.Invalid) || !strings.Contains(err.Error(), LockFile) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestRelative(t *testing.T) {
	for _, c := range []struct{ at, target, want string }{
		{"bin", "usr/bin", "usr/bin"}, {"bin", "/usr/bin", "usr/bin"}, {"etc/alternatives/cc", "/usr/bin/gcc", "../../usr/bin/gcc"},
		{"usr/bin/cc", "gcc", "gcc"}, {"usr/bin/cc", "/usr/bin/gcc", "gcc"}, {"a/b/c", "/a/b", "../b"}, {"a/b", "/", ".."}, {"a", "/", "."},
		{"a/b", "../../../../x", "../x"}, {"usr/lib/x", "../lib/./y", "y"}, {"usr/lib/x", "../share/../lib64/y", "../lib64/y"},
	} {
		got, err := relative(c.at, c.target)
		if err != nil || got != c.want {
			t.Errorf("%s -> %s: %q %v, want %q", c.at, c.target, got, err, c.want)
		}
		if err := artifact.CheckLink(c.at, got); err != nil {
			t.Error(err)
		}
	}
}

func BenchmarkHostAgain(b *testing.B) {
	dir := b.TempDir()
	disk, err := artifact.OpenDisk(filepath.Join(dir, "artifacts"))
	if err != nil {
		b.Fatal(err)
	}
	r, err := New(disk, Config{Dir: filepath.Join(dir, "roots"), Fresh: 1})
	if err != nil {
		b.Fatal(err)
	}
	req := Request{Name: "go", Spec: spec.Buildroot{Base: spec.BaseHost, Tools: []string{"sh", "go"}, Folders: []string{"/usr/local/go"}}}
	if _, err := r.Resolve(b.Context(), req); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := r.Resolve(b.Context(), req); err != nil {
			b.Fatal(err)
		}
	}
}
