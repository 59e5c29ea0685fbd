package reapi

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	bspb "google.golang.org/genproto/googleapis/bytestream"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/slipway"
)

// Bounds of what clients send and get.
const (
	maxMessage = 16 << 20  // bytes of one request
	maxBatch   = 4_000_000 // bytes of the blobs in a batch; a client takes answers of 4 MiB
	maxBlob    = 16 << 30  // bytes of one blob
)

// Users tells whose API token a secret is.
type Users interface {
	Authenticate(ctx context.Context, secret string) (auth.Identity, error)
}

// Config tunes a [Server]. Temp is required.
type Config struct {
	Temp   string        // folder for uploads and logs under way, this server's alone; emptied by [New]
	TLS    *tls.Config   // nil speaks without encryption
	Linger time.Duration // how long an execution that nobody watches goes on; default 1 min
	Keep   time.Duration // how long a finished execution is remembered; default 10 min
	Log    *slog.Logger  // default slog.Default()
}

// Server is the services of the Remote Execution API.
type Server struct {
	repb.UnimplementedContentAddressableStorageServer
	repb.UnimplementedActionCacheServer
	repb.UnimplementedExecutionServer
	repb.UnimplementedCapabilitiesServer
	bspb.UnimplementedByteStreamServer
	longrunningpb.UnimplementedOperationsServer

	store   *artifact.Disk
	farm    Farm
	results Results
	users   Users
	cfg     Config
	grpc    *grpc.Server
	uploads uploads

	life context.Context // of executions: ends with the server
	end  context.CancelCauseFunc
	work sync.WaitGroup

	mu         sync.Mutex
	operations map[string]*operation
}

// New makes a server. It answers once [Server.Serve] runs.
func New(store *artifact.Disk, farm Farm, results Results, users Users, cfg Config) (*Server, error) {
	if cfg.Linger <= 0 {
		cfg.Linger = time.Minute
	}
	if cfg.Keep <= 0 {
		cfg.Keep = 10 * time.Minute
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if err := os.RemoveAll(cfg.Temp); err != nil {
		return nil, slipway.Errorf(slipway.Unavailable, "clear the folder of uploads: %w", err)
	}
	if err := os.MkdirAll(cfg.Temp, 0o700); err != nil {
		return nil, slipway.Errorf(slipway.Unavailable, "make the folder of uploads: %w", err)
	}
	s := &Server{store: store, farm: farm, results: results, users: users, cfg: cfg, operations: map[string]*operation{}}
	s.uploads = uploads{dir: cfg.Temp, open: map[string]*upload{}}
	s.life, s.end = context.WithCancelCause(context.Background())
	options := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute, Timeout: 20 * time.Second}),
		grpc.UnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			ctx, err := s.admit(ctx, info.FullMethod)
			if err != nil {
				return nil, toStatus(err)
			}
			resp, err := next(ctx, req)
			return resp, s.answer(info.FullMethod, err)
		}),
		grpc.StreamInterceptor(func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			ctx, err := s.admit(ss.Context(), info.FullMethod)
			if err != nil {
				return toStatus(err)
			}
			return s.answer(info.FullMethod, next(srv, &admittedStream{ss, ctx}))
		}),
	}
	if cfg.TLS != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(cfg.TLS)))
	}
	s.grpc = grpc.NewServer(options...)
	repb.RegisterCapabilitiesServer(s.grpc, s)
	repb.RegisterContentAddressableStorageServer(s.grpc, s)
	repb.RegisterActionCacheServer(s.grpc, s)
	repb.RegisterExecutionServer(s.grpc, s)
	bspb.RegisterByteStreamServer(s.grpc, s)
	longrunningpb.RegisterOperationsServer(s.grpc, s)
	return s, nil
}

// Serve answers on a listener until [Server.Stop].
func (s *Server) Serve(l net.Listener) error { return s.grpc.Serve(l) }

// Stop cancels executions and ends streams; it returns when they have ended, or ctx has.
func (s *Server) Stop(ctx context.Context) error {
	s.end(slipway.Errorf(slipway.Unavailable, "the server is going down").Try("ask again"))
	done := make(chan struct{})
	go func() {
		s.work.Wait()
		s.grpc.GracefulStop()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		s.grpc.Stop()
	}
	return nil
}

// needed is the role that a method requires. What is not named requires an admin.
var needed = map[string]auth.Role{
	repb.Capabilities_GetCapabilities_FullMethodName:               auth.Viewer,
	repb.ContentAddressableStorage_FindMissingBlobs_FullMethodName: auth.Viewer,
	repb.ContentAddressableStorage_BatchReadBlobs_FullMethodName:   auth.Viewer,
	repb.ContentAddressableStorage_GetTree_FullMethodName:          auth.Viewer,
	repb.ActionCache_GetActionResult_FullMethodName:                auth.Viewer,
	"/google.bytestream.ByteStream/Read":                           auth.Viewer,
	"/google.bytestream.ByteStream/QueryWriteStatus":               auth.Viewer,
	repb.ContentAddressableStorage_BatchUpdateBlobs_FullMethodName: auth.Developer,
	"/google.bytestream.ByteStream/Write":                          auth.Developer,
	repb.Execution_Execute_FullMethodName:                          auth.Developer,
	repb.Execution_WaitExecution_FullMethodName:                    auth.Developer,
	longrunningpb.Operations_GetOperation_FullMethodName:           auth.Developer,
	longrunningpb.Operations_CancelOperation_FullMethodName:        auth.Developer,
	repb.ActionCache_UpdateActionResult_FullMethodName:             auth.Operator,
}

// admit finds out who calls and whether they may.
func (s *Server) admit(ctx context.Context, method string) (context.Context, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	for _, value := range md.Get("authorization") {
		scheme, secret, _ := strings.Cut(value, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			continue
		}
		id, err := s.users.Authenticate(ctx, strings.TrimSpace(secret))
		if err != nil {
			return nil, err
		}
		ctx = auth.With(ctx, id)
	}
	role, ok := needed[method]
	if !ok {
		role = auth.Admin
	}
	return ctx, auth.Require(ctx, role)
}

// answer makes the status that a client gets for an error.
func (s *Server) answer(method string, err error) error {
	if err == nil {
		return nil
	}
	st := toStatus(err)
	if status.Code(st) == codes.Internal {
		s.cfg.Log.Error("remote execution", "method", method, "err", err)
	}
	return st
}

type admittedStream struct {
	grpc.ServerStream
	ctx context.Context // the stream's, with who calls
}

func (a *admittedStream) Context() context.Context { return a.ctx }
