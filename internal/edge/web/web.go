package web

import (
	"context"
	"embed"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"sync"

	"slipway.dev/slipway/internal/catalog"
	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build"
	"slipway.dev/slipway/internal/stage/change"
	"slipway.dev/slipway/internal/stage/compose"
	"slipway.dev/slipway/internal/stage/deploy"
	"slipway.dev/slipway/internal/stage/gating"
	"slipway.dev/slipway/internal/stage/integration"
	"slipway.dev/slipway/internal/stage/lab"
)

// Services is what the dashboard reads. All fields but Log and Version are required.
type Services struct {
	Auth    Auth
	Ledger  Ledger
	Catalog Catalog
	Changes Changes
	Builds  Builds
	Farm    Farm
	Queue   Queue
	Lab     Lab
	Gating  Gating
	Release Releases
	Compose Composes
	Deploy  Deployments
	Version string       // of this program, shown at the foot of every page
	Log     *slog.Logger // default slog.Default()
}

// Auth tells who is asking.
type Auth interface {
	Request(r *http.Request) (auth.Identity, error)
	Login(ctx context.Context, token string, secure bool) (*http.Cookie, auth.Identity, error)
	Logout(ctx context.Context, cookie string) error
}

// Ledger reads the events.
type Ledger interface {
	Events(ctx context.Context, q EventQuery) ([]slipway.Event, error)
	// Appended is closed when this process appends an event.
	Appended() <-chan struct{}
}

// EventQuery selects a part of the ledger.
type EventQuery struct {
	After   int64  // events with a higher number
	Before  int64  // events with a lower number; 0: no bound
	Subject string // "change/12": about it, or linked to it
	Product string
	Type    string // a type, or a prefix that ends in a dot
	Newest  bool   // newest first
	Limit   int    // 0: 1000
}

// Catalog knows products and components.
type Catalog interface {
	Products(ctx context.Context, after string, limit int) ([]catalog.Product, error)
	Get(ctx context.Context, name string) (catalog.Product, error)
	Components(ctx context.Context, product string) ([]catalog.Component, error)
}

// Changes knows proposed commits.
type Changes interface {
	Changes(ctx context.Context, f change.Filter) ([]change.Change, error)
	Change(ctx context.Context, number int64) (change.Change, error)
	Vote(ctx context.Context, number int64, by change.Voter, value, patchset int, message string) (change.Change, error)
	Retest(ctx context.Context, number int64, by string) (change.Change, error)
	Abandon(ctx context.Context, number int64, by change.Voter, reason string) (change.Change, error)
}

// Builds knows waves, rebuilds, builds and their logs.
type Builds interface {
	Rebuilds
	Build(ctx context.Context, id string) (build.Build, error)
	Builds(ctx context.Context, q slipway.Query) ([]build.Build, error)
	WaveRecord(ctx context.Context, id string) (build.Wave, error)
	Log(ctx context.Context, id string, offset int64, follow bool) (io.ReadCloser, error)
}

// Queue knows the integration queues.
type Queue interface {
	Queue(ctx context.Context, product string) (integration.Queue, error)
	Entries(ctx context.Context, q slipway.Query) ([]integration.Entry, error)
	Entry(ctx context.Context, number int64) (integration.Entry, error)
	Candidate(ctx context.Context, id string) (integration.Candidate, error)
	Trials(ctx context.Context, product, candidate string) ([]integration.Trial, error)
	Predictions(ctx context.Context, product string) ([]integration.Calibration, error)
	Decision(ctx context.Context, number int64) (slipway.Decision, error)
	Freeze(ctx context.Context, product, actor, reason string) error
	Resume(ctx context.Context, product, actor string) error
	Requeue(ctx context.Context, number int64, actor string) (integration.Entry, error)
	Dequeue(ctx context.Context, number int64, actor, reason string) error
}

// Lab knows experiments and nodes.
type Lab interface {
	Get(ctx context.Context, id string) (lab.Experiment, error)
	List(ctx context.Context, product string, states []string, after string, limit int) ([]lab.Experiment, error)
	Log(ctx context.Context, id, node, step string, offset int64) (data []byte, more bool, err error)
	NodeList(ctx context.Context) ([]lab.Node, error)
	Node(ctx context.Context, name string) (lab.Node, error)
}

// Gating knows results and waivers.
type Gating interface {
	Results(ctx context.Context, subject string) ([]slipway.Result, error)
	Waivers(ctx context.Context, product string) ([]gating.Waiver, error)
}

// Releases knows what was released.
type Releases interface {
	Release(ctx context.Context, id string) (slipway.Release, error)
	Releases(ctx context.Context, q slipway.Query) ([]slipway.Release, error)
}

// Composes knows the distributions.
type Composes interface {
	Compose(ctx context.Context, id string) (compose.Compose, error)
	Composes(ctx context.Context, product, after string, limit int) ([]compose.Compose, error)
	Retry(ctx context.Context, id, actor string) (compose.Compose, error)
}

// Deployments knows what is in service where.
type Deployments interface {
	Status(ctx context.Context, product string) (deploy.Status, error)
	Versions(ctx context.Context, product, after string, limit int) ([]deploy.Version, error)
	Node(ctx context.Context, node string) ([]deploy.OnNode, error)
}

//go:embed assets
var assets embed.FS

// Server is the handler of / and /ui/.
type Server struct {
	Services
	mux     *http.ServeMux
	closing chan struct{}
	once    sync.Once
}

// New makes the dashboard.
func New(s Services) *Server {
	if s.Log == nil {
		s.Log = slog.Default()
	}
	w := &Server{Services: s, mux: http.NewServeMux(), closing: make(chan struct{})}
	w.mux.HandleFunc("GET /{$}", func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, "/ui/", http.StatusSeeOther) })
	w.mux.Handle("GET /ui/assets/", w.assets())
	w.mux.HandleFunc("GET /ui/login", w.loginPage)
	w.mux.HandleFunc("POST /ui/login", w.login)
	w.mux.HandleFunc("POST /ui/logout", w.logout)
	w.mux.HandleFunc("GET /ui/stream", w.guarded(w.stream))
	for _, routes := range []func(){
		w.products, w.queues, w.changes, w.builds, w.rebuilds, w.farm, w.experiments, w.releases, w.composes, w.nodes, w.deployments, w.ledger,
	} {
		routes()
	}
	w.page("GET /ui/", func(*http.Request) (view, error) {
		return view{}, slipway.Errorf(slipway.NotFound, "there is no such page")
	})
	return w
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	s.mux.ServeHTTP(w, r)
}

// Close ends the streams, so that a shutdown need not wait for their readers.
func (s *Server) Close() { s.once.Do(func() { close(s.closing) }) }

// assets serves the files that pages load; their URLs carry the program's version, so they may be kept for long.
func (s *Server) assets() http.Handler {
	sub, err := fs.Sub(assets, "assets")
	if err != nil {
		panic(err) // the folder is embedded
	}
	files := http.StripPrefix("/ui/assets/", http.FileServerFS(sub))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=3600")
		files.ServeHTTP(w, r)
	})
}
