package server

import (
	"cmp"
	"context"
	"net/http"
	"path/filepath"
	"sync/atomic"

	"github.com/nats-io/nats.go"

	"slipway.dev/slipway/internal/catalog"
	"slipway.dev/slipway/internal/edge/agentapi"
	"slipway.dev/slipway/internal/edge/githttp"
	"slipway.dev/slipway/internal/edge/httpapi"
	"slipway.dev/slipway/internal/edge/web"
	"slipway.dev/slipway/internal/notify"
	"slipway.dev/slipway/internal/overview"
	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/platform/bus"
	"slipway.dev/slipway/internal/platform/jobs"
	"slipway.dev/slipway/internal/provenance"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/build"
	"slipway.dev/slipway/internal/stage/build/retain"
	"slipway.dev/slipway/internal/stage/change"
	"slipway.dev/slipway/internal/stage/compose"
	"slipway.dev/slipway/internal/stage/deploy"
	"slipway.dev/slipway/internal/stage/gating"
	"slipway.dev/slipway/internal/stage/integration"
	"slipway.dev/slipway/internal/stage/lab"
	"slipway.dev/slipway/internal/stage/release"
	"slipway.dev/slipway/internal/stage/source"
	"slipway.dev/slipway/internal/store"
)

// services is every stage and edge of a server, wired.
type services struct {
	artifacts   *artifact.Disk
	auth        *auth.Service
	source      *source.Service
	catalog     *catalog.Service
	change      *change.Service
	build       *build.Service
	gating      *gating.Service
	release     *release.Service
	integration *integration.Service
	lab         *lab.Service
	compose     *compose.Service
	deploy      *deploy.Service
	provenance  *provenance.Service
	overview    *overview.Service
	notify      *notify.Service
	collector   *retain.Service

	git    *githttp.Server
	agents *agentapi.Server
	poker  *poker
}

// wire makes the services. The listener is bound already, so that the server's own URL is known.
func (r *running) wire(ctx context.Context) error {
	r.url = r.cfg.URL
	if r.url == "" {
		r.url = urlOf(r.listener.Addr(), r.secure != nil)
	}
	disk, err := artifact.OpenDisk(r.cfg.dir("artifacts"))
	if err != nil {
		return err
	}
	db := r.db
	s := &services{artifacts: disk, poker: &poker{}}
	r.svc = s
	s.auth = auth.New(store.Scope(db, func(tx *store.Tx) auth.Tx { return tx }), auth.Config{Log: r.log})
	s.source = source.New(store.Scope(db, func(tx *store.Tx) source.Tx { return tx }), source.Config{Dir: r.cfg.dir("git"), Log: r.log})
	s.catalog = catalog.New(store.Scope(db, func(tx *store.Tx) catalog.Tx { return tx }), s.source)
	s.gating = gating.New(store.Scope(db, func(tx *store.Tx) gating.Tx { return tx }))
	s.lab = lab.New(store.Scope(db, func(tx *store.Tx) lab.Tx { return tx }), spec.ParseExperiment, s.poker, lab.Config{})
	s.release = release.New(store.Scope(db, func(tx *store.Tx) release.Tx { return tx }), releaseRepository{s.source, s.catalog})
	exec, err := r.executor(disk)
	if err != nil {
		return err
	}
	s.build, err = build.New(store.Scope(db, func(tx *store.Tx) build.Tx { return tx }), s.source, disk, exec, build.Config{Dir: r.cfg.Data, Slots: r.cfg.Slots, Lease: r.cfg.Lease, Secrets: s.secrets(r.cfg), Log: r.log,
		Products: buildProducts{s}, Results: s.gating, Gate: s.gating, Packages: packager{}})
	if err != nil {
		return err
	}
	if err := s.build.Check(ctx); err != nil {
		r.log.Warn("builds cannot run on this machine", "err", err)
	}
	s.collector = r.newCollector()
	s.integration = integration.New(store.Scope(db, func(tx *store.Tx) integration.Tx { return tx }), integration.Deps{
		Source: integrationSource{s.source}, Catalog: s.catalog, Changes: landedChanges{s}, Builder: s.build, Lab: s.lab, Gate: s.gating, Releaser: s.release,
	})
	s.change = change.New(store.Scope(db, func(tx *store.Tx) change.Tx { return tx }), s.source, changeCatalog{s}, s.build, changeGate{s}, r.log)
	s.compose = compose.New(store.Scope(db, func(tx *store.Tx) compose.Tx { return tx }), s.release, composeSource{s}, disk, s.build, compose.Config{
		Dir: r.cfg.dir("composes"), URL: r.url + "/composes", Key: r.cfg.dir("keys"),
		Signing: compose.Signing{OpenPGP: r.cfg.SignKey, Passphrase: r.cfg.SignPass, APK: r.cfg.APKKey},
		SBOM: func(ctx context.Context, rel slipway.Release) ([]byte, error) {
			return s.provenance.OfRelease(ctx, rel)
		},
	})
	s.deploy = deploy.New(store.Scope(db, func(tx *store.Tx) deploy.Tx { return tx }), deploy.Deps{
		Releases: s.release, Composes: deployComposes{s.compose, r.url}, Files: s.source, Nodes: s.lab, Agents: s.poker,
	})
	about := attested{s.build, s.compose, s.release, disk, cmp.Or(r.cfg.Remote, "local")}
	s.provenance, err = provenance.New(store.Scope(db, func(tx *store.Tx) provenance.Tx { return tx }),
		provenance.Deps{Builds: about, Composes: about, Releases: s.release, Artifacts: disk},
		provenance.Config{Keys: filepath.Join(r.cfg.dir("keys"), "provenance"), Builder: provenance.Builder{ID: r.url, Version: r.cfg.Version}})
	if err != nil {
		return err
	}
	s.overview = overview.New(s.lookups(), db)
	s.notify = notify.New(store.Scope(db, func(tx *store.Tx) notify.Tx { return tx }), s.catalog, notify.Config{Source: r.url, SMTP: r.cfg.SMTP, From: r.cfg.MailFrom})
	s.git = githttp.New(s.source, gitUsers{s.auth}, s.change, s.catalog, githttp.Config{
		Program: r.cfg.Binary, Dir: filepath.Join(r.cfg.dir("git"), ".hooks"), URL: r.url, Log: r.log,
	})
	return nil
}

// connectAgents makes what needs the bus.
func (s *services) connectAgents(r *running) {
	s.agents = agentapi.New(s.lab, s.artifacts, map[string]agentapi.SyncHandler{"lab": s.lab.Sync, "deploy": s.deploy.Sync}, agentapi.Config{BusURL: r.bus.URL(), Log: r.log})
	s.lab.Listening()
}

// routes gathers which events wake which handlers, of all stages.
func routes() []jobs.Route {
	var all []jobs.Route
	for _, of := range [][]jobs.Route{
		catalog.Routes(), change.Routes(), build.Routes(), integration.Routes(), compose.Routes(), deploy.Routes(), provenance.Routes(), notify.Routes(),
	} {
		all = append(all, of...)
	}
	return all
}

// handlers gathers the reconcilers of all stages.
func (s *services) handlers() []jobs.Handler {
	var all []jobs.Handler
	for _, of := range [][]jobs.Handler{
		s.source.Handlers(), s.catalog.Handlers(), s.change.Handlers(), s.build.Handlers(), s.integration.Handlers(), s.lab.Handlers(), s.compose.Handlers(), s.deploy.Handlers(), s.provenance.Handlers(), s.notify.Handlers(),
	} {
		all = append(all, of...)
	}
	return all
}

// routes is the handler of everything that the server answers over HTTP, and what ends its streams.
func (s *services) routes(r *running) (http.Handler, func()) {
	api := httpapi.New(httpapi.Services{
		Version: r.cfg.Version, Auth: s.auth, Ledger: ledger{r.db}, Jobs: r.db, Health: r.group.Health,
		Source: s.source, Change: s.change, Catalog: s.catalog, Build: s.build, Farm: s.build.Farm(), Artifacts: s.artifacts, Collector: s.collector, Compose: s.compose, Deploy: s.deploy, Integration: s.integration, Gating: s.gating, Release: s.release,
		Overview: s.overview, Provenance: s.provenance, Notify: s.notify, Lab: s.lab, Kick: r.bus.Kick,
		Metrics: r.metrics.registry, Log: r.log,
	})
	mux := http.NewServeMux()
	for _, path := range []string{"/api/", "/metrics", "/healthz", "/readyz"} {
		mux.Handle(path, api)
	}
	mux.Handle(githttp.Prefix, s.git)
	mux.Handle(githttp.WebhookPrefix, s.git.Webhook())
	mux.Handle("/agent/", s.agents.Handler())
	mux.Handle("/composes/", s.compose.Handler())
	dashboard := web.New(web.Services{
		Auth: s.auth, Ledger: webLedger{r.db}, Catalog: s.catalog, Changes: s.change, Builds: s.build, Farm: s.build.Farm(), Queue: s.integration, Lab: s.lab,
		Gating: s.gating, Release: s.release, Compose: s.compose, Deploy: s.deploy, Version: r.cfg.Version, Log: r.log,
	})
	mux.Handle("/ui/", dashboard)
	mux.Handle("GET /{$}", dashboard)
	return mux, func() { api.Close(); dashboard.Close() }
}

// poker pokes agents once there is a bus.
type poker struct{ conn atomic.Pointer[nats.Conn] }

func (p *poker) set(c connection) { p.conn.Store(c.NATS()) }

func (p *poker) Poke(node string) {
	if conn := p.conn.Load(); conn != nil {
		conn.Publish(bus.PokeSubject(node), nil) //nolint:errcheck // agents sync anyway; a poke only saves time
	}
}
