package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"slipway.dev/slipway/internal/edge/httpapi"
	"slipway.dev/slipway/internal/platform/bus"
	"slipway.dev/slipway/internal/platform/jobs"
	"slipway.dev/slipway/internal/platform/lifecycle"
	"slipway.dev/slipway/internal/platform/transport"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/store"
)

// Run starts a server and serves until ctx ends, a signal arrives or a part fails. It returns nil after an orderly end.
func Run(ctx context.Context, cfg Config) error {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	log, err := lifecycle.NewLogger(cfg.Log.To, orDefault(cfg.Log.Format, "text"), orDefault(cfg.Log.Level, "info"))
	if err != nil {
		return err
	}
	var secure *tls.Config
	if cfg.TLSCert != "" {
		if secure, err = transport.Server(cfg.TLSCert, cfg.TLSKey); err != nil {
			return err
		}
	}
	unlock, err := lockFolder(cfg.Data)
	if err != nil {
		return err
	}
	defer unlock()
	db, err := store.Open(ctx, store.Config{URL: cfg.Database, Routes: routes()})
	if err != nil {
		return err
	}
	defer db.Close()
	tracer, err := lifecycle.NewTracer(ctx, os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT"), cfg.Version)
	if err != nil {
		return err
	}
	g := lifecycle.New(log)
	front := &frontDoor{}
	listener := lifecycle.NewHTTP(g, cfg.Listen, secure, front, log, front.close)
	var release func()
	hold := func(ctx context.Context) (err error) {
		release, err = db.Hold(ctx, holdWait, func(err error) { g.Fail("database", err) })
		return err
	}
	g.Add(tracer.Part(), lifecycle.Part{Name: "database", Start: hold, Stop: func(context.Context) error { release(); return nil }, Ready: db.Ping})
	r := &running{cfg: cfg, secure: secure, log: log, db: db, group: g, tracer: tracer, front: front, listener: listener, metrics: newMetrics(db)}
	g.Add(lifecycle.Part{Name: "listener", Start: listener.Part().Start}) // first, so that the URL is known and a taken port fails at once
	g.Add(lifecycle.Part{Name: "stages", Start: r.wire})
	g.Add(r.parts()...)
	g.Add(lifecycle.Part{Name: "http", Start: r.open, Stop: listener.Part().Stop, Grace: listener.Part().Grace})
	return g.Run(ctx, func() {
		log.Info("serving", "url", r.url, "data", cfg.Data, "database", db.Engine())
		if cfg.Started != nil {
			cfg.Started(r.url)
		}
	})
}

// holdWait is how long a server waits for another one on its PostgreSQL to end.
const holdWait = 5 * time.Second

// running is a server in the making: what the parts hand to those that start after them.
type running struct {
	cfg      Config
	secure   *tls.Config // of HTTP and the embedded bus; nil: neither speaks TLS
	log      *slog.Logger
	db       *store.DB
	group    *lifecycle.Group
	tracer   *lifecycle.Tracer
	front    *frontDoor
	listener *lifecycle.HTTP
	metrics  *metrics

	url string // where others reach this server
	svc *services
	bus connection

	jobs    *jobs.Runner
	cluster func() error // ends the connection to the cluster that runs builds, if there is one
}

// connection is the message bus, embedded or external.
type connection interface {
	URL() string
	NATS() *nats.Conn
	Ready(ctx context.Context) error
	Kick(publicKey string) error
	Close()
}

// parts are the parts between wiring and HTTP, in order.
func (r *running) parts() []lifecycle.Part {
	all := []lifecycle.Part{
		{Name: "repositories", Start: func(ctx context.Context) error { return r.svc.source.Start(ctx) }, Stop: func(ctx context.Context) error { return r.svc.source.Stop(ctx) }},
		{Name: "bus", Start: r.startBus, Stop: func(context.Context) error { r.bus.Close(); return nil }, Ready: func(ctx context.Context) error { return r.bus.Ready(ctx) }},
		{Name: "git", Start: func(ctx context.Context) error { return r.svc.git.Start(ctx) }, Stop: func(ctx context.Context) error { return r.svc.git.Stop(ctx) }},
		r.background("agents", func(ctx context.Context) error { return r.svc.agents.Serve(ctx, r.bus.NATS()) }),
		r.background("publisher", r.publish),
		{Name: "cluster", Stop: func(context.Context) error { return r.cluster() }},
		{Name: "farm", Start: func(ctx context.Context) error { return r.svc.build.Start(ctx) }, Stop: func(ctx context.Context) error { return r.svc.build.Stop(ctx) }},
		{Name: "jobs", Start: r.startJobs, Stop: func(ctx context.Context) error { return r.jobs.Stop(ctx) }},
	}
	return append(all, r.reapi()...)
}

// background is a part that runs f from start to stop.
func (r *running) background(name string, f func(context.Context) error) lifecycle.Part {
	var cancel context.CancelFunc
	done := make(chan struct{})
	return lifecycle.Part{
		Name: name,
		Start: func(context.Context) error {
			ctx, stop := context.WithCancel(context.Background())
			cancel = stop
			go func() {
				defer close(done)
				if err := f(ctx); err != nil && ctx.Err() == nil {
					r.group.Fail(name, err)
				}
			}()
			return nil
		},
		Stop: func(ctx context.Context) error {
			cancel()
			select {
			case <-done:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		},
	}
}

func (r *running) startBus(context.Context) (err error) {
	if r.cfg.Bus != "" {
		key, err := bus.ServerKey(r.cfg.dir("keys"))
		if err != nil {
			return err
		}
		external, err := bus.DialExternal(r.cfg.Bus, key)
		if err != nil {
			return err
		}
		r.bus = external
	} else {
		embedded, err := bus.StartEmbedded(bus.EmbeddedConfig{Dir: r.cfg.dir("bus"), Listen: r.cfg.BusAddr, TLS: r.secure, Lookup: r.svc.lab.NodeByKey, Log: r.log})
		if err != nil {
			return err
		}
		r.bus = embedded
	}
	r.svc.poker.set(r.bus)
	r.svc.connectAgents(r)
	return nil
}

func (r *running) publish(ctx context.Context) error {
	wake := make(chan struct{}, 1)
	go func() {
		for {
			appended := r.db.Appended() // taken before the publisher is woken, so that an event in between wakes it again
			select {
			case wake <- struct{}{}:
			default:
			}
			select {
			case <-ctx.Done():
				return
			case <-appended:
			}
		}
	}()
	return bus.NewPublisher(r.bus.NATS(), outbox{r.db}, bus.PublisherConfig{Source: r.url, Wake: wake, Log: r.log}).Run(ctx)
}

func (r *running) startJobs(ctx context.Context) error {
	owner, err := ownerOf(r.cfg.Data)
	if err != nil {
		return err
	}
	// This folder is ours alone: who held jobs under its name before is gone.
	if err := r.db.Release(ctx, owner); err != nil {
		return err
	}
	r.jobs, err = jobs.NewRunner(r.db, append(r.svc.handlers(), r.collectHandler()), jobs.Config{Owner: owner, Log: r.log, Around: r.metrics.around(r.tracer.Job)})
	if err != nil {
		return err
	}
	if err := r.wakeCollector(ctx, collectFirst); err != nil {
		return err
	}
	return r.jobs.Start(ctx)
}

// open lets requests in: everything that serves them has started.
func (r *running) open(ctx context.Context) error {
	if _, err := r.svc.auth.EnsureAdmin(ctx, r.cfg.Data); err != nil {
		return err
	}
	handler, closing := r.svc.routes(r)
	r.front.open(r.tracer.HTTP(httpapi.Observe(handler, r.metrics.registry, r.log)), closing)
	return nil
}

// lockFolder makes sure that one server runs on a folder. The lock ends with the process.
func lockFolder(dir string) (func(), error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, slipway.Errorf(slipway.Invalid, "the server's folder cannot be written: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, slipway.Errorf(slipway.Conflict, "another server runs on this folder").At(dir).Try("stop it, or give another folder with --data")
		}
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return func() { f.Close() }, nil
}

// ownerOf is the name under which servers of this folder hold jobs; it outlives the process.
func ownerOf(dir string) (string, error) {
	path := filepath.Join(dir, "owner")
	data, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return "", err
	}
	if name := strings.TrimSpace(string(data)); name != "" { // it is empty after a power cut in the middle of writing it
		return name, nil
	}
	host, err := os.Hostname()
	if err != nil {
		return "", err
	}
	owner := host + "-" + randomName()
	return owner, os.WriteFile(path, []byte(owner+"\n"), 0o600)
}

func orDefault(s, d string) string {
	if s == "" {
		return d
	}
	return s
}

func newRegistry() *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return reg
}

var _ http.Handler = (*frontDoor)(nil)
