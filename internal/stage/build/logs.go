package build

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/slipway"
)

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
	return &logReader{ctx: ctx, cancel: cancel, s: s, id: b.ID, task: b.Task, at: offset, follow: follow}, nil
}

type logReader struct {
	ctx    context.Context // of the call to Log: a reader is one request
	cancel context.CancelCauseFunc
	s      *Service
	id     string
	task   string
	at     int64
	follow bool
	kept   io.Reader // the artifact, once the build is done
}

func (r *logReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if r.kept != nil {
			n, err := r.kept.Read(p)
			r.at += int64(n)
			return n, err
		}
		grew := r.s.farm.Logs.Changed(r.task) // before the look, so that nothing is missed
		n, err := r.s.farm.Logs.ReadAt(r.task, p, r.at)
		if n > 0 || err != nil {
			r.at += int64(n)
			return n, err
		}
		b, err := r.s.Build(r.ctx, r.id)
		if err != nil {
			return 0, err
		}
		if b.State == Done {
			r.s.farm.Logs.Tell(r.task) // nobody else will: it ended before we asked
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
		}
	}
}

// open goes on in the kept log where the live one ended.
func (r *logReader) open(d artifact.Digest) error {
	log, err := r.s.artifacts.Open(r.ctx, d)
	if slipway.Is(err, slipway.NotFound) {
		return slipway.Errorf(slipway.NotFound, "the log of build %s is no longer kept", r.id).Try("slipway server --keep-logs says for how long logs are")
	}
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
