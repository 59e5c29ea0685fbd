package server

import (
	"context"
	"net"
	"os"
	"strings"

	"slipway.dev/slipway/internal/edge/reapi"
	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/execution"
	"slipway.dev/slipway/internal/platform/execution/local"
	"slipway.dev/slipway/internal/platform/execution/remote"
	"slipway.dev/slipway/internal/platform/lifecycle"
	"slipway.dev/slipway/internal/platform/sandbox"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build"
)

// executor is what the server's own slots run actions with: sandboxes of this host, or a cluster.
func (r *running) executor(disk *artifact.Disk) (execution.Executor, error) {
	r.cluster = func() error { return nil }
	if r.cfg.Remote == "" {
		box, err := sandbox.New(r.cfg.dir("sandbox"))
		if err != nil {
			return nil, err
		}
		r.log.Info("builds run in sandboxes", "limits", box.Bounds())
		return local.New(disk, box, local.Config{Dir: r.cfg.dir("work"), Host: build.Fingerprint()})
	}
	cfg, err := remote.Parse(r.cfg.Remote)
	if err != nil {
		return nil, err
	}
	if r.cfg.RemoteKey != "" {
		token, err := os.ReadFile(r.cfg.RemoteKey)
		if err != nil {
			return nil, slipway.Errorf(slipway.Invalid, "read the cluster's token: %w", err).At("--remote-token-file " + r.cfg.RemoteKey)
		}
		cfg.Token = strings.TrimSpace(string(token))
	}
	client, err := remote.Dial(cfg)
	if err != nil {
		return nil, err
	}
	r.cluster = client.Close
	return remote.New(disk, client), nil
}

// reapi is the farm's gRPC port as a part; none without an address.
func (r *running) reapi() []lifecycle.Part {
	if r.cfg.REAPI == "" {
		return nil
	}
	var srv *reapi.Server
	start := func(ctx context.Context) error {
		f := remoteFarm{r.svc.build.Farm(), r.svc.artifacts}
		var err error
		if srv, err = reapi.New(r.svc.artifacts, f, f, r.svc.auth, reapi.Config{Temp: r.cfg.dir("reapi"), TLS: r.secure, Log: r.log}); err != nil {
			return err
		}
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", r.cfg.REAPI)
		if err != nil {
			return slipway.Errorf(slipway.Unavailable, "serve remote execution: %w", err).At("--reapi " + r.cfg.REAPI).Try("choose another address")
		}
		go func() {
			if err := srv.Serve(l); err != nil {
				r.group.Fail("reapi", err)
			}
		}()
		r.log.Info("serving remote execution", "address", l.Addr().String(), "tls", r.secure != nil)
		return nil
	}
	return []lifecycle.Part{{Name: "reapi", Start: start, Stop: func(ctx context.Context) error { return srv.Stop(ctx) }}}
}
