package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"slipway.dev/slipway/internal/platform/jobs"
	"slipway.dev/slipway/internal/platform/jobs/jobstest"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/store"
	"slipway.dev/slipway/internal/store/storetest"
)

var routes = []jobs.Route{
	{On: "change.", Kind: "test.change", Key: jobs.SubjectID},
	{On: slipway.BuildFinished, Kind: "test.linked", Key: jobs.Linked("entry")},
}

func emit(t *testing.T, db *store.DB, e slipway.Event) {
	t.Helper()
	if err := db.Update(t.Context(), func(tx *store.Tx) error { return tx.Emit(t.Context(), e) }); err != nil {
		t.Fatal(err)
	}
}

func TestStateAndEventAreOneTransaction(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		boom := errors.New("boom")
		err := db.Update(ctx, func(tx *store.Tx) error {
			if err := tx.Emit(ctx, slipway.Event{Type: slipway.ChangeCreated, Subject: "change/1"}); err != nil {
				return err
			}
			return boom
		})
		if !errors.Is(err, boom) {
			t.Fatalf("got %v, want boom", err)
		}
		if events, err := db.Events(ctx, store.EventQuery{}); err != nil || len(events) != 0 {
			t.Errorf("a rolled back transaction left events %v, %v", events, err)
		}
		if all, err := db.Jobs(ctx, 10); err != nil || len(all) != 0 {
			t.Errorf("a rolled back transaction left jobs %v, %v", all, err)
		}
	}, routes...)
}

func TestLedgerIsOrderedAndEventsAreToldOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				for i := range 10 {
					e := slipway.Event{ID: fmt.Sprintf("e-%d", i), Type: slipway.ChangeVoted, Subject: fmt.Sprintf("change/%d", w)}
					if err := db.Update(ctx, func(tx *store.Tx) error { return tx.Emit(ctx, e) }); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		events, err := db.Events(ctx, store.EventQuery{})
		if err != nil {
			t.Fatal(err)
		}
		if len(events) != 10 {
			t.Fatalf("%d events for 10 ids", len(events))
		}
		for i, e := range events {
			if e.Seq != int64(i+1) {
				t.Errorf("event %d has number %d", i, e.Seq)
			}
		}
	}, routes...)
}

func TestEventQueries(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		emit(t, db, slipway.Event{Type: slipway.ChangeCreated, Subject: "change/1", Product: "p"})
		emit(t, db, slipway.Event{Type: slipway.BuildFinished, Subject: "build/b", Product: "q", Links: []string{"change/1", "entry/3"}})
		for name, tc := range map[string]struct {
			q    store.EventQuery
			want int
		}{
			"all":     {store.EventQuery{}, 2},
			"after":   {store.EventQuery{After: 1}, 1},
			"before":  {store.EventQuery{Before: 2}, 1},
			"subject": {store.EventQuery{Subject: "change/1"}, 2},
			"linked":  {store.EventQuery{Subject: "entry/3"}, 1},
			"product": {store.EventQuery{Product: "p"}, 1},
			"prefix":  {store.EventQuery{Type: "change."}, 1},
			"type":    {store.EventQuery{Type: "build.action.finished"}, 1},
			"none":    {store.EventQuery{Type: "chan."}, 0},
		} {
			if got, err := db.Events(t.Context(), tc.q); err != nil || len(got) != tc.want {
				t.Errorf("%s: %d events, %v; want %d", name, len(got), err, tc.want)
			}
		}
	}, routes...)
}

func TestRoutesWakeHandlers(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		emit(t, db, slipway.Event{Type: slipway.ChangeCreated, Subject: "change/7"})
		emit(t, db, slipway.Event{Type: slipway.ChangeVoted, Subject: "change/7"})
		emit(t, db, slipway.Event{Type: slipway.BuildFinished, Subject: "build/x", Links: []string{"change/7", "entry/3"}})
		emit(t, db, slipway.Event{Type: slipway.BuildFinished, Subject: "build/y"})
		var ran []string
		record := func(kind string) jobs.Handler {
			return jobs.Handler{Kind: kind, Do: func(_ context.Context, key string) error {
				ran = append(ran, kind+" "+key)
				return nil
			}}
		}
		jobstest.Drain(t, db, record("test.change"), record("test.linked"))
		want := "[test.change 7 test.linked 3]"
		if got := fmt.Sprint(ran); got != want {
			t.Errorf("ran %s, want %s", got, want)
		}
	}, routes...)
}

func TestAWakeDuringTheRunLeadsToOneMore(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		wake := func() {
			t.Helper()
			if err := db.Update(ctx, func(tx *store.Tx) error { return tx.Wake(ctx, "k", "1", time.Time{}) }); err != nil {
				t.Fatal(err)
			}
		}
		wake()
		runs := 0
		jobstest.Drain(t, db, jobs.Handler{Kind: "k", Do: func(context.Context, string) error {
			if runs++; runs == 1 {
				wake()
				wake()
			}
			return nil
		}})
		if runs != 2 {
			t.Errorf("ran %d times, want 2", runs)
		}
	})
}

func TestAWakeForLaterWaits(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		at := time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond)
		err := db.Update(ctx, func(tx *store.Tx) error { return tx.Wake(ctx, "k", "1", at) })
		if err != nil {
			t.Fatal(err)
		}
		if claims, err := db.Claim(ctx, "me", map[string]int{"k": 1}, time.Minute); err != nil || len(claims) != 0 {
			t.Errorf("claimed %v, %v before it is due", claims, err)
		}
		if due, ok, err := db.Due(ctx, []string{"k"}); err != nil || !ok || !due.Equal(at) {
			t.Errorf("due %v, %v, %v; want %v", due, ok, err, at)
		}
	})
}

func TestOneOfManyClaimantsGetsTheJob(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		const n = 50
		err := db.Update(ctx, func(tx *store.Tx) error {
			for i := range n {
				if err := tx.Wake(ctx, "k", fmt.Sprint(i), time.Time{}); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		owners := map[string]int{}
		var wg sync.WaitGroup
		for w := range 4 {
			wg.Go(func() {
				for {
					claims, err := db.Claim(ctx, fmt.Sprint("w", w), map[string]int{"k": 3}, time.Minute)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					for _, c := range claims {
						owners[c.Key]++
					}
					claimed := len(owners)
					mu.Unlock()
					if claimed == n {
						return
					}
				}
			})
		}
		wg.Wait()
		for key, times := range owners {
			if times != 1 {
				t.Errorf("job %s was claimed %d times", key, times)
			}
		}
	})
}

func TestALostLeaseIsFenced(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		if err := db.Update(ctx, func(tx *store.Tx) error { return tx.Wake(ctx, "k", "1", time.Time{}) }); err != nil {
			t.Fatal(err)
		}
		late, err := db.Claim(ctx, "late", map[string]int{"k": 1}, time.Minute)
		if err != nil || len(late) != 1 {
			t.Fatal(late, err)
		}
		if err := db.Release(ctx, "late"); err != nil { // as after its death
			t.Fatal(err)
		}
		next, err := db.Claim(ctx, "next", map[string]int{"k": 1}, time.Minute)
		if err != nil || len(next) != 1 {
			t.Fatal(next, err)
		}
		if ok, err := db.Renew(ctx, late[0], time.Minute); err != nil || ok {
			t.Errorf("the late owner renewed: %v, %v", ok, err)
		}
		if err := db.Finish(ctx, late[0], nil, time.Time{}, false); err != nil {
			t.Fatal(err)
		}
		if ok, err := db.Renew(ctx, next[0], time.Minute); err != nil || !ok {
			t.Errorf("the late owner ended the next one's claim: %v, %v", ok, err)
		}
	})
}

func TestFailuresBackOffAndDieAndAreRetried(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		if err := db.Update(ctx, func(tx *store.Tx) error { return tx.Wake(ctx, "k", "1", time.Time{}) }); err != nil {
			t.Fatal(err)
		}
		claim := func() []jobs.Claim {
			t.Helper()
			claims, err := db.Claim(ctx, "me", map[string]int{"k": 1}, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			return claims
		}
		state := func() jobs.Job {
			t.Helper()
			all, err := db.Jobs(ctx, 10)
			if err != nil || len(all) != 1 {
				t.Fatal(all, err)
			}
			return all[0]
		}
		c := claim()
		if err := db.Finish(ctx, c[0], errors.New("no luck"), time.Now().Add(time.Hour), false); err != nil {
			t.Fatal(err)
		}
		if j := state(); j.State != "backing-off" || j.Attempts != 1 || j.Error != "no luck" {
			t.Errorf("after a failure: %+v", j)
		}
		if len(claim()) != 0 {
			t.Error("claimed while backing off")
		}
		if err := db.RetryJob(ctx, "k", "1"); err != nil {
			t.Fatal(err)
		}
		c = claim()
		if len(c) != 1 {
			t.Fatal("not claimable after a retry")
		}
		if err := db.Finish(ctx, c[0], errors.New("never"), time.Now(), true); err != nil {
			t.Fatal(err)
		}
		if j := state(); j.State != "dead" {
			t.Errorf("want a dead letter, got %+v", j)
		}
		if len(claim()) != 0 {
			t.Error("claimed a dead letter")
		}
		if err := db.Update(ctx, func(tx *store.Tx) error { return tx.Wake(ctx, "k", "1", time.Time{}) }); err != nil {
			t.Fatal(err)
		}
		if len(claim()) != 1 {
			t.Error("a wake did not revive the dead letter")
		}
		if err := db.RetryJob(ctx, "k", "other"); !slipway.Is(err, slipway.NotFound) {
			t.Errorf("retrying an unknown job: %v", err)
		}
	})
}

// What happened while a job failed for the last time must not be forgotten.
func TestAWakeDuringTheLastAttemptIsNotLost(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		wake := func() {
			t.Helper()
			if err := db.Update(ctx, func(tx *store.Tx) error { return tx.Wake(ctx, "k", "1", time.Time{}) }); err != nil {
				t.Fatal(err)
			}
		}
		wake()
		c, err := db.Claim(ctx, "me", map[string]int{"k": 1}, time.Minute)
		if err != nil || len(c) != 1 {
			t.Fatal(c, err)
		}
		wake()
		retry := time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond)
		if err := db.Finish(ctx, c[0], errors.New("no luck"), retry, true); err != nil {
			t.Fatal(err)
		}
		all, err := db.Jobs(ctx, 10)
		if err != nil || len(all) != 1 || all[0].State != "backing-off" || !all[0].Due.Equal(retry) {
			t.Errorf("got %+v, %v; want it to wait until %s", all, err, retry)
		}
	})
}

func TestTable(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		r := func(id string, o slipway.Outcome) slipway.Result {
			return slipway.Result{ID: id, Product: "p", Subject: "s/" + id[:1], Outcome: o, Time: time.Unix(5, 6000).UTC()}
		}
		err := db.Update(ctx, func(tx *store.Tx) error {
			for _, x := range []slipway.Result{r("a1", slipway.Pass), r("a2", slipway.Fail), r("b1", slipway.Pass), r("a1", slipway.Infra)} {
				if err := tx.Results().Put(ctx, x); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		find := func(q slipway.Query) (ids string) {
			t.Helper()
			err := db.View(ctx, func(tx *store.Tx) error {
				found, err := tx.Results().Find(ctx, q)
				for _, x := range found {
					ids += x.ID + " "
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			return ids
		}
		for _, tc := range []struct {
			q    slipway.Query
			want string
		}{
			{slipway.Query{}, "a1 a2 b1 "},
			{slipway.Query{Newest: true, Limit: 2}, "b1 a2 "},
			{slipway.Query{After: "a1"}, "a2 b1 "},
			{slipway.Query{Newest: true, After: "b1"}, "a2 a1 "},
			{slipway.Query{Key: "s/a", States: []string{"fail", "infra"}}, "a1 a2 "},
			{slipway.Query{Product: "other"}, ""},
		} {
			if got := find(tc.q); got != tc.want {
				t.Errorf("%+v: got %q, want %q", tc.q, got, tc.want)
			}
		}
		err = db.View(ctx, func(tx *store.Tx) error {
			got, err := tx.Results().Get(ctx, "a1")
			if err == nil && got != r("a1", slipway.Infra) {
				t.Errorf("read back %+v", got)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		err = db.View(ctx, func(tx *store.Tx) error { _, err := tx.Results().Get(ctx, "zz"); return err })
		if !slipway.Is(err, slipway.NotFound) || err.Error() != `there is no result "zz"` {
			t.Errorf("a missing record: %v", err)
		}
		if err := db.View(ctx, func(tx *store.Tx) error { return tx.Results().Delete(ctx, "a1") }); err == nil {
			t.Error("a view could write")
		}
	})
}

func TestCountersDoNotRepeat(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		var mu sync.Mutex
		seen := map[int64]bool{}
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				err := db.Update(ctx, func(tx *store.Tx) error {
					n, err := tx.Next(ctx, "change")
					mu.Lock()
					defer mu.Unlock()
					if seen[n] {
						t.Errorf("%d twice", n)
					}
					seen[n] = true
					return err
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if !seen[20] || len(seen) != 20 {
			t.Errorf("numbers %v", seen)
		}
	})
}
