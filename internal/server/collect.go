package server

import (
	"context"
	"time"

	"slipway.dev/slipway/internal/platform/clock"
	"slipway.dev/slipway/internal/platform/jobs"
	"slipway.dev/slipway/internal/stage/build/retain"
	"slipway.dev/slipway/internal/store"
)

// The job that removes what nothing needs.
const (
	collectKind  = "artifacts.collect"
	collectKey   = "all"
	collectEvery = 24 * time.Hour
	collectFirst = 10 * time.Minute // after a start
)

func (r *running) newCollector() *retain.Service {
	return retain.New(r.db, r.svc.artifacts, retain.Keep{Builds: r.cfg.KeepBuilds, Logs: r.cfg.KeepLogs}, clock.System{}.Now)
}

// collectHandler collects, and asks for the next time.
func (r *running) collectHandler() jobs.Handler {
	return jobs.Handler{Kind: collectKind, Do: func(ctx context.Context, _ string) error {
		report, err := r.svc.collector.Collect(ctx, false)
		if err != nil {
			return err
		}
		r.log.Info("removed what nothing needs", "blobs", report.Removed.Blobs, "bytes", report.Removed.Bytes, "trees", report.Trees, "took", report.Took)
		return r.wakeCollector(ctx, collectEvery)
	}}
}

func (r *running) wakeCollector(ctx context.Context, after time.Duration) error {
	return r.db.Update(ctx, func(tx *store.Tx) error { return tx.Wake(ctx, collectKind, collectKey, tx.Now().Add(after)) })
}
