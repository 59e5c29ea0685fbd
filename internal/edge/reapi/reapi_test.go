package reapi_test

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/genproto/googleapis/bytestream"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"slipway.dev/slipway/internal/edge/reapi"
	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/platform/execution"
	"slipway.dev/slipway/internal/platform/execution/executiontest"
	"slipway.dev/slipway/internal/platform/execution/remote"
	"slipway.dev/slipway/internal/slipway"
)

func TestConformance(t *testing.T) {
	c := start(t, reapi.Config{})
	executiontest.Run(t, func(t *testing.T) executiontest.Rig {
		store := disk(t)
		return executiontest.Rig{Store: store, Executor: remote.New(store, c.client(auth.Developer, remote.Config{}))}
	})
}

// An action whose result is in the cache does not run again, wherever it was asked for.
func TestCache(t *testing.T) {
	c := start(t, reapi.Config{})
	action := func(store *artifact.Disk) execution.Request {
		root, n, err := artifact.PutMessage(t.Context(), store, &repb.Directory{})
		if err != nil {
			t.Fatal(err)
		}
		command, m, err := artifact.PutMessage(t.Context(), store, &repb.Command{Arguments: []string{"/bin/sh", "-c", "echo said; echo x > o"}, OutputPaths: []string{"o"}})
		if err != nil {
			t.Fatal(err)
		}
		d, _, err := artifact.PutMessage(t.Context(), store, &repb.Action{CommandDigest: artifact.Proto(command, m), InputRootDigest: artifact.Proto(root, n)})
		if err != nil {
			t.Fatal(err)
		}
		return execution.Request{Action: d}
	}
	for i, noCache := range []bool{false, false, true} {
		store := disk(t)
		var log bytes.Buffer
		r := action(store)
		r.Log, r.NoCache = &log, noCache
		res, err := remote.New(store, c.client(auth.Developer, remote.Config{})).Execute(t.Context(), r)
		if err != nil || res.Action.ExitCode != 0 || log.String() != "said\n" {
			t.Fatalf("%+v %v %q", res, err, &log)
		}
		if text, err := artifact.Bytes(t.Context(), store, artifact.Prefix+res.Action.OutputFiles[0].Digest.Hash, 10); err != nil || string(text) != "x\n" {
			t.Fatalf("%q %v", text, err)
		}
		if want := []int{1, 1, 2}[i]; c.farm.runs != want {
			t.Fatalf("it ran %d times, not %d", c.farm.runs, want)
		}
	}
}

// Blobs of all sizes go there and come back, over connections that break all the time.
func TestBlobsOverBrokenConnections(t *testing.T) {
	c := start(t, reapi.Config{})
	breaks := &breaker{to: c.addr, every: 3 << 20}
	addr := breaks.listen(t)
	from, to := disk(t), disk(t)
	var blobs []execution.Blob
	random := rand.NewChaCha8([32]byte{1})
	for _, size := range []int{0, 1, 1000, 100_000, 999_999, 5 << 20, 20 << 20} {
		data := make([]byte, size)
		random.Read(data) //nolint:errcheck // it never fails
		d, n, err := from.Put(t.Context(), bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		blobs = append(blobs, execution.Blob{Digest: d, Size: n})
	}
	cfg := remote.Config{Endpoint: addr, Attempts: 200}
	if err := c.client(auth.Developer, cfg).Upload(t.Context(), from, blobs); err != nil {
		t.Fatal(err)
	}
	if err := c.client(auth.Viewer, cfg).Fetch(t.Context(), to, blobs); err != nil {
		t.Fatal(err)
	}
	for _, b := range blobs {
		if data, err := artifact.Bytes(t.Context(), to, b.Digest, 1<<30); err != nil || int64(len(data)) != b.Size {
			t.Errorf("%s: %d bytes, %v", b.Digest, len(data), err)
		}
	}
	if n := breaks.count.Load(); n < 5 {
		t.Errorf("the connection broke only %d times", n)
	}
}

// breaker passes connections on and cuts each after some bytes.
type breaker struct {
	to    string
	every int64
	count atomic.Int64
}

func (b *breaker) listen(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", b.to)
			if err != nil {
				in.Close()
				continue
			}
			pipe := func(to, from net.Conn) {
				io.CopyN(to, from, b.every) //nolint:errcheck // it is cut
				b.count.Add(1)
				in.Close()
				out.Close()
			}
			go pipe(in, out)
			go pipe(out, in)
		}
	}()
	return l.Addr().String()
}

func dial(t *testing.T, c *cluster) (*grpc.ClientConn, func(role string) context.Context) {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+c.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn, func(role string) context.Context {
		if role == "" {
			return t.Context()
		}
		return metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+role)
	}
}

func wantCode(t *testing.T, what string, err error, want codes.Code) {
	t.Helper()
	if got := status.Code(err); got != want {
		t.Errorf("%s: %s, not %s: %v", what, got, want, err)
	}
}

func TestRoles(t *testing.T) {
	c := start(t, reapi.Config{})
	conn, as := dial(t, c)
	calls := map[string]func(ctx context.Context) error{
		"read": func(ctx context.Context) error {
			_, err := repb.NewContentAddressableStorageClient(conn).FindMissingBlobs(ctx, &repb.FindMissingBlobsRequest{})
			return err
		},
		"write": func(ctx context.Context) error {
			_, err := repb.NewContentAddressableStorageClient(conn).BatchUpdateBlobs(ctx, &repb.BatchUpdateBlobsRequest{})
			return err
		},
		"result": func(ctx context.Context) error {
			_, err := repb.NewActionCacheClient(conn).UpdateActionResult(ctx, &repb.UpdateActionResultRequest{
				ActionDigest: artifact.Proto(artifact.DigestOf([]byte("a")), 1), ActionResult: &repb.ActionResult{}})
			return err
		},
		"unknown method": func(ctx context.Context) error {
			_, err := repb.NewContentAddressableStorageClient(conn).SplitBlob(ctx, &repb.SplitBlobRequest{})
			return err
		},
	}
	for _, w := range []struct {
		role, call string
		code       codes.Code
	}{
		{"", "read", codes.Unauthenticated},
		{"wrong", "read", codes.Unauthenticated},
		{"viewer", "read", codes.OK},
		{"viewer", "write", codes.PermissionDenied},
		{"developer", "write", codes.OK},
		{"developer", "result", codes.PermissionDenied},
		{"operator", "result", codes.OK},
		{"operator", "unknown method", codes.PermissionDenied},
		{"admin", "unknown method", codes.Unimplemented},
	} {
		wantCode(t, w.role+" "+w.call, calls[w.call](as(w.role)), w.code)
	}
	caps := func(role string) *repb.ServerCapabilities {
		m, err := repb.NewCapabilitiesClient(conn).GetCapabilities(as(role), &repb.GetCapabilitiesRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	if m := caps("viewer"); m.ExecutionCapabilities.ExecEnabled || m.CacheCapabilities.ActionCacheUpdateCapabilities.UpdateEnabled {
		t.Errorf("a viewer may %v", m)
	}
	if m := caps("developer"); !m.ExecutionCapabilities.ExecEnabled || m.CacheCapabilities.ActionCacheUpdateCapabilities.UpdateEnabled {
		t.Errorf("a developer may %v", m)
	}
	if _, err := c.client(auth.Viewer, remote.Config{}).Capabilities(t.Context(), true); !slipway.Is(err, slipway.Unavailable) {
		t.Errorf("a viewer executes: %v", err)
	}
}

func TestBadRequests(t *testing.T) {
	c := start(t, reapi.Config{})
	conn, as := dial(t, c)
	cas, bs, exec, ctx := repb.NewContentAddressableStorageClient(conn), bytestream.NewByteStreamClient(conn), repb.NewExecutionClient(conn), as("developer")
	data := []byte("some bytes")
	digest := artifact.Proto(artifact.DigestOf(data), int64(len(data)))

	resp, err := cas.BatchUpdateBlobs(ctx, &repb.BatchUpdateBlobsRequest{Requests: []*repb.BatchUpdateBlobsRequest_Request{
		{Digest: digest, Data: []byte("others bytes")}, {Digest: digest, Data: data}}})
	if err != nil || resp.Responses[0].Status.Code != int32(codes.InvalidArgument) || resp.Responses[1].Status.Code != 0 {
		t.Errorf("%v %v", resp, err)
	}
	_, err = cas.BatchUpdateBlobs(ctx, &repb.BatchUpdateBlobsRequest{Requests: []*repb.BatchUpdateBlobsRequest_Request{{Digest: digest, Data: make([]byte, 5<<20)}}})
	wantCode(t, "a batch that is too large", err, codes.InvalidArgument)
	_, err = cas.FindMissingBlobs(ctx, &repb.FindMissingBlobsRequest{BlobDigests: []*repb.Digest{{Hash: "../../etc/passwd"}}})
	wantCode(t, "a digest that is none", err, codes.InvalidArgument)
	missing, err := cas.FindMissingBlobs(ctx, &repb.FindMissingBlobsRequest{BlobDigests: []*repb.Digest{digest, artifact.Proto(artifact.DigestOf(nil), 0), absent}})
	if err != nil || len(missing.MissingBlobDigests) != 1 || missing.MissingBlobDigests[0].Hash != absent.Hash {
		t.Errorf("%v %v", missing, err)
	}

	read := func(name string, offset int64) (string, error) {
		s, err := bs.Read(ctx, &bytestream.ReadRequest{ResourceName: name, ReadOffset: offset})
		if err != nil {
			return "", err
		}
		var all []byte
		for {
			m, err := s.Recv()
			if err == io.EOF {
				return string(all), nil
			}
			if err != nil {
				return "", err
			}
			all = append(all, m.Data...)
		}
	}
	name := "blobs/" + digest.Hash + "/10"
	if text, err := read("any/instance/"+name, 5); err != nil || text != "bytes" {
		t.Errorf("%q %v", text, err)
	}
	_, err = read(name, 11)
	wantCode(t, "an offset behind the end", err, codes.OutOfRange)
	for _, bad := range []string{"", "blobs", "blobs/x/1", "blobs/" + digest.Hash, "blobs/" + digest.Hash + "/-1", "compressed-blobs/zstd/" + digest.Hash + "/10", "blobs/" + digest.Hash + "/9"} {
		_, err := read(bad, 0)
		wantCode(t, "reading "+bad, err, codes.InvalidArgument)
	}
	_, err = read("blobs/"+absent.Hash+"/15", 0)
	wantCode(t, "reading what is not there", err, codes.NotFound)
	_, err = read("logs/none", 0)
	wantCode(t, "reading a log that is not there", err, codes.NotFound)

	write := func(d *repb.Digest, parts ...*bytestream.WriteRequest) (int64, error) {
		s, err := bs.Write(ctx)
		if err != nil {
			return 0, err
		}
		for _, p := range parts {
			p.ResourceName = "uploads/" + t.Name() + "/blobs/" + d.Hash + "/15"
			if err := s.Send(p); err != nil && err != io.EOF {
				return 0, err
			}
		}
		resp, err := s.CloseAndRecv()
		return resp.GetCommittedSize(), err
	}
	_, err = write(absent, &bytestream.WriteRequest{Data: []byte("nobody"), WriteOffset: 3})
	wantCode(t, "a wrong offset", err, codes.OutOfRange)
	_, err = write(absent, &bytestream.WriteRequest{Data: []byte("nobody ")})
	wantCode(t, "a stream that ends early", err, codes.Aborted)
	q, err := bs.QueryWriteStatus(ctx, &bytestream.QueryWriteStatusRequest{ResourceName: "uploads/" + t.Name() + "/blobs/" + absent.Hash + "/15"})
	if err != nil || q.CommittedSize != 7 || q.Complete {
		t.Errorf("%v %v", q, err)
	}
	if n, err := write(absent, &bytestream.WriteRequest{Data: []byte("has this"), WriteOffset: 7, FinishWrite: true}); err != nil || n != 15 {
		t.Errorf("%d %v", n, err)
	}
	if text, err := read("blobs/"+absent.Hash+"/15", 0); err != nil || text != "nobody has this" {
		t.Errorf("%q %v", text, err)
	}
	other := artifact.Proto(artifact.DigestOf([]byte("y")), 15)
	_, err = write(other, &bytestream.WriteRequest{Data: []byte("wrong bytes now"), FinishWrite: true})
	wantCode(t, "other bytes", err, codes.InvalidArgument)
	_, err = write(other, &bytestream.WriteRequest{Data: bytes.Repeat([]byte("z"), 16), FinishWrite: true})
	wantCode(t, "more bytes", err, codes.InvalidArgument)

	root, _, err := artifact.PutMessage(t.Context(), c.store, &repb.Directory{Files: []*repb.FileNode{{Name: "f", Digest: other}}})
	if err != nil {
		t.Fatal(err)
	}
	action, n, err := artifact.PutMessage(t.Context(), c.store, &repb.Action{CommandDigest: other, InputRootDigest: artifact.Proto(root, 1)})
	if err != nil {
		t.Fatal(err)
	}
	s, err := exec.Execute(ctx, &repb.ExecuteRequest{ActionDigest: artifact.Proto(action, n)})
	if err == nil {
		_, err = s.Recv()
	}
	wantCode(t, "missing inputs", err, codes.FailedPrecondition)
	for _, d := range status.Convert(err).Details() {
		if f, ok := d.(*errdetails.PreconditionFailure); !ok || len(f.Violations) != 1 || f.Violations[0].Type != "MISSING" || f.Violations[0].Subject != "blobs/"+other.Hash+"/15" {
			t.Errorf("%v", d)
		}
	}
	w, err := exec.WaitExecution(ctx, &repb.WaitExecutionRequest{Name: "operations/none"})
	if err == nil {
		_, err = w.Recv()
	}
	wantCode(t, "an unknown execution", err, codes.NotFound)
}

// absent is a blob that no store has at first.
var absent = artifact.Proto(artifact.DigestOf([]byte("nobody has this")), 15)

func TestGetTree(t *testing.T) {
	c := start(t, reapi.Config{})
	conn, as := dial(t, c)
	leaf, n, err := artifact.PutMessage(t.Context(), c.store, &repb.Directory{Symlinks: []*repb.SymlinkNode{{Name: "l", Target: "x"}}})
	if err != nil {
		t.Fatal(err)
	}
	root := &repb.Directory{Directories: []*repb.DirectoryNode{{Name: "gone", Digest: absent}}}
	for _, name := range strings.Split("a b c d e", " ") {
		mid, m, err := artifact.PutMessage(t.Context(), c.store, &repb.Directory{Directories: []*repb.DirectoryNode{{Name: name, Digest: artifact.Proto(leaf, n)}}})
		if err != nil {
			t.Fatal(err)
		}
		root.Directories = append(root.Directories, &repb.DirectoryNode{Name: name, Digest: artifact.Proto(mid, m)})
	}
	top, m, err := artifact.PutMessage(t.Context(), c.store, root)
	if err != nil {
		t.Fatal(err)
	}
	get := func(token string) (n int, next []string) {
		s, err := repb.NewContentAddressableStorageClient(conn).GetTree(as("viewer"), &repb.GetTreeRequest{RootDigest: artifact.Proto(top, m), PageSize: 2, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		for {
			page, err := s.Recv()
			if err == io.EOF {
				return n, next
			}
			if err != nil {
				t.Fatal(err)
			}
			n += len(page.Directories)
			next = append(next, page.NextPageToken)
		}
	}
	n1, tokens := get("")
	if n1 != 7 { // the root, five, and their one leaf
		t.Errorf("%d directories", n1)
	}
	if n2, _ := get(tokens[1]); n2 != 3 {
		t.Errorf("%d directories after the second page", n2)
	}
}

func TestParse(t *testing.T) {
	c, err := remote.Parse("grpcs://host:443/a/b")
	if err != nil || c.Endpoint != "host:443" || c.Instance != "a/b" || c.TLS == nil || c.TLS.ServerName != "host" {
		t.Errorf("%+v %v", c, err)
	}
	for _, bad := range []string{"", "host:1", "http://h:1", "grpc://h", "grpc://u:p@h:1", "grpc://h:1?x=1"} {
		if _, err := remote.Parse(bad); !slipway.Is(err, slipway.Invalid) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
