package change_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/change"
	"slipway.dev/slipway/internal/stage/change/plan"
	"slipway.dev/slipway/internal/stage/gating"
	"slipway.dev/slipway/internal/store"
	"slipway.dev/slipway/internal/store/storetest"
)

var contains = strings.Contains

func wantKind(t *testing.T, err error, kind slipway.Kind, words ...string) {
	t.Helper()
	if !slipway.Is(err, kind) {
		t.Fatalf("got %v (%s), want an error of kind %s", err, slipway.KindOf(err), kind)
	}
	for _, w := range words {
		if !contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
}

func TestTheWayToTheBranch(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		y := open(t, db, t.TempDir())
		base := y.found(map[string]string{"a": "1\n"})
		y.tag("v1.4.0", base)
		y.catalog.pins = []slipway.Pin{
			{Component: "app", Repo: "components/app", Version: "2.0.0", Commit: base},
			{Component: "libwire", Repo: repo, Version: "1.4.0", Commit: base},
		}
		tip := y.commit(base, "feat: framing", map[string]string{"a": "2\n"})
		if r := y.propose(tip); r.Number != 1 || !r.Created || r.Ref != "refs/changes/1/1" {
			t.Errorf("receipt %+v", r)
		}
		if r := y.propose(tip); r.Created || !r.Unchanged {
			t.Errorf("the same again: %+v", r)
		}
		y.drain()
		y.want(1, plan.Testing, "tier 0 builds")
		asked := y.bench.asked["change-1.1"]
		want := []slipway.Pin{y.catalog.pins[0], {Component: "libwire", Repo: repo, Version: "1.4.0+change.1.1", Commit: tip}}
		if !slices.Equal(asked.Pins, want) || !slices.Equal(asked.Targets, []string{"libwire"}) || asked.For != "change/1" {
			t.Errorf("asked for %+v", asked)
		}
		y.finish("change-1.1", nil)
		y.want(1, plan.Tested, "gatekeeper")
		results, err := y.gating.Results(t.Context(), "change/1.1")
		if err != nil || len(results) != 2 {
			t.Errorf("results %+v, %v", results, err)
		}
		_, err = y.changes.Vote(t.Context(), 1, change.Voter{Name: "dora"}, 2, 0, "")
		wantKind(t, err, slipway.Forbidden, "dora")
		if _, err = y.changes.Vote(t.Context(), 1, change.Voter{Name: "dora"}, 1, 1, "nice"); err != nil {
			t.Fatal(err)
		}
		y.drain()
		y.want(1, plan.Tested)
		y.approve(1)
		c := y.want(1, plan.Landed, "libwire 1.5.0", "fast-forward")
		if at, _ := y.src.Resolve(t.Context(), repo, "main"); at != tip || c.Landed.Commit != tip {
			t.Errorf("main is at %s, the change landed as %s, want %s", at, c.Landed.Commit, tip)
		}
		if at, _ := y.src.Resolve(t.Context(), repo, "v1.5.0"); at != tip {
			t.Errorf("v1.5.0 is at %s", at)
		}
		want2 := []string{"change.created", "change.tested", "change.voted", "change.voted", "change.approved", "change.landed"}
		if got := y.types(1); !slices.Equal(got, want2) {
			t.Errorf("events %v, want %v", got, want2)
		}
		events, err := db.Events(t.Context(), store.EventQuery{Subject: "change/1"})
		if err != nil {
			t.Fatal(err)
		}
		var pin slipway.Pin
		if err := json.Unmarshal(events[len(events)-1].Data, &pin); err != nil || pin != (slipway.Pin{Component: "libwire", Repo: repo, Version: "1.5.0", Commit: tip}) {
			t.Errorf("the event's pin is %+v, %v", pin, err)
		}
		wantKind(t, func() error { _, err := y.changes.Abandon(t.Context(), 1, change.Voter{Name: "dev"}, ""); return err }(), slipway.Conflict, "landed")
		list, err := y.changes.Changes(t.Context(), change.Filter{Product: "ferry", States: []string{"landed"}, Repo: repo})
		if err != nil || len(list) != 1 {
			t.Errorf("list %v, %v", list, err)
		}
	}, change.Routes()...)
}

// What was asked for an older patchset, or for a change that is given up, is nobody's any more.
func TestTestsOfWhatIsNoMoreAreCancelled(t *testing.T) {
	db := storetest.Open(t, change.Routes()...)
	y := open(t, db, t.TempDir())
	base := y.found(map[string]string{"a": "1\n"})
	wave := func(id string, state slipway.WaveState, word string) {
		t.Helper()
		w, err := y.bench.Wave(t.Context(), id)
		if err != nil || w.State != state || !strings.Contains(w.Reason, word) {
			t.Errorf("wave %s: %+v, %v", id, w, err)
		}
	}
	y.propose(y.commit(base, "fix: one", map[string]string{"a": "2\n"}))
	y.drain()
	wave("change-1.1", slipway.WaveRunning, "")
	y.propose(y.commit(base, "fix: one", map[string]string{"a": "3\n"}))
	y.drain()
	wave("change-1.1", slipway.WaveCancelled, "newer patchset")
	wave("change-1.2", slipway.WaveRunning, "")
	if _, err := y.changes.Abandon(t.Context(), 1, change.Voter{Name: "dev"}, "not worth it"); err != nil {
		t.Fatal(err)
	}
	y.drain()
	wave("change-1.2", slipway.WaveCancelled, "not worth it")
	if c := y.want(1, plan.Abandoned); len(c.Stale) != 0 {
		t.Errorf("still stale: %v", c.Stale)
	}
}

func TestApprovalIsLostAfterLanding(t *testing.T) {
	db := storetest.Open(t, change.Routes()...)
	y := open(t, db, t.TempDir())
	base := y.found(map[string]string{"a": "1\n"})
	y.propose(y.commit(base, "fix: one", map[string]string{"a": "2\n"}))
	y.drain()
	y.finish("change-1.1", nil)
	y.approve(1)
	landed := y.want(1, plan.Landed)
	lost := func(want bool, by string) {
		t.Helper()
		c, err := y.changes.Change(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		if v, is, err := y.changes.Unapproved(t.Context(), c); err != nil || is != want || is && v.By != by {
			t.Errorf("approval lost: %v, by %+v, %v; want %v, by %q", is, v, err, want, by)
		}
		if c.State != plan.Landed || c.Reason != landed.Reason {
			t.Errorf("the change is %s: %s", c.State, c.Reason)
		}
	}
	approver := ""
	for _, v := range landed.Votes {
		if v.Value == 2 {
			approver = v.By
		}
	}
	vote := func(by string, value int) {
		t.Helper()
		if _, err := y.changes.Vote(t.Context(), 1, change.Voter{Name: by, Gatekeeper: true}, value, 0, ""); err != nil {
			t.Fatal(err)
		}
		y.drain()
	}
	lost(false, "")
	_, err := y.changes.Vote(t.Context(), 1, change.Voter{Name: "dora"}, -1, 0, "")
	wantKind(t, err, slipway.Conflict, "landed")
	vote("greg", -2)
	lost(true, "greg")
	vote("greg", 0)
	lost(false, "")
	vote(approver, 0) // the only +2
	lost(true, approver)
	vote("greg", 2)
	lost(false, "")
	vote("greg", 0)
	y.catalog.review["ferry"] = spec.Review{Approve: "automatic"}
	lost(false, "") // no person's approval was needed
}

func TestAutomaticAndFailedAndWaived(t *testing.T) {
	db := storetest.Open(t, change.Routes()...)
	y := open(t, db, t.TempDir())
	base := y.found(map[string]string{"a": "1\n"})
	y.catalog.review["ferry"] = spec.Review{Approve: "automatic"}
	y.propose(y.commit(base, "fix: one", map[string]string{"a": "2\n"}))
	y.drain()
	y.finish("change-1.1", map[string]string{"libwire": "TestFrame: want 2"})
	y.want(1, plan.Failed, "unit of libwire failed", "TestFrame")
	// A new patchset starts over, and old votes do not count.
	if _, err := y.changes.Vote(t.Context(), 1, change.Voter{Name: "gail", Gatekeeper: true}, -2, 0, "no"); err != nil {
		t.Fatal(err)
	}
	if r := y.propose(y.commit(base, "fix: one", map[string]string{"a": "3\n"})); r.Number != 1 || r.Patchset != 2 {
		t.Errorf("receipt %+v", r)
	}
	y.drain()
	y.finish("change-1.2", map[string]string{"libwire": "TestFrame: want 3"})
	y.want(1, plan.Failed)
	_, err := y.gating.Waive(t.Context(), gating.Waiver{Product: "ferry", Check: "unit", Item: "libwire", Author: "gail", Reason: "known, see the notes"})
	if err != nil {
		t.Fatal(err)
	}
	y.drain()
	y.want(1, plan.Landed, "0.1.0") // the first version
	wantEvents := []string{"change.created", "change.rejected", "change.voted", "change.patchset", "change.rejected", "change.tested", "change.approved", "change.landed"}
	if got := y.types(1); !slices.Equal(got, wantEvents) {
		t.Errorf("events %v\nwant   %v", got, wantEvents)
	}
}

func TestRetestAfterInfrastructureFailed(t *testing.T) {
	y := open(t, storetest.Open(t, change.Routes()...), t.TempDir())
	base := y.found(map[string]string{"a": "1\n"})
	y.propose(y.commit(base, "fix: one", map[string]string{"a": "2\n"}))
	y.drain()
	if err := y.bench.CancelWave(t.Context(), "change-1.1", "the disk was full"); err != nil {
		t.Fatal(err)
	}
	err := y.db.Update(t.Context(), func(tx *store.Tx) error {
		return tx.Emit(t.Context(), slipway.Event{Type: slipway.WaveFinished, Subject: "wave/change-1.1", Links: []string{"change/1"}})
	})
	if err != nil {
		t.Fatal(err)
	}
	y.drain()
	y.want(1, plan.Failed, "disk was full")
	if _, err := y.changes.Retest(t.Context(), 1, "dev"); err != nil {
		t.Fatal(err)
	}
	y.drain()
	y.finish("change-1.1-again-1", nil)
	y.want(1, plan.Tested)
}

func TestLandingByRebaseMergeAndConflict(t *testing.T) {
	for _, c := range []struct{ merge, method string }{{"rebase", "rebase"}, {"merge", "merge"}} {
		t.Run(c.merge, func(t *testing.T) {
			y := open(t, storetest.Open(t, change.Routes()...), t.TempDir())
			y.bench.auto = true
			y.catalog.review["ferry"] = spec.Review{Approve: "automatic", Merge: c.merge}
			base := y.found(map[string]string{"a": "1\n2\n3\n4\n5\n", "b": "b\n"})
			y.tag("v1.0.0", base)
			p1 := y.commit(base, "feat!: one", map[string]string{"a": "one\n2\n3\n4\n5\n"})
			p2 := y.commit(p1, "docs: two", map[string]string{"b": "bee\n"})
			other := y.commit(base, "fix: other", map[string]string{"a": "1\n2\n3\n4\nfive\n"})
			clash := y.commit(base, "fix: clash", map[string]string{"a": "eins\n2\n3\n4\n5\n"})
			y.move("refs/heads/main", base, other) // somebody was faster
			y.propose(p2)
			y.drain()
			got := y.want(1, plan.Landed, "libwire 2.0.0", c.method)
			if y.file("main", "a") != "one\n2\n3\n4\nfive\n" || y.file("main", "b") != "bee\n" {
				t.Errorf("main has a=%q b=%q", y.file("main", "a"), y.file("main", "b"))
			}
			log, err := y.src.Log(t.Context(), repo, base, "main", "")
			if err != nil {
				t.Fatal(err)
			}
			var subjects []string
			for _, l := range log {
				subjects = append(subjects, l.Subject())
			}
			slices.Sort(subjects)
			want := []string{"docs: two", "feat!: one", "fix: other"}
			if c.merge == "merge" {
				want = []string{"Merge change 1: docs: two", "docs: two", "feat!: one", "fix: other"}
			}
			if !slices.Equal(subjects, want) {
				t.Errorf("main got %q, want %q", subjects, want)
			}
			if log[0].ID != got.Landed.Commit || (c.merge == "rebase" && log[0].Author.Name != "Dev") {
				t.Errorf("the head is %+v", log[0])
			}

			y.propose(clash)
			y.drain()
			y.want(2, plan.Conflict, "conflicts with main in a", "rebase on main")
			head, _ := y.src.Resolve(t.Context(), repo, "main")
			fixed := y.commit(head, "fix: clash", map[string]string{"a": "eins\n2\n3\n4\nfive\n"})
			if r := y.propose(fixed); r.Number != 2 || r.Patchset != 2 {
				t.Errorf("receipt %+v", r)
			}
			y.drain()
			y.want(2, plan.Landed, "libwire 2.0.1")
			// What is there already is not landed again.
			y.propose(y.commit(base, "fix: other again", map[string]string{"a": "1\n2\n3\n4\nfive\n"}))
			y.drain()
			y.want(3, plan.Abandoned, "same content already")
		})
	}
}

func TestContentThatIsThereAlready(t *testing.T) {
	y := open(t, storetest.Open(t, change.Routes()...), t.TempDir())
	y.bench.auto = true
	y.catalog.review["ferry"] = spec.Review{Approve: "automatic"}
	base := y.found(map[string]string{"a": "1\n"})
	y.move("refs/heads/main", base, y.commit(base, "fix: mine", map[string]string{"a": "2\n"}))
	y.propose(y.commit(base, "fix: the same", map[string]string{"a": "2\n"}))
	y.drain()
	y.want(1, plan.Abandoned, "same content already")
	if tags := y.tags(); len(tags) != 0 {
		t.Errorf("tags %q", tags)
	}
}

func TestMonorepoAndVersionFiles(t *testing.T) {
	y := open(t, storetest.Open(t, change.Routes()...), t.TempDir())
	y.bench.auto = true
	y.catalog.uses = []change.Use{
		{Product: "ferry", Component: "wire", Path: "libs/wire"},
		{Product: "barge", Component: "wire", Path: "libs/wire"},
		{Product: "ferry", Component: "app", Path: "app"},
		{Product: "ferry", Component: "old", Path: "old", Branch: "legacy"},
		{Product: "ferry", Component: "docs", Path: "docs"},
	}
	y.catalog.review["ferry"] = spec.Review{Approve: "automatic"}
	y.catalog.review["barge"] = spec.Review{Approve: "automatic"}
	base := y.found(map[string]string{
		"libs/wire/a": "1", "libs/wire/slipway.yaml": "component: wire\nbuild: make\nversion:\n  from: file\n", "libs/wire/VERSION": "1.2.0\n",
		"app/a": "1", "old/a": "1", "docs/a": "1",
	})
	y.tag("libs/wire/v1.2.0", base)
	y.tag("app/v0.3.0", base)
	p1 := y.commit(base, "feat: wire", map[string]string{"libs/wire/a": "2", "old/a": "2"})
	p2 := y.commit(p1, "fix: app", map[string]string{"app/a": "2"})
	y.propose(p2)
	y.drain()
	c := y.want(1, plan.Landed, "wire 1.2.1", "app 0.3.1")
	if len(y.bench.asked) != 2 || !slices.Equal(y.bench.asked["change-1.1"].Targets, []string{"wire", "app"}) ||
		!slices.Equal(y.bench.asked["change-1.1-barge"].Targets, []string{"wire"}) {
		t.Errorf("waves %+v", y.bench.asked)
	}
	if tags := y.tags(); !slices.Equal(tags, []string{"app/v0.3.0", "app/v0.3.1", "libs/wire/v1.2.0", "libs/wire/v1.2.1"}) {
		t.Errorf("tags %q", tags)
	}
	if got := y.file("main", "libs/wire/VERSION"); got != "1.2.1\n" {
		t.Errorf("VERSION holds %q", got)
	}
	if at, _ := y.src.Resolve(t.Context(), repo, "app/v0.3.1"); at != c.Landed.Commit {
		t.Errorf("the tag is at %s, main at %s", at, c.Landed.Commit)
	}
	var landed []string
	events, _ := y.db.Events(t.Context(), store.EventQuery{Subject: "change/1"})
	for _, e := range events {
		if e.Type == slipway.ChangeLanded {
			var pin slipway.Pin
			json.Unmarshal(e.Data, &pin)
			landed = append(landed, fmt.Sprintf("%s %s %s", e.Product, pin.Path, pin.Version))
		}
	}
	slices.Sort(landed)
	if want := []string{"barge libs/wire 1.2.1", "ferry app 0.3.1", "ferry libs/wire 1.2.1"}; !slices.Equal(landed, want) {
		t.Errorf("landed %q, want %q", landed, want)
	}
	// The file is obeyed when it says more.
	head, _ := y.src.Resolve(t.Context(), repo, "main")
	y.propose(y.commit(head, "fix: bigger", map[string]string{"libs/wire/VERSION": "2.0.0\n"}))
	y.drain()
	y.want(2, plan.Landed, "wire 2.0.0")
	head, _ = y.src.Resolve(t.Context(), repo, "main")
	y.propose(y.commit(head, "fix: nonsense", map[string]string{"libs/wire/VERSION": "soon\n"}))
	y.drain()
	y.want(3, plan.Conflict, `"soon" is not a version`)
}

func TestProposalsThatAreRefused(t *testing.T) {
	y := open(t, storetest.Open(t, change.Routes()...), t.TempDir())
	base := y.found(map[string]string{"a": "1\n"})
	try := func(commit, branch string) error {
		_, err := y.changes.Propose(t.Context(), change.Proposal{Repo: repo, Branch: branch, Commit: commit, Actor: "dev"})
		return err
	}
	wantKind(t, try(base, "main"), slipway.Invalid, "nothing to propose")
	wantKind(t, try(base, "nosuch"), slipway.Invalid, "no branch nosuch")
	wantKind(t, try(y.commit("", "alone", map[string]string{"x": "x"}), "main"), slipway.Invalid, "no history in common")
	wantKind(t, try("--help", "main"), slipway.Invalid)
	tip := base
	for i := range 251 {
		tip = y.commit(tip, fmt.Sprint("commit ", i), map[string]string{"a": fmt.Sprint(i)})
	}
	wantKind(t, try(tip, "main"), slipway.TooLarge, "250")
	_, err := y.changes.Change(t.Context(), 1)
	wantKind(t, err, slipway.NotFound, "change 1")
}

func TestAbandon(t *testing.T) {
	y := open(t, storetest.Open(t, change.Routes()...), t.TempDir())
	base := y.found(map[string]string{"a": "1\n"})
	tip := y.commit(base, "fix: one", map[string]string{"a": "2\n"})
	y.propose(tip)
	y.drain()
	_, err := y.changes.Abandon(t.Context(), 1, change.Voter{Name: "eve"}, "")
	wantKind(t, err, slipway.Forbidden, "eve")
	if _, err := y.changes.Abandon(t.Context(), 1, change.Voter{Name: "dev"}, "wrong way"); err != nil {
		t.Fatal(err)
	}
	y.drain()
	if w := y.bench.waves["change-1.1"]; w.State != slipway.WaveCancelled {
		t.Errorf("its wave is %s", w.State)
	}
	y.want(1, plan.Abandoned, "dev", "wrong way")
	if r := y.propose(tip); r.Number != 2 || !r.Created {
		t.Errorf("proposed again: %+v", r)
	}
}

// TestBranchMovesWhileLanding moves main, and takes the tag, between the steps of a landing: it begins anew each time.
func TestBranchMovesWhileLanding(t *testing.T) {
	for _, point := range []string{"begun", "assembled", "kept"} {
		t.Run(point, func(t *testing.T) {
			y := open(t, storetest.Open(t, change.Routes()...), t.TempDir())
			y.bench.auto = true
			y.catalog.review["ferry"] = spec.Review{Approve: "automatic"}
			base := y.found(map[string]string{"a": "1\n", "b": "1\n"})
			y.tag("v1.0.0", base)
			head := base
			n := 0
			y.changes.Fault(func(at string) {
				if at != point || n == 3 {
					return
				}
				n++
				next := y.commit(head, fmt.Sprint("other ", n), map[string]string{"b": fmt.Sprint(n)})
				y.move("refs/heads/main", head, next)
				y.tag(fmt.Sprintf("v1.0.%d", n), next)
				head = next
			})
			y.propose(y.commit(base, "fix: mine", map[string]string{"a": "2\n"}))
			y.drain()
			y.want(1, plan.Landed, "libwire 1.0.4")
			if n != 3 || y.file("main", "a") != "2\n" || y.file("main", "b") != "3" {
				t.Errorf("moved %d times; main has a=%q b=%q", n, y.file("main", "a"), y.file("main", "b"))
			}
		})
	}
}

// TestKilledWhileLanding kills a real process between every two steps; the next one lands the change once.
func TestKilledWhileLanding(t *testing.T) {
	for _, point := range []string{"begun", "assembled", "kept", "moved"} {
		t.Run(point, func(t *testing.T) {
			dir := t.TempDir()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestVictim$")
			cmd.Env = append(os.Environ(), "VICTIM_DIR="+dir, "VICTIM_POINT="+point)
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Fatalf("the victim was not killed: %v\n%s", err, out)
			}
			y := reopen(t, dir)
			if err := y.db.Release(t.Context(), "drain"); err != nil {
				t.Fatal(err)
			}
			y.drain()
			c := y.want(1, plan.Landed, "libwire 1.1.0")
			if at, _ := y.src.Resolve(t.Context(), repo, "main"); at != c.Landed.Commit {
				t.Errorf("main is at %s, the change landed as %s", at, c.Landed.Commit)
			}
			if tags := y.tags(); !slices.Equal(tags, []string{"v1.0.0", "v1.1.0"}) {
				t.Errorf("tags %q", tags)
			}
			want := []string{"change.created", "change.tested", "change.approved", "change.landed"}
			if got := y.types(1); !slices.Equal(got, want) {
				t.Errorf("events %v, want %v", got, want)
			}
		})
	}
}

func reopen(t *testing.T, dir string) *yard {
	t.Helper()
	db, err := store.Open(t.Context(), store.Config{URL: "sqlite:" + dir + "/db", Routes: change.Routes()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	y := open(t, db, dir+"/git")
	y.bench.auto = true
	y.catalog.review["ferry"] = spec.Review{Approve: "automatic"}
	return y
}

// TestVictim is the process that TestKilledWhileLanding kills.
func TestVictim(t *testing.T) {
	dir := os.Getenv("VICTIM_DIR")
	if dir == "" {
		return // not asked to die
	}
	y := reopen(t, dir)
	base := y.found(map[string]string{"a": "1\n"})
	y.tag("v1.0.0", base)
	y.changes.Fault(func(point string) {
		if point == os.Getenv("VICTIM_POINT") {
			if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
				t.Error(err)
			}
			select {}
		}
	})
	other := y.commit(base, "fix: other", map[string]string{"b": "1\n"})
	tip := y.commit(base, "feat: mine", map[string]string{"a": "2\n"})
	y.move("refs/heads/main", base, other)
	y.propose(tip)
	y.drain()
	t.Fatal("it was not killed")
}
