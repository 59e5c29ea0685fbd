package executor

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"slipway.dev/slipway/internal/agent/spool"
	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/lab"
)

// Config sets up an Executor.
type Config struct {
	Root  string            // the agent's folder; the executor uses ROOT/lab
	Blobs artifact.Opener   // where artifacts come from
	Facts map[string]string // steps see each as FACT_KEY
	Log   *slog.Logger      // default slog.Default()
	Grace time.Duration     // how long a background step may take to end after SIGTERM; default 5s
	Alone time.Duration     // how long after the experiment's time a node without a server cleans up by itself; default 1m
}

// Executor implements the agent's Module, Changer and Runner.
type Executor struct {
	cfg     Config
	dir     string
	changed chan struct{}

	mu      sync.Mutex
	epoch   int64 // the highest that was ever taken
	all     map[string]*assignment
	started bool
	ctx     context.Context // of Run; set once it began
	wg      sync.WaitGroup
	last    chan struct{} // closed when the newest assignment's work has ended: the next one waits for it
}

// New opens the executor's folder and finds the assignments that an earlier process left.
func New(cfg Config) (*Executor, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Grace <= 0 {
		cfg.Grace = 5 * time.Second
	}
	if cfg.Alone <= 0 {
		cfg.Alone = time.Minute
	}
	root, err := filepath.Abs(cfg.Root)
	if err != nil {
		return nil, slipway.Errorf(slipway.Invalid, "agent root: %w", err)
	}
	x := &Executor{cfg: cfg, dir: filepath.Join(root, "lab"), changed: make(chan struct{}, 1), all: map[string]*assignment{}, last: make(chan struct{})}
	close(x.last)
	if err := os.MkdirAll(x.dir, 0o700); err != nil {
		return nil, slipway.Errorf(slipway.Unavailable, "make the executor's folder: %w", err)
	}
	if b, err := os.ReadFile(x.epochFile()); err == nil {
		if x.epoch, err = strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err != nil {
			return nil, slipway.Errorf(slipway.Invalid, "the node's epoch is damaged: %w", err).At(x.epochFile())
		}
	} else if !os.IsNotExist(err) {
		return nil, slipway.Errorf(slipway.Unavailable, "read the node's epoch: %w", err)
	}
	entries, err := os.ReadDir(x.dir)
	if err != nil {
		return nil, slipway.Errorf(slipway.Unavailable, "read the executor's folder: %w", err)
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		a, err := openAssignment(x, e.Name())
		if err != nil {
			return nil, err
		}
		if a.order.Work == nil { // cut short before the order was on disk: it never was taken
			a.remove()
			continue
		}
		x.all[a.order.ID] = a
	}
	return x, nil
}

func (x *Executor) epochFile() string { return filepath.Join(x.dir, "epoch") }

// Name is the module's name.
func (x *Executor) Name() string { return "lab" }

// Changed tells that there is something to report.
func (x *Executor) Changed() <-chan struct{} { return x.changed }

func (x *Executor) signal() {
	select {
	case x.changed <- struct{}{}:
	default:
	}
}

// Run works on assignments until ctx ends; then it stops their processes, which the next process will take for interrupted.
func (x *Executor) Run(ctx context.Context) error {
	x.mu.Lock()
	x.ctx, x.started = ctx, true
	for _, id := range slices.Sorted(maps.Keys(x.all)) {
		x.launch(x.all[id])
	}
	x.mu.Unlock()
	<-ctx.Done()
	x.mu.Lock()
	x.started = false
	x.mu.Unlock()
	x.wg.Wait()
	return nil
}

// launch starts an assignment's goroutine, which waits for the one before. Called with mu held.
func (x *Executor) launch(a *assignment) {
	before := x.last
	x.last = a.over
	x.wg.Go(func() {
		defer close(a.over)
		select {
		case <-before:
		case <-x.ctx.Done():
			return
		}
		a.run(x.ctx)
	})
}

// Limits of one report, far below what the bus carries.
const (
	maxRecords = 256 << 10
	maxLogs    = 512 << 10
)

// Report implements the agent's Module.
func (x *Executor) Report(context.Context) (json.RawMessage, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	var r lab.Report
	records, logs := maxRecords, maxLogs
	for _, id := range slices.Sorted(maps.Keys(x.all)) {
		r.Assignments = append(r.Assignments, x.all[id].report(&records, &logs))
	}
	return json.Marshal(r)
}

// Apply implements the agent's Module.
func (x *Executor) Apply(_ context.Context, raw json.RawMessage) error {
	var reply lab.Reply
	if err := json.Unmarshal(raw, &reply); err != nil {
		return slipway.Errorf(slipway.Invalid, "the orders cannot be read: %w", err)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	more := false
	for id, ack := range reply.Acks {
		if a := x.all[id]; a != nil {
			more = a.acknowledge(ack) || more
		}
	}
	if more {
		x.signal()
	}
	for _, f := range reply.Forget {
		if a := x.all[f.ID]; a != nil {
			a.update(func(s *signals) { s.forget, s.reason = true, f.Reason })
		}
	}
	if reply.Order == nil {
		return nil
	}
	return x.take(*reply.Order)
}

// take follows an order, or refuses it. Called with mu held.
func (x *Executor) take(o lab.Order) error {
	if o.Epoch < x.epoch {
		return slipway.Errorf(slipway.Conflict, "refused an order of epoch %d: this node is at epoch %d", o.Epoch, x.epoch).At(o.ID)
	}
	if a := x.all[o.ID]; a != nil {
		if a.order.Epoch != o.Epoch {
			return slipway.Errorf(slipway.Conflict, "refused an order of epoch %d for an assignment of epoch %d", o.Epoch, a.order.Epoch).At(o.ID)
		}
		a.update(func(s *signals) {
			s.phase, s.open, s.passed, s.missing = furthest(s.phase, o.Phase), o.Open, o.Passed, o.Missing
			if o.Reason != "" {
				s.reason = o.Reason
			}
		})
		return nil
	}
	if o.Work == nil {
		return nil // the next report will show that it is not here, and bring the whole order
	}
	if o.Epoch > x.epoch {
		if err := writeFile(x.epochFile(), strconv.FormatInt(o.Epoch, 10)); err != nil {
			return err
		}
		x.epoch = o.Epoch
	}
	a, err := newAssignment(x, o)
	if err != nil {
		return err
	}
	x.all[o.ID] = a
	if x.started {
		x.launch(a)
	}
	x.signal()
	return nil
}

// forgotten removes an assignment that is over.
func (x *Executor) forgotten(a *assignment) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.all, a.order.ID)
	a.remove()
}

func furthest(a, b string) string {
	order := []string{lab.PhasePrepare, lab.PhaseRun, lab.PhaseClean}
	if slices.Index(order, b) > slices.Index(order, a) {
		return b
	}
	return a
}

func writeFile(file, text string) error {
	tmp := file + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return slipway.Errorf(slipway.Unavailable, "write %s: %w", file, err)
	}
	_, err = f.WriteString(text + "\n")
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp, file)
	}
	if err == nil {
		err = spool.SyncDir(filepath.Dir(file))
	}
	if err != nil {
		return slipway.Errorf(slipway.Unavailable, "write %s: %w", file, err)
	}
	return nil
}
