package httpapi

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"

	"slipway.dev/slipway/internal/catalog"
	"slipway.dev/slipway/internal/notify"
	"slipway.dev/slipway/internal/overview"
	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/platform/jobs"
	"slipway.dev/slipway/internal/platform/lifecycle"
	"slipway.dev/slipway/internal/provenance"
	"slipway.dev/slipway/internal/slipway"
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
)

// Services is everything that the API serves. Each stage adds one field.
type Services struct {
	Version string // of this program, for the description and 'slipway version'

	Auth   *auth.Service
	Ledger Ledger
	Jobs   Jobs
	Health func(context.Context) lifecycle.Health // what /readyz tells

	Source      *source.Service
	Change      *change.Service
	Catalog     *catalog.Service
	Overview    *overview.Service
	Notify      *notify.Service
	Build       *build.Service
	Farm        Farm
	Artifacts   artifact.Store // what workers fetch and upload
	Collector   *retain.Service
	Provenance  *provenance.Service
	Compose     *compose.Service
	Deploy      *deploy.Service
	Integration *integration.Service
	Gating      *gating.Service
	Release     *release.Service
	Lab         *lab.Service
	Kick        func(publicKey string) error // ends the connections of a removed node's agent

	Metrics *prometheus.Registry // what /metrics gathers; default a fresh one
	Log     *slog.Logger         // default slog.Default()
}

// Ledger reads the events. internal/server adapts the store to it.
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

// Jobs lets people see and revive the work in the background.
type Jobs interface {
	Jobs(ctx context.Context, limit int) ([]jobs.Job, error)
	RetryJob(ctx context.Context, kind, key string) error
}

// API is the handler of /api/, /healthz, /readyz and /metrics.
type API struct {
	Services
	mux     *http.ServeMux
	huma    huma.API
	closing chan struct{}
	once    sync.Once
}

// New makes the API. It serves what the services offer.
func New(s Services) *API {
	if s.Log == nil {
		s.Log = slog.Default()
	}
	if s.Metrics == nil {
		s.Metrics = prometheus.NewRegistry()
	}
	adoptErrors()
	a := &API{Services: s, mux: http.NewServeMux(), closing: make(chan struct{})}
	cfg := huma.DefaultConfig("Slipway", s.Version)
	cfg.OpenAPIPath, cfg.DocsPath, cfg.SchemasPath = "/api/openapi", "", "/api/schemas"
	cfg.Formats = map[string]huma.Format{"application/json": jsonFormat, "json": jsonFormat}
	cfg.Components.Schemas = huma.NewMapRegistry("#/components/schemas/", schemaName)
	cfg.CreateHooks = nil // no "$schema" members in answers
	cfg.Info.Description = "From a change in any of a product's repositories to a tested, tagged release on its nodes."
	cfg.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token":   {Type: "http", Scheme: "bearer", BearerFormat: auth.TokenPrefix + "...", Description: "An API token: slipway token create"},
		"session": {Type: "apiKey", In: "cookie", Name: auth.CookieName, Description: "A log-in to the dashboard"},
	}
	a.huma = humago.New(a.mux, cfg)
	a.docs()
	a.observability()

	a.users()
	a.sources()
	a.changes()
	a.catalog()
	a.overview()
	a.notify()
	a.events()
	a.queue()
	a.gating()
	a.releases()
	a.lab()
	a.composes()
	a.deployments()
	a.builds()
	a.buildroots()
	a.rebuilds()
	a.farm()
	a.provenance()
	return a
}

// ServeHTTP implements [http.Handler].
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.mux.ServeHTTP(w, r) }

// Close ends the event streams, so that a shutdown need not wait for their readers.
func (a *API) Close() { a.once.Do(func() { close(a.closing) }) }

// op describes an operation.
type op struct {
	Method  string
	Path    string    // "/api/v1/changes/{number}"
	Summary string    // one line, in the imperative
	About   string    // more, in Markdown; may be empty
	Role    auth.Role // that the caller needs; required
	Status  int       // of success; default 200, or 204 when there is no answer
	Body    int64     // the largest body accepted, in bytes; default 1 MiB
}

// roleExtension is the member of an operation's description that names the role it needs.
const roleExtension = "x-slipway-role"

// register adds an operation. In is its input and Out its output, as huma reads them. An operation that names no known
// role is a mistake of the program and panics: nothing is open by omission.
func register[In, Out any](a *API, o op, f func(context.Context, *In) (*Out, error)) {
	if !auth.Admin.Covers(o.Role) {
		panic("httpapi: " + o.Method + " " + o.Path + " names no role")
	}
	if name := embedsHidden(reflect.TypeFor[In]()); name != "" {
		panic("httpapi: " + o.Method + " " + o.Path + " embeds " + name + ", whose fields huma would not fill in: export it")
	}
	tag, _, _ := strings.Cut(strings.TrimPrefix(o.Path, "/api/v1/"), "/")
	huma.Register(a.huma, huma.Operation{
		OperationID:   operationID(o),
		Method:        o.Method,
		Path:          o.Path,
		Summary:       o.Summary,
		Description:   strings.TrimSpace(o.About + "\n\nNeeds the role **" + string(o.Role) + "**."),
		Tags:          []string{tag},
		DefaultStatus: o.Status,
		MaxBodyBytes:  o.Body,
		Security:      []map[string][]string{{"token": {}}, {"session": {}}},
		Extensions:    map[string]any{roleExtension: string(o.Role)},
		Middlewares:   huma.Middlewares{a.guard(o.Role)},
	}, func(ctx context.Context, in *In) (*Out, error) {
		out, err := f(ctx, in)
		if err == nil {
			err = a.explainEmpty(ctx, out)
		}
		if err != nil {
			return nil, a.problem(ctx, err)
		}
		return out, nil
	})
}

// explainEmpty tells "nothing" from "of nothing": an empty list that was asked for of a product which does not exist is NotFound.
func (a *API) explainEmpty(ctx context.Context, out any) error {
	l, ok := out.(interface{ empty() bool })
	if !ok || !l.empty() {
		return nil
	}
	u, ok := ctx.Value(urlKey{}).(*url.URL)
	if !ok || u.Query().Get("product") == "" {
		return nil
	}
	_, err := a.Catalog.Get(ctx, u.Query().Get("product"))
	return err
}

// embedsHidden returns the name of a struct that t embeds and huma passes over, because it is not exported.
func embedsHidden(t reflect.Type) string {
	for i := range t.NumField() {
		if f := t.Field(i); f.Anonymous && !f.IsExported() {
			return f.Name
		}
	}
	return ""
}

// operationID is the method and the path in one word: "get-changes-number".
func operationID(o op) string {
	path := strings.NewReplacer("{", "", "}", "", "...", "", "/", "-", "_", "-").Replace(strings.TrimPrefix(o.Path, "/api/v1/"))
	return strings.ToLower(o.Method) + "-" + strings.Trim(path, "-")
}

// guard lets a request pass whose caller has the role, and puts the caller and the URL into its context.
func (a *API) guard(role auth.Role) func(huma.Context, func(huma.Context)) {
	return func(hc huma.Context, next func(huma.Context)) {
		r, w := humago.Unwrap(hc)
		ctx := r.Context()
		id, err := a.Auth.Request(r)
		if err == nil {
			noteCaller(ctx, id.User)
			ctx = auth.With(ctx, id)
			err = auth.Require(ctx, role)
		}
		if err != nil {
			writeProblem(w, a.problem(ctx, err))
			return
		}
		next(huma.WithContext(hc, context.WithValue(ctx, urlKey{}, r.URL)))
	}
}

// jsonFormat is the only format: JSON without escaping of <, > and &.
var jsonFormat = huma.DefaultJSONFormat

func (a *API) docs() {
	a.mux.HandleFunc("GET /api/docs", serveDocsPage)
	a.mux.HandleFunc("GET /api/docs/rapidoc.js", serveRenderer)
	a.mux.HandleFunc("/api/", func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, a.problem(r.Context(), slipway.Errorf(slipway.NotFound, "nothing is at %s %s", r.Method, r.URL.Path).
			Try("see /api/docs for what there is")))
	})
}

func writeProblem(w http.ResponseWriter, p *Problem) {
	w.Header().Set("Content-Type", "application/problem+json")
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="slipway"`)
	}
	w.WriteHeader(p.Status)
	json.NewEncoder(w).Encode(p) //nolint:errcheck // the caller is gone
}
