package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nkeys"

	"slipway.dev/slipway/internal/platform/bus"
	"slipway.dev/slipway/internal/slipway"
)

// Config describes an agent.
type Config struct {
	Server string            // URL of the server: "http://127.0.0.1:8080"
	Token  string            // one-time join token; not needed once joined
	Name   string            // the node's name
	Root   string            // folder that belongs to the agent
	Labels map[string]string // what the node can do; the labels of its join token win
	Facts  map[string]string // what the node is; added to what the agent finds out
	// Version of this program, for people.
	Version string

	Every    time.Duration                // between syncs; default 2s
	Backoff  time.Duration                // the longest wait before it dials again; default 30s
	Log      *slog.Logger                 // default slog.Default()
	TLS      *tls.Config                  // how the server and the bus are spoken to; nil is Go's default
	Client   *http.Client                 // default one without a time limit for whole answers
	Notified func(synced bool, err error) // told of every sync; may be nil
}

// Agent is one node's agent. Make it with New, give it modules with Add, then Run it once.
type Agent struct {
	cfg     Config
	key     nkeys.KeyPair
	public  string
	facts   map[string]string
	modules []Module
	offset  atomic.Int64 // server's clock minus ours, ns
	wake    chan struct{}
}

// New prepares the agent's folder and key.
//
// Errors: Invalid for a missing server, name or root and for a name that no node can have.
func New(cfg Config) (*Agent, error) {
	if cfg.Server == "" || cfg.Name == "" || cfg.Root == "" {
		return nil, slipway.Errorf(slipway.Invalid, "an agent needs a server, a name and a root folder").Try("give --server, --name and --root")
	}
	if !bus.ValidNode(cfg.Name) {
		return nil, slipway.Errorf(slipway.Invalid, "%q cannot be a node's name", cfg.Name).Try("give --name: at most 63 lower-case letters, digits and dashes")
	}
	cfg.Server = strings.TrimSuffix(cfg.Server, "/")
	if cfg.Every <= 0 {
		cfg.Every = 2 * time.Second
	}
	if cfg.Backoff <= 0 {
		cfg.Backoff = 30 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Client == nil {
		cfg.Client = &http.Client{Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, TLSClientConfig: cfg.TLS.Clone(), ResponseHeaderTimeout: 30 * time.Second, MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute,
		}}
	}
	root, err := filepath.Abs(cfg.Root)
	if err != nil {
		return nil, slipway.Errorf(slipway.Invalid, "agent root: %w", err)
	}
	cfg.Root = root
	if err := os.MkdirAll(filepath.Join(root, "agent"), 0o700); err != nil {
		return nil, slipway.Errorf(slipway.Unavailable, "make the agent's folder: %w", err)
	}
	key, err := loadKey(filepath.Join(root, "agent", "key.nk"))
	if err != nil {
		return nil, err
	}
	public, err := key.PublicKey()
	if err != nil {
		return nil, slipway.Errorf(slipway.Internal, "read the agent's key: %w", err)
	}
	facts := Facts(cfg.Server, root)
	maps.Copy(facts, cfg.Facts)
	return &Agent{cfg: cfg, key: key, public: public, facts: facts, wake: make(chan struct{}, 1)}, nil
}

// Facts returns what is known of the node: what the agent found out, and what its configuration adds.
func (a *Agent) Facts() map[string]string { return maps.Clone(a.facts) }

// Root is the folder that belongs to the agent; modules use subfolders of their own names.
func (a *Agent) Root() string { return a.cfg.Root }

// Add gives the agent modules; call it before Run.
func (a *Agent) Add(m ...Module) { a.modules = append(a.modules, m...) }

// Run joins if need be, and serves until ctx ends. It returns early only when joining is refused, or a module gives up.
func (a *Agent) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil)
	for _, m := range a.modules {
		if r, ok := m.(Runner); ok {
			wg.Go(func() {
				if err := r.Run(ctx); err != nil && ctx.Err() == nil {
					cancel(slipway.Errorf(slipway.KindOf(err), "agent module %s: %w", m.Name(), err))
				}
			})
		}
		if c, ok := m.(Changer); ok {
			wg.Go(func() { a.forward(ctx, c.Changed()) })
		}
	}
	if err := a.join(ctx); err != nil {
		if ctx.Err() != nil {
			return cause(ctx)
		}
		return err
	}
	wait := newBackoff(a.cfg.Backoff)
	for ctx.Err() == nil {
		began := time.Now()
		err := a.session(ctx)
		if ctx.Err() != nil {
			break
		}
		if time.Since(began) > a.cfg.Backoff {
			wait.reset()
		}
		d := wait.next()
		a.cfg.Log.Warn("no connection to the server; trying again", "in", d.Round(time.Millisecond), "error", err)
		a.sleep(ctx, d)
	}
	return cause(ctx)
}

// cause is why ctx ended; an ordinary end is no error.
func cause(ctx context.Context) error {
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// forward turns a module's signal into the agent's.
func (a *Agent) forward(ctx context.Context, changed <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
			a.syncSoon()
		}
	}
}

func (a *Agent) syncSoon() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

func (a *Agent) sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// now is the server's time, as far as it is known.
func (a *Agent) now() time.Time { return time.Now().Add(time.Duration(a.offset.Load())) }

// backoff doubles from 100 ms to its limit, and takes a random time between half of that and all of it, so that many agents
// do not come back at once.
type backoff struct{ limit, current time.Duration }

func newBackoff(limit time.Duration) *backoff { return &backoff{limit: limit} }

func (b *backoff) reset() { b.current = 0 }

func (b *backoff) next() time.Duration {
	b.current = min(max(2*b.current, 100*time.Millisecond), b.limit)
	return b.current/2 + rand.N(b.current/2+1)
}
