package reapi

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"

	bspb "google.golang.org/genproto/googleapis/bytestream"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/slipway"
)

// chunk is how many bytes one message of a read has at most.
const chunk = 256 << 10

// resource is what the name of a stream means: a blob, or the log of an execution.
type resource struct {
	digest artifact.Digest
	size   int64
	upload string // client's name of the upload; "" when reading
	log    string // operation
}

// parseResource reads "[INSTANCE/]blobs/HASH/SIZE", "[INSTANCE/]uploads/NAME/blobs/HASH/SIZE[/...]" or "logs/NAME".
func parseResource(name string) (resource, error) {
	bad := func() error {
		return slipway.Errorf(slipway.Invalid, "%q names no blob", name).Try("write INSTANCE/blobs/SHA256/SIZE")
	}
	parts := strings.Split(name, "/")
	for i, p := range parts {
		rest := parts[i+1:]
		switch p {
		case "compressed-blobs":
			return resource{}, slipway.Errorf(slipway.Invalid, "compressed blobs are not supported").At(name)
		case "logs":
			if len(rest) != 1 || rest[0] == "" {
				return resource{}, bad()
			}
			return resource{log: "operations/" + rest[0]}, nil
		case "blobs", "uploads":
			r := resource{}
			if p == "uploads" {
				if len(rest) < 4 || rest[0] == "" || len(rest[0]) > 200 || rest[1] != "blobs" {
					return r, bad()
				}
				r.upload, rest = rest[0], rest[2:4]
			}
			if len(rest) != 2 {
				return r, bad()
			}
			var err error
			r.digest = artifact.Prefix + rest[0]
			if _, err = artifact.ParseDigest(r.digest); err != nil {
				return r, bad()
			}
			if r.size, err = strconv.ParseInt(rest[1], 10, 64); err != nil || r.size < 0 {
				return r, bad()
			}
			return r, nil
		}
	}
	return resource{}, bad()
}

// Read streams a blob, or the log of an execution as it grows.
func (s *Server) Read(r *bspb.ReadRequest, stream bspb.ByteStream_ReadServer) error {
	ctx := stream.Context()
	res, err := parseResource(r.ResourceName)
	if err != nil {
		return err
	}
	if res.upload != "" || r.ReadLimit < 0 || r.ReadOffset < 0 {
		return slipway.Errorf(slipway.Invalid, "it cannot be read like that").At(r.ResourceName)
	}
	var from io.Reader
	if res.log != "" {
		op, err := s.operation(res.log)
		if err != nil {
			return err
		}
		from = op.log.reader(ctx, r.ReadOffset)
	} else {
		ok, err := s.has(ctx, res.digest, res.size)
		if err == nil && !ok {
			err = noBlob(res.digest)
		}
		if err != nil {
			return err
		}
		if r.ReadOffset > res.size {
			return status.Errorf(codes.OutOfRange, "the blob has %d bytes", res.size)
		}
		if res.size == 0 {
			return nil
		}
		blob, err := s.store.Open(ctx, res.digest)
		if err != nil {
			return err
		}
		defer blob.Close()
		// Not a seek: the store checks what it reads from the beginning to the end.
		if _, err := io.CopyN(io.Discard, blob, r.ReadOffset); err != nil {
			return err
		}
		from = blob
	}
	if r.ReadLimit > 0 {
		from = io.LimitReader(from, r.ReadLimit)
	}
	buf := make([]byte, chunk)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if err := stream.Send(&bspb.ReadResponse{Data: buf[:n]}); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Write takes a blob, from where an earlier stream of the same name broke off.
func (s *Server) Write(stream bspb.ByteStream_WriteServer) error {
	ctx := stream.Context()
	m, err := stream.Recv()
	if err != nil {
		return err
	}
	name := m.ResourceName
	res, err := parseResource(name)
	if err != nil {
		return err
	}
	if res.upload == "" {
		return slipway.Errorf(slipway.Invalid, "it cannot be written to").At(name).Try("write INSTANCE/uploads/UUID/blobs/SHA256/SIZE")
	}
	if res.size > maxBlob {
		return slipway.Errorf(slipway.TooLarge, "the blob has %d bytes, and at most %d are accepted", res.size, int64(maxBlob))
	}
	if ok, err := s.has(ctx, res.digest, res.size); err != nil || ok {
		if err != nil {
			return err
		}
		return stream.SendAndClose(&bspb.WriteResponse{CommittedSize: res.size})
	}
	u, err := s.uploads.take(uploadKey(ctx, name), res)
	if err != nil {
		return err
	}
	defer s.uploads.leave(u)
	for {
		if m.ResourceName != "" && m.ResourceName != name {
			return slipway.Errorf(slipway.Invalid, "the stream changes its name to %q", m.ResourceName).At(name)
		}
		if err := u.write(m.WriteOffset, m.Data); err != nil {
			return err
		}
		if m.FinishWrite {
			break
		}
		if m, err = stream.Recv(); errors.Is(err, io.EOF) {
			return status.Errorf(codes.Aborted, "the stream ended after %d of %d bytes", u.size, res.size)
		} else if err != nil {
			return err
		}
	}
	if err := s.finish(ctx, u); err != nil {
		return err
	}
	return stream.SendAndClose(&bspb.WriteResponse{CommittedSize: res.size})
}

// finish puts an upload's bytes into the store, if they are what was said.
func (s *Server) finish(ctx context.Context, u *upload) error {
	s.uploads.forget(u)
	if u.size != u.res.size {
		return slipway.Errorf(slipway.Invalid, "%d bytes were sent for a blob of %d", u.size, u.res.size)
	}
	got, err := u.digest()
	if err != nil {
		return err
	}
	if got != u.res.digest {
		return slipway.Errorf(slipway.Invalid, "the bytes sent for %s are others (they hash to %s)", u.res.digest, got)
	}
	if _, err := u.file.Seek(0, io.SeekStart); err != nil {
		return slipway.Errorf(slipway.Unavailable, "read the upload: %w", err)
	}
	_, _, err = s.store.Put(ctx, u.file)
	return err
}

// QueryWriteStatus tells how much of a blob is here.
func (s *Server) QueryWriteStatus(ctx context.Context, r *bspb.QueryWriteStatusRequest) (*bspb.QueryWriteStatusResponse, error) {
	res, err := parseResource(r.ResourceName)
	if err != nil {
		return nil, err
	}
	if res.upload == "" {
		return nil, slipway.Errorf(slipway.Invalid, "it cannot be written to").At(r.ResourceName)
	}
	if ok, err := s.has(ctx, res.digest, res.size); err != nil || ok {
		return &bspb.QueryWriteStatusResponse{CommittedSize: res.size, Complete: ok}, err
	}
	size, ok := s.uploads.committed(uploadKey(ctx, r.ResourceName))
	if !ok {
		return nil, slipway.Errorf(slipway.NotFound, "there is no such upload").At(r.ResourceName).Try("begin it again")
	}
	return &bspb.QueryWriteStatusResponse{CommittedSize: size}, nil
}
