package build

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/execution"
	"slipway.dev/slipway/internal/platform/jobs"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build/buildroot"
	"slipway.dev/slipway/internal/stage/build/farm"
)

// Config tunes the stage.
type Config struct {
	Dir     string                           // data folder; work/, logs/ and cache/ below it are this stage's
	Slots   int                              // builds at once in this process; default the number of processors; negative: none
	Worker  string                           // name of this host in builds; default its host name
	Labels  map[string]string                // of this server's slots, for actions that ask for them
	Lease   time.Duration                    // how long a worker's claim holds without renewal; default 30 s
	Backoff func(failures int) time.Duration // before a task goes back to a worker that failed it; default 1 s doubling
	Limits  Limits
	Secrets func(ctx context.Context) []string // values that logs must not show; default none
	Log     *slog.Logger                       // default slog.Default()

	Products Products // what it knows of products; may be nil
	Results  Results  // takes what inspections find; may be nil
	Gate     Gate     // excuses failed checks of rebuilds; may be nil
	Packages Packager // makes packages, to see whether they can be installed; nil: nobody looks
}

// Limits bounds every build; zero fields take the sandbox's defaults.
type Limits struct {
	OutputBytes int64 // of an output tree, and of everything that a build writes
	LogBytes    int64
	Processes   int
	Memory      int64 // private memory of one process, in bytes
}

// Service is the build stage.
type Service struct {
	store     slipway.Store[Tx]
	artifacts Artifacts
	exec      execution.Executor
	cfg       Config
	recipes   recipes
	trees     trees
	rules     ruleBooks
	roots     *buildroot.Resolver
	confined  confinement
	host      host
	farm      *Farm
	waves     waves
	marked    atomic.Bool // every build has its marks
	parcels   parcels

	cancel context.CancelFunc // of the slots of this process
	done   chan struct{}
}

// New makes the stage. Nothing runs before Start.
func New(st slipway.Store[Tx], source Source, artifacts Artifacts, exec execution.Executor, cfg Config) (*Service, error) {
	if cfg.Slots == 0 {
		cfg.Slots = runtime.NumCPU()
	}
	if cfg.Worker == "" {
		cfg.Worker, _ = os.Hostname()
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("open the build stage: %w", err)
	}
	cfg.Dir = dir
	cache := filepath.Join(dir, "cache", "gittrees")
	if err := os.MkdirAll(cache, 0o700); err != nil {
		return nil, fmt.Errorf("open the build stage: %w", err)
	}
	s := &Service{
		store: st, artifacts: artifacts, exec: exec, cfg: cfg,
		recipes: recipes{source: source, packages: cfg.Packages},
		trees:   trees{dir: cache, source: source, artifacts: artifacts},
		rules:   ruleBooks{source: source},
	}
	if s.roots, err = buildroot.New(artifacts, buildroot.Config{Dir: filepath.Join(dir, "cache", "buildroots")}); err != nil {
		return nil, err
	}
	owners := map[string]farm.Owner[Tx]{owner: tasks{s}, farm.Call: farm.Calls[Tx]{}}
	s.farm, err = farm.New(st, artifacts, owners, farm.Config{Local: cfg.Worker, Logs: filepath.Join(dir, "logs"), Lease: cfg.Lease, Backoff: cfg.Backoff, Secrets: cfg.Secrets, Log: cfg.Log})
	return s, err
}

// Handlers returns the stage's reconcilers.
func (s *Service) Handlers() []jobs.Handler {
	return append([]jobs.Handler{
		{Kind: "build.wave", Slots: 2, Do: s.advance},
		{Kind: "build.inspect", Do: s.inspect, All: s.inspectAll, Batch: maxInspected},
	}, s.rebuildHandlers()...)
}

// Routes says what wakes rebuilds. Waves and builds wake each other directly, in the transactions that concern both.
func Routes() []jobs.Route { return rebuildRoutes() }

// Check says why builds cannot run here, and what to do about it.
func (s *Service) Check(ctx context.Context) error { return s.exec.Check(ctx) }

// Build returns one build, by its id or by its action's key: of several with one key, the newest that others can use.
func (s *Service) Build(ctx context.Context, id string) (b Build, err error) {
	err = s.store.View(ctx, func(tx Tx) error {
		if !strings.HasPrefix(id, artifact.Prefix) {
			b, err = tx.Builds().Get(ctx, id)
			return err
		}
		same, err := tx.Builds().Find(ctx, slipway.Query{Key: id, Newest: true})
		if err != nil {
			return err
		}
		if len(same) == 0 {
			return slipway.Errorf(slipway.NotFound, "no build has the key %s", id)
		}
		b = same[0]
		if i := slices.IndexFunc(same, Build.usable); i >= 0 {
			b = same[i]
		}
		return nil
	})
	return b, err
}

// Builds lists builds; the query's Key is an action's key.
func (s *Service) Builds(ctx context.Context, q slipway.Query) (all []Build, err error) {
	err = s.store.View(ctx, func(tx Tx) error { all, err = tx.Builds().Find(ctx, q); return err })
	return all, err
}

// Forget lets the next wave try a failed build again, whose failure would be reused otherwise.
func (s *Service) Forget(ctx context.Context, id, actor string) error {
	return s.store.Update(ctx, func(tx Tx) error {
		b, err := tx.Builds().Get(ctx, id)
		if err != nil {
			return err
		}
		if b.State != Done || b.Outcome == slipway.Pass {
			return slipway.Errorf(slipway.Conflict, "build %s has not failed", id)
		}
		if b.Forgot {
			return nil
		}
		b.Forgot = true
		if err := tx.Builds().Put(ctx, b); err != nil {
			return err
		}
		e := b.event(slipway.BuildForgot, "forgot", "may be tried again, says "+actor)
		e.Actor = actor
		return tx.Emit(ctx, e)
	})
}

// end finishes a build inside a transaction: state, event, and a wake for each wave that waits for it.
func (s *Service) end(ctx context.Context, tx Tx, b *Build, outcome slipway.Outcome, reason string) error {
	if b.Unconfined {
		reason += " (unconfined)"
	}
	b.State, b.Outcome, b.Reason, b.Finished = Done, outcome, reason, tx.Now()
	if err := tx.Builds().Put(ctx, *b); err != nil {
		return err
	}
	e := b.event(slipway.BuildFinished, "finished", fmt.Sprintf("%s: %s", outcome, reason))
	if err := tx.Emit(ctx, e); err != nil {
		return err
	}
	return tell(ctx, tx, *b)
}
