package git_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"slipway.dev/slipway/internal/platform/git"
	"slipway.dev/slipway/internal/slipway"
)

// What a kept process says is what a process of its own says.
func TestReadersSayTheSame(t *testing.T) {
	many := map[string][]byte{}
	for i := range 70 {
		many[fmt.Sprintf("many/f%02d", i)] = []byte("x")
	}
	gen := []map[string][]byte{
		{"a/x": []byte("1"), "b/deep/y": []byte("2"), "with space/z": []byte("z")},
		{"a/x": []byte("1"), "b/deep/y": []byte("3")},
		{"a/x": []byte("2")},
		many,
		{"a/x": []byte("2"), "late/w": []byte("4")},
	}
	plain, ids := history(t, gen...)
	side := commit(t, plain, ids[1], "side", map[string][]byte{"a/x": []byte("9")})
	c, err := plain.Commit(t.Context(), side)
	if err != nil {
		t.Fatal(err)
	}
	merge, err := plain.WriteCommit(t.Context(), git.NewCommit{Tree: c.Tree, Author: who, Committer: who, Message: "merge", Parents: []string{ids[4], side}})
	if err != nil {
		t.Fatal(err)
	}
	empty, err := plain.WriteCommit(t.Context(), git.NewCommit{Tree: c.Tree, Author: who, Committer: who, Message: "nothing changes", Parents: []string{side}})
	if err != nil {
		t.Fatal(err)
	}
	var readers git.Readers
	defer readers.Close()
	kept := plain.Reading(&readers)
	compare := func(what string, f func(r git.Repo) (any, error)) {
		t.Helper()
		want, wantErr := f(plain)
		got, gotErr := f(kept)
		if fmt.Sprint(want) != fmt.Sprint(got) || fmt.Sprint(wantErr) != fmt.Sprint(gotErr) || slipway.KindOf(wantErr) != slipway.KindOf(gotErr) {
			t.Errorf("%s: %v %v, want %v %v", what, got, gotErr, want, wantErr)
		}
	}
	revs := append([]string{merge, empty, side, git.Zero, strings.Repeat("ab", 20), "main", c.Tree}, ids...)
	for _, rev := range revs {
		for _, p := range []string{"", "a", "a/x", "b", "b/deep", "with space", "many", "late", "nowhere", "a/x/y"} {
			what := rev[:4] + ":" + p
			compare("tree of "+what, func(r git.Repo) (any, error) { return r.Tree(t.Context(), rev, p) })
			compare("file "+what, func(r git.Repo) (any, error) { return r.File(t.Context(), rev, p) })
			for _, limit := range []int{0, 1, 2, 100} {
				compare(fmt.Sprint("log ", limit, " of ", what), func(r git.Repo) (any, error) { return r.Log(t.Context(), "", rev, p, limit) })
			}
			compare("export of "+what, func(r git.Repo) (any, error) {
				dir := filepath.Join(t.TempDir(), "out")
				tree, err := r.Export(t.Context(), rev, p, dir)
				return tree + listing(t, dir), err
			})
		}
		compare("commit "+rev[:4], func(r git.Repo) (any, error) { return r.Commit(t.Context(), rev) })
	}
}

// listing is what a folder holds, with modes and contents.
func listing(t *testing.T, dir string) string {
	t.Helper()
	if _, err := os.Stat(dir); err != nil {
		return ""
	}
	out, err := exec.Command("sh", "-c", `cd "$1" && find . -printf '%P %M\n' | sort && find . -type f | sort | xargs -r -d '\n' cat`, "sh", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

func TestReaderSeesWhatCameLater(t *testing.T) {
	plain, ids := history(t, map[string][]byte{"f": []byte("1")})
	var readers git.Readers
	defer readers.Close()
	r := plain.Reading(&readers)
	if _, err := r.Commit(t.Context(), ids[0]); err != nil {
		t.Fatal(err)
	}
	next := commit(t, plain, ids[0], "next", map[string][]byte{"f": []byte("2")})
	if out, err := exec.Command("git", "-C", plain.Dir(), "repack", "-q", "-a", "-d", "--keep-unreachable").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, id := range []string{next, ids[0]} {
		if _, err := r.File(t.Context(), id, "f"); err != nil {
			t.Error(err)
		}
	}
}

func TestReadersAreSharedAndOutliveTheirDeath(t *testing.T) {
	plain, ids := history(t, map[string][]byte{"f": []byte("1")})
	var readers git.Readers
	defer readers.Close()
	r := plain.Reading(&readers)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 20 {
				if data, err := r.File(t.Context(), ids[0], "f"); err != nil || string(data) != "1" {
					t.Error(string(data), err)
				}
			}
		})
	}
	all.Wait()
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.File(cancelled, ids[0], "f"); err == nil {
		t.Error("a cancelled question was answered")
	}
	// They are killed behind our back.
	procs, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		t.Fatal(err)
	}
	killed := 0
	for _, p := range procs {
		if to, err := os.Readlink(p); err == nil && to == r.Dir() {
			if out, err := exec.Command("kill", "-9", strings.Split(p, "/")[2]).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			killed++
		}
	}
	if killed == 0 {
		t.Error("no process was kept")
	}
	for range 10 {
		if data, err := r.File(t.Context(), ids[0], "f"); err != nil || string(data) != "1" {
			t.Error(string(data), err)
		}
	}
}
