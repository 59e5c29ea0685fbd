package source_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"slipway.dev/slipway/internal/platform/git"
	"slipway.dev/slipway/internal/platform/jobs/jobstest"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/source"
	"slipway.dev/slipway/internal/store"
	"slipway.dev/slipway/internal/store/storetest"
)

const repo = "components/libwire"

// start runs a service on a folder and database.
func start(t testing.TB, db *store.DB, dir string) *source.Service {
	t.Helper()
	s := source.New(scope(db), source.Config{Dir: dir, Wait: 20 * time.Second, MinEvery: time.Millisecond, Local: true})
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Stop(t.Context()) })
	return s
}

func scope(db *store.DB) slipway.Store[source.Tx] {
	return store.Scope(db, func(tx *store.Tx) source.Tx { return tx })
}

// commit writes a commit with one file on top of parent.
func commit(t testing.TB, s *source.Service, parent, text string) string {
	t.Helper()
	id, err := s.CommitFiles(t.Context(), repo, git.CommitSpec{
		Parent: parent, Files: map[string][]byte{"file": []byte(text)}, Message: text, Time: time.Unix(1700000000, 0),
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func move(ref, from, to string) slipway.RefUpdate {
	if from == "" {
		from = slipway.ZeroCommit
	}
	if to == "" {
		to = slipway.ZeroCommit
	}
	return slipway.RefUpdate{Repo: repo, Ref: ref, Old: from, New: to}
}

// lines is a repository's history, oldest first, without times.
func lines(t testing.TB, s *source.Service) (out []string) {
	t.Helper()
	all, err := s.History(t.Context(), source.HistoryQuery{Repo: repo})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range slices.Backward(all) {
		out = append(out, fmt.Sprintf("%s %.4s %.4s %s", l.Ref, l.Old, l.New, l.Actor))
	}
	return out
}

// told is the RefUpdated events of the repository, in the same form as lines.
func told(t testing.TB, db *store.DB) (out []string) {
	t.Helper()
	events, err := db.Events(t.Context(), store.EventQuery{Subject: "repo/" + repo})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if e.Type != slipway.RefUpdated {
			continue
		}
		var u slipway.RefUpdate
		if err := json.Unmarshal(e.Data, &u); err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%s %.4s %.4s %s", u.Ref, u.Old, u.New, u.Actor))
	}
	return out
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

func TestNames(t *testing.T) {
	for _, ok := range []string{"components/libwire", "modules/db", "products/ferry", "components/a", "components/node_exporter", "components/x.y-2"} {
		if err := source.CheckName(ok); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", "libwire", "components/", "components/../x", "other/x", "components/a/b", "components/.x", "components/-x", "components/x.git",
		"components/x.lock", "components/a..b", "/components/x", "components/X", "components/x\n", "components/ x", "components/" + strings.Repeat("a", 101)} {
		wantKind(t, source.CheckName(bad), slipway.Invalid)
	}
}

func TestBranchHistory(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		s := start(t, db, t.TempDir())
		if _, err := s.Create(ctx, "ada", repo, "a library", ""); err != nil {
			t.Fatal(err)
		}
		_, err := s.Create(ctx, "ada", repo, "", "")
		wantKind(t, err, slipway.Conflict, repo)
		before := time.Now()
		a := commit(t, s, "", "a")
		b := commit(t, s, a, "b")
		if err := s.Move(ctx, "ada", "first", move("refs/heads/main", "", a)); err != nil {
			t.Fatal(err)
		}
		at1 := time.Now()
		if err := s.Move(ctx, "bob", "second", move("refs/heads/main", a, b), move("refs/tags/v1", "", b)); err != nil {
			t.Fatal(err)
		}
		at2 := time.Now()
		if err := s.Move(ctx, "bob", "again", move("refs/heads/main", a, b), move("refs/tags/v1", "", b)); err != nil {
			t.Errorf("asking again for a move that was done: %v", err)
		}
		wantKind(t, s.Move(ctx, "eve", "late", move("refs/heads/main", a, commit(t, s, a, "c"))), slipway.Conflict, "refs/heads/main", repo)
		if err := s.Move(ctx, "eve", "clean up", move("refs/tags/v1", b, "")); err != nil {
			t.Fatal(err)
		}
		zero := "0000"
		want := []string{
			"refs/heads/main " + zero + " " + a[:4] + " ada",
			"refs/heads/main " + a[:4] + " " + b[:4] + " bob",
			"refs/tags/v1 " + zero + " " + b[:4] + " bob",
			"refs/tags/v1 " + b[:4] + " " + zero + " eve",
		}
		if got := lines(t, s); !slices.Equal(got, want) {
			t.Errorf("history is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if got := told(t, db); !slices.Equal(got, want) {
			t.Errorf("the ledger tells\n%s", strings.Join(got, "\n"))
		}
		_, err = s.At(ctx, repo, "refs/heads/main", before)
		wantKind(t, err, slipway.NotFound, "did not exist")
		if l, err := s.At(ctx, repo, "refs/heads/main", at1); err != nil || l.New != a {
			t.Errorf("at the first time: %+v, %v", l, err)
		}
		if l, err := s.At(ctx, repo, "refs/tags/v1", at2); err != nil || l.New != b {
			t.Errorf("the tag at the second time: %+v, %v", l, err)
		}
		_, err = s.At(ctx, repo, "refs/tags/v1", time.Now())
		wantKind(t, err, slipway.NotFound, "deleted by eve")
		pointed, err := s.PointedAt(ctx, b)
		if err != nil || len(pointed) != 2 {
			t.Fatalf("pointed at b: %+v, %v", pointed, err)
		}
		if p := pointed[0]; p.Ref != "refs/tags/v1" || p.Until.IsZero() {
			t.Errorf("the tag: %+v", p)
		}
		if p := pointed[1]; p.Ref != "refs/heads/main" || !p.Until.IsZero() {
			t.Errorf("the branch: %+v", p)
		}
		page, err := s.History(ctx, source.HistoryQuery{Repo: repo, Limit: 3})
		if err != nil || len(page) != 3 {
			t.Fatalf("page: %v, %v", page, err)
		}
		if page, err = s.History(ctx, source.HistoryQuery{Repo: repo, Limit: 3, Before: page[2].Seq}); err != nil || len(page) != 1 || page[0].New != a {
			t.Errorf("second page: %v, %v", page, err)
		}
	})
}

// TestConcurrentMoves lets many race for one ref: each step is won by one, and history is a chain.
func TestConcurrentMoves(t *testing.T) {
	db := storetest.Open(t)
	s := start(t, db, t.TempDir())
	ctx := t.Context()
	if _, err := s.Create(ctx, "ada", repo, "", ""); err != nil {
		t.Fatal(err)
	}
	base := commit(t, s, "", "base")
	if err := s.Move(ctx, "ada", "", move("refs/heads/main", "", base)); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	won := make(chan string, 8)
	for i := range 8 {
		next := commit(t, s, base, fmt.Sprint("next ", i))
		wg.Go(func() {
			switch err := s.Move(ctx, "racer", "", move("refs/heads/main", base, next)); {
			case err == nil:
				won <- next
			case !slipway.Is(err, slipway.Conflict):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(won) != 1 {
		t.Errorf("%d racers won", len(won))
	}
	if n := len(lines(t, s)); n != 2 {
		t.Errorf("history has %d lines, want 2", n)
	}
}

// TestKilledAnywhere kills a real process between every two steps of a move and of a push, and looks at what the next
// server makes of it.
func TestKilledAnywhere(t *testing.T) {
	for _, c := range []struct {
		what, point string
		moved       bool // what the next server finds done, and recorded
	}{
		{"move", "intended", true}, // a move that was promised is finished
		{"move", "moved", true},
		{"push", "prepared", false}, // a push that git did not carry out is not
		{"push", "pushed", true},
		{"half", "intended", true}, // one ref of two moved, a stale lock on the other
	} {
		t.Run(c.what+"/"+c.point, func(t *testing.T) {
			dir := t.TempDir()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestVictim$", "-test.v")
			cmd.Env = append(os.Environ(), "VICTIM="+c.what, "VICTIM_POINT="+c.point, "VICTIM_DIR="+dir)
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Fatalf("the victim was not killed: %v\n%s", err, out)
			}
			db, err := store.Open(t.Context(), store.Config{URL: "sqlite:" + dir + "/db"})
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			for round := range 2 { // the second start finds nothing left to do
				s := source.New(scope(db), source.Config{Dir: dir + "/git"})
				if err := s.Start(t.Context()); err != nil {
					t.Fatal(err)
				}
				g, err := s.Git(repo)
				if err != nil {
					t.Fatal(err)
				}
				main, _ := g.Ref(t.Context(), "refs/heads/main")
				tag, _ := g.Ref(t.Context(), "refs/tags/v1")
				var want []string
				if c.moved {
					if main == git.Zero || tag == git.Zero {
						t.Errorf("main is at %s and the tag at %s", main, tag)
					}
					want = []string{"refs/heads/main 0000 " + main[:4] + " ada", "refs/tags/v1 0000 " + tag[:4] + " ada"}
				} else if main != git.Zero || tag != git.Zero {
					t.Errorf("main is at %s and the tag at %s, want none", main, tag)
				}
				if got := lines(t, s); !slices.Equal(got, want) {
					t.Errorf("round %d: history is %q, want %q", round, got, want)
				}
				if got := told(t, db); !slices.Equal(got, want) {
					t.Errorf("round %d: the ledger tells %q, want %q", round, got, want)
				}
				if err := s.Stop(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestVictim is the process that TestKilledAnywhere kills.
func TestVictim(t *testing.T) {
	what, dir := os.Getenv("VICTIM"), os.Getenv("VICTIM_DIR")
	if what == "" {
		return // not asked to die
	}
	ctx := t.Context()
	db, err := store.Open(ctx, store.Config{URL: "sqlite:" + dir + "/db"})
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, db, dir+"/git")
	if _, err := s.Create(ctx, "ada", repo, "", ""); err != nil {
		t.Fatal(err)
	}
	a := commit(t, s, "", "a")
	g, err := s.Git(repo)
	if err != nil {
		t.Fatal(err)
	}
	s.Fault(func(point string) {
		if point != os.Getenv("VICTIM_POINT") {
			return
		}
		if what == "half" {
			if err := g.UpdateRefs(ctx, []git.RefChange{{Ref: "refs/heads/main", Old: git.Zero, New: a}}); err != nil {
				t.Error(err)
			}
			if err := os.MkdirAll(filepath.Join(g.Dir(), "refs/tags"), 0o755); err != nil {
				t.Error(err)
			}
			if err := os.WriteFile(filepath.Join(g.Dir(), "refs/tags/v1.lock"), nil, 0o600); err != nil {
				t.Error(err)
			}
		}
		if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
			t.Error(err)
		}
		select {}
	})
	updates := []slipway.RefUpdate{move("refs/heads/main", "", a), move("refs/tags/v1", "", a)}
	if what != "push" {
		t.Fatal(s.Move(ctx, "ada", "test", updates...))
	}
	if err := s.Prepare(ctx, "push-1", repo, "ada", updates); err != nil {
		t.Fatal(err)
	}
	for _, u := range updates { // as receive-pack does: one by one
		if err := g.UpdateRefs(ctx, []git.RefChange{{Ref: u.Ref, Old: u.Old, New: u.New}}); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal(s.Conclude(ctx, "push-1"))
}

func TestStartWaitsForOrphansAndRefusesASecondServer(t *testing.T) {
	db := storetest.Open(t)
	dir := t.TempDir()
	s := start(t, db, dir)
	if _, err := s.Create(t.Context(), "ada", repo, "", ""); err != nil {
		t.Fatal(err)
	}
	second := source.New(scope(db), source.Config{Dir: dir, Wait: 100 * time.Millisecond})
	wantKind(t, second.Start(t.Context()), slipway.Unavailable, "one folder has one server")

	// A git process of a server that is gone: it holds the lock until it ends.
	g, err := s.Git(repo)
	if err != nil {
		t.Fatal(err)
	}
	orphan := g.Holding(s.Lock()).Command(t.Context(), git.Environ(), "cat-file", "--batch")
	stdin, err := orphan.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := orphan.Start(); err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	started := make(chan error, 1)
	third := source.New(scope(db), source.Config{Dir: dir, Wait: 20 * time.Second})
	go func() { started <- third.Start(t.Context()) }()
	select {
	case err := <-started:
		t.Fatalf("it started beside the orphan: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	stdin.Close()
	if err := orphan.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	third.Stop(t.Context())
}

func TestMovesByHandAreFoundAtStart(t *testing.T) {
	db := storetest.Open(t)
	dir := t.TempDir()
	s := start(t, db, dir)
	ctx := t.Context()
	if _, err := s.Create(ctx, "ada", repo, "", ""); err != nil {
		t.Fatal(err)
	}
	a := commit(t, s, "", "a")
	b := commit(t, s, a, "b")
	if err := s.Move(ctx, "ada", "", move("refs/heads/main", "", a), move("refs/heads/old", "", a)); err != nil {
		t.Fatal(err)
	}
	g, _ := s.Git(repo)
	s.Stop(ctx)
	err := g.UpdateRefs(ctx, []git.RefChange{{Ref: "refs/heads/main", Old: a, New: b}, {Ref: "refs/heads/old", Old: a, New: git.Zero}})
	if err != nil {
		t.Fatal(err)
	}
	s = start(t, db, dir)
	got := lines(t, s)
	want := []string{"refs/heads/main " + a[:4] + " " + b[:4] + " unknown", "refs/heads/old " + a[:4] + " 0000 unknown"}
	if len(got) != 4 || !slices.Equal(got[2:], want) {
		t.Errorf("history is %q, want it to end in %q", got, want)
	}
}

func TestMirrorFollowsItsRemote(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		s := start(t, db, t.TempDir())
		far, err := git.Init(ctx, filepath.Join(t.TempDir(), "far.git"), "main")
		if err != nil {
			t.Fatal(err)
		}
		put := func(parent, text string) string {
			id, err := far.CommitFiles(ctx, git.CommitSpec{Parent: parent, Files: map[string][]byte{"f": []byte(text)}, Message: text, Time: time.Unix(1, 0)})
			if err != nil {
				t.Fatal(err)
			}
			return id
		}
		a := put("", "a")
		b := put(a, "b")
		if err := far.UpdateRefs(ctx, []git.RefChange{{Ref: "refs/heads/main", Old: git.Zero, New: a}, {Ref: "refs/tags/v1", Old: git.Zero, New: a}}); err != nil {
			t.Fatal(err)
		}
		m, err := s.SetMirror(ctx, "ada", repo, "file://"+far.Dir(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if m.Secret == "" || m.Shown().Secret != "" {
			t.Errorf("secret %q, shown %q", m.Secret, m.Shown().Secret)
		}
		jobstest.Drain(t, db, s.Handlers()...)
		if at, err := s.Resolve(ctx, repo, "main"); err != nil || at != a {
			t.Errorf("main is at %s, %v", at, err)
		}
		// The remote rewrites main, drops the tag and adds a branch; a webhook pokes.
		c := put("", "c")
		err = far.UpdateRefs(ctx, []git.RefChange{
			{Ref: "refs/heads/main", Old: a, New: c}, {Ref: "refs/tags/v1", Old: a, New: git.Zero}, {Ref: "refs/heads/dev", Old: git.Zero, New: b}})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Poke(ctx, repo); err != nil {
			t.Fatal(err)
		}
		jobstest.Drain(t, db, s.Handlers()...)
		want := []string{
			"refs/heads/main 0000 " + a[:4] + " mirror", "refs/tags/v1 0000 " + a[:4] + " mirror",
			"refs/heads/dev 0000 " + b[:4] + " mirror", "refs/heads/main " + a[:4] + " " + c[:4] + " mirror", "refs/tags/v1 " + a[:4] + " 0000 mirror",
		}
		if got := lines(t, s); !slices.Equal(got, want) {
			t.Errorf("history is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if m, err = s.Mirror(ctx, repo); err != nil || m.State != source.MirrorOK || m.Refs != 2 || !m.Next.After(m.Synced) {
			t.Errorf("mirror is %+v, %v", m, err)
		}
		// A remote that is gone is a state with a reason.
		if err := os.Rename(far.Dir(), far.Dir()+".gone"); err != nil {
			t.Fatal(err)
		}
		if err := s.Poke(ctx, repo); err != nil {
			t.Fatal(err)
		}
		jobstest.Drain(t, db, s.Handlers()...)
		if m, err = s.Mirror(ctx, repo); err != nil || m.State != source.MirrorFailing || !strings.Contains(m.Reason, "far.git") {
			t.Errorf("mirror is %+v, %v", m, err)
		}
		if err := s.EndMirror(ctx, "ada", repo); err != nil {
			t.Fatal(err)
		}
		jobstest.Drain(t, db, s.Handlers()...)
		if r, err := s.Repo(ctx, repo); err != nil || r.State != source.Hosted {
			t.Errorf("repo is %+v, %v", r, err)
		}
		var told []slipway.EventType
		events, err := db.Events(ctx, store.EventQuery{Subject: "repo/" + repo, Type: "source.mirror."})
		for _, e := range events {
			told = append(told, e.Type)
		}
		if want := []slipway.EventType{slipway.MirrorSet, slipway.MirrorSynced, slipway.MirrorSynced, slipway.MirrorSynced, slipway.MirrorEnded}; err != nil || !slices.Equal(told, want) {
			t.Errorf("the ledger tells %v, %v; want %v", told, err, want)
		}
		// Its branches are its own now: no mirror may overwrite them.
		_, err = s.SetMirror(ctx, "ada", repo, "https://example.org/x.git", time.Hour)
		wantKind(t, err, slipway.Conflict, "branches of its own")
	})
}

func TestMirrorURLs(t *testing.T) {
	s := source.New(scope(storetest.Open(t)), source.Config{Dir: t.TempDir()})
	for _, ok := range []string{"https://example.org/a.git", "ssh://git@example.org/a", "http://user:pw@127.0.0.1:3000/a.git"} {
		if err := s.CheckURL(ok); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", "--upload-pack=x", "ext::sh -c x", "/etc", "file:///etc", "https://", "ssh://-oProxyCommand=x/y", "https://a/ b", "git@host:path"} {
		wantKind(t, s.CheckURL(bad), slipway.Invalid)
	}
	m := source.Mirror{URL: "https://user:pw@example.org/a.git"}
	if got := m.Shown().URL; strings.Contains(got, "pw") {
		t.Errorf("shown as %s", got)
	}
}
