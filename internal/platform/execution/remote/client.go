// Package remote runs actions on a cluster of the Remote Execution API, version 2: another Slipway, or any other.
//
// A run looks the action up in the cluster's cache; if it is not there, it asks which inputs the cluster lacks, uploads those, has
// the action executed, and fetches the outputs into the local store, where everything is checked as if it had been made
// here. The log is read while the action runs where the cluster streams it, else at the end.
//
// A call that meets a transient error (UNAVAILABLE, ABORTED) is tried again with growing pauses; an upload or a download that broke goes on
// where it was; a broken stream of an execution is taken up with WaitExecution. When the caller's context ends, the execution
// is cancelled as far as the cluster knows how to.
//
// Limits of log and output are applied here: the log's as it comes, the outputs' before they are fetched. Others are the cluster's.
package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/genproto/googleapis/bytestream"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"slipway.dev/slipway/internal/slipway"
)

// Config says which cluster. Endpoint is required.
type Config struct {
	Endpoint string                    // HOST:PORT
	Instance string                    // of the cluster; default ""
	TLS      *tls.Config               // nil speaks without encryption
	Token    string                    // sent as "authorization: Bearer TOKEN"; "" sends none
	Attempts int                       // how often a call is tried that meets transient errors; default 12: for about half a minute
	Backoff  func(n int) time.Duration // before try n+1; default 50 ms doubling, with jitter, to 5 s
	Dial     []grpc.DialOption         // further options
}

// Parse reads grpc://HOST:PORT[/INSTANCE], or grpcs:// for TLS with the host's certificates.
func Parse(address string) (Config, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Port() == "" || u.Scheme != "grpc" && u.Scheme != "grpcs" || u.User != nil || u.RawQuery != "" {
		return Config{}, slipway.Errorf(slipway.Invalid, "%q is no address of a cluster", address).Try("write grpc://HOST:PORT/INSTANCE, or grpcs:// for TLS")
	}
	c := Config{Endpoint: u.Host, Instance: strings.Trim(u.Path, "/")}
	if u.Scheme == "grpcs" {
		c.TLS = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: u.Hostname()}
	}
	return c, nil
}

// Client is the connection to a cluster: its blobs and action results. It is safe for concurrent use.
type Client struct {
	cfg  Config
	conn *grpc.ClientConn
	cas  repb.ContentAddressableStorageClient
	ac   repb.ActionCacheClient
	bs   bytestream.ByteStreamClient
	exec repb.ExecutionClient
	ops  longrunningpb.OperationsClient

	mu   sync.Mutex
	caps *repb.ServerCapabilities
}

// Dial makes a client. It connects with the first call.
func Dial(cfg Config) (*Client, error) {
	if cfg.Attempts <= 0 {
		cfg.Attempts = 12
	}
	if cfg.Backoff == nil {
		cfg.Backoff = func(n int) time.Duration {
			d := min(50*time.Millisecond<<min(n, 10), 5*time.Second)
			return d/2 + rand.N(d)/2
		}
	}
	creds := insecure.NewCredentials()
	if cfg.TLS != nil {
		creds = credentials.NewTLS(cfg.TLS)
	}
	options := append([]grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16 << 20)),
		// Clusters may refuse pings that are more frequent.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 5 * time.Minute, Timeout: 20 * time.Second}),
	}, cfg.Dial...)
	if cfg.Token != "" {
		options = append(options, grpc.WithPerRPCCredentials(bearer(cfg.Token)))
	}
	conn, err := grpc.NewClient("passthrough:///"+cfg.Endpoint, options...)
	if err != nil {
		return nil, slipway.Errorf(slipway.Invalid, "connect to the cluster: %w", err).At(cfg.Endpoint)
	}
	return &Client{
		cfg: cfg, conn: conn, cas: repb.NewContentAddressableStorageClient(conn), ac: repb.NewActionCacheClient(conn),
		bs: bytestream.NewByteStreamClient(conn), exec: repb.NewExecutionClient(conn), ops: longrunningpb.NewOperationsClient(conn),
	}, nil
}

// Close ends the connection and all calls.
func (c *Client) Close() error { return c.conn.Close() }

// bearer is an API token; it goes with every call.
type bearer string

// GetRequestMetadata implements [credentials.PerRPCCredentials].
func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

// RequireTransportSecurity implements [credentials.PerRPCCredentials]. Who asks for no TLS gets none.
func (b bearer) RequireTransportSecurity() bool { return false }

// Capabilities returns what the cluster can do. It is an error of kind Unavailable if it cannot do what is needed here: SHA-256 as
// the digest function, and with exec also executions.
func (c *Client) Capabilities(ctx context.Context, exec bool) (*repb.ServerCapabilities, error) {
	c.mu.Lock()
	caps := c.caps
	c.mu.Unlock()
	if caps == nil {
		err := c.try(ctx, func(ctx context.Context) (err error) {
			caps, err = repb.NewCapabilitiesClient(c.conn).GetCapabilities(ctx, &repb.GetCapabilitiesRequest{InstanceName: c.cfg.Instance})
			return err
		})
		if err != nil {
			return nil, c.explain(ctx, err)
		}
	}
	if !slices.Contains(caps.GetCacheCapabilities().GetDigestFunctions(), repb.DigestFunction_SHA256) {
		return nil, slipway.Errorf(slipway.Unavailable, "the cluster does not know SHA-256 as its digest function").At(c.cfg.Endpoint).Try("use another cluster or instance")
	}
	if exec && !caps.GetExecutionCapabilities().GetExecEnabled() {
		return nil, slipway.Errorf(slipway.Unavailable, "the cluster does not execute actions for this user").At(c.cfg.Endpoint).Try("use a token that may, or another instance")
	}
	c.mu.Lock()
	c.caps = caps // not before it was good: another try may find more
	c.mu.Unlock()
	return caps, nil
}

// try calls f until it succeeds, fails for good, or was tried often enough.
func (c *Client) try(ctx context.Context, f func(ctx context.Context) error) error {
	for n := 0; ; n++ {
		err := f(ctx)
		if err == nil || !transient(err) || n+1 >= c.cfg.Attempts {
			return err
		}
		if e := c.pause(ctx, n); e != nil {
			return e
		}
	}
}

func (c *Client) pause(ctx context.Context, n int) error {
	t := time.NewTimer(c.cfg.Backoff(n))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

func transient(err error) bool {
	code := status.Code(err)
	return code == codes.Unavailable || code == codes.Aborted
}

// kindOf is what a code of the cluster means to who asked for a run. What is not named is Unavailable: it says nothing of the action.
var kindOf = map[codes.Code]slipway.Kind{
	codes.InvalidArgument:  slipway.Invalid,
	codes.OutOfRange:       slipway.Invalid,
	codes.NotFound:         slipway.NotFound,
	codes.Unauthenticated:  slipway.Unauthenticated,
	codes.PermissionDenied: slipway.Forbidden,
}

// explain turns the error of a call into one for people.
func (c *Client) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var known *slipway.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	return c.failure(status.Convert(err))
}

// failure is the error of a status, or of one inside a message.
func (c *Client) failure(st *status.Status) error {
	if lost := missingIn(st); len(lost) > 0 {
		return slipway.Errorf(slipway.NotFound, "the cluster lacks %d inputs, %s among them", len(lost), lost[0]).At(c.cfg.Endpoint)
	}
	kind, ok := kindOf[st.Code()]
	if !ok {
		kind = slipway.Unavailable
	}
	e := slipway.Errorf(kind, "the cluster says: %s (%s)", st.Message(), st.Code()).At(c.cfg.Endpoint)
	switch kind {
	case slipway.Unauthenticated, slipway.Forbidden:
		return e.Try("check the token of the cluster")
	case slipway.Unavailable:
		return e.Try("try again, or look whether the cluster is well")
	}
	return e
}

// missingIn lists the blobs that a status says are missing.
func missingIn(st *status.Status) (subjects []string) {
	if st.Code() != codes.FailedPrecondition {
		return nil
	}
	for _, d := range st.Details() {
		if f, ok := d.(*errdetails.PreconditionFailure); ok {
			for _, v := range f.Violations {
				if v.Type == "MISSING" {
					subjects = append(subjects, v.Subject)
				}
			}
		}
	}
	return subjects
}

// under puts the instance before a resource's name.
func (c *Client) under(name string) string {
	if c.cfg.Instance == "" {
		return name
	}
	return c.cfg.Instance + "/" + name
}
