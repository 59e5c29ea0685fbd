// Package jobstest runs jobs to the end inside a test, without a background runner.
package jobstest

import (
	"context"
	"testing"
	"time"

	"slipway.dev/slipway/internal/platform/jobs"
)

// Drain runs every due job of the handlers, one at a time, until none is due. A handler that fails fails the test.
func Drain(t testing.TB, q jobs.Queue, handlers ...jobs.Handler) {
	t.Helper()
	if err := DrainErr(t.Context(), q, handlers...); err != nil {
		t.Fatal(err)
	}
}

// DrainErr is [Drain] that returns the first error of a handler; its job is left due at once.
func DrainErr(ctx context.Context, q jobs.Queue, handlers ...jobs.Handler) error {
	do := map[string]jobs.Handler{}
	free := map[string]int{}
	for _, h := range handlers {
		do[h.Kind], free[h.Kind] = h, 1
	}
	for {
		claims, err := q.Claim(ctx, "drain", free, time.Minute)
		if err != nil {
			return err
		}
		if len(claims) == 0 {
			return nil
		}
		for _, c := range claims {
			cause := do[c.Kind].Do(ctx, c.Key)
			// Due at once by whatever clock the queue has.
			if err := q.Finish(ctx, c, cause, time.Unix(0, 0), false); err != nil {
				return err
			}
			if cause != nil {
				return cause
			}
		}
	}
}
