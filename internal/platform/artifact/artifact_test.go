package artifact

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/proto"

	"slipway.dev/slipway/internal/slipway"
)

func openDisk(t testing.TB) *Disk {
	t.Helper()
	d, err := OpenDisk(filepath.Join(t.TempDir(), "artifacts"))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func put(t testing.TB, st Store, text string) Digest {
	t.Helper()
	d, n, err := st.Put(t.Context(), strings.NewReader(text))
	if err != nil || n != int64(len(text)) {
		t.Fatal(n, err)
	}
	return d
}

func get(t testing.TB, st Opener, d Digest) (string, error) {
	t.Helper()
	r, err := st.Open(t.Context(), d)
	if err != nil {
		return "", err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	return string(b), err
}

func write(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		mode := fs.FileMode(0o644)
		if strings.HasPrefix(filepath.Base(p), "x-") {
			mode = 0o755
		}
		if err := os.WriteFile(p, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBlobs(t *testing.T) {
	d := openDisk(t)
	digest := put(t, d, "hello\n")
	if digest != "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03" || DigestOf([]byte("hello\n")) != digest {
		t.Fatal(digest)
	}
	if n, err := d.Stat(t.Context(), digest); n != 6 || err != nil {
		t.Fatal(n, err)
	}
	if text, err := get(t, d, digest); text != "hello\n" || err != nil {
		t.Fatal(text, err)
	}
	none := DigestOf([]byte("none"))
	if _, err := d.Stat(t.Context(), none); !slipway.Is(err, slipway.NotFound) {
		t.Fatal(err)
	}
	if _, err := d.Open(t.Context(), none); !slipway.Is(err, slipway.NotFound) {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "sha256:", "sha256:../../../etc/passwd", "md5:5891", "sha256:" + strings.Repeat("G", 64), strings.ToUpper(digest)} {
		if _, err := d.Open(t.Context(), bad); !slipway.Is(err, slipway.Invalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestSameBlobAtOnce(t *testing.T) {
	d := openDisk(t)
	text := strings.Repeat("x", 1<<20)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if _, _, err := d.Put(context.Background(), strings.NewReader(text)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got, err := get(t, d, DigestOf([]byte(text))); got != text || err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(d.path("tmp")); len(left) != 0 {
		t.Fatalf("left %v", left)
	}
}

func TestInterruptedPutLeavesNothing(t *testing.T) {
	d := openDisk(t)
	broken := io.MultiReader(strings.NewReader("half"), errReader{})
	if _, _, err := d.Put(t.Context(), broken); err == nil {
		t.Fatal("no error")
	}
	if _, err := d.Stat(t.Context(), DigestOf([]byte("half"))); !slipway.Is(err, slipway.NotFound) {
		t.Fatal(err)
	}
	// What a killed process leaves is gone after the next open, read-only folders included.
	write(t, d.path("tmp"), map[string]string{"put-1": "x", "tree-1/a/b": "y"})
	if err := os.Chmod(d.path("tmp", "tree-1", "a"), 0o555); err != nil {
		t.Fatal(err)
	}
	d, err := OpenDisk(d.dir)
	if err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(d.path("tmp")); len(left) != 0 {
		t.Fatalf("left %v", left)
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errors.New("cable pulled") }

func TestDamageIsFoundAndHealed(t *testing.T) {
	d := openDisk(t)
	src := t.TempDir()
	write(t, src, map[string]string{"f": "good bytes", "x-tool": "tool bytes"})
	tree, err := PutTree(t.Context(), d, src)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Tree(t.Context(), tree); err != nil {
		t.Fatal(err)
	}
	digest := DigestOf([]byte("good bytes"))
	hex, _ := ParseDigest(digest)
	damage := func() {
		if err := os.Remove(d.blob(hex)); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(d.blob(hex), []byte("evil bytes"), 0o444); err != nil {
			t.Fatal(err)
		}
	}
	damage()
	if _, err := get(t, d, digest); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Fatalf("damage was not seen: %v", err)
	}
	if _, err := d.Stat(t.Context(), digest); !slipway.Is(err, slipway.NotFound) {
		t.Fatalf("still there: %v", err)
	}
	if _, err := d.Tree(t.Context(), tree); !slipway.Is(err, slipway.NotFound) {
		t.Fatalf("the expanded tree outlived its file: %v", err)
	}
	put(t, d, "good bytes")
	dir, err := d.Tree(t.Context(), tree)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "f")); string(b) != "good bytes" || err != nil {
		t.Fatal(string(b), err)
	}
	damage()
	if bad, err := d.Check(t.Context()); err != nil || len(bad) != 1 || bad[0] != digest {
		t.Fatal(bad, err)
	}
	// Damage is also met when a tree is expanded.
	put(t, d, "good bytes")
	damage()
	if _, err := d.Tree(t.Context(), tree); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Fatal(err)
	}
}

func TestTreeRoundTrip(t *testing.T) {
	d := openDisk(t)
	src := t.TempDir()
	write(t, src, map[string]string{"a": "1", "b/x-run": "2", "b/c/d": "3", "same": "1"})
	for _, err := range []error{
		os.Mkdir(filepath.Join(src, "empty"), 0o755),
		os.Symlink("../a", filepath.Join(src, "b/link")),
		os.Symlink("nowhere", filepath.Join(src, "dangling")),
		os.Chmod(filepath.Join(src, "b/x-run"), 0o4755|fs.ModeSetuid),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	digest, err := PutTree(t.Context(), d, src)
	if err != nil {
		t.Fatal(err)
	}
	// Times, owners and other mode bits do not count; content, names and the executable bit do.
	if err := os.Chmod(filepath.Join(src, "a"), 0o600); err != nil {
		t.Fatal(err)
	}
	if again, _ := PutTree(t.Context(), d, src); again != digest {
		t.Fatal("the mode counts")
	}
	want := "a:1 b/ b/c/ b/c/d:3 b/link->../a b/x-run:2* dangling->nowhere empty/ same:1"
	show := func(entries []Entry) string {
		var out []string
		for _, e := range entries {
			switch {
			case e.Dir:
				out = append(out, e.Path+"/")
			case e.Target != "":
				out = append(out, e.Path+"->"+e.Target)
			default:
				text, _ := get(t, d, e.Digest)
				if e.Executable {
					text += "*"
				}
				out = append(out, e.Path+":"+text)
			}
		}
		return strings.Join(out, " ")
	}
	entries, err := ListTree(t.Context(), d, digest)
	if err != nil || show(entries) != want {
		t.Fatalf("%v\n got %s\nwant %s", err, show(entries), want)
	}
	out := filepath.Join(t.TempDir(), "out")
	if err := CopyTree(t.Context(), d, digest, out); err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Lstat(filepath.Join(out, "b/x-run")); err != nil || fi.Mode() != 0o755 {
		t.Fatal(fi.Mode(), err)
	}
	if again, err := PutTree(t.Context(), openDisk(t), out); again != digest || err != nil {
		t.Fatal("the copy differs", err)
	}
	if err := CopyTree(t.Context(), d, digest, out); !slipway.Is(err, slipway.Conflict) {
		t.Fatal(err)
	}
	expanded, err := d.Tree(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := PutTree(t.Context(), openDisk(t), expanded); again != digest || err != nil {
		t.Fatal("the expanded tree differs", err)
	}
	if fi, err := os.Stat(filepath.Join(expanded, "b/x-run")); err != nil || fi.Mode() != 0o555 {
		t.Fatal(fi.Mode(), err)
	}
	if fi, err := os.Stat(filepath.Join(expanded, "a")); err != nil || fi.Mode() != 0o444 {
		t.Fatal(fi.Mode(), err)
	}
}

// TestKnownDigest holds the format: the empty tree's digest is that of no bytes, as every Remote Execution cache has it.
func TestKnownDigest(t *testing.T) {
	d := openDisk(t)
	if got, err := PutTree(t.Context(), d, t.TempDir()); got != DigestOf(nil) || err != nil {
		t.Fatal(got, err)
	}
	src := t.TempDir()
	write(t, src, map[string]string{"f": "hello\n"})
	got, err := PutTree(t.Context(), d, src)
	if err != nil {
		t.Fatal(err)
	}
	// field 1 (files) of Directory: name = 1, digest = 2 (hash = 1, size_bytes = 2)
	file := "\x0a\x01f\x12\x44\x0a\x40" + strings.TrimPrefix(DigestOf([]byte("hello\n")), Prefix) + "\x10\x06"
	if want := DigestOf([]byte("\x0a" + string(rune(len(file))) + file)); got != want {
		t.Fatal("the encoding changed")
	}
}

func TestPutTreeRefuses(t *testing.T) {
	cases := map[string]func(dir string) error{
		"absolute":          func(dir string) error { return os.Symlink("/etc/passwd", filepath.Join(dir, "sub/l")) },
		"leaves the tree":   func(dir string) error { return os.Symlink("../../x", filepath.Join(dir, "sub/l")) },
		"down and up again": func(dir string) error { return os.Symlink("a/../../x", filepath.Join(dir, "sub/l")) },
		"neither a file":    func(dir string) error { return syscall.Mkfifo(filepath.Join(dir, "sub/l"), 0o644) },
		"neither": func(dir string) error {
			l, err := net.Listen("unix", filepath.Join(dir, "sub/l"))
			if err == nil {
				l.(*net.UnixListener).SetUnlinkOnClose(false)
				l.Close()
			}
			return err
		},
	}
	for want, make := range cases {
		dir := t.TempDir()
		write(t, dir, map[string]string{"sub/ok": "x"})
		if err := make(dir); err != nil {
			t.Fatal(err)
		}
		d := openDisk(t)
		_, err := PutTree(t.Context(), d, dir)
		if !slipway.Is(err, slipway.Invalid) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "sub/l") {
			t.Errorf("%s: %v", want, err)
		}
		if left, _ := os.ReadDir(d.path("tmp")); len(left) != 0 {
			t.Errorf("%s: left %v", want, left)
		}
	}
	dir := t.TempDir()
	write(t, dir, map[string]string{"a": strings.Repeat("x", 600), "b": strings.Repeat("y", 600)})
	if _, err := PutTreeWithin(t.Context(), openDisk(t), dir, TreeLimits{Bytes: 1000}); !slipway.Is(err, slipway.TooLarge) || !strings.Contains(err.Error(), "1000") {
		t.Error(err)
	}
	if _, err := PutTreeWithin(t.Context(), openDisk(t), dir, TreeLimits{Entries: 1}); !slipway.Is(err, slipway.TooLarge) {
		t.Error(err)
	}
}

// TestHostileTree writes out trees that PutTree would never make.
func TestHostileTree(t *testing.T) {
	d := openDisk(t)
	f := put(t, d, "pwned")
	file := func(name string) *repb.FileNode { return &repb.FileNode{Name: name, Digest: Proto(f, 5)} }
	sub, n, err := PutMessage(t.Context(), d, &repb.Directory{Files: []*repb.FileNode{file("f")}})
	if err != nil {
		t.Fatal(err)
	}
	folder := func(name string) *repb.DirectoryNode {
		return &repb.DirectoryNode{Name: name, Digest: Proto(sub, n)}
	}
	link := func(name, target string) *repb.SymlinkNode {
		return &repb.SymlinkNode{Name: name, Target: target}
	}
	for name, m := range map[string]*repb.Directory{
		"dotdot file":      {Files: []*repb.FileNode{file("../f")}},
		"dotdot dir":       {Directories: []*repb.DirectoryNode{folder("..")}},
		"absolute":         {Files: []*repb.FileNode{file("/etc/f")}},
		"dot":              {Directories: []*repb.DirectoryNode{folder(".")}},
		"empty":            {Files: []*repb.FileNode{file("")}},
		"nul":              {Files: []*repb.FileNode{file("a\x00b")}},
		"absolute link":    {Symlinks: []*repb.SymlinkNode{link("l", "/etc")}},
		"escaping link":    {Symlinks: []*repb.SymlinkNode{link("l", "..")}},
		"sneaking link":    {Symlinks: []*repb.SymlinkNode{link("l", "x/../../y")}},
		"through a link":   {Symlinks: []*repb.SymlinkNode{link("l", "d")}, Directories: []*repb.DirectoryNode{folder("d"), folder("l")}},
		"twice":            {Files: []*repb.FileNode{file("f"), file("f")}},
		"no digest":        {Files: []*repb.FileNode{{Name: "f"}}},
		"path for digest":  {Files: []*repb.FileNode{{Name: "f", Digest: &repb.Digest{Hash: "../../../../etc/passwd"}}}},
		"link and file":    {Symlinks: []*repb.SymlinkNode{link("f", "g")}, Files: []*repb.FileNode{file("f")}},
		"a dir's bad hash": {Directories: []*repb.DirectoryNode{{Name: "d", Digest: Proto("sha256:00", 1)}}},
	} {
		data, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		digest := put(t, d, string(data))
		base := t.TempDir()
		if err := CopyTree(t.Context(), d, digest, filepath.Join(base, "out")); !slipway.Is(err, slipway.Invalid) {
			t.Errorf("%s: copy: %v", name, err)
		}
		if _, err := d.Tree(t.Context(), digest); !slipway.Is(err, slipway.Invalid) {
			t.Errorf("%s: expand: %v", name, err)
		}
		if left, _ := os.ReadDir(base); len(left) != 0 {
			t.Errorf("%s: wrote %v", name, left)
		}
	}
	// A folder that is already a link to elsewhere is not followed.
	elsewhere, base := t.TempDir(), t.TempDir()
	if err := os.Symlink(elsewhere, filepath.Join(base, "d")); err != nil {
		t.Fatal(err)
	}
	digest, _, err := PutMessage(t.Context(), d, &repb.Directory{Directories: []*repb.DirectoryNode{folder("d")}})
	if err != nil {
		t.Fatal(err)
	}
	if err := CopyTree(t.Context(), d, digest, base); err == nil {
		t.Error("wrote through a link")
	}
	if left, _ := os.ReadDir(elsewhere); len(left) != 0 {
		t.Error("wrote outside")
	}
}

// lying serves other bytes than those asked for, as a broken network would.
type lying struct{ *Disk }

func (l lying) Open(ctx context.Context, d Digest) (io.ReadCloser, error) {
	r, err := l.Disk.Open(ctx, d)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if bytes.Equal(b, []byte("payload")) {
		b = []byte("PAYLOAD")
	}
	return io.NopCloser(bytes.NewReader(b)), err
}

func TestCopyChecksBytes(t *testing.T) {
	d, src := openDisk(t), t.TempDir()
	write(t, src, map[string]string{"f": "payload"})
	tree, err := PutTree(t.Context(), d, src)
	if err != nil {
		t.Fatal(err)
	}
	if err := CopyTree(t.Context(), lying{d}, tree, t.TempDir()); !slipway.Is(err, slipway.Unavailable) {
		t.Fatal(err)
	}
	if _, err := Bytes(t.Context(), lying{d}, DigestOf([]byte("payload")), 100); !slipway.Is(err, slipway.Unavailable) {
		t.Fatal(err)
	}
	if b, err := Bytes(t.Context(), d, DigestOf([]byte("payload")), 100); string(b) != "payload" || err != nil {
		t.Fatal(err)
	}
	if _, err := Bytes(t.Context(), d, DigestOf([]byte("payload")), 3); !slipway.Is(err, slipway.TooLarge) {
		t.Fatal(err)
	}
}

// benchTree is shaped like a prebuilt Go build cache: 1000 files, 80 MB.
func benchTree(b *testing.B) (dir string, size int64) {
	dir = b.TempDir()
	r := rand.NewChaCha8([32]byte{1})
	buf := make([]byte, 80<<10)
	for i := range 1000 {
		_, _ = r.Read(buf)
		name := filepath.Join(dir, fmt.Sprintf("%02x", i%256), fmt.Sprintf("%08d-a", i))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(name, buf, 0o644); err != nil {
			b.Fatal(err)
		}
		size += int64(len(buf))
	}
	return dir, size
}

func BenchmarkPutTreeNew(b *testing.B) {
	dir, size := benchTree(b)
	b.SetBytes(size)
	for b.Loop() {
		if _, err := PutTree(b.Context(), openDisk(b), dir); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPutTreeKnown(b *testing.B) {
	dir, size := benchTree(b)
	d := openDisk(b)
	if _, err := PutTree(b.Context(), d, dir); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(size)
	for b.Loop() {
		if _, err := PutTree(b.Context(), d, dir); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkTree(b *testing.B) {
	dir, size := benchTree(b)
	d := openDisk(b)
	digest, err := PutTree(b.Context(), d, dir)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(size)
	for b.Loop() {
		expanded, err := d.Tree(b.Context(), digest)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := removeTree(expanded); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func TestTogether(t *testing.T) {
	d := openDisk(t)
	ctx := t.Context()
	gone := errors.New("no")
	var digest Digest
	err := d.Together(ctx, func(ctx context.Context, st Store) (err error) {
		if digest, _, err = st.Put(ctx, strings.NewReader("x")); err != nil {
			return err
		}
		if got, err := Bytes(ctx, st, digest, 10); err != nil || string(got) != "x" {
			t.Errorf("within: %q %v", got, err)
		}
		if _, err := d.Stat(ctx, digest); !slipway.Is(err, slipway.NotFound) {
			t.Errorf("others see it too early: %v", err)
		}
		return gone
	})
	if !errors.Is(err, gone) {
		t.Fatal(err)
	}
	if _, err := d.Stat(ctx, digest); !slipway.Is(err, slipway.NotFound) {
		t.Fatalf("it was kept: %v", err)
	}
	var all []Digest
	for _, n := range []int{1, 3 * few} {
		if err := d.Together(ctx, func(ctx context.Context, st Store) error {
			for i := range n {
				one, _, err := st.Put(ctx, bytes.NewReader(fmt.Appendf(nil, "%d of %d", i, n)))
				if err != nil {
					return err
				}
				all = append(all, one)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	for _, one := range all {
		if _, err := Bytes(ctx, d, one, 100); err != nil {
			t.Error(err)
		}
	}
	if left, err := os.ReadDir(filepath.Join(d.dir, "tmp")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}
