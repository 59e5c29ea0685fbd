package reapi

import (
	"context"
	"io"
	"os"
	"sync"

	"slipway.dev/slipway/internal/slipway"
)

// liveLog is the output of an execution: written once, read by any number of streams while it grows.
type liveLog struct {
	file *os.File

	mu      sync.Mutex
	size    int64
	ended   bool
	changed chan struct{} // closed, and made anew, with each change
}

func newLiveLog(dir string) (*liveLog, error) {
	f, err := os.CreateTemp(dir, "log-")
	if err != nil {
		return nil, slipway.Errorf(slipway.Unavailable, "begin the log: %w", err)
	}
	return &liveLog{file: f, changed: make(chan struct{})}, nil
}

// Write implements [io.Writer] for one writer.
func (l *liveLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return len(p), nil
	}
	n, err := l.file.WriteAt(p, l.size)
	l.size += int64(n)
	close(l.changed)
	l.changed = make(chan struct{})
	return n, err
}

// end tells readers that nothing more comes.
func (l *liveLog) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		l.ended = true
		close(l.changed)
	}
}

// remove ends the log and gives its file back.
func (l *liveLog) remove() {
	l.end()
	l.file.Close()
	_ = os.Remove(l.file.Name()) // the folder is emptied at the next start
}

// reader reads from an offset to the end of the log, and waits while it may grow.
func (l *liveLog) reader(ctx context.Context, offset int64) io.Reader {
	return &liveReader{ctx, l, offset}
}

type liveReader struct {
	ctx context.Context
	log *liveLog
	at  int64
}

// Read implements [io.Reader].
func (r *liveReader) Read(p []byte) (int, error) {
	for {
		r.log.mu.Lock()
		size, ended, changed := r.log.size, r.log.ended, r.log.changed
		r.log.mu.Unlock()
		if r.at < size {
			n, err := r.log.file.ReadAt(p[:min(int64(len(p)), size-r.at)], r.at)
			r.at += int64(n)
			if n > 0 {
				err = nil
			}
			return n, err
		}
		if ended {
			return 0, io.EOF
		}
		select {
		case <-r.ctx.Done():
			return 0, context.Cause(r.ctx)
		case <-changed:
		}
	}
}
