package build

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"slipway.dev/slipway/internal/platform/execution"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build/farm"
	"slipway.dev/slipway/internal/stage/build/farm/worker"
)

// owner is the kind under which builds own tasks.
const owner = "build"

// Farm is the farm that runs the stage's actions.
type Farm = farm.Farm[Tx]

// Farm returns the farm that runs the stage's actions; others may have it run theirs.
func (s *Service) Farm() *Farm { return s.farm }

// Slots is how many actions run at once now, on all workers that are online.
func (s *Service) Slots(ctx context.Context) (int, error) {
	workers, err := s.farm.Workers(ctx)
	n := 0
	for _, w := range workers {
		if w.State == "online" {
			n += w.Slots
		}
	}
	return n, err
}

// Start takes up what the last process left, and begins to run tasks in the slots of this one.
func (s *Service) Start(ctx context.Context) error {
	if err := s.farm.Start(ctx); err != nil {
		return err
	}
	if err := s.adopt(ctx); err != nil {
		return err
	}
	if s.cfg.Slots < 0 {
		return nil // workers elsewhere do it all
	}
	w := worker.New(s.farm.Local(), s.exec, worker.Config{Name: s.cfg.Worker, Host: s.host.fingerprint, Labels: s.cfg.Labels, Slots: s.cfg.Slots, Log: s.cfg.Log})
	run, cancel := context.WithCancel(context.Background())
	s.cancel, s.done = cancel, make(chan struct{})
	go func() {
		defer close(s.done)
		if err := w.Run(run, run); err != nil {
			s.cfg.Log.Error("the server's own slots have stopped", "err", err)
		}
	}()
	return nil
}

// Stop ends what runs in the slots of this process; it runs again when the next one starts.
func (s *Service) Stop(ctx context.Context) error {
	if s.cancel != nil {
		s.cancel()
		select {
		case <-s.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return s.farm.Stop(ctx)
}

// adopt gives a task to each build that waits or ran without one, as those of earlier versions do.
func (s *Service) adopt(ctx context.Context) error {
	return s.store.Update(ctx, func(tx Tx) error {
		open, err := tx.Builds().Find(ctx, slipway.Query{States: []string{string(Queued), string(Running)}})
		if err != nil {
			return err
		}
		for _, b := range open {
			if b.Task != "" {
				continue
			}
			b.State = Queued
			if err := s.submit(ctx, tx, &b, slipway.ClassCandidate, false); err != nil {
				return err
			}
		}
		return nil
	})
}

// submit has a build run: the farm gets a task, or the build joins one in flight. Anew means that no earlier result will do. It
// writes the build.
func (s *Service) submit(ctx context.Context, tx Tx, b *Build, class slipway.Class, anew bool) error {
	if missing := s.missingTool(ctx, *b); missing != "" {
		return s.end(ctx, tx, b, slipway.Infra,
			fmt.Sprintf("the tool %q is not on this host; install it (apt-get install %s), then push again or rerun", missing, missing))
	}
	l := s.cfg.Limits
	t, err := s.farm.Submit(ctx, tx, farm.Submission{
		Action: b.Key, Name: b.Name(), Product: b.Product, Class: class, Owner: slipway.Ref(owner, b.ID), NoCache: anew,
		Header:  header(*b),
		Outputs: b.Run.Outputs, Host: b.Host,
		Limits: execution.Limits{Memory: l.Memory, Processes: l.Processes, OutputBytes: l.OutputBytes, LogBytes: l.LogBytes},
	})
	if err != nil {
		return err
	}
	b.Task = t.ID
	if t.State == farm.Claimed { // others had it begun
		return s.started(ctx, tx, b, t)
	}
	return tx.Builds().Put(ctx, *b)
}

// header is the first line of a build's log.
func header(b Build) string {
	h := fmt.Sprintf("# %s %s at %.12s, key %s", b.Name(), b.Version, b.Commit, b.Key)
	if b.Unconfined {
		h += ", unconfined: without a sandbox, as the product allows"
	}
	return h
}

// missingTool returns the first program that the component says it runs and that the tools of the host, which are those of this one, do
// not have.
func (s *Service) missingTool(ctx context.Context, b Build) string {
	if host, err := s.host.fingerprint(ctx); err != nil || host != b.Host {
		return "" // its worker will find out
	}
	return missingTools(b.Run)
}

func (s *Service) started(ctx context.Context, tx Tx, b *Build, t farm.Task) error {
	if b.State != Running {
		b.State, b.Started, b.Reason = Running, tx.Now(), b.Why
	}
	b.Worker = t.Worker
	if err := tx.Builds().Put(ctx, *b); err != nil {
		return err
	}
	if err := tell(ctx, tx, *b); err != nil { // people see it run
		return err
	}
	return tx.Emit(ctx, b.event(slipway.BuildStarted, "started", b.Why))
}

// tasks is what the farm tells of tasks that builds own.
type tasks struct{ s *Service }

// Started implements [farm.Owner].
func (o tasks) Started(ctx context.Context, tx Tx, id string, t farm.Task) error {
	b, err := tx.Builds().Get(ctx, id)
	if err != nil || b.State == Done {
		return err
	}
	return o.s.started(ctx, tx, &b, t)
}

// Requeued implements [farm.Owner].
func (o tasks) Requeued(ctx context.Context, tx Tx, id string, t farm.Task) error {
	b, err := tx.Builds().Get(ctx, id)
	if err != nil || b.State == Done {
		return err
	}
	b.State, b.Reason, b.Faults = Queued, t.Reason, len(t.Failed)
	if err := tx.Builds().Put(ctx, b); err != nil {
		return err
	}
	if err := tell(ctx, tx, b); err != nil {
		return err
	}
	return tx.Emit(ctx, b.event(slipway.BuildRetried, fmt.Sprintf("retried/%d", t.Epoch), t.Reason))
}

// Ended implements [farm.Owner].
func (o tasks) Ended(ctx context.Context, tx Tx, id string, t farm.Task) error {
	b, err := tx.Builds().Get(ctx, id)
	if err != nil || b.State == Done {
		return err
	}
	b.Log, b.LogBytes, b.Faults = t.Log, t.LogBytes, len(t.Failed)
	if t.Worker != "" {
		b.Worker = t.Worker
	}
	if t.Outcome == slipway.Pass && t.Result != nil {
		b.Output = t.Result.Output
	}
	if t.Fault == slipway.NotFound { // the source may be what was lost: read it out of git again
		tx.AfterCommit(func() { o.s.forgetSource(ctx, b) })
	}
	reason := t.Reason
	if b.Unconfined { // nobody shall take it for one that had a sandbox
		reason += ", unconfined"
	}
	return o.s.end(ctx, tx, &b, t.Outcome, reason)
}

// CancelBuild ends a build that waits or runs; for the waves that wait for it, it was cancelled.
func (s *Service) CancelBuild(ctx context.Context, id, reason string) error {
	return s.store.Update(ctx, func(tx Tx) error {
		b, err := tx.Builds().Get(ctx, id)
		if err != nil {
			return err
		}
		if b.State == Done {
			return slipway.Errorf(slipway.Conflict, "build %s has ended already: %s", id, b.Outcome)
		}
		return s.quit(ctx, tx, b, reason)
	})
}

// quit ends a build that nobody wants any more: at once, unless a worker has to stop for that.
func (s *Service) quit(ctx context.Context, tx Tx, b Build, reason string) error {
	b.Stop = reason
	gone := true
	if b.Task != "" {
		var err error
		if gone, err = s.farm.Leave(ctx, tx, b.Task, slipway.Ref(owner, b.ID), reason); err != nil {
			return err
		}
	}
	if gone {
		return s.end(ctx, tx, &b, slipway.Cancelled, reason)
	}
	return tx.Builds().Put(ctx, b)
}

// missingTools returns the first program that the component says it runs and the sandbox would not find.
func missingTools(r Run) string {
	for _, tool := range r.Tools {
		found := slices.ContainsFunc(filepath.SplitList(r.Env["PATH"]), func(dir string) bool { return isProgram(filepath.Join(dir, filepath.Base(tool))) })
		if !found {
			return strings.TrimSpace(tool)
		}
	}
	return ""
}

func isProgram(file string) bool {
	fi, err := os.Stat(file)
	return err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0
}

// forgetSource makes the next wave read the source out of git again.
func (s *Service) forgetSource(ctx context.Context, b Build) {
	repo, err := s.trees.source.Git(b.Repo)
	if err != nil {
		return
	}
	if tree, err := repo.Tree(ctx, b.Commit, b.Path); err == nil {
		s.trees.forget(tree)
	}
}
