package build

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/jobs"
	"slipway.dev/slipway/internal/slipway"
)

// Config tunes the stage.
type Config struct {
	Dir    string        // data folder; work/, logs/ and cache/ below it are this stage's
	Slots  int           // builds at once; default the number of processors
	Worker string        // name of this host in builds; default its host name
	Poll   time.Duration // how often to look whether another server stopped a build; default 2 s
	Limits Limits
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
	exec      Executor
	cfg       Config
	recipes   recipes
	trees     trees
	host      host
	logs      logs

	mu      sync.Mutex
	running map[string]context.CancelCauseFunc // by build id, in this process
}

// New makes the stage. It clears what builds of a process that is gone left: their work folders, and logs that were kept already
// or will be begun anew.
func New(st slipway.Store[Tx], source Source, artifacts Artifacts, exec Executor, cfg Config) (*Service, error) {
	if cfg.Slots <= 0 {
		cfg.Slots = runtime.NumCPU()
	}
	if cfg.Worker == "" {
		cfg.Worker, _ = os.Hostname()
	}
	if cfg.Poll <= 0 {
		cfg.Poll = 2 * time.Second
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("open the build stage: %w", err)
	}
	cfg.Dir = dir
	for _, d := range []string{"work", "logs"} {
		if err := artifact.RemoveTree(filepath.Join(dir, d)); err != nil {
			return nil, fmt.Errorf("clear what earlier builds left: %w", err)
		}
	}
	cache := filepath.Join(dir, "cache", "gittrees")
	for _, d := range []string{filepath.Join(dir, "work"), filepath.Join(dir, "logs"), cache} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("open the build stage: %w", err)
		}
	}
	return &Service{
		store: st, artifacts: artifacts, exec: exec, cfg: cfg,
		recipes: recipes{source: source},
		trees:   trees{dir: cache, source: source, artifacts: artifacts},
		logs:    logs{dir: filepath.Join(dir, "logs")},
		running: map[string]context.CancelCauseFunc{},
	}, nil
}

// Handlers returns the stage's reconcilers.
func (s *Service) Handlers() []jobs.Handler {
	return []jobs.Handler{
		{Kind: "build.wave", Slots: 2, Do: s.advance},
		{Kind: "build.run", Slots: s.cfg.Slots, Do: s.run},
	}
}

// Routes is empty: waves and builds wake each other directly, in the transactions that concern both.
func Routes() []jobs.Route { return nil }

// Check says why builds cannot run here, and what to do about it.
func (s *Service) Check(ctx context.Context) error { return s.exec.Check(ctx) }

// StartWave begins the wave, or returns the one that has the request's ID.
func (s *Service) StartWave(ctx context.Context, req slipway.WaveRequest) (slipway.WaveStatus, error) {
	if req.ID == "" || len(req.Targets) == 0 {
		return slipway.WaveStatus{}, slipway.Errorf(slipway.Invalid, "a wave needs an id and at least one target")
	}
	seen := map[string]bool{}
	for _, p := range req.Pins {
		if seen[p.Component] {
			return slipway.WaveStatus{}, slipway.Errorf(slipway.Invalid, "the wave %s has two pins for %s", req.ID, p.Component)
		}
		seen[p.Component] = true
	}
	var w Wave
	err := s.store.Update(ctx, func(tx Tx) (err error) {
		w, err = tx.Waves().Get(ctx, req.ID)
		if err == nil || !slipway.Is(err, slipway.NotFound) {
			return err
		}
		w = Wave{Request: req, State: slipway.WaveRunning, Reason: "is being planned", Components: map[string]slipway.ComponentBuild{}, Created: tx.Now()}
		for _, t := range req.Targets {
			w.Components[t] = slipway.ComponentBuild{State: "waiting", Reason: "the wave is being planned"}
		}
		if err := tx.Waves().Put(ctx, w); err != nil {
			return err
		}
		started := w.event(slipway.WaveStarted, "started")
		started.Reason = req.Reason
		if err := tx.Emit(ctx, started); err != nil {
			return err
		}
		return tx.Wake(ctx, "build.wave", req.ID, time.Time{})
	})
	return w.Status(), err
}

// Wave returns a wave's status.
func (s *Service) Wave(ctx context.Context, id string) (slipway.WaveStatus, error) {
	w, err := s.WaveRecord(ctx, id)
	return w.Status(), err
}

// WaveRecord returns a wave with its request and times.
func (s *Service) WaveRecord(ctx context.Context, id string) (w Wave, err error) {
	err = s.store.View(ctx, func(tx Tx) error { w, err = tx.Waves().Get(ctx, id); return err })
	return w, err
}

// Waves lists waves; the query's Key is the subject that they are for.
func (s *Service) Waves(ctx context.Context, q slipway.Query) (all []Wave, err error) {
	err = s.store.View(ctx, func(tx Tx) error { all, err = tx.Waves().Find(ctx, q); return err })
	return all, err
}

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

// CancelWave ends a running wave. Its builds end too, unless another wave waits for them.
func (s *Service) CancelWave(ctx context.Context, id, reason string) error {
	if reason == "" {
		reason = "cancelled"
	}
	var stop []string
	err := s.store.Update(ctx, func(tx Tx) error {
		stop = nil
		w, err := tx.Waves().Get(ctx, id)
		if err != nil {
			return err
		}
		if w.State != slipway.WaveRunning {
			return slipway.Errorf(slipway.Conflict, "the wave %s is %s already", id, w.State)
		}
		active, err := tx.Builds().Find(ctx, slipway.Query{States: []string{string(Queued), string(Running)}})
		if err != nil {
			return err
		}
		for _, b := range active {
			if !slices.Contains(b.Waves, id) {
				continue
			}
			b.Waves = slices.DeleteFunc(b.Waves, func(w string) bool { return w == id })
			if len(b.Waves) == 0 {
				b.Stop = reason
				if b.State == Queued {
					if err := s.end(ctx, tx, &b, slipway.Cancelled, reason); err != nil {
						return err
					}
					continue
				}
				stop = append(stop, b.ID)
			}
			if err := tx.Builds().Put(ctx, b); err != nil {
				return err
			}
		}
		for name, c := range w.Components {
			if c.State != "built" && c.State != "failed" {
				c.State, c.Reason, c.Outcome = "skipped", reason, ""
			}
			for i, t := range c.Tests {
				if t.State != "finished" {
					c.Tests[i].State, c.Tests[i].Reason = "skipped", reason
				}
			}
			w.Components[name] = c
		}
		w.State, w.Reason, w.Finished = slipway.WaveCancelled, reason, tx.Now()
		if err := tx.Waves().Put(ctx, w); err != nil {
			return err
		}
		return tx.Emit(ctx, w.event(slipway.WaveFinished, "finished"))
	})
	if err != nil {
		return err
	}
	for _, id := range stop {
		s.stop(id)
	}
	return nil
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

// stop ends a build that runs in this process.
func (s *Service) stop(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cancel := s.running[id]; cancel != nil {
		cancel(errStopped)
	}
}

// end finishes a build inside a transaction: state, event, and a wake for each wave that waits for it.
func (s *Service) end(ctx context.Context, tx Tx, b *Build, outcome slipway.Outcome, reason string) error {
	b.State, b.Outcome, b.Reason, b.Finished = Done, outcome, reason, tx.Now()
	if err := tx.Builds().Put(ctx, *b); err != nil {
		return err
	}
	e := b.event(slipway.BuildFinished, "finished", fmt.Sprintf("%s: %s", outcome, reason))
	if err := tx.Emit(ctx, e); err != nil {
		return err
	}
	for _, w := range b.Waves {
		if err := tx.Wake(ctx, "build.wave", w, time.Time{}); err != nil {
			return err
		}
	}
	return nil
}
