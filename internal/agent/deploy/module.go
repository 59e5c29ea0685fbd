package deploy

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/deploy/plan"
)

// Name is the module's name in a sync.
const Name = "deploy"

// Config says where the module works.
type Config struct {
	Node      string           // the node's name
	Root      string           // directory that everything is deployed below; default "/"
	State     string           // directory for journals, process records and logs; required
	Artifacts artifact.Opener  // where artifacts are fetched from
	Repair    time.Duration    // between two comparisons of everything; default 30 s
	Parallel  int              // resources applied at once; default 4
	Grace     time.Duration    // between SIGTERM and SIGKILL; default 10 s
	Log       *slog.Logger     // default: discarded
	Client    *http.Client     // for health checks
	Changed   func()           // there is news for the server; must neither block nor call the module
	Now       func() time.Time // default time.Now
	StopAll   bool             // stop all processes when Run ends, for an embedded agent that is to leave nothing behind

	changed func() // there is news for the server
}

func (c Config) now() time.Time { return c.Now().UTC() }

// Module keeps the node as desired. Report and Apply return at once; Run does the work.
type Module struct {
	cfg     Config
	mu      sync.Mutex
	holders map[string]*holder
	more    chan struct{} // capacity 1: there is a holder that nobody works for
	news    chan struct{} // capacity 1
	closed  bool
}

// New reads what earlier agents left in the state directory and takes up their processes.
func New(cfg Config) (*Module, error) {
	cfg.Repair = cmp.Or(cfg.Repair, 30*time.Second)
	cfg.Parallel = cmp.Or(cfg.Parallel, 4)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	m := &Module{holders: map[string]*holder{}, more: make(chan struct{}, 1), news: make(chan struct{}, 1)}
	cfg.changed = func() {
		select {
		case m.news <- struct{}{}:
		default: // the next sync tells this too
		}
	}
	m.cfg = cfg
	entries, err := os.ReadDir(cfg.State)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, slipway.Errorf(slipway.Internal, "read the agent's state: %w", err).At(cfg.State)
	}
	for _, e := range entries {
		if _, err := os.Stat(filepath.Join(cfg.State, e.Name(), "journal")); err != nil {
			continue
		}
		if _, err := m.holder(e.Name()); err != nil {
			return nil, errors.Join(err, m.Close())
		}
	}
	return m, nil
}

// Name implements the agent's module contract.
func (m *Module) Name() string { return Name }

// Changed delivers a value when there is news for the server.
func (m *Module) Changed() <-chan struct{} { return m.news }

var productName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*(@[a-z0-9][a-z0-9._-]*)?$`)

// holder returns a product's holder, which is made when there is none.
func (m *Module) holder(product string) (*holder, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if h, ok := m.holders[product]; ok {
		return h, nil
	}
	if m.closed {
		return nil, slipway.Errorf(slipway.Unavailable, "the agent is shutting down")
	}
	if !productName.MatchString(product) { // it becomes a directory
		return nil, slipway.Errorf(slipway.Invalid, "%q is not a product's name", product)
	}
	h, err := openHolder(m.cfg, product)
	if err != nil {
		return nil, err
	}
	m.holders[product] = h
	select {
	case m.more <- struct{}{}:
	default: // Run will see this one too
	}
	return h, nil
}

func (m *Module) all() []*holder {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []*holder
	for _, product := range slices.Sorted(maps.Keys(m.holders)) {
		all = append(all, m.holders[product])
	}
	return all
}

// Report says how the node stands: a [plan.Report].
func (m *Module) Report(context.Context) (json.RawMessage, error) {
	report := plan.Report{Products: map[string]plan.ProductReport{}}
	for _, h := range m.all() {
		if r := h.report(); r.Epoch > 0 || r.Full || r.Refused != "" {
			report.Products[h.product] = r
		}
		report.DryRuns = append(report.DryRuns, h.finishedDryRuns()...)
	}
	return json.Marshal(report)
}

// Apply takes what the server wants: a [plan.Desired]. Products that it does not name stay as they are.
func (m *Module) Apply(_ context.Context, doc json.RawMessage) error {
	var desired plan.Desired
	if err := json.Unmarshal(doc, &desired); err != nil {
		return slipway.Errorf(slipway.Invalid, "the server's answer for %s: %w", Name, err)
	}
	var failed []error
	for _, product := range sortedKeys(desired.Products) {
		h, err := m.holder(product)
		if err == nil {
			err = h.accept(desired.Products[product])
		}
		failed = append(failed, err)
	}
	wanted := map[string][]plan.DryRun{}
	for _, d := range desired.DryRuns {
		wanted[d.Product] = append(wanted[d.Product], d)
		if _, err := m.holder(d.Product); err != nil {
			failed = append(failed, err)
		}
	}
	for _, h := range m.all() {
		h.askDryRuns(wanted[h.product])
	}
	return errors.Join(failed...)
}

// Run works until ctx ends, and closes the module. Processes go on running afterwards unless the configuration says
// StopAll; they start again when an agent with the same state runs again.
func (m *Module) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for ctx.Err() == nil {
		for _, h := range m.all() {
			if h.running { // only Run touches it
				continue
			}
			h.running = true
			wg.Go(func() { h.work(ctx) })
		}
		select {
		case <-ctx.Done():
		case <-m.more:
		}
	}
	wg.Wait()
	var failed []error
	if m.cfg.StopAll {
		for _, h := range m.all() {
			failed = append(failed, h.host.StopProcesses(context.WithoutCancel(ctx))) // bounded by the grace time
		}
	}
	return errors.Join(append(failed, m.Close())...)
}

// Close releases files. Run does it too; call it for a module that was never run.
func (m *Module) Close() error {
	all := m.all()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	m.closed = true
	var failed []error
	for _, h := range all {
		failed = append(failed, h.close())
	}
	return errors.Join(failed...)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
