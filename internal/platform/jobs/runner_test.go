package jobs_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"slipway.dev/slipway/internal/platform/jobs"
)

// stolen is a queue with one job, whose lease is lost once: what was claimed under epoch 1 is claimable again.
type stolen struct {
	mu      sync.Mutex
	epoch   int64
	due     bool
	changed chan struct{}
	renewed chan int64 // the epoch of each renewal
	ended   chan int64 // the epoch of each end
}

func (q *stolen) Claim(context.Context, string, map[string]int, time.Duration) ([]jobs.Claim, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.due {
		return nil, nil
	}
	q.due = false
	q.epoch++
	return []jobs.Claim{{Kind: "k", Key: "1", Epoch: q.epoch}}, nil
}

func (q *stolen) expire() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.due = true
	close(q.changed)
	q.changed = make(chan struct{})
}

func (q *stolen) Renew(ctx context.Context, c jobs.Claim, _ time.Duration) (bool, error) {
	q.mu.Lock()
	held := c.Epoch == q.epoch
	q.mu.Unlock()
	select {
	case q.renewed <- c.Epoch:
	case <-ctx.Done():
	}
	return held, nil
}

func (q *stolen) Finish(_ context.Context, c jobs.Claim, _ error, _ time.Time, _ bool) error {
	q.ended <- c.Epoch
	return nil
}

func (q *stolen) Due(context.Context, []string) (time.Time, bool, error) {
	return time.Time{}, false, nil
}
func (q *stolen) Release(context.Context, string) error { return nil }

func (q *stolen) Changed() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.changed
}

// A run that lost its lease and takes its time to end does not overlap with the next run of the job.
func TestOneKeyRunsOnceAtATimeAfterALostLease(t *testing.T) {
	q := &stolen{due: true, changed: make(chan struct{}), renewed: make(chan int64), ended: make(chan int64, 4)}
	var running atomic.Int32
	first := make(chan struct{}, 1)
	first <- struct{}{}
	began, let := make(chan struct{}), make(chan struct{})
	do := func(context.Context, string) error {
		if running.Add(1) > 1 {
			t.Error("two runs at once")
		}
		defer running.Add(-1)
		select {
		case <-first:
			close(began)
			<-let // it does not heed its context
		default:
		}
		return nil
	}
	r, err := jobs.NewRunner(q, []jobs.Handler{{Kind: "k", Slots: 2, Do: do}}, jobs.Config{Owner: "test", Lease: 30 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer r.Stop(t.Context()) //nolint:errcheck // the test is over
	<-began
	q.expire()
	for seen := 0; seen < 2; { // the second claim is held, and its run had the time to begin
		if <-q.renewed == 2 {
			seen++
		}
	}
	close(let)
	if epoch := <-q.ended; epoch != 2 {
		t.Errorf("the claim of epoch %d was ended; the first one's outcome does not count", epoch)
	}
}
