package httpapi

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"slipway.dev/slipway/internal/platform/lifecycle"
	"slipway.dev/slipway/internal/slipway"
)

// observability adds /metrics, /healthz and /readyz. They need no token: they tell nothing about a product.
func (a *API) observability() {
	a.mux.Handle("GET /metrics", promhttp.HandlerFor(a.Metrics, promhttp.HandlerOpts{}))
	a.mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Write([]byte("ok\n")) //nolint:errcheck // the caller is gone
	})
	a.mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		health := lifecycle.Health{Ready: true}
		if a.Health != nil {
			health = a.Health(r.Context())
		}
		w.Header().Set("Content-Type", "application/json")
		if !health.Ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		json.NewEncoder(w).Encode(health) //nolint:errcheck // the caller is gone
	})
}

// request is what is known about a request while it is served.
type request struct {
	id     string
	caller string
}

type requestKey struct{}

// RequestID is the id of the request that ctx belongs to; "" outside of one.
func RequestID(ctx context.Context) string {
	if r, ok := ctx.Value(requestKey{}).(*request); ok {
		return r.id
	}
	return ""
}

// noteCaller tells the request log who calls. Only the goroutine that serves the request calls it.
func noteCaller(ctx context.Context, user string) {
	if r, ok := ctx.Value(requestKey{}).(*request); ok {
		r.caller = user
	}
}

// Observe wraps the handler of the whole server: every request gets an id (its X-Request-Id, if that is sensible) that the
// answer repeats, is counted and timed by route, and logged when it is done; a panic becomes an answer of status 500.
func Observe(next http.Handler, reg prometheus.Registerer, log *slog.Logger) http.Handler {
	total := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "slipway_http_requests_total",
		Help: "HTTP requests served."}, []string{"method", "route", "code"})
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "slipway_http_request_seconds",
		Help: "Time to serve an HTTP request.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 9)}, []string{"method", "route"})
	inFlight := prometheus.NewGauge(prometheus.GaugeOpts{Name: "slipway_http_requests_in_flight", Help: "HTTP requests being served."})
	reg.MustRegister(total, seconds, inFlight)
	if log == nil {
		log = slog.Default()
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		req := &request{id: r.Header.Get("X-Request-Id")}
		if !goodRequestID(req.id) {
			req.id = strings.ToLower(rand.Text()[:16])
		}
		w.Header().Set("X-Request-Id", req.id)
		rec := &recorder{ResponseWriter: w}
		r = r.WithContext(context.WithValue(r.Context(), requestKey{}, req))
		inFlight.Inc()
		defer func() {
			inFlight.Dec()
			cause := recover()
			if cause == http.ErrAbortHandler { //nolint:errorlint // a sentinel that is panicked with
				panic(cause)
			}
			if cause != nil {
				log.ErrorContext(r.Context(), "request panicked", "request", req.id, "path", r.URL.Path, "cause", fmt.Sprint(cause),
					"stack", string(debug.Stack()))
				if rec.status == 0 {
					p := problemOf(slipway.Errorf(slipway.Internal, "the server made a mistake").Try("report it with the id of the request"))
					p.Instance = req.id
					writeProblem(rec, p)
				}
			}
			route, took := r.Pattern, time.Since(start)
			if _, path, ok := strings.Cut(route, " "); ok {
				route = path // the method is a label of its own
			}
			if route == "" {
				route = "none"
			}
			total.WithLabelValues(method(r.Method), route, fmt.Sprint(rec.code())).Inc()
			seconds.WithLabelValues(method(r.Method), route).Observe(took.Seconds())
			level := slog.LevelDebug
			if r.Method != http.MethodGet || rec.code() >= 400 {
				level = slog.LevelInfo
			}
			log.LogAttrs(r.Context(), level, "request", slog.String("request", req.id), slog.String("method", r.Method),
				slog.String("path", r.URL.Path), slog.Int("status", rec.code()), slog.Int64("bytes", rec.bytes),
				slog.Duration("took", took), slog.String("user", req.caller), slog.String("from", r.RemoteAddr))
		}()
		next.ServeHTTP(rec, r)
	})
}

// goodRequestID accepts an id of a proxy before us that cannot harm a log.
func goodRequestID(id string) bool {
	return len(id) >= 8 && len(id) <= 64 && strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.") == ""
}

// method keeps invented methods out of the metrics' labels.
func method(m string) string {
	switch m {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
		return m
	}
	return "other"
}

// recorder notes status and size of an answer.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && status >= 200 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(b)
	r.bytes += int64(n)
	return n, err
}

// Flush passes on: cgi (git's smart HTTP) and streams look for it.
func (r *recorder) Flush() {
	if f, ok := r.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
}

// Unwrap lets [http.ResponseController] reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *recorder) code() int {
	if r.status == 0 {
		return http.StatusOK
	}
	return r.status
}
