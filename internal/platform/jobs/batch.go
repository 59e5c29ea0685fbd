package jobs

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
)

// errAlone tells that there is nothing to be shared.
var errAlone = errors.New("alone")

// batch is one call of [Handler.All], for jobs that were claimed together. Each is still a run of its own, with its lease and its end. When one
// of them is to end, the call is, and the others are done one by one: so no run returns while the call goes on.
type batch struct {
	keys   []string
	ctx    context.Context // the call's
	cancel context.CancelFunc
	done   chan struct{} // closed once err is set
	err    error
}

func newBatch(ctx context.Context) *batch {
	b := &batch{done: make(chan struct{})}
	b.ctx, b.cancel = context.WithCancel(ctx)
	return b
}

// add has key done with the others, and returns what its run does: it waits for them, and does it alone if they fail.
func (b *batch) add(key string, alone func(context.Context, string) error) func(context.Context, string) error {
	b.keys = append(b.keys, key)
	return func(ctx context.Context, key string) error {
		stop := context.AfterFunc(ctx, b.cancel)
		defer stop()
		<-b.done
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case b.err == nil:
			return nil
		}
		return alone(ctx, key)
	}
}

func (b *batch) run(all func(context.Context, []string) error) {
	defer close(b.done)
	defer b.cancel()
	defer func() {
		if p := recover(); p != nil {
			b.err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	if len(b.keys) == 1 {
		b.err = errAlone
		return
	}
	b.err = all(b.ctx, b.keys)
}
