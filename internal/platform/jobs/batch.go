package jobs

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
)

// errAlone tells that there is nothing to be shared.
var errAlone = errors.New("alone")

// batch is one call of [Handler.All], for jobs that were claimed together. Each is still a run of its own, with its lease and its end.
type batch struct {
	keys []string
	done chan struct{} // closed once err is set
	err  error
}

// add has key done with the others, and returns what its run does: it waits for them, and does it alone if they fail.
func (b *batch) add(key string, alone func(context.Context, string) error) func(context.Context, string) error {
	b.keys = append(b.keys, key)
	return func(ctx context.Context, key string) error {
		select {
		case <-b.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if b.err == nil {
			return nil
		}
		return alone(ctx, key)
	}
}

func (b *batch) run(ctx context.Context, all func(context.Context, []string) error) {
	defer close(b.done)
	defer func() {
		if p := recover(); p != nil {
			b.err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	if len(b.keys) == 1 {
		b.err = errAlone
		return
	}
	b.err = all(ctx, b.keys)
}
