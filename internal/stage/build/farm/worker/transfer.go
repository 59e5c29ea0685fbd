package worker

import (
	"context"
	"io"
	"slices"
	"sync"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/execution"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build/farm"
)

// Limits of one transfer.
const (
	streams    = 8        // blobs at once
	maxMessage = 64 << 20 // bytes of a message: an Action, a Command, a Directory
	batch      = 1000     // digests in one question
)

// Blobs is the farm's store as a worker elsewhere sees it.
type Blobs interface {
	artifact.Opener
	// Missing returns those of the digests that the farm does not have.
	Missing(ctx context.Context, all []artifact.Digest) ([]artifact.Digest, error)
	// Upload sends a blob; its bytes are checked against the digest.
	Upload(ctx context.Context, d artifact.Digest, r io.Reader) error
}

// Sync is a [Transfer] between a local store, which is a cache, and the farm's.
type Sync struct {
	Local  *artifact.Disk
	Remote Blobs
}

// Fetch implements [Transfer]. What is in the local store is not fetched again.
func (s Sync) Fetch(ctx context.Context, action artifact.Digest) error {
	return s.Local.Together(ctx, func(ctx context.Context, st artifact.Store) error {
		g, ctx := errgroup.WithContext(ctx)
		f := &fetch{st: st, remote: s.Remote, group: g, room: make(chan struct{}, streams), seen: map[artifact.Digest]bool{}}
		var a repb.Action
		if err := f.message(ctx, action, &a); err != nil {
			return err
		}
		if err := f.blob(ctx, artifact.Prefix+a.CommandDigest.GetHash()); err != nil {
			return err
		}
		g.Go(func() error { return f.directory(ctx, artifact.Prefix+a.InputRootDigest.GetHash()) })
		return g.Wait()
	})
}

// fetch is one closure on its way.
type fetch struct {
	st     artifact.Store
	remote Blobs
	group  *errgroup.Group
	room   chan struct{} // bounds what is read at once

	mu   sync.Mutex
	seen map[artifact.Digest]bool
}

func (f *fetch) first(d artifact.Digest) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer func() { f.seen[d] = true }()
	return !f.seen[d]
}

// blob brings one blob.
func (f *fetch) blob(ctx context.Context, d artifact.Digest) error {
	if _, err := f.st.Stat(ctx, d); err == nil || !slipway.Is(err, slipway.NotFound) {
		return err
	}
	select {
	case f.room <- struct{}{}:
		defer func() { <-f.room }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	r, err := f.remote.Open(ctx, d)
	if err != nil {
		return err
	}
	defer r.Close()
	got, _, err := f.st.Put(ctx, r)
	if err == nil && got != d {
		err = slipway.Errorf(slipway.Unavailable, "the farm sent other bytes for %s", d).Try("try again")
	}
	return err
}

func (f *fetch) message(ctx context.Context, d artifact.Digest, m proto.Message) error {
	if err := f.blob(ctx, d); err != nil {
		return err
	}
	data, err := artifact.Bytes(ctx, f.st, d, maxMessage)
	if err != nil {
		return err
	}
	if err := proto.Unmarshal(data, m); err != nil {
		return slipway.Errorf(slipway.Invalid, "the message %s cannot be read: %w", d, err)
	}
	return nil
}

// directory brings a tree, many blobs at once.
func (f *fetch) directory(ctx context.Context, d artifact.Digest) error {
	if !f.first(d) {
		return nil
	}
	var dir repb.Directory
	if err := f.message(ctx, d, &dir); err != nil {
		return err
	}
	for _, sub := range dir.Directories {
		f.group.Go(func() error { return f.directory(ctx, artifact.Prefix+sub.Digest.GetHash()) })
	}
	for _, file := range dir.Files {
		if d := artifact.Prefix + file.Digest.GetHash(); f.first(d) {
			f.group.Go(func() error { return f.blob(ctx, d) })
		}
	}
	return nil
}

// Upload implements [Transfer].
func (s Sync) Upload(ctx context.Context, r farm.Result) error {
	m, err := r.Message()
	if err != nil {
		return err
	}
	outputs, lost, err := execution.Outputs(ctx, s.Local, m)
	if err == nil && len(lost) > 0 {
		err = slipway.Errorf(slipway.Unavailable, "the worker's store lacks %s, which it has just made", lost[0].Digest).Try("check the worker's disk")
	}
	if err != nil {
		return err
	}
	all := make([]artifact.Digest, len(outputs))
	for i, b := range outputs {
		all[i] = b.Digest
	}
	// What is named comes before what names it: the farm never has a folder without its files.
	slices.Reverse(all)
	for part := range slices.Chunk(all, batch) {
		missing, err := s.Remote.Missing(ctx, part)
		if err != nil {
			return err
		}
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(streams)
		for _, d := range missing {
			g.Go(func() error {
				in, err := s.Local.Open(gctx, d)
				if err != nil {
					return err
				}
				defer in.Close()
				return s.Remote.Upload(gctx, d, in)
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
	}
	return nil
}
