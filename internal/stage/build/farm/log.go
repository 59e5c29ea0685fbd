package farm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/slipway"
)

// Logs keeps the logs of running tasks in files, and tells those who follow when one grew.
//
// The log of a slot of this server is in memory while it is short: a server that starts again begins its tasks anew, and their logs with them. That
// of a worker elsewhere outlives the server.
type Logs struct {
	dir   string
	mu    sync.Mutex
	grew  map[string]chan struct{} // closed when the log grew or ended
	short map[string]*liveLog      // those that are, or were, in memory
}

func (l *Logs) file(task string) string { return filepath.Join(l.dir, filepath.Base(task)+".log") }

// Changed returns a channel that is closed at the next growth or end of the task's log.
func (l *Logs) Changed(task string) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.grew[task] == nil {
		l.grew[task] = make(chan struct{})
	}
	return l.grew[task]
}

// Tell wakes who waits for the task's log.
func (l *Logs) Tell(task string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.grew[task]; c != nil {
		close(c)
		delete(l.grew, task)
	}
}

// ReadAt reads from the log of a running task; nothing new is (0, nil).
func (l *Logs) ReadAt(task string, p []byte, at int64) (int, error) {
	l.mu.Lock()
	w := l.short[task]
	l.mu.Unlock()
	if w != nil {
		if n, ok := w.readShort(p, at); ok {
			return n, nil
		}
	}
	f, err := os.Open(l.file(task))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, slipway.Errorf(slipway.Unavailable, "open the log: %w", err)
	}
	defer f.Close()
	n, err := f.ReadAt(p, at)
	if err == io.EOF {
		err = nil
	}
	return n, err
}

func (l *Logs) remove(task string) {
	l.mu.Lock()
	delete(l.short, task)
	l.mu.Unlock()
	_ = os.Remove(l.file(task))
	l.Tell(task)
}

// liveLog is the log of one claimed task. Callers hold mu.
type liveLog struct {
	mu   sync.Mutex
	f    *os.File // nil while it is in memory
	base int64    // bytes before the worker's own
	size int64    // bytes in the file
	mask *mask
	tail []byte
	tell func()

	open   func() (*os.File, error) // makes the file, for what is in memory
	memory sync.Mutex               // of short and of f's being set; mu may be held for long, by who waits for a disk
	short  []byte                   // all of it
}

// maxShort is up to how many bytes a log is kept in memory.
const maxShort = 32 << 10

// begin starts the log of a claim over whatever an earlier one left. That of a slot of this server begins in memory.
func (l *Logs) begin(task, header string, secrets []string, local bool) (*liveLog, error) {
	w := &liveLog{mask: newMask(secrets), tell: func() { l.Tell(task) }}
	w.open = func() (*os.File, error) {
		f, err := os.OpenFile(l.file(task), os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
		if err != nil {
			return nil, slipway.Errorf(slipway.Unavailable, "open the log: %w", err).Try("check free space and permissions")
		}
		return f, nil
	}
	var err error
	l.mu.Lock()
	if delete(l.short, task); local {
		l.short[task] = w
	}
	l.mu.Unlock()
	if !local {
		if w.f, err = w.open(); err != nil {
			return nil, err
		}
	}
	if header != "" {
		err = w.write([]byte(header + "\n"))
	}
	w.base = w.size
	return w, err
}

// readShort reads from a log that is in memory; ok is false when it is in a file.
func (w *liveLog) readShort(p []byte, at int64) (n int, ok bool) {
	w.memory.Lock()
	defer w.memory.Unlock()
	if w.f != nil {
		return 0, false
	}
	return copy(p, w.short[min(at, int64(len(w.short))):]), true
}

func (w *liveLog) isShort() bool {
	w.memory.Lock()
	defer w.memory.Unlock()
	return w.f == nil
}

// put writes at the end: to memory, from where it moves to a file when it has become long, or to the file.
func (w *liveLog) put(p []byte) (int, error) {
	w.memory.Lock()
	defer w.memory.Unlock()
	if w.f == nil {
		if len(w.short)+len(p) <= maxShort {
			w.short = append(w.short, p...)
			return len(p), nil
		}
		f, err := w.open()
		if err != nil {
			return 0, err
		}
		if _, err := f.Write(w.short); err != nil {
			f.Close()
			return 0, err
		}
		w.f, w.short = f, nil
	}
	return w.f.WriteAt(p, w.size)
}

// resume goes on with the log of a claim that outlived the server.
func (l *Logs) resume(t Task, secrets []string) (*liveLog, error) {
	f, err := os.OpenFile(l.file(t.ID), os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return l.begin(t.ID, t.Header, secrets, false)
	}
	if err != nil {
		return nil, slipway.Errorf(slipway.Unavailable, "open the log: %w", err)
	}
	fi, err := f.Stat()
	if err != nil {
		return nil, slipway.Errorf(slipway.Unavailable, "open the log: %w", err)
	}
	if fi.Size() < t.Header0 { // it was cut off in the header
		f.Close()
		return l.begin(t.ID, t.Header, secrets, false)
	}
	w := &liveLog{f: f, base: t.Header0, size: fi.Size(), mask: newMask(secrets), tell: func() { l.Tell(t.ID) }}
	keep := make([]byte, min(w.size, tailBytes))
	if _, err := f.ReadAt(keep, w.size-int64(len(keep))); err != nil && err != io.EOF {
		return nil, slipway.Errorf(slipway.Unavailable, "read the log: %w", err)
	}
	w.tail = keep
	return w, nil
}

// tailBytes is how much of a log's end is kept in memory.
const tailBytes = 2000

func (w *liveLog) write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	n, err := w.put(p)
	w.size += int64(n)
	w.tail = append(w.tail, p[:n]...)
	if extra := len(w.tail) - tailBytes; extra > 0 {
		w.tail = append(w.tail[:0], w.tail[extra:]...)
	}
	w.tell()
	if err != nil {
		return slipway.Errorf(slipway.Unavailable, "write the log: %w", err).Try("check free space")
	}
	return nil
}

// took is how many bytes of the worker's log are here.
func (w *liveLog) took() int64 { return w.size - w.base + int64(len(w.mask.held)) }

// append adds what the worker sent from offset on; bytes that are here already are passed over.
func (w *liveLog) append(offset int64, data []byte) (int64, error) {
	have := w.took()
	if offset > have || offset+int64(len(data)) <= have {
		return have, nil
	}
	err := w.write(w.mask.next(data[have-offset:]))
	return w.took(), err
}

// end tells what was held back, ends an open last line, and adds a line unless the log has no header either.
func (w *liveLog) end(line string) error {
	text := w.mask.rest()
	if err := w.write(text); err != nil || w.base == 0 {
		return err
	}
	if len(w.tail) > 0 && w.tail[len(w.tail)-1] != '\n' {
		line = "\n" + line
	}
	return w.write([]byte(line + "\n"))
}

// said quotes the last line that is not empty, for a reason.
func (w *liveLog) said() string {
	lines := strings.Split(strings.TrimSpace(strings.ToValidUTF8(string(w.tail), "?")), "\n")
	last := strings.TrimSpace(lines[len(lines)-1])
	if last == "" || strings.HasPrefix(last, "# ") {
		return "; it said nothing"
	}
	if len(last) > 300 {
		last = strings.ToValidUTF8(last[:300], "") + "..."
	}
	return ": " + last
}

// keep makes the log an artifact.
func (w *liveLog) keep(ctx context.Context, st artifact.Store) (artifact.Digest, int64, error) {
	if w.isShort() {
		return st.Put(ctx, bytes.NewReader(w.short))
	}
	return st.Put(ctx, io.NewSectionReader(w.f, 0, w.size))
}

func (w *liveLog) close() {
	if !w.isShort() {
		_ = w.f.Close() // what was written is read back before
	}
}

// clear removes the logs of tasks that no worker has.
func (l *Logs) clear(held map[string]bool) error {
	files, err := os.ReadDir(l.dir)
	if err != nil {
		return fmt.Errorf("look at the logs: %w", err)
	}
	for _, e := range files {
		if !held[strings.TrimSuffix(e.Name(), ".log")] {
			if err := os.RemoveAll(filepath.Join(l.dir, e.Name())); err != nil {
				return fmt.Errorf("clear old logs: %w", err)
			}
		}
	}
	return nil
}
