package git_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"slipway.dev/slipway/internal/platform/git"
	"slipway.dev/slipway/internal/slipway"
)

var who = git.Signature{Name: "Ada <x>\n", Email: "ada@example.org", Time: time.Unix(1700000000, 0).In(time.FixedZone("", 3600))}

// history makes a repository from generations of files, one commit each, on refs/heads/main.
func history(t *testing.T, generations ...map[string][]byte) (git.Repo, []string) {
	t.Helper()
	r, err := git.Init(t.Context(), filepath.Join(t.TempDir(), "r.git"), "main")
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for i, g := range generations {
		parent := ""
		if i > 0 {
			parent = ids[i-1]
		}
		ids = append(ids, commit(t, r, parent, "commit "+string(rune('0'+i)), g))
	}
	if n := len(ids); n > 0 {
		if err := r.UpdateRefs(t.Context(), []git.RefChange{{Ref: "refs/heads/main", Old: git.Zero, New: ids[n-1]}}); err != nil {
			t.Fatal(err)
		}
	}
	return r, ids
}

func commit(t *testing.T, r git.Repo, parent, message string, files map[string][]byte) string {
	t.Helper()
	tree, err := r.WriteTree(t.Context(), parent, files)
	if err != nil {
		t.Fatal(err)
	}
	c := git.NewCommit{Tree: tree, Author: who, Committer: who, Message: message}
	if parent != "" {
		c.Parents = []string{parent}
	}
	id, err := r.WriteCommit(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func wantKind(t *testing.T, err error, kind slipway.Kind, words ...string) {
	t.Helper()
	if !slipway.Is(err, kind) {
		t.Fatalf("got %v (%s), want an error of kind %s", err, slipway.KindOf(err), kind)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
}

func TestObjectsAreDeterministic(t *testing.T) {
	files := map[string][]byte{"a/b.txt": []byte("one\n"), "c": {}}
	r1, ids1 := history(t, files)
	_, ids2 := history(t, files)
	if ids1[0] != ids2[0] {
		t.Errorf("the same commit got the ids %s and %s", ids1[0], ids2[0])
	}
	tag := git.NewTag{Name: "v1.0.0", Commit: ids1[0], Tagger: who, Message: "first"}
	a, err := r1.WriteTag(t.Context(), tag)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := r1.WriteTag(t.Context(), tag); err != nil || a != b {
		t.Errorf("the same tag got %s, then %s (%v)", a, b, err)
	}
	c, err := r1.Commit(t.Context(), ids1[0])
	if err != nil {
		t.Fatal(err)
	}
	if c.Author.Name != "Ada x" || c.Author.Email != who.Email || !c.Author.Time.Equal(who.Time) || c.Subject() != "commit 0" {
		t.Errorf("read back %+v", c)
	}
}

func TestReadsFilesAndSaysWhatIsMissing(t *testing.T) {
	r, ids := history(t,
		map[string][]byte{"a/b": []byte("1"), "x": []byte("x")},
		map[string][]byte{"a/b": []byte("2")},
		map[string][]byte{"x": nil})
	ctx := t.Context()
	for rev, want := range map[string]string{"main": "2", ids[0]: "1", ids[0][:12]: "1", "main~2": "1"} {
		if got, err := r.File(ctx, rev, "a/b"); err != nil || string(got) != want {
			t.Errorf("a/b at %s: %q, %v; want %q", rev, got, err, want)
		}
	}
	_, err := r.File(ctx, "main", "x")
	wantKind(t, err, slipway.NotFound, "x", "main")
	_, err = r.File(ctx, "nosuch", "x")
	wantKind(t, err, slipway.NotFound, "nosuch")
	_, err = r.File(ctx, "main", "a")
	wantKind(t, err, slipway.Invalid, "folder")
	for _, p := range []string{"../x", "a/../x", "/etc/passwd", "a//b", ".git/config", "a\nb", "./x"} {
		_, err := r.File(ctx, "main", p)
		wantKind(t, err, slipway.Invalid)
	}
	log, err := r.Log(ctx, "", "main", "a", 0)
	if err != nil || len(log) != 2 || log[0].ID != ids[1] {
		t.Errorf("the log of a is %v, %v", log, err)
	}
	if log, err = r.Log(ctx, ids[1], "main", "", 0); err != nil || len(log) != 1 || log[0].ID != ids[2] {
		t.Errorf("the log after %s is %v, %v", ids[1], log, err)
	}
	changed, err := r.Changed(ctx, ids[0], ids[2])
	if err != nil || !slices.Equal(changed, []string{"a/b", "x"}) {
		t.Errorf("changed: %q, %v", changed, err)
	}
	if ok, err := r.IsAncestor(ctx, ids[0], ids[2]); err != nil || !ok {
		t.Errorf("IsAncestor: %v, %v", ok, err)
	}
	if ok, err := r.IsAncestor(ctx, ids[2], ids[0]); err != nil || ok {
		t.Errorf("IsAncestor backwards: %v, %v", ok, err)
	}
}

func TestOptionsCannotBeInjected(t *testing.T) {
	r, _ := history(t, map[string][]byte{"a": []byte("1")})
	ctx := t.Context()
	mark := filepath.Join(t.TempDir(), "owned")
	for _, rev := range []string{"--output=" + mark, "-h", "", "main\nx", "--all"} {
		_, err := r.Resolve(ctx, rev)
		wantKind(t, err, slipway.Invalid)
		_, err = r.File(ctx, rev, "a")
		wantKind(t, err, slipway.Invalid)
		_, err = r.Log(ctx, "main", rev, "", 0)
		wantKind(t, err, slipway.Invalid)
	}
	_, err := r.Refs(ctx, "--format=x")
	wantKind(t, err, slipway.Invalid)
	err = r.Fetch(ctx, "--upload-pack=touch "+mark, "refs/heads/*:refs/x/*")
	wantKind(t, err, slipway.Unavailable)
	err = r.Fetch(ctx, "ext::sh -c touch% "+mark, "refs/heads/*:refs/x/*")
	wantKind(t, err, slipway.Unavailable)
	if _, err := os.Lstat(mark); !errors.Is(err, os.ErrNotExist) {
		t.Error("an option was executed")
	}
}

func TestCheckRef(t *testing.T) {
	for _, ok := range []string{"refs/heads/main", "refs/tags/lib/v1.0.0", "refs/changes/12/1", "refs/heads/ünï"} {
		if err := git.CheckRef(ok); err != nil {
			t.Errorf("%s: %v", ok, err)
		}
	}
	for _, bad := range []string{"main", "refs/heads", "refs/heads/", "refs/heads/a..b", "refs/heads/a.lock", "refs/heads/-x", "refs//x/y",
		"refs/heads/.x", "refs/heads/a b", "refs/heads/a\nb", "refs/heads/a~1", "refs/heads/a@{1}", "refs/heads/" + strings.Repeat("x", 300)} {
		wantKind(t, git.CheckRef(bad), slipway.Invalid)
	}
}

func TestUpdateRefsIsAllOrNothing(t *testing.T) {
	r, ids := history(t, map[string][]byte{"a": []byte("1")}, map[string][]byte{"a": []byte("2")})
	ctx := t.Context()
	err := r.UpdateRefs(ctx, []git.RefChange{
		{Ref: "refs/tags/v1", Old: git.Zero, New: ids[0]},
		{Ref: "refs/heads/main", Old: ids[0], New: ids[0]}, // it is at ids[1]
	})
	wantKind(t, err, slipway.Conflict, "refs/heads/main", ids[1])
	if at, _ := r.Ref(ctx, "refs/tags/v1"); at != git.Zero {
		t.Errorf("the tag was made though the branch could not move: %s", at)
	}
	err = r.UpdateRefs(ctx, []git.RefChange{
		{Ref: "refs/tags/v1", Old: git.Zero, New: ids[0]},
		{Ref: "refs/heads/main", Old: ids[1], New: ids[0]},
	})
	if err != nil {
		t.Fatal(err)
	}
	err = r.UpdateRefs(ctx, []git.RefChange{{Ref: "refs/tags/v1", Old: ids[0], New: git.Zero}})
	if err != nil {
		t.Fatal(err)
	}
	refs, err := r.Refs(ctx, "refs/")
	if err != nil || len(refs) != 1 || refs[0] != (git.Ref{Name: "refs/heads/main", ID: ids[0], Commit: ids[0]}) {
		t.Errorf("refs are %v, %v", refs, err)
	}
}

func TestMergeAndPick(t *testing.T) {
	r, ids := history(t, map[string][]byte{"a": []byte("1\n2\n3\n4\n5\n"), "b": []byte("b\n")})
	ctx := t.Context()
	ours := commit(t, r, ids[0], "ours", map[string][]byte{"a": []byte("one\n2\n3\n4\n5\n")})
	theirs := commit(t, r, ids[0], "theirs", map[string][]byte{"a": []byte("1\n2\n3\n4\nfive\n")})
	next := commit(t, r, theirs, "next", map[string][]byte{"b": []byte("bee\n")})
	bad := commit(t, r, ids[0], "bad", map[string][]byte{"a": []byte("eins\n2\n3\n4\n5\n"), "b": []byte("be\n")})

	m, err := r.MergeTree(ctx, ours, next)
	if err != nil || len(m.Conflicts) != 0 {
		t.Fatalf("merge: %+v, %v", m, err)
	}
	if got, _ := r.File(ctx, m.Tree, "a"); string(got) != "one\n2\n3\n4\nfive\n" {
		t.Errorf("merged a is %q", got)
	}
	if m, err = r.MergeTree(ctx, ours, bad); err != nil || !slices.Equal(m.Conflicts, []string{"a"}) {
		t.Errorf("conflict: %+v, %v", m, err)
	}
	pick, err := r.Commit(ctx, next)
	if err != nil {
		t.Fatal(err)
	}
	if m, err = r.Pick(ctx, ours, pick); err != nil || len(m.Conflicts) != 0 {
		t.Fatalf("pick: %+v, %v", m, err)
	}
	a, _ := r.File(ctx, m.Tree, "a")
	b, _ := r.File(ctx, m.Tree, "b")
	if string(a) != "one\n2\n3\n4\n5\n" || string(b) != "bee\n" {
		t.Errorf("picking only the last commit gave a=%q b=%q", a, b)
	}
}

func TestExportWritesExactlyTheTree(t *testing.T) {
	odd := []string{"with space", "-rf", "--help", "new\tline", "ünïcode", `back\slash`, "quote\"'", "deep/er/file", "*", "a;b", "$(x)", ".gitattributes"}
	files := map[string][]byte{}
	for _, n := range odd {
		files["src/"+n] = []byte("is " + n)
	}
	files["src/.gitattributes"] = []byte("* export-ignore\n* text eol=crlf\n")
	files["src/ident"] = []byte("$Id$ $Format:%H$\n")
	files["other"] = []byte("not exported")
	r, ids := history(t, files)
	dir := filepath.Join(t.TempDir(), "out")
	tree, err := r.Export(t.Context(), ids[0], "src", dir)
	if err != nil {
		t.Fatal(err)
	}
	if want, _ := r.Tree(t.Context(), "main", "src"); tree != want {
		t.Errorf("exported tree %s, want %s", tree, want)
	}
	n := 0
	err = filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		n++
		rel, _ := filepath.Rel(dir, p)
		got, err := os.ReadFile(p)
		if want := files["src/"+rel]; string(got) != string(want) {
			t.Errorf("%q holds %q, want %q", rel, got, want)
		}
		return err
	})
	if err != nil || n != len(files)-1 {
		t.Errorf("%d files, want %d (%v)", n, len(files)-1, err)
	}
	_, err = r.Export(t.Context(), "main", "other", filepath.Join(t.TempDir(), "x"))
	wantKind(t, err, slipway.Invalid, "file")
}

// TestExportCannotEscape writes trees that git itself would refuse to make, and links that point outside.
func TestExportCannotEscape(t *testing.T) {
	r, _ := history(t, map[string][]byte{"a": []byte("1")})
	blob := raw(t, r, "blob", []byte("owned"))
	link := raw(t, r, "blob", []byte(t.TempDir()))
	entry := func(mode, name, id string) string {
		var b []byte
		for i := 0; i < len(id); i += 2 {
			hi, lo := strings.IndexByte("0123456789abcdef", id[i]), strings.IndexByte("0123456789abcdef", id[i+1])
			b = append(b, byte(hi<<4|lo))
		}
		return mode + " " + name + "\x00" + string(b)
	}
	sub := raw(t, r, "tree", []byte(entry("100644", "evil", blob)))
	for name, tree := range map[string]string{
		"dotdot": raw(t, r, "tree", []byte(entry("40000", "..", sub))),
		"slash":  raw(t, r, "tree", []byte(entry("100644", "../evil", blob))),
		"dotgit": raw(t, r, "tree", []byte(entry("40000", ".GIT", sub))),
		"link":   raw(t, r, "tree", []byte(entry("120000", "d", link)+entry("40000", "d", sub))),
	} {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			_, err := r.Export(t.Context(), tree, "", filepath.Join(top, "in"))
			if err == nil {
				t.Error("it was written out")
			}
			found, _ := filepath.Glob(filepath.Join(top, "*"))
			if len(found) > 1 {
				t.Errorf("written outside: %q", found)
			}
		})
	}
	ok := raw(t, r, "tree", []byte(entry("120000", "d", link)))
	dir := t.TempDir()
	if _, err := r.Export(t.Context(), ok, "", dir); err != nil {
		t.Fatal(err)
	}
	if to, err := os.Readlink(filepath.Join(dir, "d")); err != nil || !filepath.IsAbs(to) {
		t.Errorf("the link reads %q, %v", to, err)
	}
}

func raw(t *testing.T, r git.Repo, kind string, data []byte) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", "hash-object", "--literally", "-t", kind, "-w", "--stdin")
	cmd.Env = append(git.Environ(), "GIT_DIR="+r.Dir())
	cmd.Stdin = strings.NewReader(string(data))
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func TestWriteTreeReplacesFoldersAndKeepsModes(t *testing.T) {
	r, ids := history(t, map[string][]byte{"a/b": []byte("1"), "c": []byte("c")})
	tree, err := r.WriteTree(t.Context(), ids[0], map[string][]byte{"a": []byte("now a file"), "c/d": []byte("now a folder")})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := r.File(t.Context(), tree, "a"); err != nil || string(got) != "now a file" {
		t.Errorf("a: %q, %v", got, err)
	}
	for _, p := range []string{"../x", ".git/hooks/x", "", "a//b"} {
		if p == "" {
			continue
		}
		_, err := r.WriteTree(t.Context(), ids[0], map[string][]byte{p: []byte("x")})
		wantKind(t, err, slipway.Invalid)
	}
}

func TestFetchFollowsAndPrunes(t *testing.T) {
	far, ids := history(t, map[string][]byte{"a": []byte("1")}, map[string][]byte{"a": []byte("2")})
	near, _ := history(t)
	ctx := t.Context()
	spec := "+refs/heads/*:refs/mirror/heads/*"
	wantKind(t, near.Fetch(ctx, far.Dir(), spec), slipway.Unavailable, "not allowed") // local paths are no remotes
	near = near.WithEnv("GIT_ALLOW_PROTOCOL=file")
	if err := near.Fetch(ctx, far.Dir(), spec); err != nil {
		t.Fatal(err)
	}
	if at, _ := near.Ref(ctx, "refs/mirror/heads/main"); at != ids[1] {
		t.Errorf("main is at %s", at)
	}
	if err := far.UpdateRefs(ctx, []git.RefChange{{Ref: "refs/heads/main", Old: ids[1], New: git.Zero}, {Ref: "refs/heads/dev", Old: git.Zero, New: ids[0]}}); err != nil {
		t.Fatal(err)
	}
	if err := near.Fetch(ctx, far.Dir(), spec); err != nil {
		t.Fatal(err)
	}
	refs, _ := near.Refs(ctx, "refs/mirror/")
	if len(refs) != 1 || refs[0].Name != "refs/mirror/heads/dev" || refs[0].ID != ids[0] {
		t.Errorf("mirrored refs are %v", refs)
	}
}

func TestRemoveStaleLocks(t *testing.T) {
	r, ids := history(t, map[string][]byte{"a": []byte("1")}, map[string][]byte{"a": []byte("2")})
	lock := filepath.Join(r.Dir(), "refs/heads/main.lock")
	if err := os.WriteFile(lock, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	move := []git.RefChange{{Ref: "refs/heads/main", Old: ids[1], New: ids[0]}}
	if err := r.UpdateRefs(t.Context(), move); err == nil {
		t.Fatal("a locked ref was moved")
	}
	gone, err := r.RemoveStaleLocks()
	if err != nil || !slices.Equal(gone, []string{lock}) {
		t.Errorf("removed %q, %v", gone, err)
	}
	if err := r.UpdateRefs(t.Context(), move); err != nil {
		t.Error(err)
	}
}

// TestHeldFileOutlivesTheStarter shows the property on which recovery after a kill rests.
func TestHeldFileOutlivesTheStarter(t *testing.T) {
	r, _ := history(t)
	path := filepath.Join(t.TempDir(), "lock")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := r.Holding(f).Command(ctx, git.Environ(), "cat-file", "--batch")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f.Close() // as a kill of this process would
	other, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := syscall.Flock(int(other.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); !errors.Is(err, syscall.EWOULDBLOCK) {
		t.Errorf("the lock could be had while git ran: %v", err)
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(other.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		t.Errorf("the lock cannot be had after git ended: %v", err)
	}
}

func TestCancelledCallsSaySo(t *testing.T) {
	r, _ := history(t, map[string][]byte{"a": []byte("1")})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Resolve(ctx, "main"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
