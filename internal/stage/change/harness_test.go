package change_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"slipway.dev/slipway/internal/platform/git"
	"slipway.dev/slipway/internal/platform/jobs/jobstest"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/change"
	"slipway.dev/slipway/internal/stage/change/plan"
	"slipway.dev/slipway/internal/stage/gating"
	"slipway.dev/slipway/internal/stage/source"
	"slipway.dev/slipway/internal/store"
)

const repo = "components/libwire"

// shelf is a catalog that a test fills.
type shelf struct {
	uses   []change.Use
	review map[string]spec.Review
	pins   []slipway.Pin
}

func (c *shelf) UsesOf(context.Context, string) ([]change.Use, error) { return c.uses, nil }
func (c *shelf) Review(_ context.Context, product string) (spec.Review, error) {
	return c.review[product], nil
}
func (c *shelf) Pins(context.Context, string) ([]slipway.Pin, error) {
	return slices.Clone(c.pins), nil
}

// bench is a builder whose waves end when the test says so.
type bench struct {
	mu    sync.Mutex
	asked map[string]slipway.WaveRequest
	waves map[string]slipway.WaveStatus
	auto  bool // waves pass at once
}

func newBench() *bench {
	return &bench{asked: map[string]slipway.WaveRequest{}, waves: map[string]slipway.WaveStatus{}}
}

func (b *bench) StartWave(_ context.Context, r slipway.WaveRequest) (slipway.WaveStatus, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if st, ok := b.waves[r.ID]; ok {
		return st, nil
	}
	b.asked[r.ID] = r
	b.waves[r.ID] = slipway.WaveStatus{ID: r.ID, For: r.For, State: slipway.WaveRunning, Reason: "tier 0 builds"}
	if b.auto {
		b.end(r.ID, nil)
	}
	return b.waves[r.ID], nil
}

// end finishes a wave; the named components' unit tests fail.
func (b *bench) end(id string, failed map[string]string) {
	r := b.asked[id]
	st := slipway.WaveStatus{ID: id, For: r.For, State: slipway.WavePassed, Reason: "all passed", Components: map[string]slipway.ComponentBuild{}}
	for _, t := range r.Targets {
		test := slipway.ComponentTest{Check: "unit", State: "finished", Outcome: slipway.Pass, Build: "t-" + t}
		if why, bad := failed[t]; bad {
			test.Outcome, test.Reason = slipway.Fail, why
			st.State, st.Reason = slipway.WaveFailed, "unit of "+t+" failed"
		}
		st.Components[t] = slipway.ComponentBuild{State: "built", Build: "b-" + t, Tests: []slipway.ComponentTest{test}}
	}
	b.waves[id] = st
}

func (b *bench) Wave(_ context.Context, id string) (slipway.WaveStatus, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	st, ok := b.waves[id]
	if !ok {
		return st, slipway.Errorf(slipway.NotFound, "no wave %s", id)
	}
	return st, nil
}

func (b *bench) CancelWave(_ context.Context, id, reason string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	st, ok := b.waves[id]
	if !ok {
		return slipway.Errorf(slipway.NotFound, "no wave %s", id)
	}
	st.State, st.Reason = slipway.WaveCancelled, reason
	b.waves[id] = st
	return nil
}

// gate is the real gating, with the product's gates of changes left at their defaults.
type gate struct{ *gating.Service }

func (g gate) Decide(ctx context.Context, product, subject string, ran []slipway.Requirement) (bool, []string, error) {
	d, err := g.Service.Decide(ctx, product, subject, gating.Required(nil, ran))
	if err != nil || d.OK {
		return d.OK, nil, err
	}
	return false, []string{d.Summarize()}, nil
}

// yard is the stage with real repositories, a real database and real gating.
type yard struct {
	t       testing.TB
	db      *store.DB
	src     *source.Service
	catalog *shelf
	bench   *bench
	gating  *gating.Service
	changes *change.Service
	clock   time.Time
}

func open(t testing.TB, db *store.DB, dir string) *yard {
	t.Helper()
	y := &yard{t: t, db: db, bench: newBench(), clock: time.Unix(1700000000, 0)}
	y.catalog = &shelf{
		uses:   []change.Use{{Product: "ferry", Component: "libwire"}},
		review: map[string]spec.Review{},
	}
	y.src = source.New(store.Scope(db, func(tx *store.Tx) source.Tx { return tx }), source.Config{Dir: dir})
	if err := y.src.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { y.src.Stop(t.Context()) })
	y.gating = gating.New(store.Scope(db, func(tx *store.Tx) gating.Tx { return tx }))
	y.changes = change.New(store.Scope(db, func(tx *store.Tx) change.Tx { return tx }), y.src, y.catalog, y.bench, gate{y.gating}, nil)
	return y
}

// found makes the repository with one commit on main.
func (y *yard) found(files map[string]string) string {
	y.t.Helper()
	if _, err := y.src.Create(y.t.Context(), "root", repo, "", ""); err != nil {
		y.t.Fatal(err)
	}
	id := y.commit("", "start", files)
	y.move("refs/heads/main", slipway.ZeroCommit, id)
	return id
}

func (y *yard) commit(parent, message string, files map[string]string) string {
	y.t.Helper()
	y.clock = y.clock.Add(time.Second)
	contents := map[string][]byte{}
	for name, text := range files {
		contents[name] = []byte(text)
	}
	id, err := y.src.CommitFiles(y.t.Context(), repo, git.CommitSpec{
		Parent: parent, Files: contents, Message: message, Time: y.clock,
		Author: git.Signature{Name: "Dev", Email: "dev@example.org"},
	})
	if err != nil {
		y.t.Fatal(err)
	}
	return id
}

func (y *yard) move(ref, from, to string) {
	y.t.Helper()
	if err := y.src.Move(y.t.Context(), "test", "", slipway.RefUpdate{Repo: repo, Ref: ref, Old: from, New: to}); err != nil {
		y.t.Fatal(err)
	}
}

func (y *yard) tag(name, commit string) {
	y.t.Helper()
	id, err := y.src.Tag(y.t.Context(), repo, git.NewTag{Name: name, Commit: commit, Tagger: git.Self(y.clock), Message: name})
	if err != nil {
		y.t.Fatal(err)
	}
	y.move("refs/tags/"+name, slipway.ZeroCommit, id)
}

func (y *yard) propose(commit string) change.Receipt {
	y.t.Helper()
	r, err := y.changes.Propose(y.t.Context(), change.Proposal{Repo: repo, Branch: "main", Commit: commit, Actor: "dev"})
	if err != nil {
		y.t.Fatal(err)
	}
	return r
}

func (y *yard) drain() {
	y.t.Helper()
	jobstest.Drain(y.t, y.db, y.changes.Handlers()...)
}

// finish ends a wave and tells, as the build stage does.
func (y *yard) finish(wave string, failed map[string]string) {
	y.t.Helper()
	y.bench.mu.Lock()
	y.bench.end(wave, failed)
	st := y.bench.waves[wave]
	y.bench.mu.Unlock()
	err := y.db.Update(y.t.Context(), func(tx *store.Tx) error {
		return tx.Emit(y.t.Context(), slipway.Event{Type: slipway.WaveFinished, Subject: "wave/" + wave, Links: []string{st.For}})
	})
	if err != nil {
		y.t.Fatal(err)
	}
	y.drain()
}

func (y *yard) get(n int64) change.Change {
	y.t.Helper()
	c, err := y.changes.Change(y.t.Context(), n)
	if err != nil {
		y.t.Fatal(err)
	}
	return c
}

// want checks a change's state, and that its reason says the words.
func (y *yard) want(n int64, state plan.State, words ...string) change.Change {
	y.t.Helper()
	c := y.get(n)
	if c.State != state {
		y.t.Fatalf("change %d is %s (%s), want %s", n, c.State, c.Reason, state)
	}
	for _, w := range words {
		if !contains(c.Reason, w) {
			y.t.Errorf("the reason %q does not say %q", c.Reason, w)
		}
	}
	return c
}

func (y *yard) approve(n int64) {
	y.t.Helper()
	if _, err := y.changes.Vote(y.t.Context(), n, change.Voter{Name: "gail", Gatekeeper: true}, 2, 0, ""); err != nil {
		y.t.Fatal(err)
	}
	y.drain()
}

// types are the events of a change, in order.
func (y *yard) types(n int64) (all []string) {
	y.t.Helper()
	events, err := y.db.Events(y.t.Context(), store.EventQuery{Subject: fmt.Sprint("change/", n)})
	if err != nil {
		y.t.Fatal(err)
	}
	for _, e := range events {
		if e.Subject == fmt.Sprint("change/", n) {
			all = append(all, string(e.Type))
		}
	}
	return all
}

// tree is the files of a commit with their contents.
func (y *yard) file(rev, path string) string {
	y.t.Helper()
	data, err := y.src.File(y.t.Context(), repo, rev, path)
	if err != nil {
		y.t.Fatal(err)
	}
	return string(data)
}

func (y *yard) tags() []string {
	y.t.Helper()
	refs, err := y.src.Refs(y.t.Context(), repo, "refs/tags/")
	if err != nil {
		y.t.Fatal(err)
	}
	names := map[string]bool{}
	for _, r := range refs {
		names[r.Name[len("refs/tags/"):]] = true
	}
	return slices.Sorted(maps.Keys(names))
}
