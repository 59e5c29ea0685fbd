package worker

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build/farm"
)

// chunk is how much of a log is sent at once, in bytes.
const chunk = 256 << 10

// taskLog takes a task's log. Without a spool each write goes straight to the farm. With one it goes to a file, from which it is sent in
// the background, beginning where the farm says that it is: the farm may be away, or have lost the end in a crash.
type taskLog struct {
	w     *Worker
	ctx   context.Context // of the claim that the log belongs to
	claim farm.Claim
	spool *os.File // nil: straight
	err   error    // of making the spool

	mu    sync.Mutex
	size  int64
	grew  chan struct{}
	ended bool
	sent  chan error
}

func (w *Worker) openLog(ctx context.Context, c farm.Claim) *taskLog {
	l := &taskLog{w: w, ctx: ctx, claim: c}
	if w.cfg.Spool == "" {
		return l
	}
	if l.spool, l.err = os.CreateTemp(w.cfg.Spool, "log-"); l.err != nil {
		return l
	}
	_ = os.Remove(l.spool.Name()) // it lives as long as it is open
	l.grew, l.sent = make(chan struct{}, 1), make(chan error, 1)
	go func() { l.sent <- l.send() }()
	return l
}

// Write implements [io.Writer].
func (l *taskLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return 0, l.err
	}
	if l.spool == nil {
		next, err := l.w.server.Append(l.ctx, l.claim.Hold, l.size, p)
		if err == nil && next != l.size+int64(len(p)) {
			err = slipway.Errorf(slipway.Internal, "the farm has %d bytes of a log of %d", next, l.size+int64(len(p)))
		}
		if err != nil {
			return 0, err
		}
		l.size = next
		return len(p), nil
	}
	n, err := l.spool.WriteAt(p, l.size)
	l.size += int64(n)
	l.signal()
	if err != nil {
		return n, slipway.Errorf(slipway.Unavailable, "keep the log: %w", err).Try("check the worker's disk")
	}
	return n, nil
}

func (l *taskLog) signal() {
	select {
	case l.grew <- struct{}{}:
	default:
	}
}

// close waits until all of the log is with the farm, or the claim is gone.
func (l *taskLog) close() error {
	if l.err != nil {
		return slipway.Errorf(slipway.Unavailable, "keep the log: %w", l.err).Try("check the worker's disk")
	}
	if l.spool == nil {
		return nil
	}
	l.mu.Lock()
	l.ended = true
	l.signal()
	l.mu.Unlock()
	err := <-l.sent
	l.spool.Close()
	return err
}

// send sends the log as it grows until all is sent.
func (l *taskLog) send() error {
	var at int64
	buf := make([]byte, chunk)
	for {
		l.mu.Lock()
		size, ended := l.size, l.ended
		l.mu.Unlock()
		if at == size {
			if ended {
				return nil
			}
			select {
			case <-l.grew:
				continue
			case <-l.ctx.Done():
				return context.Cause(l.ctx)
			}
		}
		n, err := l.spool.ReadAt(buf[:min(size-at, chunk)], at)
		if err != nil && !errors.Is(err, io.EOF) {
			return slipway.Errorf(slipway.Unavailable, "read the log: %w", err)
		}
		next, err := l.w.server.Append(l.ctx, l.claim.Hold, at, buf[:n])
		switch {
		case err == nil:
			at = min(next, size)
		case l.ctx.Err() != nil:
			return context.Cause(l.ctx)
		case slipway.Is(err, slipway.Conflict), slipway.Is(err, slipway.Invalid), slipway.Is(err, slipway.Forbidden), slipway.Is(err, slipway.Unauthenticated):
			return err
		default:
			pause(l.ctx, min(l.claim.Lease/10, time.Second))
		}
	}
}
