package jobs_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"slipway.dev/slipway/internal/platform/jobs"
)

// heap is a queue of jobs of one kind, in memory.
type heap struct {
	mu      sync.Mutex
	due     []string
	changed chan struct{}
	ended   chan string // "KEY: ERROR"
	lost    string      // the key whose lease is lost
}

func (q *heap) wake(keys ...string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.due = append(q.due, keys...)
	close(q.changed)
	q.changed = make(chan struct{})
}

func (q *heap) Claim(_ context.Context, _ string, free map[string]int, _ time.Duration) (got []jobs.Claim, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(free["k"], len(q.due))
	for _, key := range q.due[:n] {
		got = append(got, jobs.Claim{Kind: "k", Key: key})
	}
	q.due = q.due[n:]
	return got, nil
}

func (q *heap) Renew(_ context.Context, c jobs.Claim, _ time.Duration) (bool, error) {
	return c.Key != q.lost, nil
}

func (q *heap) Finish(_ context.Context, c jobs.Claim, cause error, _ time.Time, _ bool) error {
	end := c.Key + ": "
	if cause != nil {
		end += cause.Error()
	}
	q.ended <- end
	return nil
}

func (q *heap) Due(context.Context, []string) (time.Time, bool, error) {
	return time.Time{}, false, nil
}
func (q *heap) Release(context.Context, string) error { return nil }

func (q *heap) Changed() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.changed
}

func begin(t *testing.T, q *heap, h jobs.Handler) {
	t.Helper()
	r, err := jobs.NewRunner(q, []jobs.Handler{h}, jobs.Config{Owner: "test", Lease: 30 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Stop(context.Background()) }) //nolint:errcheck // the test is over
}

// endings waits for n jobs to end.
func (q *heap) endings(t *testing.T, n int) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	late := time.After(time.Minute)
	for range n {
		select {
		case e := <-q.ended:
			all[e] = true
		case <-late:
			t.Fatal("only these ended:", slices.Collect(maps.Keys(all)))
		}
	}
	return all
}

func TestManyKeysAreDoneTogetherAndEachWhenThatFails(t *testing.T) {
	q := &heap{changed: make(chan struct{}), ended: make(chan string, 16)}
	var mu sync.Mutex
	var batches [][]string
	begin(t, q, jobs.Handler{Kind: "k", Batch: 3,
		Do: func(_ context.Context, key string) error {
			if key == "bad" {
				return errors.New("no")
			}
			return nil
		},
		All: func(_ context.Context, keys []string) error {
			mu.Lock()
			defer mu.Unlock()
			batches = append(batches, slices.Clone(keys))
			if slices.Contains(keys, "panics") {
				panic("so")
			}
			if slices.Contains(keys, "bad") {
				return errors.New("one of them")
			}
			return nil
		}})
	q.wake("a", "b", "c", "bad", "d", "panics", "e", "f")
	got := q.endings(t, 8)
	for _, want := range []string{"a: ", "b: ", "c: ", "bad: no", "d: ", "panics: ", "e: ", "f: "} {
		if !got[want] {
			t.Errorf("no %q among %v", want, got)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(batches) != 3 || len(batches[0]) != 3 || len(batches[2]) != 2 {
		t.Error(batches)
	}
}

func TestALostLeaseEndsWhatIsDoneTogether(t *testing.T) {
	q := &heap{changed: make(chan struct{}), ended: make(chan string, 16), lost: "a"}
	var mu sync.Mutex
	together := false
	begin(t, q, jobs.Handler{Kind: "k", Batch: 2,
		Do: func(_ context.Context, key string) error {
			mu.Lock()
			defer mu.Unlock()
			if together {
				t.Errorf("%s is done by itself while it is done with others", key)
			}
			return nil
		},
		All: func(ctx context.Context, _ []string) error {
			mu.Lock()
			together = true
			mu.Unlock()
			<-ctx.Done() // for ever, if nobody ends it
			mu.Lock()
			defer mu.Unlock()
			together = false
			return context.Cause(ctx)
		}})
	q.wake("a", "b")
	if got := q.endings(t, 1); !got["b: "] {
		t.Error(got)
	}
}

func TestRestGathersWakes(t *testing.T) {
	q := &heap{changed: make(chan struct{}), ended: make(chan string, 16)}
	const rest = 300 * time.Millisecond
	var times []time.Time // of a kind with one slot
	begin(t, q, jobs.Handler{Kind: "k", Rest: rest, Do: func(context.Context, string) error { times = append(times, time.Now()); return nil }})
	q.wake("a")
	q.endings(t, 1)
	q.wake("b")
	q.endings(t, 1)
	if d := times[1].Sub(times[0]); d < rest {
		t.Errorf("the second run began %s after the first, not %s", d, rest)
	}
}
