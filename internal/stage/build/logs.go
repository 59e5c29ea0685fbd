package build

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
	"time"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/slipway"
)

// logs keeps the logs of running builds in files, and tells those who follow when one grew.
type logs struct {
	dir  string
	mu   sync.Mutex
	grew map[string]chan struct{} // closed when the log grew or ended
}

func (l *logs) file(id string) string { return filepath.Join(l.dir, filepath.Base(id)+".log") }

// changed returns a channel that is closed at the next growth or end of the log.
func (l *logs) changed(id string) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.grew == nil {
		l.grew = map[string]chan struct{}{}
	}
	if l.grew[id] == nil {
		l.grew[id] = make(chan struct{})
	}
	return l.grew[id]
}

func (l *logs) tell(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.grew[id]; c != nil {
		close(c)
		delete(l.grew, id)
	}
}

// create starts the log of a run over whatever an earlier run left.
func (l *logs) create(id string) (*logWriter, error) {
	f, err := os.OpenFile(l.file(id), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, slipway.Errorf(slipway.Unavailable, "open the build log: %w", err).Try("check free space and permissions")
	}
	return &logWriter{f: f, tell: func() { l.tell(id) }}, nil
}

// keep makes the log an artifact.
func (l *logs) keep(ctx context.Context, id string, st artifact.Store) (artifact.Digest, int64, error) {
	f, err := os.Open(l.file(id))
	if err != nil {
		return "", 0, slipway.Errorf(slipway.Unavailable, "open the build log: %w", err)
	}
	defer f.Close()
	return st.Put(ctx, f)
}

// done removes the file of a log that is kept.
func (l *logs) done(id string) {
	_ = os.Remove(l.file(id))
	l.tell(id)
}

// logWriter writes a log and remembers its last line.
type logWriter struct {
	f    io.WriteCloser
	tail []byte
	tell func()
}

func (w *logWriter) Write(p []byte) (int, error) {
	n, err := w.f.Write(p)
	w.tail = append(w.tail, p[:n]...)
	if extra := len(w.tail) - 2000; extra > 0 {
		w.tail = append(w.tail[:0], w.tail[extra:]...)
	}
	w.tell()
	return n, err
}

func (w *logWriter) Close() error { return w.f.Close() }

// endLine ends a last line that the command left open.
func (w *logWriter) endLine() {
	if len(w.tail) > 0 && w.tail[len(w.tail)-1] != '\n' {
		fmt.Fprintln(w)
	}
}

// said quotes the last line that is not empty, for a reason.
func (w *logWriter) said() string {
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

// Log returns a build's log from the given offset in bytes. While the build waits or runs, a following reader blocks for
// more until the build has ended or ctx has, or the reader is closed; one that does not follow ends where the log ends now.
func (s *Service) Log(ctx context.Context, id string, offset int64, follow bool) (io.ReadCloser, error) {
	if offset < 0 {
		return nil, slipway.Errorf(slipway.Invalid, "the offset %d is negative", offset)
	}
	b, err := s.Build(ctx, id)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	return &logReader{ctx: ctx, cancel: cancel, s: s, id: b.ID, at: offset, follow: follow}, nil
}

type logReader struct {
	ctx    context.Context // of the call to Log: a reader is one request
	cancel context.CancelCauseFunc
	s      *Service
	id     string
	at     int64
	follow bool
	kept   io.Reader // the artifact, once the build is done
}

func (r *logReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	tick := time.NewTicker(r.s.cfg.Poll) // it may run in another server, whose growth nobody tells us
	defer tick.Stop()
	for {
		if r.kept != nil {
			n, err := r.kept.Read(p)
			r.at += int64(n)
			return n, err
		}
		grew := r.s.logs.changed(r.id) // before the look, so that nothing is missed
		n, err := r.live(p)
		if n > 0 || err != nil {
			r.at += int64(n)
			return n, err
		}
		b, err := r.s.Build(r.ctx, r.id)
		if err != nil {
			return 0, err
		}
		if b.State == Done {
			r.s.logs.tell(r.id) // nobody else will: it ended before we asked
		}
		switch {
		case b.State == Done && b.Log == "":
			return 0, io.EOF // it never ran
		case b.State == Done:
			if err := r.open(b.Log); err != nil {
				return 0, err
			}
			continue
		case !r.follow:
			return 0, io.EOF
		}
		select {
		case <-r.ctx.Done():
			return 0, context.Cause(r.ctx)
		case <-grew:
		case <-tick.C:
		}
	}
}

// live reads from the file of a running build; nothing new is (0, nil).
func (r *logReader) live(p []byte) (int, error) {
	f, err := os.Open(r.s.logs.file(r.id))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, slipway.Errorf(slipway.Unavailable, "open the build log: %w", err)
	}
	defer f.Close()
	n, err := f.ReadAt(p, r.at)
	if err == io.EOF {
		err = nil
	}
	return n, err
}

// open goes on in the kept log where the live one ended.
func (r *logReader) open(d artifact.Digest) error {
	log, err := r.s.artifacts.Open(r.ctx, d)
	if err != nil {
		return err
	}
	context.AfterFunc(r.ctx, func() { log.Close() })
	if _, err := io.CopyN(io.Discard, log, r.at); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	r.kept = log
	return nil
}

var errClosed = errors.New("the log's reader was closed")

// Close ends a Read that waits. It may be called at any time, also twice.
func (r *logReader) Close() error {
	r.cancel(errClosed)
	return nil
}

// LogTail returns the last lines of a build's log, at most n, for pages and messages.
func (s *Service) LogTail(ctx context.Context, id string, n int) ([]string, error) {
	r, err := s.Log(ctx, id, 0, false)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(string(bytes.TrimRight(data, "\n")), "\n")
	return lines[max(0, len(lines)-n):], nil
}
