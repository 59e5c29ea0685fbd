package farm

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/oklog/ulid/v2"

	"slipway.dev/slipway/internal/slipway"
)

// call is somebody who waits for a task in this process.
type call struct {
	started func(worker string)
	done    chan Task
}

// Call is the kind of an owner that waits in memory; it needs no word in a transaction.
const Call = "call"

// Calls is the owner of kind [Call].
type Calls[T Tx] struct{}

// Started implements [Owner].
func (Calls[T]) Started(context.Context, T, string, Task) error { return nil }

// Requeued implements [Owner].
func (Calls[T]) Requeued(context.Context, T, string, Task) error { return nil }

// Ended implements [Owner].
func (Calls[T]) Ended(context.Context, T, string, Task) error { return nil }

// started tells who waits that a worker has the task.
func (f *Farm[T]) started(t Task) {
	f.mu.Lock()
	calls := append([]*call(nil), f.ended[t.ID]...)
	f.mu.Unlock()
	for _, c := range calls {
		c.started(t.Worker)
	}
}

// told tells who waits that the task has ended.
func (f *Farm[T]) told(t Task) {
	f.mu.Lock()
	calls := f.ended[t.ID]
	delete(f.ended, t.ID)
	f.mu.Unlock()
	for _, c := range calls {
		c.done <- t // has room
	}
}

// Run asks for a task and waits for its end. Log gets what the action says, started the worker, again when another starts
// over; both may be nil. When ctx ends first the task is left, and stops unless others want it.
func (f *Farm[T]) Run(ctx context.Context, s Submission, log io.Writer, started func(worker string)) (Task, error) {
	s.Owner = slipway.Ref(Call, ulid.Make().String())
	c := &call{started: started, done: make(chan Task, 1)}
	if started == nil {
		c.started = func(string) {}
	}
	var t Task
	err := f.store.Update(ctx, func(tx T) (err error) {
		if t, err = f.Submit(ctx, tx, s); err != nil {
			return err
		}
		tx.AfterCommit(func() { f.await(t, c) })
		return nil
	})
	if err != nil {
		return t, err
	}
	copied := make(chan int64, 1)
	follow, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		if log == nil {
			copied <- 0
			return
		}
		copied <- f.follow(follow, t.ID, log)
	}()
	// It may have ended between the commit and our waiting for it.
	if now, err := f.Task(ctx, t.ID); err == nil && now.State == Done {
		f.told(now)
	} else if err == nil && now.State == Claimed {
		c.started(now.Worker)
	}
	select {
	case t = <-c.done:
		stop()
		return t, f.rest(ctx, t, log, <-copied)
	case <-ctx.Done():
		<-copied
		leave, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		err := f.store.Update(leave, func(tx T) error {
			_, err := f.Leave(leave, tx, t.ID, s.Owner, "its caller went away")
			return err
		})
		return t, errors.Join(context.Cause(ctx), err)
	}
}

func (f *Farm[T]) await(t Task, c *call) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended[t.ID] = append(f.ended[t.ID], c)
}

// rest copies what follow has not seen of the log of a task that has ended.
func (f *Farm[T]) rest(ctx context.Context, t Task, to io.Writer, at int64) error {
	if to == nil || t.Log == "" || at >= t.LogBytes {
		return nil
	}
	r, err := f.cas.Open(ctx, t.Log)
	if err != nil {
		return err
	}
	defer r.Close()
	if _, err := io.CopyN(io.Discard, r, at); err != nil {
		return err
	}
	_, err = io.Copy(to, r)
	return err
}

// follow copies the log of a running task as it grows, until ctx ends, and returns how much it copied.
func (f *Farm[T]) follow(ctx context.Context, task string, to io.Writer) (at int64) {
	buf := make([]byte, 32<<10)
	for {
		grew := f.Logs.Changed(task)
		for {
			n, err := f.Logs.ReadAt(task, buf, at)
			if n > 0 {
				if _, err := to.Write(buf[:n]); err != nil {
					return at
				}
				at += int64(n)
			}
			if err != nil || n == 0 {
				break
			}
		}
		select {
		case <-ctx.Done():
			return at
		case <-grew:
		}
	}
}
