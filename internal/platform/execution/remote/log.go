package remote

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/slipway"
)

// limitedLog passes the output of a run on, up to a limit.
type limitedLog struct {
	to   io.Writer
	left int64
	seen int64 // bytes of standard output that came while it ran
}

// Write implements [io.Writer].
func (l *limitedLog) Write(p []byte) (int, error) {
	n := min(int64(len(p)), l.left)
	if l.to != nil && n > 0 {
		if _, err := l.to.Write(p[:n]); err != nil {
			return 0, slipway.Errorf(slipway.Unavailable, "the log cannot be written: %w", err)
		}
	}
	l.left -= n
	if n < int64(len(p)) {
		return int(n), errLogTooLarge
	}
	return len(p), nil
}

// rest passes on what did not come while it ran.
func (l *limitedLog) rest(ctx context.Context, st artifact.Opener, m *repb.ActionResult) error {
	for _, part := range []struct {
		raw    []byte
		digest *repb.Digest
		skip   int64
	}{{m.StdoutRaw, m.StdoutDigest, l.seen}, {m.StderrRaw, m.StderrDigest, 0}} {
		var from io.Reader = bytes.NewReader(part.raw)
		if part.digest != nil && len(part.raw) == 0 {
			b, err := blob(part.digest)
			if err != nil {
				return err
			}
			r, err := st.Open(ctx, b.Digest)
			if err != nil {
				return err
			}
			defer r.Close()
			from = r
		}
		if _, err := io.CopyN(io.Discard, from, part.skip); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if _, err := io.Copy(l, from); err != nil {
			return err
		}
	}
	return nil
}

// follower reads the output of a run while it runs, where the cluster offers that.
type follower struct {
	run  *run
	stop context.CancelCauseFunc // ends the execution

	stream string
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// see looks for the name of the stream in a message of the execution. Another name means that it started over: what was
// said before counts no more.
func (f *follower) see(ctx context.Context, op *longrunningpb.Operation) {
	meta := &repb.ExecuteOperationMetadata{}
	if op.Metadata == nil || op.Metadata.UnmarshalTo(meta) != nil || meta.StdoutStreamName == "" || meta.StdoutStreamName == f.stream {
		return
	}
	f.wait()
	f.run.log.seen, f.stream = 0, meta.StdoutStreamName
	ctx, f.cancel = context.WithCancel(ctx)
	f.done.Go(func() {
		r := f.run.reader(ctx, meta.StdoutStreamName, 0)
		defer r.close()
		buf := make([]byte, 32<<10)
		for {
			n, err := r.Read(buf)
			if n > 0 {
				f.run.log.seen += int64(n)
				if _, err := f.run.log.Write(buf[:n]); err != nil {
					f.stop(err)
					return
				}
			}
			if err != nil {
				return // its end; or the rest comes with the result
			}
		}
	})
}

// finish waits for the rest of the stream of a run that has ended.
func (f *follower) finish() {
	ended := make(chan struct{})
	go func() {
		f.done.Wait()
		close(ended)
	}()
	t := time.NewTimer(30 * time.Second)
	defer t.Stop()
	select {
	case <-ended:
	case <-t.C: // what has not come by now comes with the result
	}
	f.wait()
}

// wait ends the reading.
func (f *follower) wait() {
	if f.cancel != nil {
		f.cancel()
	}
	f.done.Wait()
}
