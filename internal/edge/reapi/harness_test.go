package reapi_test

import (
	"context"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/proto"

	"slipway.dev/slipway/internal/edge/reapi"
	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/platform/execution"
	"slipway.dev/slipway/internal/platform/execution/local"
	"slipway.dev/slipway/internal/platform/execution/remote"
	"slipway.dev/slipway/internal/platform/sandbox"
	"slipway.dev/slipway/internal/slipway"
)

// oneHost is a farm of one executor, without a queue; its cache, and what clients write, are maps.
type oneHost struct {
	exec execution.Executor

	mu     sync.Mutex
	runs   int
	cached map[artifact.Digest]*repb.ActionResult
	wrote  map[artifact.Digest]*repb.ActionResult
}

func (h *oneHost) Cached(_ context.Context, action artifact.Digest) (*repb.ActionResult, error) {
	return h.look(h.cached, action)
}

func (h *oneHost) ActionResult(_ context.Context, action artifact.Digest) (*repb.ActionResult, error) {
	return h.look(h.wrote, action)
}

func (h *oneHost) look(in map[artifact.Digest]*repb.ActionResult, action artifact.Digest) (*repb.ActionResult, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r := in[action]; r != nil {
		return proto.CloneOf(r), nil
	}
	return nil, slipway.Errorf(slipway.NotFound, "no result of %s", action)
}

func (h *oneHost) PutActionResult(_ context.Context, action artifact.Digest, r *repb.ActionResult, _ string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wrote[action] = r
	return nil
}

func (h *oneHost) Execute(ctx context.Context, o reapi.Order) (execution.Result, error) {
	o.Started("here")
	res, err := h.exec.Execute(ctx, execution.Request{Action: o.Action, Log: o.Log})
	h.mu.Lock()
	defer h.mu.Unlock()
	h.runs++
	if err == nil && res.Status == execution.Exited && res.Action.ExitCode == 0 {
		h.cached[o.Action] = res.Action
	}
	return res, err
}

// tokens are the users that a server knows: each role's name is its token.
type tokens struct{}

func (tokens) Authenticate(_ context.Context, secret string) (auth.Identity, error) {
	role, err := auth.ParseRole(secret)
	if err != nil {
		return auth.Identity{}, slipway.Errorf(slipway.Unauthenticated, "unknown API token")
	}
	return auth.Identity{User: "user-" + secret, Role: role}, nil
}

// cluster is a server with a store of its own.
type cluster struct {
	t     testing.TB
	addr  string
	store *artifact.Disk
	farm  *oneHost
}

func start(t testing.TB, cfg reapi.Config) *cluster {
	t.Helper()
	dir := t.TempDir()
	c := &cluster{t: t, store: disk(t)}
	box, err := sandbox.New(filepath.Join(dir, "sandbox"))
	if err != nil {
		t.Fatal(err)
	}
	exec, err := local.New(c.store, box, local.Config{Dir: filepath.Join(dir, "work")})
	if err != nil {
		t.Fatal(err)
	}
	c.farm = &oneHost{exec: exec, cached: map[artifact.Digest]*repb.ActionResult{}, wrote: map[artifact.Digest]*repb.ActionResult{}}
	cfg.Temp = filepath.Join(dir, "temp")
	srv, err := reapi.New(c.store, c.farm, c.farm, tokens{}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.addr = l.Addr().String()
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := srv.Stop(ctx); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return c
}

// client is one of the cluster's, in a role.
func (c *cluster) client(role auth.Role, cfg remote.Config) *remote.Client {
	c.t.Helper()
	if cfg.Endpoint == "" {
		cfg.Endpoint = c.addr
	}
	cfg.Token, cfg.Instance = string(role), "some/instance"
	client, err := remote.Dial(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { client.Close() })
	return client
}

func disk(t testing.TB) *artifact.Disk {
	t.Helper()
	d, err := artifact.OpenDisk(filepath.Join(t.TempDir(), "artifacts"))
	if err != nil {
		t.Fatal(err)
	}
	return d
}
