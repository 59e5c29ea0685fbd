package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/sandbox"
	"slipway.dev/slipway/internal/slipway"
)

// maxFaults is how often a build is tried when Slipway or its host fails it.
const maxFaults = 3

var errStopped = errors.New("stopped: no wave waits for it any more")

// result is what one try of a build came to.
type result struct {
	outcome slipway.Outcome
	reason  string
	output  artifact.Digest
}

// run runs one queued build to its end. Run again after a crash, it starts over in an empty work folder.
func (s *Service) run(ctx context.Context, id string) error {
	b, proceed, err := s.begin(ctx, id)
	if err != nil || !proceed {
		return err
	}
	parent := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s.mu.Lock()
	s.running[id] = cancel
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.running, id)
		s.mu.Unlock()
	}()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		s.watchStop(ctx, id, cancel)
	}()

	work := filepath.Join(s.cfg.Dir, "work", id)
	log, err := s.logs.create(id)
	if err != nil {
		return err
	}
	res, err := s.try(ctx, b, work, log)
	switch {
	case errors.Is(context.Cause(ctx), errStopped):
		res, err = result{outcome: slipway.Cancelled, reason: errStopped.Error()}, nil
	case parent.Err() != nil: // shutting down: it runs again
		err = context.Cause(parent)
	}
	cancel(nil)
	<-watched
	if err == nil {
		fmt.Fprintf(log, "# %s: %s\n", res.outcome, res.reason)
	}
	if e := log.Close(); err == nil {
		err = e
	}
	if err != nil && parent.Err() == nil {
		res, err = s.fault(parent, b, err)
	}
	if err == nil {
		err = s.finish(parent, b, res)
	}
	if e := artifact.RemoveTree(work); err == nil && e != nil {
		err = fmt.Errorf("clear the work folder of build %s: %w", id, e)
	}
	return err
}

// begin marks the build as running; proceed is false when there is nothing to do.
func (s *Service) begin(ctx context.Context, id string) (b Build, proceed bool, err error) {
	err = s.store.Update(ctx, func(tx Tx) (err error) {
		proceed = false
		if b, err = tx.Builds().Get(ctx, id); err != nil {
			return err
		}
		if b.State == Done {
			return nil
		}
		if b.Stop != "" {
			return s.end(ctx, tx, &b, slipway.Cancelled, b.Stop)
		}
		proceed = true
		if b.State != Running {
			b.State, b.Started = Running, tx.Now()
		}
		b.Worker = s.cfg.Worker
		if err := tx.Builds().Put(ctx, b); err != nil {
			return err
		}
		for _, w := range b.Waves { // people see it run
			if err := tx.Wake(ctx, "build.wave", w, time.Time{}); err != nil {
				return err
			}
		}
		return tx.Emit(ctx, b.event(slipway.BuildStarted, "started", b.Why))
	})
	return b, proceed, err
}

// watchStop ends the build when its record says so; another server may have written that.
func (s *Service) watchStop(ctx context.Context, id string, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(s.cfg.Poll)
	defer tick.Stop()
	for {
		// The first look comes before the first tick: it may have been stopped before it could be reached by stop.
		if b, err := s.Build(ctx, id); err == nil && b.Stop != "" {
			cancel(errStopped)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// try lays out the inputs, runs the command and collects the output.
func (s *Service) try(ctx context.Context, b Build, work string, log *logWriter) (result, error) {
	if err := artifact.RemoveTree(work); err != nil {
		return result{}, fmt.Errorf("clear the work folder: %w", err)
	}
	src, out := filepath.Join(work, "src"), filepath.Join(work, "out")
	if err := os.MkdirAll(out, 0o755); err != nil {
		return result{}, fmt.Errorf("make the work folder: %w", err)
	}
	if missing := missingTools(b.Run); missing != "" {
		return result{outcome: slipway.Infra, reason: fmt.Sprintf("the tool %q is not on this host; install it (apt-get install %s), then push again or rerun", missing, missing)}, nil
	}
	if err := artifact.CopyTree(ctx, s.artifacts, b.Source, src); err != nil {
		return result{}, inputError("src", err)
	}
	mounts := []sandbox.Mount{{Source: src, Target: srcDir, Writable: true}}
	if b.Own == "" {
		mounts = append(mounts, sandbox.Mount{Source: out, Target: outDir, Writable: true})
	} else {
		own, err := s.artifacts.Tree(ctx, b.Own)
		if err != nil {
			return result{}, inputError("out", err)
		}
		mounts = append(mounts, sandbox.Mount{Source: own, Target: outDir})
	}
	for need, d := range b.Inputs {
		dir, err := s.artifacts.Tree(ctx, d)
		if err != nil {
			return result{}, inputError("deps/"+need, err)
		}
		mounts = append(mounts, sandbox.Mount{Source: dir, Target: depsDir + "/" + need})
	}
	if len(b.Inputs) == 0 { // $DEPS exists also when it is empty
		deps := filepath.Join(work, "deps")
		if err := os.Mkdir(deps, 0o755); err != nil {
			return result{}, fmt.Errorf("make the work folder: %w", err)
		}
		mounts = append(mounts, sandbox.Mount{Source: deps, Target: depsDir})
	}
	if b.Key == "" {
		fmt.Fprintf(log, "# %s %s from %s\n", b.Name(), b.Version, b.Commit)
	} else {
		fmt.Fprintf(log, "# %s %s at %.12s, key %s\n", b.Name(), b.Version, b.Commit, b.Key)
	}
	limits := s.cfg.Limits
	exit, err := s.exec.Run(ctx, sandbox.Spec{
		Mounts: mounts, Dir: srcDir, Env: b.Run.Env, Argv: []string{"sh", "-eu", "-c", b.Run.Script}, Log: log,
		Limits: sandbox.Limits{Wall: b.Run.Timeout, Memory: limits.Memory, Processes: limits.Processes, OutputBytes: limits.OutputBytes, LogBytes: limits.LogBytes},
	})
	if err != nil {
		return result{}, err
	}
	log.endLine()
	took := exit.Wall.Round(10 * time.Millisecond)
	switch {
	case exit.Status == sandbox.Cancelled:
		return result{}, context.Cause(ctx)
	case exit.Status == sandbox.TimedOut:
		return result{outcome: slipway.Timeout, reason: fmt.Sprintf("stopped after its timeout of %s%s", b.Run.Timeout, log.said())}, nil
	case exit.Status == sandbox.LogTooLarge:
		return result{outcome: slipway.Fail, reason: "stopped because it wrote too much to its log" + log.said()}, nil
	case exit.Status == sandbox.OutputTooLarge, exit.Code == 128+25:
		return result{outcome: slipway.Fail, reason: "stopped because it wrote too many bytes to its folders" + log.said()}, nil
	case exit.Code != 0:
		return result{outcome: slipway.Fail, reason: fmt.Sprintf("exit code %d after %s%s", exit.Code, took, log.said())}, nil
	case b.Own != "":
		return result{outcome: slipway.Pass, reason: fmt.Sprintf("passed in %s", took)}, nil
	}
	return s.collect(ctx, b, out, took)
}

// collect keeps the output tree. What is wrong with it is the build's fault.
func (s *Service) collect(ctx context.Context, b Build, out string, took time.Duration) (result, error) {
	root, err := os.OpenRoot(out)
	if err != nil {
		return result{}, fmt.Errorf("open the output: %w", err)
	}
	defer root.Close()
	var missing []string
	for _, o := range b.Run.Outputs {
		if _, err := root.Stat(filepath.FromSlash(o)); err != nil {
			missing = append(missing, "$OUT/"+o)
		}
	}
	if len(missing) > 0 {
		return result{outcome: slipway.Fail, reason: "did not make the declared outputs: " + strings.Join(missing, ", ")}, nil
	}
	d, err := artifact.PutTreeWithin(ctx, s.artifacts, out, artifact.TreeLimits{Bytes: s.cfg.Limits.OutputBytes})
	if slipway.Is(err, slipway.Invalid) || slipway.Is(err, slipway.TooLarge) {
		return result{outcome: slipway.Fail, reason: "its output cannot be kept: $OUT" + err.Error()}, nil
	}
	if err != nil {
		return result{}, err
	}
	return result{outcome: slipway.Pass, reason: fmt.Sprintf("built in %s", took), output: d}, nil
}

// missingTools returns the first program that the component says it runs and the sandbox would not find.
func missingTools(r Run) string {
	for _, tool := range r.Tools {
		found := false
		for _, dir := range filepath.SplitList(r.Env["PATH"]) {
			if fi, err := os.Stat(filepath.Join(dir, filepath.Base(tool))); err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0 {
				found = true
				break
			}
		}
		if !found {
			return tool
		}
	}
	return ""
}

func inputError(what string, err error) error {
	return slipway.Errorf(slipway.KindOf(err), "the input %s: %w", what, err)
}

// fault handles an error that is not the build's own: tried again by the job, given up after maxFaults.
func (s *Service) fault(ctx context.Context, b Build, cause error) (result, error) {
	giveUp := slipway.Is(cause, slipway.NotFound) || slipway.Is(cause, slipway.Invalid) || errors.Is(cause, exec.ErrNotFound)
	if slipway.Is(cause, slipway.NotFound) {
		s.forgetSource(ctx, b)
	}
	err := s.store.Update(ctx, func(tx Tx) error {
		now, err := tx.Builds().Get(ctx, b.ID)
		if err != nil {
			return err
		}
		now.Faults++
		giveUp = giveUp || now.Faults >= maxFaults
		return tx.Builds().Put(ctx, now)
	})
	if err != nil {
		return result{}, err
	}
	if !giveUp {
		return result{}, cause
	}
	return result{outcome: slipway.Infra, reason: cause.Error()}, nil
}

// forgetSource makes the next wave read the source out of git again, in case it is what was lost.
func (s *Service) forgetSource(ctx context.Context, b Build) {
	repo, err := s.trees.source.Git(b.Repo)
	if err != nil {
		return
	}
	if tree, err := repo.Tree(ctx, b.Commit, b.Path); err == nil {
		s.trees.forget(tree)
	}
}

// finish keeps the log and ends the build in one transaction.
func (s *Service) finish(ctx context.Context, b Build, res result) error {
	logDigest, size, err := s.logs.keep(ctx, b.ID, s.artifacts)
	if err != nil {
		return err
	}
	err = s.store.Update(ctx, func(tx Tx) error {
		now, err := tx.Builds().Get(ctx, b.ID)
		if err != nil || now.State == Done {
			return err
		}
		now.Log, now.LogBytes, now.Output = logDigest, size, res.output
		if now.Stop != "" && res.outcome == slipway.Cancelled {
			res.reason = now.Stop
		}
		return s.end(ctx, tx, &now, res.outcome, res.reason)
	})
	if err != nil {
		return err
	}
	s.logs.done(b.ID)
	return nil
}
