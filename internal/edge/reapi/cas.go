package reapi

import (
	"bytes"
	"context"
	"strconv"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/slipway"
)

// emptyBlob is there without being uploaded.
var emptyBlob = artifact.DigestOf(nil)

// has reports whether a blob is in the store with the size that its digest says.
func (s *Server) has(ctx context.Context, d artifact.Digest, size int64) (bool, error) {
	if d == emptyBlob {
		return true, nil
	}
	have, err := s.store.Stat(ctx, d)
	if slipway.Is(err, slipway.NotFound) {
		return false, nil
	}
	if err == nil && have != size {
		return false, slipway.Errorf(slipway.Invalid, "the blob %s has %d bytes, not %d", d, have, size)
	}
	return err == nil, err
}

// FindMissingBlobs returns those of the digests that are not in the store.
func (s *Server) FindMissingBlobs(ctx context.Context, r *repb.FindMissingBlobsRequest) (*repb.FindMissingBlobsResponse, error) {
	resp := &repb.FindMissingBlobsResponse{}
	for _, d := range r.BlobDigests {
		digest, size, err := artifact.FromProto(d)
		if err != nil {
			return nil, err
		}
		ok, err := s.has(ctx, digest, size)
		if err != nil && !slipway.Is(err, slipway.Invalid) {
			return nil, err
		}
		if !ok {
			resp.MissingBlobDigests = append(resp.MissingBlobDigests, d)
		}
	}
	return resp, nil
}

// BatchUpdateBlobs keeps small blobs. Each has a status of its own; those that are right are durable together.
func (s *Server) BatchUpdateBlobs(ctx context.Context, r *repb.BatchUpdateBlobsRequest) (*repb.BatchUpdateBlobsResponse, error) {
	total := 0
	for _, one := range r.Requests {
		total += len(one.Data)
	}
	if total > maxBatch {
		return nil, slipway.Errorf(slipway.Invalid, "the batch has %d bytes, and at most %d are accepted", total, maxBatch).Try("send large blobs by ByteStream")
	}
	resp := &repb.BatchUpdateBlobsResponse{}
	err := s.store.Together(ctx, func(ctx context.Context, st artifact.Store) error {
		for _, one := range r.Requests {
			err := wrongBytes(one)
			if err == nil {
				_, _, err = st.Put(ctx, bytes.NewReader(one.Data))
			}
			if err != nil && !slipway.Is(err, slipway.Invalid) {
				return err
			}
			resp.Responses = append(resp.Responses, &repb.BatchUpdateBlobsResponse_Response{Digest: one.Digest, Status: rpcStatus(err)})
		}
		return nil
	})
	return resp, err
}

func wrongBytes(one *repb.BatchUpdateBlobsRequest_Request) error {
	digest, size, err := artifact.FromProto(one.Digest)
	switch {
	case err != nil:
		return err
	case one.Compressor != repb.Compressor_IDENTITY:
		return slipway.Errorf(slipway.Invalid, "the compressor %s is not supported", one.Compressor)
	case size != int64(len(one.Data)) || artifact.DigestOf(one.Data) != digest:
		return slipway.Errorf(slipway.Invalid, "the bytes sent for %s are others", digest)
	}
	return nil
}

// BatchReadBlobs returns small blobs. Each has a status of its own.
func (s *Server) BatchReadBlobs(ctx context.Context, r *repb.BatchReadBlobsRequest) (*repb.BatchReadBlobsResponse, error) {
	var total int64
	for _, d := range r.Digests {
		total += d.GetSizeBytes()
	}
	if total > maxBatch {
		return nil, slipway.Errorf(slipway.Invalid, "the batch has %d bytes, and at most %d are sent", total, maxBatch).Try("read large blobs by ByteStream")
	}
	resp := &repb.BatchReadBlobsResponse{}
	for _, d := range r.Digests {
		one := &repb.BatchReadBlobsResponse_Response{Digest: d}
		digest, size, err := artifact.FromProto(d)
		if err == nil {
			var ok bool
			if ok, err = s.has(ctx, digest, size); err == nil && !ok {
				err = noBlob(digest)
			}
		}
		if err == nil && size > 0 {
			one.Data, err = artifact.Bytes(ctx, s.store, digest, maxBatch)
		}
		one.Status = rpcStatus(err)
		resp.Responses = append(resp.Responses, one)
	}
	return resp, nil
}

// rpcStatus is a status inside a message; OK for nil.
func rpcStatus(err error) *statuspb.Status {
	if err == nil {
		return &statuspb.Status{Code: int32(codes.OK)}
	}
	return status.Convert(toStatus(err)).Proto()
}

// Pages of GetTree: bytes of the messages of one, and how many of them it has at most.
const (
	maxPage     = 1 << 20
	maxPageSize = 10_000
)

// GetTree streams the directories of a tree, the root first. The page token is how many of them were sent.
func (s *Server) GetTree(r *repb.GetTreeRequest, stream repb.ContentAddressableStorage_GetTreeServer) error {
	ctx := stream.Context()
	root, _, err := artifact.FromProto(r.RootDigest)
	if err != nil {
		return err
	}
	skip := 0
	if r.PageToken != "" {
		if skip, err = strconv.Atoi(r.PageToken); err != nil || skip < 0 {
			return slipway.Errorf(slipway.Invalid, "%q is no page token of this server", r.PageToken)
		}
	}
	size := int(r.PageSize)
	if size <= 0 || size > maxPageSize {
		size = maxPageSize
	}
	page, bytes, sent := &repb.GetTreeResponse{}, 0, 0
	seen := map[artifact.Digest]bool{root: true}
	for todo := []artifact.Digest{root}; len(todo) > 0; todo = todo[1:] {
		m, _, err := artifact.ReadDirectory(ctx, s.store, todo[0], "")
		if slipway.Is(err, slipway.NotFound) && todo[0] != root {
			continue // the portion that is there, says the protocol
		}
		if err != nil {
			return err
		}
		for _, sub := range m.Directories {
			d, _, err := artifact.FromProto(sub.Digest)
			if err != nil {
				return err
			}
			if !seen[d] {
				seen[d] = true
				todo = append(todo, d)
			}
		}
		if sent++; sent <= skip {
			continue
		}
		page.Directories = append(page.Directories, m)
		if bytes += proto.Size(m); len(page.Directories) == size || bytes >= maxPage {
			if len(todo) > 1 {
				page.NextPageToken = strconv.Itoa(sent)
			}
			if err := stream.Send(page); err != nil {
				return err
			}
			page, bytes = &repb.GetTreeResponse{}, 0
		}
	}
	if len(page.Directories) > 0 || sent <= skip {
		return stream.Send(page)
	}
	return nil
}
