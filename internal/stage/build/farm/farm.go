package farm

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/clock"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build/farm/plan"
)

// Config tunes a farm.
type Config struct {
	Logs    string                             // folder of the logs of running tasks
	Local   string                             // name of the server's own slots as a worker; no other may have it
	Lease   time.Duration                      // how long a claim holds without renewal; default 30 s
	Aging   time.Duration                      // of waiting that makes a task a class more urgent; default 10 min
	Backoff func(failures int) time.Duration   // before a task goes back to a worker that failed it; default 1 s doubling to 1 min
	Secrets func(ctx context.Context) []string // values that logs must not show; default none
	Clock   clock.Clock                        // default the system's
	Log     *slog.Logger                       // default slog.Default()
}

// Farm is the farm of one server. It is safe for concurrent use; T is the transaction of its owners.
type Farm[T Tx] struct {
	store  slipway.Store[T]
	cas    artifact.Store
	owners map[string]Owner[T] // by kind
	cfg    Config
	Logs   *Logs

	mu      sync.Mutex
	queue   []plan.Task
	held    map[string]*held // by task
	workers map[string]*worker
	used    map[string]*usage  // by product
	ended   map[string][]*call // who waits for a task to end
	changed chan struct{}      // closed when a claim that waits should look again

	cancel context.CancelFunc
	done   chan struct{}
}

// held is a claim in force.
type held struct {
	hold    Hold
	task    plan.Task
	local   bool
	since   time.Time
	expires time.Time // never for local ones
	log     *liveLog
	stop    chan struct{} // closed once reason is set
	reason  string
	ending  sync.Mutex // one end at a time
	verdict *verdict   // once judged
}

// worker is what is known of one in memory.
type worker struct {
	plan.Worker
	slots int
	local bool
	seen  time.Time
}

// usage is the slot time of a product, halved every [halfLife].
type usage struct {
	running int
	seconds float64
	at      time.Time
}

// New makes a farm. The owners are told what becomes of tasks, by the kind that their names begin with.
func New[T Tx](st slipway.Store[T], cas artifact.Store, owners map[string]Owner[T], cfg Config) (*Farm[T], error) {
	if cfg.Lease <= 0 {
		cfg.Lease = 30 * time.Second
	}
	if cfg.Aging <= 0 {
		cfg.Aging = 10 * time.Minute
	}
	if cfg.Backoff == nil {
		cfg.Backoff = func(n int) time.Duration { return min(time.Second<<min(n-1, 6), time.Minute) }
	}
	if cfg.Secrets == nil {
		cfg.Secrets = func(context.Context) []string { return nil }
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.System{}
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if err := os.MkdirAll(cfg.Logs, 0o700); err != nil {
		return nil, slipway.Errorf(slipway.Unavailable, "open the farm: %w", err)
	}
	return &Farm[T]{
		store: st, cas: cas, owners: owners, cfg: cfg, Logs: &Logs{dir: filepath.Clean(cfg.Logs), grew: map[string]chan struct{}{}, short: map[string]*liveLog{}},
		held: map[string]*held{}, workers: map[string]*worker{}, used: map[string]*usage{}, ended: map[string][]*call{}, changed: make(chan struct{}),
	}, nil
}

// Start takes up the tasks that the last server left, and begins to watch claims. See the package comment.
func (f *Farm[T]) Start(ctx context.Context) error {
	var open []Task
	err := f.store.Update(ctx, func(tx T) error {
		all, err := tx.Tasks().Find(ctx, slipway.Query{States: []string{string(Queued), string(Claimed)}})
		if err != nil {
			return err
		}
		open = nil
		for _, t := range all {
			if t.State == Claimed && t.Local {
				if t.Stop != "" {
					if err := f.end(ctx, tx, &t, slipway.Cancelled, t.Stop); err != nil {
						return err
					}
					continue
				}
				t.State, t.Reason = Queued, "the server started again"
				if err := tx.Tasks().Put(ctx, t); err != nil {
					return err
				}
			}
			open = append(open, t)
		}
		return nil
	})
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	keep := map[string]bool{}
	for _, t := range open {
		if t.State == Queued {
			f.push(t)
			continue
		}
		log, err := f.Logs.resume(t, f.cfg.Secrets(ctx))
		if err != nil {
			return err
		}
		keep[t.ID] = true
		h := &held{hold: t.hold(), task: t.planned(), since: t.Claimed, expires: f.cfg.Clock.Now().Add(f.cfg.Lease), log: log, stop: make(chan struct{})}
		if t.Stop != "" {
			h.reason = t.Stop
			close(h.stop)
		}
		f.held[t.ID] = h
		f.usageOf(t.Product).running++
	}
	if err := f.Logs.clear(keep); err != nil {
		return err
	}
	watch, cancel := context.WithCancel(context.Background())
	f.cancel, f.done = cancel, make(chan struct{})
	go func() {
		defer close(f.done)
		f.watch(watch)
	}()
	return nil
}

// Stop ends the watch of claims. Tasks stay as they are.
func (f *Farm[T]) Stop(ctx context.Context) error {
	if f.cancel == nil {
		return nil
	}
	f.cancel()
	select {
	case <-f.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, h := range f.held {
		h.log.close()
	}
	return nil
}

// Submit asks for a task inside the owner's transaction. A task in flight of the same action is joined, unless it is about to
// stop or the submission says NoCache.
func (f *Farm[T]) Submit(ctx context.Context, tx T, s Submission) (Task, error) {
	kind, _, ok := slipway.SplitRef(s.Owner)
	if !ok || f.owners[kind] == nil {
		return Task{}, slipway.Errorf(slipway.Internal, "nobody knows the owner %q of a task", s.Owner)
	}
	if !s.NoCache {
		same, err := tx.Tasks().Find(ctx, slipway.Query{Key: s.Action, States: []string{string(Queued), string(Claimed)}})
		if err != nil {
			return Task{}, err
		}
		for _, t := range same {
			if t.Stop != "" {
				continue
			}
			if !slices.Contains(t.Owners, s.Owner) {
				t.Owners = append(t.Owners, s.Owner)
			}
			if s.Class.Rank() < t.Class.Rank() {
				t.Class = s.Class
				tx.AfterCommit(func() { f.reclass(t) })
			}
			return t, tx.Tasks().Put(ctx, t)
		}
	}
	n, err := tx.Next(ctx, "task")
	if err != nil {
		return Task{}, err
	}
	t := Task{
		ID: strconv.FormatInt(n, 10), Action: s.Action, Name: s.Name, Product: s.Product, Class: s.Class, Owners: []string{s.Owner}, Header: s.Header,
		NoCache: s.NoCache, Unkept: s.Unkept, Outputs: s.Outputs, Limits: s.Limits, Host: s.Host, Labels: s.Labels, State: Queued, Reason: "waits for a free slot", Queued: tx.Now(),
	}
	tx.AfterCommit(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.push(t)
		f.wake()
	})
	return t, tx.Tasks().Put(ctx, t)
}

// Leave tells that an owner no longer wants a task, inside the owner's transaction. It reports whether the task is rid of the owner at
// once; else its only owner is told of its end, soon, with the outcome cancelled.
func (f *Farm[T]) Leave(ctx context.Context, tx T, task, owner, reason string) (gone bool, err error) {
	t, err := tx.Tasks().Get(ctx, task)
	if err != nil || t.State == Done {
		return true, err
	}
	others := slices.DeleteFunc(slices.Clone(t.Owners), func(o string) bool { return o == owner })
	if len(others) > 0 {
		t.Owners = others
		return true, tx.Tasks().Put(ctx, t)
	}
	t.Stop = reason
	if t.State == Queued {
		t.State, t.Outcome, t.Reason, t.Finished, t.Owners = Done, slipway.Cancelled, reason, tx.Now(), nil
		tx.AfterCommit(func() { f.drop(t) })
		return true, tx.Tasks().Put(ctx, t)
	}
	tx.AfterCommit(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if h := f.held[t.ID]; h != nil && h.reason == "" {
			h.reason = reason
			close(h.stop)
		}
	})
	return false, tx.Tasks().Put(ctx, t)
}

// Task returns one task.
func (f *Farm[T]) Task(ctx context.Context, id string) (t Task, err error) {
	err = f.store.View(ctx, func(tx T) error { t, err = tx.Tasks().Get(ctx, id); return err })
	return t, err
}

// Tasks lists tasks, oldest first unless the query says otherwise. Of one that waits, the reason says what for.
func (f *Farm[T]) Tasks(ctx context.Context, q slipway.Query) (all []Task, err error) {
	if err := f.store.View(ctx, func(tx T) error { all, err = tx.Tasks().Find(ctx, q); return err }); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.snapshot()
	for i, t := range all {
		all[i].Result = nil // for owners, not for people
		if t.State == Queued {
			all[i].Reason = strings.TrimPrefix(strings.TrimSuffix(t.reasons()+"; ", "; ")+"; "+s.Why(t.planned()), "; ")
		}
	}
	return all, nil
}

// end ends a task inside a transaction, and tells its owners.
func (f *Farm[T]) end(ctx context.Context, tx T, t *Task, outcome slipway.Outcome, reason string) error {
	t.State, t.Outcome, t.Reason, t.Finished = Done, outcome, reason, tx.Now()
	if err := tx.Tasks().Put(ctx, *t); err != nil {
		return err
	}
	return f.tell(*t, func(o Owner[T], id string) error { return o.Ended(ctx, tx, id, *t) })
}

// tell calls each owner of a task.
func (f *Farm[T]) tell(t Task, what func(o Owner[T], id string) error) error {
	for _, name := range t.Owners {
		kind, id, _ := slipway.SplitRef(name)
		o := f.owners[kind]
		if o == nil {
			return slipway.Errorf(slipway.Internal, "nobody knows the owner %q of task %s", name, t.ID)
		}
		if err := what(o, id); err != nil {
			return fmt.Errorf("tell %s of task %s: %w", name, t.ID, err)
		}
	}
	return nil
}

func (t Task) hold() Hold { return Hold{Task: t.ID, Worker: t.Worker, Epoch: t.Epoch} }

func (t Task) planned() plan.Task {
	return plan.Task{ID: t.ID, Product: t.Product, Class: t.Class.Rank(), Queued: t.Queued, NotBefore: t.Retry, Host: t.Host, Labels: t.Labels, Failed: t.failedOn()}
}
