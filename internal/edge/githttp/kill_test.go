package githttp_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/change"
	"slipway.dev/slipway/internal/stage/source"
	"slipway.dev/slipway/internal/store"
)

var changeFilter = change.Filter{}

func (r *road) dir(t testing.TB) string {
	t.Helper()
	dir, err := r.src.Dir(repo)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// check looks at everything that must hold after any kill: history is where the refs are, the ledger tells each move
// once, every move starts where the one before ended, and nothing is left open.
func (r *road) check(t testing.TB) {
	t.Helper()
	refs, err := r.src.Refs(t.Context(), repo)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := r.src.History(t.Context(), source.HistoryQuery{Repo: repo})
	if err != nil {
		t.Fatal(err)
	}
	at := map[string]string{}
	for i := len(lines) - 1; i >= 0; i-- {
		l := lines[i]
		was := at[l.Ref]
		if was == "" {
			was = slipway.ZeroCommit
		}
		if l.Old != was {
			t.Errorf("history of %s jumps from %s to %s", l.Ref, was, l.Old)
		}
		if l.Actor == "unknown" {
			t.Errorf("nobody knows who moved %s", l.Ref)
		}
		at[l.Ref] = l.New
	}
	for _, ref := range refs {
		if at[ref.Name] != ref.ID {
			t.Errorf("%s is at %s, history says %s", ref.Name, ref.ID, at[ref.Name])
		}
		delete(at, ref.Name)
	}
	for ref, id := range at {
		if id != slipway.ZeroCommit {
			t.Errorf("history says that %s is at %s, and it is not there", ref, id)
		}
	}
	events, err := r.db.Events(t.Context(), store.EventQuery{Subject: "repo/" + repo})
	if err != nil {
		t.Fatal(err)
	}
	told := 0
	for _, e := range events {
		if e.Type == slipway.RefUpdated {
			told++
		}
	}
	if told != len(lines) {
		t.Errorf("the ledger tells %d moves, history %d", told, len(lines))
	}
	err = r.db.View(t.Context(), func(tx *store.Tx) error {
		open, err := tx.RefIntents().Find(t.Context(), slipway.Query{})
		if len(open) > 0 {
			t.Errorf("open intents: %+v", open)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// prepareRepo makes the repository in a folder that a child will serve.
func prepareRepo(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	r, err := build(t.Context(), dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.src.Create(t.Context(), "root", repo, "", ""); err != nil {
		t.Fatal(err)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestServerKilledInAPush kills the server between two steps of one push: a hook of git's does it, so that the moment is exact.
func TestServerKilledInAPush(t *testing.T) {
	for _, c := range []struct {
		hook, when string
		moved      int // how many of the two refs must have moved by then; the orphaned receive-pack may get further
	}{
		{"reference-transaction", "prepared", 0},
		{"reference-transaction", "committed", 1},
		{"post-receive", "", 2},
	} {
		t.Run(strings.TrimSuffix(c.hook+"-"+c.when, "-"), func(t *testing.T) {
			dir := prepareRepo(t)
			url, cmd := child(t, dir)
			hook := fmt.Sprintf("#!/bin/sh\ncat >/dev/null\ntest \"$1\" = '%s' && kill -9 $(cat %s/pid)\nexit 0\n", c.when, dir)
			path := filepath.Join(dir, "git", ".hooks", c.hook)
			if err := os.WriteFile(path, []byte(hook), 0o700); err != nil {
				t.Fatal(err)
			}
			w := desk(t, url, "gail")
			a := w.commit("file", "a", "a")
			w.must("tag", "v1")
			if out, err := w.git("push", "origin", "main", "v1"); err == nil {
				t.Errorf("the pusher believes in a push whose server died:\n%s", out)
			}
			if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
				t.Fatalf("the server was not killed: %v", err)
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			r, err := build(t.Context(), dir, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer r.stop()
			r.check(t)
			want := []string{fmt.Sprintf("refs/heads/main 000000 %.6s gail", a), fmt.Sprintf("refs/tags/v1 000000 %.6s gail", a)}
			got := history(t, r.src)
			if len(got) < c.moved {
				t.Errorf("%d refs moved, want at least %d", len(got), c.moved)
			}
			same(t, "history", got, want[:len(got)])
			w.point(r.url, "gail")
			w.must("push", "-q", "origin", "main", "v1") // pushing again is a success either way
			r.check(t)
			same(t, "history", history(t, r.src), want)
		})
	}
}

// TestServerKilledAtRandom pushes branches and changes while the server is killed again and again.
func TestServerKilledAtRandom(t *testing.T) {
	rounds := 12
	if testing.Short() {
		rounds = 4
	}
	dir := prepareRepo(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	url, cmd := child(t, dir)
	w := desk(t, url, "root")
	w.commit("file", "0", "0")
	w.must("push", "-q", "origin", "main")
	for i := range rounds {
		w.point(url, "root")
		w.commit("file", fmt.Sprint("round ", i), fmt.Sprintf("feat: %d\n\nChange-Id: I%040d", i, i))
		w.must("tag", "-f", fmt.Sprint("t", i))
		delay := time.Duration(10+i*23%170) * time.Millisecond // spread over the length of a push
		kill := time.AfterFunc(delay, func() { cmd.Process.Kill() })
		for _, push := range [][]string{{"HEAD:refs/for/main"}, {"HEAD:refs/heads/main", fmt.Sprint("t", i)}} {
			w.git(append([]string{"push", "-q", "--force", "origin"}, push...)...)
		}
		<-waitFor(ctx, t, kill, cmd.Process.Kill, cmd.Wait)
		url, cmd = child(t, dir)
	}
	w.point(url, "root")
	w.must("push", "-q", "--force", "--tags", "origin", "main")
	cmd.Process.Kill()
	cmd.Wait()
	r, err := build(ctx, dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.stop()
	r.check(t)
	if got, want := mustResolve(t, r.src), w.must("rev-parse", "HEAD"); got != want {
		t.Errorf("main is at %s, want %s", got, want)
	}
	changes, err := r.changes.Changes(t.Context(), changeFilter)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, c := range changes {
		if seen[c.Identity] {
			t.Errorf("%s was opened twice", c.Identity)
		}
		seen[c.Identity] = true
		if len(c.Patchsets) != 1 {
			t.Errorf("change %d has %d patchsets of one commit", c.Number, len(c.Patchsets))
		}
	}
}

// waitFor kills now if the timer has not yet, and returns a channel that closes when the process is gone.
func waitFor(ctx context.Context, t *testing.T, timer *time.Timer, kill func() error, wait func() error) <-chan struct{} {
	if timer.Stop() {
		if err := kill(); err != nil {
			t.Fatal(err)
		}
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		wait()
	}()
	go func() {
		select {
		case <-gone:
		case <-ctx.Done():
			kill()
		}
	}()
	return gone
}

func mustResolve(t testing.TB, src *source.Service) string {
	t.Helper()
	id, err := src.Resolve(t.Context(), repo, "refs/heads/main")
	if err != nil {
		t.Fatal(err)
	}
	return id
}
