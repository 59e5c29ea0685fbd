package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"github.com/oklog/ulid/v2"
	"golang.org/x/sync/errgroup"
	"google.golang.org/genproto/googleapis/bytestream"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/execution"
	"slipway.dev/slipway/internal/slipway"
)

// Bounds of single calls.
const (
	maxAsk   = 10_000    // digests in one question
	maxBatch = 3_900_000 // bytes of one batch with what is around them; 4 MiB is what gRPC lets through by default
	overhead = 128       // bytes around one blob in a batch
	chunk    = 256 << 10 // bytes in one message of a stream
	parallel = 8         // calls at once
)

// Upload makes sure that the cluster has the blobs, which are in st.
func (c *Client) Upload(ctx context.Context, st artifact.Store, blobs []execution.Blob) error {
	caps, err := c.Capabilities(ctx, false)
	if err != nil {
		return err
	}
	absent, err := c.missing(ctx, blobs)
	if err != nil {
		return err
	}
	small, large := split(absent, batchSize(caps))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, batch := range small {
		g.Go(func() error { return c.sendBatch(gctx, st, batch) })
	}
	for _, b := range large {
		g.Go(func() error { return c.send(gctx, st, b) })
	}
	return c.explain(ctx, g.Wait())
}

// missing asks which blobs the cluster lacks.
func (c *Client) missing(ctx context.Context, blobs []execution.Blob) (absent []execution.Blob, err error) {
	for len(blobs) > 0 {
		n := min(len(blobs), maxAsk)
		r := &repb.FindMissingBlobsRequest{InstanceName: c.cfg.Instance}
		for _, b := range blobs[:n] {
			r.BlobDigests = append(r.BlobDigests, b.Proto())
		}
		blobs = blobs[n:]
		err := c.try(ctx, func(ctx context.Context) error {
			resp, err := c.cas.FindMissingBlobs(ctx, r)
			if err != nil {
				return err
			}
			for _, d := range resp.MissingBlobDigests {
				digest, size, err := artifact.FromProto(d)
				if err != nil {
					return err
				}
				absent = append(absent, execution.Blob{Digest: digest, Size: size})
			}
			return nil
		})
		if err != nil {
			return nil, c.explain(ctx, err)
		}
	}
	return absent, nil
}

// batchSize is how many bytes go into one batch of this cluster.
func batchSize(caps *repb.ServerCapabilities) int64 {
	if n := caps.GetCacheCapabilities().GetMaxBatchTotalSizeBytes(); n > 0 && n < maxBatch {
		return n
	}
	return maxBatch
}

// split makes batches of small blobs; large ones travel alone.
func split(blobs []execution.Blob, most int64) (small [][]execution.Blob, large []execution.Blob) {
	var batch []execution.Blob
	var sum int64
	for _, b := range blobs {
		n := b.Size + overhead
		if n > most/4 {
			large = append(large, b)
			continue
		}
		if sum+n > most {
			small = append(small, batch)
			batch, sum = nil, 0
		}
		batch, sum = append(batch, b), sum+n
	}
	if len(batch) > 0 {
		small = append(small, batch)
	}
	return small, large
}

func (c *Client) sendBatch(ctx context.Context, st artifact.Store, batch []execution.Blob) error {
	r := &repb.BatchUpdateBlobsRequest{InstanceName: c.cfg.Instance}
	for _, b := range batch {
		data, err := artifact.Bytes(ctx, st, b.Digest, maxBatch)
		if err != nil {
			return err
		}
		r.Requests = append(r.Requests, &repb.BatchUpdateBlobsRequest_Request{Digest: b.Proto(), Data: data})
	}
	return c.try(ctx, func(ctx context.Context) error {
		resp, err := c.cas.BatchUpdateBlobs(ctx, r)
		if err != nil {
			return err
		}
		for _, one := range resp.Responses {
			if st := status.FromProto(one.Status); st.Code() != codes.OK {
				return st.Err()
			}
		}
		return nil
	})
}

// send uploads one blob by a stream, and goes on where it broke.
func (c *Client) send(ctx context.Context, st artifact.Store, b execution.Blob) error {
	name := c.under(fmt.Sprintf("uploads/%s/blobs/%s/%d", uuid(), b.Proto().Hash, b.Size))
	first := true
	return c.try(ctx, func(ctx context.Context) error {
		var at int64
		if !first {
			resp, err := c.bs.QueryWriteStatus(ctx, &bytestream.QueryWriteStatusRequest{ResourceName: name})
			switch status.Code(err) {
			case codes.OK:
				if resp.Complete {
					return nil
				}
				at = resp.CommittedSize
			case codes.NotFound, codes.Unimplemented:
			default:
				return err
			}
		}
		first = false
		return c.write(ctx, st, b, name, at)
	})
}

func (c *Client) write(ctx context.Context, st artifact.Store, b execution.Blob, name string, at int64) error {
	from, err := st.Open(ctx, b.Digest)
	if err != nil {
		return err
	}
	defer from.Close()
	if _, err := io.CopyN(io.Discard, from, at); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.bs.Write(ctx)
	if err != nil {
		return err
	}
	buf := make([]byte, chunk)
	for sent := false; !sent; {
		n, err := io.ReadFull(from, buf)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		m := &bytestream.WriteRequest{WriteOffset: at, Data: buf[:n], FinishWrite: at+int64(n) >= b.Size}
		m.ResourceName = name
		at += int64(n)
		sent = m.FinishWrite
		if err := stream.Send(m); errors.Is(err, io.EOF) {
			break // the cluster has it, or says below what is wrong
		} else if err != nil {
			return err
		}
	}
	resp, err := stream.CloseAndRecv()
	if err != nil {
		return err
	}
	if resp.CommittedSize != b.Size && resp.CommittedSize != -1 {
		return status.Errorf(codes.Unavailable, "%d of %d bytes of %s were taken", resp.CommittedSize, b.Size, b.Digest)
	}
	return nil
}

// uuid names an upload, in the form that the protocol wants.
func uuid() string {
	b := ulid.Make()
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// Fetch puts blobs of the cluster into st. What is there already is not fetched.
func (c *Client) Fetch(ctx context.Context, st artifact.Store, blobs []execution.Blob) error {
	caps, err := c.Capabilities(ctx, false)
	if err != nil {
		return err
	}
	var absent []execution.Blob
	seen := map[artifact.Digest]bool{}
	for _, b := range blobs {
		if seen[b.Digest] {
			continue
		}
		seen[b.Digest] = true
		if b.Size == 0 {
			if _, _, err := st.Put(ctx, bytes.NewReader(nil)); err != nil { // nobody has to keep it
				return err
			}
			continue
		}
		_, err := st.Stat(ctx, b.Digest)
		if slipway.Is(err, slipway.NotFound) {
			absent = append(absent, b)
		} else if err != nil {
			return err
		}
	}
	small, large := split(absent, batchSize(caps))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, batch := range small {
		g.Go(func() error { return c.fetchBatch(gctx, st, batch) })
	}
	for _, b := range large {
		g.Go(func() error { return c.fetch(gctx, st, b) })
	}
	return c.explain(ctx, g.Wait())
}

func (c *Client) fetchBatch(ctx context.Context, st artifact.Store, batch []execution.Blob) error {
	r := &repb.BatchReadBlobsRequest{InstanceName: c.cfg.Instance}
	for _, b := range batch {
		r.Digests = append(r.Digests, b.Proto())
	}
	return c.try(ctx, func(ctx context.Context) error {
		resp, err := c.cas.BatchReadBlobs(ctx, r)
		if err != nil {
			return err
		}
		for _, one := range resp.Responses {
			if st := status.FromProto(one.Status); st.Code() != codes.OK {
				return st.Err()
			}
			if err := keep(ctx, st, one.Digest, bytes.NewReader(one.Data)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (c *Client) fetch(ctx context.Context, st artifact.Store, b execution.Blob) error {
	r := c.reader(ctx, c.under(fmt.Sprintf("blobs/%s/%d", b.Proto().Hash, b.Size)), 0)
	defer r.close()
	return keep(ctx, st, b.Proto(), r)
}

// keep puts bytes into the store, if they are what they should be.
func keep(ctx context.Context, st artifact.Store, d *repb.Digest, from io.Reader) error {
	want, _, err := artifact.FromProto(d)
	if err != nil {
		return err
	}
	got, _, err := st.Put(ctx, from)
	if err == nil && got != want {
		err = slipway.Errorf(slipway.Unavailable, "the cluster sent other bytes for %s (they hash to %s)", want, got).Try("try again")
	}
	return err
}

// resumed reads a stream of the cluster, and opens it again where it broke.
type resumed struct {
	c      *Client
	ctx    context.Context // of the one call that reads it
	name   string
	at     int64
	fails  int
	stream bytestream.ByteStream_ReadClient
	cancel context.CancelFunc
	rest   []byte
}

func (c *Client) reader(ctx context.Context, name string, at int64) *resumed {
	return &resumed{c: c, ctx: ctx, name: name, at: at, cancel: func() {}}
}

// Read implements [io.Reader].
func (r *resumed) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		var err error
		if r.stream == nil {
			ctx, cancel := context.WithCancel(r.ctx)
			r.cancel = cancel
			r.stream, err = r.c.bs.Read(ctx, &bytestream.ReadRequest{ResourceName: r.name, ReadOffset: r.at})
		}
		if err == nil {
			var m *bytestream.ReadResponse
			if m, err = r.stream.Recv(); err == nil {
				r.rest, r.fails = m.Data, 0
				r.at += int64(len(m.Data))
				continue
			}
		}
		if errors.Is(err, io.EOF) || !transient(err) || r.fails+1 >= r.c.cfg.Attempts {
			return 0, err
		}
		r.close()
		r.stream = nil
		if err := r.c.pause(r.ctx, r.fails); err != nil {
			return 0, err
		}
		r.fails++
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *resumed) close() { r.cancel() }

// ActionResult returns what the cluster's cache has for an action, or NotFound.
func (c *Client) ActionResult(ctx context.Context, action execution.Blob) (r *repb.ActionResult, err error) {
	err = c.try(ctx, func(ctx context.Context) (err error) {
		r, err = c.ac.GetActionResult(ctx, &repb.GetActionResultRequest{InstanceName: c.cfg.Instance, ActionDigest: action.Proto()})
		return err
	})
	return r, c.explain(ctx, err)
}

// PutActionResult writes a result into the cluster's cache.
func (c *Client) PutActionResult(ctx context.Context, action execution.Blob, r *repb.ActionResult) error {
	err := c.try(ctx, func(ctx context.Context) error {
		_, err := c.ac.UpdateActionResult(ctx, &repb.UpdateActionResultRequest{InstanceName: c.cfg.Instance, ActionDigest: action.Proto(), ActionResult: r})
		return err
	})
	return c.explain(ctx, err)
}
