package treediff_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/stage/build/treediff"
)

var noon = time.Date(2026, 11, 3, 12, 0, 0, 0, time.UTC)

func gz(at time.Time, data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.ModTime = at
	w.Write(data) //nolint:errcheck // into memory
	w.Close()     //nolint:errcheck
	return b.Bytes()
}

type file struct {
	name, text string
	at         time.Time
}

func tarOf(files ...file) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		w.WriteHeader(&tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.text)), ModTime: f.at, Format: tar.FormatUSTAR}) //nolint:errcheck // into memory
		w.Write([]byte(f.text))                                                                                                 //nolint:errcheck
	}
	w.Close() //nolint:errcheck
	return b.Bytes()
}

func zipOf(files ...file) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, f := range files {
		e, _ := w.CreateHeader(&zip.FileHeader{Name: f.name, Modified: f.at, Method: zip.Deflate}) //nolint:errcheck // into memory
		e.Write([]byte(f.text))                                                                    //nolint:errcheck
	}
	w.Close() //nolint:errcheck
	return b.Bytes()
}

func TestPartsAndCauses(t *testing.T) {
	later := noon.Add(2 * time.Second)
	for name, c := range map[string]struct {
		a, b []byte
		want string // part: kind
	}{
		"gzip time":         {gz(noon, []byte("x")), gz(later, []byte("x")), "gzip header: mtime: timestamp"},
		"tar time":          {gz(noon, tarOf(file{"a", "1", noon})), gz(noon, tarOf(file{"a", "1", later})), "gzip > tar > a: mtime: timestamp"},
		"tar order":         {tarOf(file{"a", "1", noon}, file{"b", "2", noon}), tarOf(file{"b", "2", noon}, file{"a", "1", noon}), "tar > members: order"},
		"tar member":        {tarOf(file{"a", "1", noon}), tarOf(file{"a", "1", noon}, file{"b", "2", noon}), "tar > b: missing"},
		"deep":              {tarOf(file{"in.gz", string(gz(noon, []byte("x"))), noon}), tarOf(file{"in.gz", string(gz(later, []byte("x"))), noon}), "tar > in.gz > gzip header: mtime: timestamp"},
		"zip time":          {zipOf(file{"a", "1", noon}), zipOf(file{"a", "1", later}), "zip > a: mtime: timestamp"},
		"date in text":      {[]byte("v 1\nbuilt on 2026-11-03 12:00\n"), []byte("v 1\nbuilt on 2026-11-03 12:01\n"), "line 2: timestamp"},
		"epoch in text":     {[]byte("built=1700000000\n"), []byte("built=1700000002\n"), "line 1: timestamp"},
		"temporary in text": {[]byte("from /tmp/tmp.aB3dE6\n"), []byte("from /tmp/tmp.Zz9yX1\n"), "line 1: path"},
		"order of lines":    {[]byte("a\nb\nc\n"), []byte("b\na\nc\n"), "line 1: order"},
		"order in a line":   {[]byte("a b c\n"), []byte("c b a\n"), "line 1: order"},
		"random text":       {[]byte("id ab12\n"), []byte("id ff98\n"), "line 1: content"},
		"blob":              {[]byte("\x00\x01go-build111/x\x00"), []byte("\x00\x01go-build222/x\x00"), "byte 10, 3 bytes in all: path"},
		"bytes":             {[]byte("\x00\x01\x02"), []byte("\x00\x01\x03"), "byte 2, 1 bytes in all: content"},
		"not really gzip":   {[]byte("\x1f\x8b\x00a"), []byte("\x1f\x8b\x00b"), "byte 3, 1 bytes in all: content"},
	} {
		t.Run(name, func(t *testing.T) {
			found := treediff.Files("f", c.a, c.b)
			if len(found) != 1 || found[0].Part+": "+string(found[0].Kind) != c.want || found[0].Remedy == "" || found[0].First == found[0].Second {
				t.Errorf("got %v, want %s", found, c.want)
			}
		})
	}
	if found := treediff.Files("f", []byte("same"), []byte("same")); len(found) > 0 {
		t.Error(found)
	}
}

// TestProgram compares two real programs that a C compiler made, one with the time in it.
func TestProgram(t *testing.T) {
	dir := t.TempDir()
	made := func(when string) []byte {
		src := fmt.Sprintf("const char when[] = \"built %s\";\nint main(void) { return when[0]; }\n", when)
		if err := os.WriteFile(filepath.Join(dir, "x.c"), []byte(src), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("gcc", "-O0", "-Wl,--build-id=sha1", "-o", "x", "x.c")
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		data, err := os.ReadFile(filepath.Join(dir, "x"))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	found := treediff.Files("x", made("12:00:01"), made("12:00:02"))
	if len(found) != 2 || found[0].Part[:len("section .rodata")] != "section .rodata" || found[0].Kind != treediff.Timestamp ||
		found[1].Part != "section .note.gnu.build-id" || found[1].Kind != treediff.BuildID {
		t.Errorf("%+v", found)
	}
}

func TestTrees(t *testing.T) {
	disk, err := artifact.OpenDisk(filepath.Join(t.TempDir(), "artifacts"))
	if err != nil {
		t.Fatal(err)
	}
	put := func(make func(dir string)) string {
		dir := t.TempDir()
		make(dir)
		d, err := artifact.PutTree(t.Context(), disk, dir)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	write := func(dir, name, text string, mode os.FileMode) {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	link := func(dir, to string) {
		if err := os.Symlink(to, filepath.Join(dir, "link")); err != nil {
			t.Fatal(err)
		}
	}
	a := put(func(dir string) {
		write(dir, "same", "x", 0o644)
		write(dir, "sub/text", "built at 12:00:01\n", 0o644)
		write(dir, "mode", "x", 0o644)
		write(dir, "first-only", "x", 0o644)
		link(dir, "same")
	})
	b := put(func(dir string) {
		write(dir, "same", "x", 0o644)
		write(dir, "sub/text", "built at 12:00:02\n", 0o644)
		write(dir, "mode", "x", 0o755)
		write(dir, "second-only", "x", 0o644)
		link(dir, "mode")
	})
	found, err := treediff.Trees(t.Context(), disk, a, b)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, d := range found {
		lines = append(lines, d.String())
	}
	want := []string{
		"first-only: missing: a file of 1 bytes, then nothing",
		"link: mode: a link to same, then a link to mode",
		"mode: mode: a file of 1 bytes, then a program of 1 bytes",
		"sub/text (line 1): timestamp: built at 12:00:01, then built at 12:00:02",
		"second-only: missing: nothing, then a file of 1 bytes",
	}
	if got, want := strings.Join(lines, "\n"), strings.Join(want, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if found, err := treediff.Trees(t.Context(), disk, a, a); err != nil || len(found) > 0 {
		t.Error(found, err)
	}
}
