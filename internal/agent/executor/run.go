package executor

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/lab"
)

// run brings the assignment to its end, from wherever its records say it is.
func (a *assignment) run(ctx context.Context) {
	x := a.x
	background := map[string]*process{}
	switch {
	case a.has(lab.RecordClean):
	case a.has(lab.RecordFinished):
	case a.has(lab.RecordRunning):
		a.interrupted(ctx)
	default:
		if err := a.prepare(ctx); err != nil {
			if ctx.Err() != nil {
				return
			}
			outcome := slipway.Infra
			if _, yes := a.aborted(); yes {
				outcome = slipway.Cancelled // no fault of this node
			}
			a.finish(outcome, err.Error())
			break
		}
		if ctx.Err() != nil {
			return
		}
		background = a.execute(ctx)
	}
	if !a.has(lab.RecordClean) {
		a.awaitClean(ctx, background)
		if ctx.Err() == nil {
			a.clean(ctx, background)
		}
	}
	if ctx.Err() != nil {
		for _, p := range background {
			p.kill()
		}
		return
	}
	for !a.signals().forget {
		select {
		case <-ctx.Done():
			return
		case <-a.news:
		}
	}
	x.cfg.Log.Info("assignment over", "assignment", a.order.ID, "reason", a.signals().reason)
	x.forgotten(a)
}

// aborted reports that the steps shall end now: the server wants the node clean, or the node is not its any more.
func (a *assignment) aborted() (reason string, yes bool) {
	s := a.signals()
	return s.reason, s.forget || s.phase == lab.PhaseClean
}

// prepare lays out the artifacts, and tries again as long as the server cannot be reached.
func (a *assignment) prepare(ctx context.Context) error {
	if a.has(lab.RecordReady) {
		return nil
	}
	wait := 200 * time.Millisecond
	for {
		err := a.layOutUnlessStopped(ctx)
		if err == nil {
			a.record(lab.Record{Kind: lab.RecordReady})
			return nil
		}
		if kind := slipway.KindOf(err); kind != slipway.Unavailable && kind != slipway.Internal {
			return err
		}
		if reason, yes := a.aborted(); yes {
			return slipway.Errorf(slipway.Unavailable, "stopped: %s", reason)
		}
		a.x.cfg.Log.Warn("artifacts do not come; trying again", "assignment", a.order.ID, "error", err)
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-a.news:
			t.Stop()
		case <-t.C:
		}
		wait = min(2*wait, 10*time.Second)
	}
}

// layOutUnlessStopped is layOut, but gives up a download as soon as the server wants the node back.
func (a *assignment) layOutUnlessStopped(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- a.layOut(ctx) }()
	for {
		select {
		case err := <-done:
			return err
		case <-a.news:
			if reason, yes := a.aborted(); yes {
				cancel()
				<-done
				return slipway.Errorf(slipway.Conflict, "stopped while it fetched artifacts: %s", reason)
			}
		}
	}
}

func (a *assignment) layOut(ctx context.Context) error {
	for _, dir := range []string{"work", "tmp"} {
		if err := os.MkdirAll(filepath.Join(a.dir, dir), 0o700); err != nil {
			return slipway.Errorf(slipway.Unavailable, "make the work folder: %w", err)
		}
	}
	artifacts := filepath.Join(a.dir, "artifacts")
	if err := os.RemoveAll(artifacts); err != nil {
		return slipway.Errorf(slipway.Unavailable, "clear the artifacts: %w", err)
	}
	if err := os.MkdirAll(artifacts, 0o700); err != nil {
		return slipway.Errorf(slipway.Unavailable, "make the artifacts' folder: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(a.order.Work.Artifacts)) {
		if filepath.Base(name) != name || strings.HasPrefix(name, ".") {
			return slipway.Errorf(slipway.Invalid, "artifact %q cannot be a folder's name", name)
		}
		if err := artifact.CopyTree(ctx, a.x.cfg.Blobs, a.order.Work.Artifacts[name], filepath.Join(artifacts, name)); err != nil {
			return slipway.Errorf(slipway.KindOf(err), "artifact %s: %w", name, err)
		}
	}
	return nil
}

// interrupted ends what an earlier process was running when it was killed.
func (a *assignment) interrupted(ctx context.Context) {
	if err := a.sweepAll(ctx); err != nil {
		a.x.cfg.Log.Warn("old processes stay", "assignment", a.order.ID, "error", err)
	}
	open := map[string]lab.StepResult{}
	a.x.mu.Lock()
	for _, r := range a.records {
		if r.Kind != lab.RecordStep {
			continue
		}
		if r.Step.State == "finished" {
			delete(open, r.Step.Step)
			continue
		}
		open[r.Step.Step] = *r.Step
	}
	a.x.mu.Unlock()
	reason := "the agent was restarted between steps"
	if ids := slices.Sorted(maps.Keys(open)); len(ids) > 0 {
		reason = "the agent was restarted while it ran " + strings.Join(ids, ", ")
		for _, id := range ids {
			res := open[id]
			res.State, res.Outcome, res.Exit, res.Reason = "finished", slipway.Infra, -1, "the agent was restarted while it ran"
			res.Finished, res.Tail = time.Now().UTC(), tail(a.logFile(id), tailBytes)
			a.record(lab.Record{Kind: lab.RecordStep, Step: &res})
		}
	}
	a.finish(slipway.Infra, reason)
}

func (a *assignment) finish(outcome slipway.Outcome, reason string) {
	a.record(lab.Record{Kind: lab.RecordFinished, Result: &lab.StepResult{Outcome: outcome, Reason: reason}})
}

const tailBytes = 2 << 10

// ended is a step that has come to an end.
type ended struct {
	step   spec.ExperimentStep
	result lab.StepResult
}

// meeting is a barrier at which the node waits.
type meeting struct {
	step            spec.ExperimentStep
	began, deadline time.Time
}

// execute waits for the word to run, runs the graph, and returns the background steps that still run.
func (a *assignment) execute(ctx context.Context) map[string]*process {
	background := map[string]*process{}
	for {
		s := a.signals()
		if reason, yes := a.aborted(); yes {
			a.finish(slipway.Cancelled, "stopped before it ran: "+reason)
			return background
		}
		if s.phase == lab.PhaseRun {
			break
		}
		select {
		case <-ctx.Done():
			return background
		case <-a.news:
		}
	}
	a.record(lab.Record{Kind: lab.RecordRunning})

	work := a.order.Work
	state := map[string]stepState{}
	results := make(chan ended)
	stepCtx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	running := 0
	total := time.NewTimer(work.Timeout)
	defer total.Stop()
	meetings := map[string]meeting{}

	var outcome slipway.Outcome
	var reason string
	end := func(o slipway.Outcome, why string) {
		if outcome == "" {
			outcome, reason = o, why
			stop(fmt.Errorf("stopped: %s", why))
		}
	}
	gone := make(chan ended) // background steps that end by themselves
	for {
		// Begin what can begin.
		for again := outcome == ""; again; {
			again = false
			for _, i := range startable(work.Steps, work.Role, state, a.signals().passed) {
				step := work.Steps[i]
				switch {
				case step.Barrier != "":
					state[step.ID] = stepWaiting
					meetings[step.ID] = meeting{step, time.Now(), time.Now().Add(step.Timeout)}
					a.record(lab.Record{Kind: lab.RecordStep, Step: &lab.StepResult{Step: step.ID, State: "waiting", Started: time.Now().UTC()}})
					a.record(lab.Record{Kind: lab.RecordArrived, Step: &lab.StepResult{Step: step.ID}})
				case step.Background:
					p, err := a.begin(step, 1)
					if err != nil {
						end(slipway.Infra, step.ID+": "+err.Error())
						break
					}
					state[step.ID], background[step.ID] = stepRunning, p
					began := time.Now().UTC()
					a.x.wg.Go(func() {
						<-p.done
						select {
						case gone <- ended{step, a.result(step, p, began, 1)}:
						case <-stepCtx.Done():
						}
					})
					again = true // the next one need not wait for it
				default:
					state[step.ID] = stepRunning
					running++
					go func() { results <- ended{step, a.runStep(stepCtx, step, false)} }()
				}
			}
		}
		if outcome == "" && running == 0 && complete(work.Steps, work.Role, state) {
			end(slipway.Pass, "all steps passed")
		}
		if outcome != "" && running == 0 {
			break
		}
		// The barrier whose time is over first.
		var late <-chan time.Time
		var lateStep string
		for id, m := range meetings {
			if lateStep == "" || m.deadline.Before(meetings[lateStep].deadline) {
				lateStep = id
			}
		}
		if lateStep != "" {
			late = time.After(time.Until(meetings[lateStep].deadline))
		}
		select {
		case <-ctx.Done():
			for ; running > 0; running-- {
				<-results
			}
			return background
		case e := <-results:
			running--
			a.record(lab.Record{Kind: lab.RecordStep, Step: &e.result})
			state[e.step.ID] = stepPassed
			if e.result.Outcome != slipway.Pass {
				state[e.step.ID] = stepFailed
				end(e.result.Outcome, "step "+e.step.ID+": "+e.result.Reason)
			}
		case e := <-gone:
			delete(background, e.step.ID)
			a.record(lab.Record{Kind: lab.RecordStep, Step: &e.result})
			state[e.step.ID] = stepPassed
			if e.result.Outcome != slipway.Pass {
				state[e.step.ID] = stepFailed
				end(e.result.Outcome, "background step "+e.step.ID+": "+e.result.Reason)
			}
		case <-late:
			m := meetings[lateStep]
			delete(meetings, lateStep)
			why := fmt.Sprintf("waited %s at the barrier %s", m.step.Timeout, m.step.Barrier)
			if who := a.signals().missing[m.step.Barrier]; len(who) > 0 {
				why += " for " + strings.Join(who, ", ")
			}
			state[lateStep] = stepFailed
			a.record(lab.Record{Kind: lab.RecordStep, Step: &lab.StepResult{Step: lateStep, State: "finished", Outcome: slipway.Timeout, Reason: why, Started: m.began.UTC(), Finished: time.Now().UTC()}})
			end(slipway.Timeout, "step "+lateStep+": "+why)
		case <-total.C:
			end(slipway.Timeout, fmt.Sprintf("the experiment did not end in %s", work.Timeout))
		case <-a.news:
			if why, yes := a.aborted(); yes {
				end(slipway.Cancelled, "stopped: "+why)
			}
			open := a.signals().open
			for id, m := range meetings {
				if slices.Contains(open, m.step.Barrier) {
					delete(meetings, id)
					state[id] = stepPassed
					a.record(lab.Record{Kind: lab.RecordStep, Step: &lab.StepResult{Step: id, State: "finished", Outcome: slipway.Pass, Started: m.began.UTC(), Finished: time.Now().UTC()}})
				}
			}
		}
	}
	for id, m := range meetings {
		a.record(lab.Record{Kind: lab.RecordStep, Step: &lab.StepResult{Step: id, State: "finished", Outcome: slipway.Cancelled, Reason: reason, Started: m.began.UTC(), Finished: time.Now().UTC()}})
	}
	a.finish(outcome, reason)
	return background
}

// awaitClean lets background steps go on until the server wants the node clean, or until it has been silent for too long.
// A background step that ends badly meanwhile makes the node's part a failure after all.
func (a *assignment) awaitClean(ctx context.Context, background map[string]*process) {
	alone := time.NewTimer(a.order.Work.Timeout + a.x.cfg.Alone)
	defer alone.Stop()
	died := make(chan string)
	waitCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	for id, p := range background {
		a.x.wg.Go(func() {
			select {
			case <-p.done:
			case <-waitCtx.Done():
				return
			}
			select {
			case died <- id:
			case <-waitCtx.Done():
			}
		})
	}
	for {
		if _, yes := a.aborted(); yes {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-alone.C:
			a.x.cfg.Log.Warn("no word from the server; cleaning up", "assignment", a.order.ID)
			return
		case id := <-died:
			p := background[id]
			delete(background, id)
			i := slices.IndexFunc(a.order.Work.Steps, func(s spec.ExperimentStep) bool { return s.ID == id })
			res := a.result(a.order.Work.Steps[i], p, time.Time{}, 1)
			a.record(lab.Record{Kind: lab.RecordStep, Step: &res})
			if res.Outcome != slipway.Pass {
				a.finish(res.Outcome, "background step "+id+": "+res.Reason)
			}
		case <-a.news:
		}
	}
}

// clean stops what still runs, runs the cleanup steps to the last whatever the others do, and leaves no process behind.
func (a *assignment) clean(ctx context.Context, background map[string]*process) {
	for _, id := range slices.Sorted(maps.Keys(background)) {
		p := background[id]
		began := time.Now().UTC()
		p.stop(a.x.cfg.Grace)
		a.record(lab.Record{Kind: lab.RecordStep, Step: &lab.StepResult{Step: id, State: "finished", Outcome: slipway.Pass, Exit: p.exit, Tries: 1,
			Reason: "stopped before the cleanup", Started: began, Finished: time.Now().UTC(), Tail: tail(a.logFile(id), tailBytes)}})
		delete(background, id)
	}
	outcome, reason := slipway.Pass, ""
	for _, dir := range []string{"work", "tmp"} { // an earlier process may have come as far as to remove them
		if err := os.MkdirAll(filepath.Join(a.dir, dir), 0o700); err != nil {
			outcome, reason = slipway.Infra, "make the work folder: "+err.Error()
		}
	}
	for _, step := range a.order.Work.Cleanup {
		if !lab.Takes(step, a.order.Work.Role) || !a.has(lab.RecordRunning) {
			continue // where nothing ran there is nothing to clean up
		}
		res := a.runStep(ctx, step, true)
		if ctx.Err() != nil {
			return
		}
		a.record(lab.Record{Kind: lab.RecordStep, Step: &res})
		if res.Outcome != slipway.Pass && outcome == slipway.Pass {
			outcome, reason = res.Outcome, "cleanup step "+step.ID+": "+res.Reason
		}
	}
	if err := a.sweepAll(ctx); err != nil && outcome == slipway.Pass {
		outcome, reason = slipway.Infra, err.Error()
	}
	if ctx.Err() != nil {
		return
	}
	for _, dir := range []string{"work", "tmp", "artifacts"} {
		if err := os.RemoveAll(filepath.Join(a.dir, dir)); err != nil && outcome == slipway.Pass {
			outcome, reason = slipway.Infra, "the "+dir+" folder cannot be removed: "+err.Error()
		}
	}
	a.record(lab.Record{Kind: lab.RecordClean, Result: &lab.StepResult{Outcome: outcome, Reason: reason}})
}

const sweepTime = 20 * time.Second

func (a *assignment) sweepAll(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, sweepTime)
	defer cancel()
	return sweep(ctx, a.dir)
}
