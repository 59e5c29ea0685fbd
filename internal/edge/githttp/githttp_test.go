package githttp_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/store"
)

func TestCloneAndPush(t *testing.T) {
	r := start(t, 0)
	w := desk(t, r.url, "dev")
	a := w.commit("file", "a", "a")
	w.must("push", "-q", "origin", "main") // the first push of an empty repository is a developer's
	w.refused([]string{"dev may not make branches", "ask a gatekeeper"}, "push", "origin", "HEAD:refs/heads/other")
	w.commit("file", "mine", "mine")
	w.refused([]string{"git push origin HEAD:refs/for/main", "protected"}, "push", "origin", "HEAD:main")
	g := desk(t, r.url, "gail")
	g.must("fetch", "-q", "origin")
	g.must("reset", "-q", "--hard", "origin/main")
	b := g.commit("file", "b", "b")
	g.must("tag", "-a", "-m", "one", "v1.0.0")
	g.must("push", "-q", "origin", "main", "v1.0.0")
	tag := g.must("rev-parse", "v1.0.0")
	same(t, "history", history(t, r.src), []string{
		fmt.Sprintf("refs/heads/main 000000 %.6s dev", a),
		fmt.Sprintf("refs/heads/main %.6s %.6s gail", a, b),
		fmt.Sprintf("refs/tags/v1.0.0 000000 %.6s gail", tag),
	})
	v := desk(t, r.url, "vic")
	v.must("fetch", "-q", "origin", "main")
	if got := v.must("rev-parse", "FETCH_HEAD"); got != b {
		t.Errorf("fetched %s, want %s", got, b)
	}
	if out := v.must("ls-remote", "origin"); strings.Contains(out, "refs/mirror") {
		t.Errorf("internal refs are shown:\n%s", out)
	}
}

func TestRights(t *testing.T) {
	r := start(t, 0)
	base := r.url + "/git/" + repo + ".git/info/refs?service=git-"
	for _, c := range []struct {
		user, service string
		status        int
		says          string
	}{
		{"", "upload-pack", 401, "API token"},
		{"", "receive-pack", 401, "API token"},
		{"nobody", "upload-pack", 401, "nobody has this token"},
		{"vic", "upload-pack", 200, ""},
		{"vic", "receive-pack", 403, "role developer"},
		{"dev", "receive-pack", 200, ""},
	} {
		status, body := get(t, base+c.service, c.user)
		if status != c.status || !strings.Contains(body, c.says) {
			t.Errorf("%s of %q: %d %q, want %d %q", c.service, c.user, status, body, c.status, c.says)
		}
	}
	w := desk(t, r.url, "vic")
	w.commit("a", "a", "a")
	w.refused([]string{"vic may not push", "role developer"}, "push", "origin", "main")
	w.point(r.url, "mallory")
	w.refused([]string{"Authentication failed"}, "push", "origin", "main")
	if n := len(history(t, r.src)); n != 0 {
		t.Errorf("%d refs moved", n)
	}
}

func TestPathsAreRepositoriesAndNothingElse(t *testing.T) {
	r := start(t, 0)
	for _, path := range []string{
		"/git/components/nosuch.git/info/refs?service=git-upload-pack",
		"/git/components/../components/libwire.git/info/refs?service=git-upload-pack",
		"/git/components/..%2flibwire.git/info/refs?service=git-upload-pack",
		"/git/%2e%2e/%2e%2e/etc/info/refs?service=git-upload-pack",
		"/git/-c/x.git/info/refs?service=git-upload-pack",
		"/git/components/libwire.git/HEAD",
		"/git/components/libwire.git/objects/info/packs",
		"/git/components/libwire.git/config",
		"/git//info/refs?service=git-upload-pack",
	} {
		if status, body := get(t, r.url+path, "root"); status != 404 && status != 301 && status != 307 {
			t.Errorf("%s: %d %q", path, status, body)
		}
	}
	if status, body := get(t, r.url+"/git/components/libwire.git/info/refs", "root"); status != 403 || !strings.Contains(body, "smart") {
		t.Errorf("the dumb protocol: %d %q", status, body)
	}
	if status, _ := get(t, r.url+"/git/components/libwire.git/info/refs?service=git-upload-archive", "root"); status != 403 {
		t.Errorf("another service: %d", status)
	}
	w := desk(t, r.url, "dev")
	w.commit("a", "a", "a")
	w.must("remote", "set-url", "origin", strings.Replace(r.url, "http://", "http://dev:token-dev@", 1)+"/git/components/nosuch.git")
	w.refused([]string{`there is no repository "components/nosuch"`, "slipway repo create components/nosuch"}, "push", "origin", "main")
}

func TestHistoryIsNotRewrittenByDevelopers(t *testing.T) {
	r := start(t, 0)
	w := desk(t, r.url, "dev")
	a := w.commit("file", "a", "a")
	w.must("push", "-q", "origin", "main")
	g := desk(t, r.url, "gail")
	g.must("fetch", "-q", "origin")
	g.must("reset", "-q", "--hard", "origin/main")
	b := g.commit("file", "b", "b")
	g.must("tag", "v1")
	g.must("push", "-q", "origin", "main", "v1")

	g.must("reset", "-q", "--hard", a)
	g.commit("file", "c", "c")
	g.refused([]string{"drop commits", "rebase on main"}, "push", "--force", "origin", "main")
	g.refused([]string{"may not delete a branch"}, "push", "origin", ":main")
	g.refused([]string{"may not delete a tag"}, "push", "origin", ":v1")
	g.must("tag", "-f", "v1")
	g.refused([]string{"the tag exists"}, "push", "--force", "origin", "v1")
	g.refused([]string{"belongs to Slipway"}, "push", "origin", "HEAD:refs/changes/1/1")
	g.refused([]string{"belongs to Slipway"}, "push", "origin", "HEAD:refs/mirror/heads/main")
	w.must("tag", "v2")
	w.refused([]string{"dev may not push tags"}, "push", "origin", "v2")
	// One bad ref refuses all of the push.
	g.refused([]string{"drop commits"}, "push", "--force", "origin", "HEAD:refs/heads/main", "HEAD:refs/heads/new")

	root := desk(t, r.url, "root")
	root.must("fetch", "-q", "origin")
	root.must("push", "-q", "--force", "origin", a+":refs/heads/main")
	root.must("push", "-q", "origin", ":v1")
	h := history(t, r.src)
	same(t, "the end of history", h[len(h)-2:], []string{
		fmt.Sprintf("refs/heads/main %.6s %.6s root", b, a), fmt.Sprintf("refs/tags/v1 %.6s 000000 root", b)})
	events, err := r.db.Events(t.Context(), store.EventQuery{Subject: "repo/" + repo})
	if err != nil {
		t.Fatal(err)
	}
	rejected := 0
	for _, e := range events {
		if e.Type == slipway.RefRejected {
			rejected++
			if e.Actor == "" || e.Reason == "" {
				t.Errorf("a refusal without actor or reason: %+v", e)
			}
		}
	}
	if rejected != 7+1 {
		t.Errorf("%d refusals in the ledger, want 8", rejected)
	}
}

func TestChanges(t *testing.T) {
	r := start(t, 0)
	w := desk(t, r.url, "dev")
	w.refused([]string{"does not match any"}, "push", "origin", "HEAD:refs/for/main")
	w.commit("file", "a", "a")
	w.refused([]string{"no branch main", "first push"}, "push", "origin", "HEAD:refs/for/main")
	w.must("push", "-q", "origin", "main")
	w.refused([]string{"holds this commit already"}, "push", "origin", "HEAD:refs/for/main")

	id := "\n\nChange-Id: I0123456789abcdef0123456789abcdef01234567"
	w.commit("file", "b", "feat: b"+id)
	out := w.must("push", "origin", "HEAD:refs/for/main")
	for _, says := range []string{"change 1 opened: feat: b", r.url + "/changes/1", "refs/changes/1/1"} {
		if !strings.Contains(out, says) {
			t.Errorf("the pusher does not read %q:\n%s", says, out)
		}
	}
	if out := w.must("push", "origin", "HEAD:refs/for/main"); !strings.Contains(out, "change 1, patchset 1 (the same commit as before)") {
		t.Errorf("the same push again says:\n%s", out)
	}
	w.must("commit", "-q", "--amend", "-m", "feat: better b"+id)
	second := w.must("rev-parse", "HEAD")
	if out := w.must("push", "origin", "HEAD:refs/for/main"); !strings.Contains(out, "change 1, patchset 2: feat: better b") {
		t.Errorf("the amended push says:\n%s", out)
	}
	// By topic, given in two ways.
	w.must("checkout", "-q", "-b", "work", "origin/main")
	w.commit("other", "1", "fix: one")
	if out := w.must("push", "-o", "topic=speed", "origin", "HEAD:refs/for/main"); !strings.Contains(out, "change 2 opened: fix: one") {
		t.Errorf("a topic says:\n%s", out)
	}
	w.commit("other", "2", "fix: two")
	if out := w.must("push", "origin", "HEAD:refs/for/main/speed"); !strings.Contains(out, "change 2, patchset 2: fix: two") {
		t.Errorf("the topic again says:\n%s", out)
	}
	// By author and subject.
	w.must("checkout", "-q", "-b", "third", "origin/main")
	w.commit("third", "1", "docs: three")
	w.must("push", "-q", "origin", "HEAD:refs/for/main")
	w.must("commit", "-q", "--amend", "--reset-author", "-m", "docs: three", "-m", "more words")
	if out := w.must("push", "origin", "HEAD:refs/for/main"); !strings.Contains(out, "change 3, patchset 2") {
		t.Errorf("the same subject says:\n%s", out)
	}
	other := desk(t, r.url, "dora")
	other.must("fetch", "-q", "origin", "refs/changes/1/2")
	if got := other.must("rev-parse", "FETCH_HEAD"); got != second {
		t.Errorf("refs/changes/1/2 is %s, want %s", got, second)
	}
	c, err := r.changes.Change(t.Context(), 1)
	if err != nil || len(c.Patchsets) != 2 || c.Author != "dev" || c.Title != "feat: better b" || c.Current().Commit != second {
		t.Errorf("change 1 is %+v, %v", c, err)
	}
	if n := len(history(t, r.src)); n != 1 {
		t.Errorf("branch history has %d lines, want 1: changes are no branches", n)
	}
	w.refused([]string{"not deleted by a push"}, "push", "origin", ":refs/for/main")
	w.must("checkout", "-q", "--orphan", "alone")
	w.commit("x", "x", "x")
	w.refused([]string{"no history in common"}, "push", "origin", "HEAD:refs/for/main")
}

func TestABrokenFileIsRefused(t *testing.T) {
	r := start(t, 0)
	w := desk(t, r.url, "dev")
	w.commit("slipway.yaml", "component: libwire\nbuild: make\n", "good")
	w.must("push", "-q", "origin", "main")
	w.commit("slipway.yaml", "component: libwire\nbuild: make\nbiuld: make\n", "bad")
	w.refused([]string{"remote: error: slipway.yaml:3", "biuld"}, "push", "origin", "HEAD:refs/for/main")
	w.point(r.url, "gail")
	w.refused([]string{"remote: error: slipway.yaml:3"}, "push", "origin", "main")
	if found, err := r.changes.Changes(t.Context(), changeFilter); err != nil || len(found) != 0 {
		t.Errorf("there are changes %v, %v", found, err)
	}
	// Nothing of the refused push stays.
	left, _ := filepath.Glob(filepath.Join(r.dir(t), "objects", "*incoming*"))
	if len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestTooLarge(t *testing.T) {
	r := start(t, 200<<10)
	w := desk(t, r.url, "dev")
	noise := make([]byte, 8<<20)
	rand.Read(noise)
	w.commit("big", string(noise), "big")
	w.refused([]string{"maximum allowed size"}, "push", "origin", "main")             // sent in chunks: git itself stops
	w.refused([]string{"413"}, "-c", "http.postBuffer=64m", "push", "origin", "main") // sent with its length
	if n := len(history(t, r.src)); n != 0 {
		t.Errorf("%d refs moved", n)
	}
	w.must("reset", "-q", "--soft", "HEAD")
	w.must("commit", "-q", "--amend", "-m", "small")
	if err := os.Remove(filepath.Join(w.dir, "big")); err != nil {
		t.Fatal(err)
	}
	w.must("checkout", "-q", "--orphan", "small")
	w.must("rm", "-q", "-r", "--cached", ".")
	w.commit("file", "small", "small")
	w.must("push", "-q", "origin", "small:main")
}

func TestAPushOfManyThings(t *testing.T) {
	r := start(t, 0)
	w := desk(t, r.url, "dev")
	for i := range 60 { // enough to be indexed as a pack
		if err := os.WriteFile(filepath.Join(w.dir, fmt.Sprint("f", i)), bytes.Repeat([]byte{byte(i)}, 60<<10), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	noise := make([]byte, 3<<20)
	rand.Read(noise)
	w.commit("noise", string(noise), "many")
	for i := range 50 {
		w.must("tag", fmt.Sprint("t", i))
	}
	w.must("push", "-q", "--tags", "origin", "main")
	if n := len(history(t, r.src)); n != 51 {
		t.Errorf("history has %d lines, want 51", n)
	}
	c := desk(t, r.url, "vic")
	c.must("fetch", "-q", "--depth=1", "origin", "main")
	if got, want := c.must("rev-parse", "FETCH_HEAD:noise"), w.must("rev-parse", "main:noise"); got != want {
		t.Errorf("fetched %s, want %s", got, want)
	}
}

// TestAClientThatGoesAway sends half a push: nothing moves, nothing stays, and the repository is free.
func TestAClientThatGoesAway(t *testing.T) {
	r := start(t, 0)
	body, in := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url+"/git/"+repo+".git/git-receive-pack", body)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("dev", "token-dev")
	req.Header.Set("Content-Type", "application/x-git-receive-pack-request")
	answered := make(chan error, 1)
	go func() {
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			res.Body.Close()
		}
		answered <- err
	}()
	line := slipway.ZeroCommit + " 1111111111111111111111111111111111111111 refs/heads/main\x00 report-status\n"
	fmt.Fprintf(in, "%04x%s0000PACK\x00\x00\x00\x02\x00\x00\x00\x09half", len(line)+4, line)
	in.CloseWithError(io.ErrUnexpectedEOF)
	<-answered
	w := desk(t, r.url, "dev")
	w.commit("file", "a", "a")
	w.must("push", "-q", "origin", "main")
	if n := len(history(t, r.src)); n != 1 {
		t.Errorf("history has %d lines, want 1", n)
	}
}
