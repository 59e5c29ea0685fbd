package deploy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"slipway.dev/slipway/internal/agent/resource"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/deploy/plan"
)

// purgeFailed begins the reason of a resource that could not be taken away.
const purgeFailed = "no longer in the model, and could not be taken away: "

// applyTime bounds one apply of one resource; commands and processes have their own, shorter times.
const applyTime = 30 * time.Minute

// work makes passes until ctx ends.
func (h *holder) work(ctx context.Context) {
	repair := h.cfg.now() // what happened while no agent was there is looked at first
	for {
		timer := time.NewTimer(h.pause(repair))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-h.ready:
		case <-timer.C:
		}
		timer.Stop()
		whole := !h.cfg.now().Before(repair)
		done := h.pass(ctx, whole)
		if whole && done {
			repair = h.cfg.now().Add(h.cfg.Repair)
		}
		h.dryRun(ctx)
	}
}

// pause is how long until the next repair or retry.
func (h *holder) pause(repair time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	next := repair
	for _, r := range h.retries {
		if r.at.Before(next) {
			next = r.at
		}
	}
	return max(next.Sub(h.cfg.now()), 0)
}

// pass purges, then goes through what is desired. It reports whether it came to its end.
func (h *holder) pass(ctx context.Context, repair bool) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	h.mu.Lock()
	h.stop = cancel
	p := &pass{h: h, repair: repair, dirty: h.dirty, desired: h.taken.Resources, waits: h.waits}
	h.dirty = map[string]bool{}
	var held []plan.Resource
	for _, r := range h.held {
		held = append(held, r)
	}
	h.mu.Unlock()
	slices.SortFunc(held, func(a, b plan.Resource) int { return slices.Compare([]byte(a.ID), []byte(b.ID)) })
	for _, r := range plan.Orphans(held, p.desired) {
		if ctx.Err() != nil {
			break
		}
		if err := p.purge(ctx, r); err != nil {
			h.log.Error("journal", "error", err)
		}
	}
	p.apply(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stop = nil
	if ctx.Err() != nil { // interrupted: what was to be looked at still is
		for id := range p.dirty {
			h.dirty[id] = true
		}
		return false
	}
	return true
}

// pass is one way through the resources.
type pass struct {
	h       *holder
	repair  bool
	dirty   map[string]bool
	desired []plan.Resource
	waits   map[string]string
}

// apply walks in the order of requirements, several resources at once.
func (p *pass) apply(ctx context.Context) {
	type ended struct {
		id     string
		state  plan.State
		reason string
	}
	walk, skipped := plan.NewWalk(p.desired, p.waits)
	p.skip(skipped)
	results := make(chan ended)
	var wg sync.WaitGroup
	defer wg.Wait()
	busy := 0
	for {
		for busy < p.h.cfg.Parallel && ctx.Err() == nil {
			r, ok := walk.Take()
			if !ok {
				break
			}
			if o, ok := p.settled(r); ok {
				p.skip(walk.Done(r.ID, o.State, o.Reason))
				continue
			}
			busy++
			wg.Go(func() {
				o := p.visit(ctx, r)
				results <- ended{r.ID, o.State, o.Reason}
			})
		}
		if busy == 0 {
			return
		}
		e := <-results
		busy--
		if left := walk.Done(e.id, e.state, e.reason); ctx.Err() == nil { // an interruption skips nothing
			p.skip(left)
		}
	}
}

// skip records what the walk left out.
func (p *pass) skip(skipped []plan.Status) {
	for _, s := range skipped {
		p.h.mu.Lock()
		old := p.h.outcomes[s.ID]
		delete(p.h.retries, s.ID) // it waits for another now
		p.h.mu.Unlock()
		if err := p.h.note(outcome{Status: s, Stamp: old.Stamp, Changed: old.Changed}); err != nil {
			p.h.log.Error("journal", "error", err)
		}
	}
}

// settled returns the outcome of a resource that this pass need not look at.
func (p *pass) settled(r plan.Resource) (outcome, bool) {
	p.h.mu.Lock()
	defer p.h.mu.Unlock()
	o, ok := p.h.outcomes[r.ID]
	if !ok || o.Hash != r.Hash || p.repair || p.dirty[r.ID] {
		return o, false
	}
	switch o.State {
	case plan.Deployed:
		return o, o.Stamp == p.h.stamp(r)
	case plan.Failed, plan.Unavailable:
		again, ok := p.h.retries[r.ID]
		return o, ok && p.h.cfg.now().Before(again.at)
	}
	return o, false
}

// stamp names the state of what a resource requires. The lock is held.
func (h *holder) stamp(r plan.Resource) string {
	sum := sha256.New()
	for _, id := range r.Requires {
		o := h.outcomes[id]
		fmt.Fprintf(sum, "%s %s %s\n", id, o.Hash, o.Changed)
	}
	return hex.EncodeToString(sum.Sum(nil)[:8])
}

// visit compares one resource and makes it so.
func (p *pass) visit(ctx context.Context, r plan.Resource) outcome {
	h := p.h
	h.mu.Lock()
	before := h.outcomes[r.ID]
	w := resource.Want{Resource: r, Stamp: h.stamp(r)}
	h.mu.Unlock()
	same := before.Hash == r.Hash
	was := same && before.State == plan.Deployed && before.Stamp == w.Stamp
	now := outcome{Status: plan.Status{ID: r.ID, Hash: r.Hash}, Stamp: w.Stamp, Changed: before.Changed}
	if same {
		now.Changes, now.Started, now.Finished = before.Changes, before.Started, before.Finished
	}
	handler, err := h.host.Handler(r.Type)
	if err != nil {
		return p.fail(ctx, now, err)
	}
	diff, err := handler.Diff(ctx, w)
	if err != nil {
		return p.fail(ctx, now, err)
	}
	if !diff.Clean() {
		h.mu.Lock()
		if was {
			h.drifting[r.ID] = diff.Changes
		} else if !same {
			delete(h.drifting, r.ID)
		}
		h.mu.Unlock()
		if err := p.begin(r, before); err != nil {
			return p.fail(ctx, now, err)
		}
		now.Started, now.Finished = h.cfg.now(), time.Time{}
		now.Changes = diff.Changes
		within, cancel := context.WithTimeout(ctx, applyTime)
		err := handler.Apply(within, w)
		cancel()
		if err != nil {
			return p.fail(ctx, now, err)
		}
		after, err := handler.Diff(ctx, w)
		if err != nil {
			return p.fail(ctx, now, err)
		}
		if !after.Clean() {
			return p.fail(ctx, now, slipway.Errorf(slipway.Internal, "it was applied and still differs: %s", differences(after.Changes)))
		}
		diff.Actual = after.Actual
		now.Finished = h.cfg.now()
		now.Changed = now.Finished.Format(time.RFC3339Nano)
	} else if before.State == plan.Deploying || !same {
		// It is as desired, but whether a crashed apply made it so is not known; what requires it must look.
		now.Changed = h.cfg.now().Format(time.RFC3339Nano)
		if err := p.begin(r, before); err != nil {
			return p.fail(ctx, now, err)
		}
		if now.Finished.IsZero() {
			now.Finished = h.cfg.now()
		}
	}
	now.State, now.Actual = plan.Deployed, diff.Actual
	now.Reason = "as desired since " + now.Finished.Format(time.RFC3339)
	if err := p.succeed(now); err != nil {
		return p.fail(ctx, now, err)
	}
	return now
}

// begin records that a resource may be there from now on.
func (p *pass) begin(r plan.Resource, before outcome) error {
	h := p.h
	h.mu.Lock()
	defer h.mu.Unlock()
	if held, ok := h.held[r.ID]; !ok || held.Hash != r.Hash || !slices.Equal(held.Requires, r.Requires) {
		if err := h.record(line{Begin: &r}); err != nil {
			return err
		}
	}
	o := outcome{Status: plan.Status{ID: r.ID, Hash: r.Hash, State: plan.Deploying, Reason: "being applied", Started: h.cfg.now()},
		Stamp: before.Stamp, Changed: before.Changed}
	h.cfg.changed()
	return h.record(line{Status: &o})
}

// succeed records a deployed resource, and its drift if that is what was repaired.
func (p *pass) succeed(o outcome) error {
	h := p.h
	h.mu.Lock()
	delete(h.retries, o.ID)
	changes, drifted := h.drifting[o.ID]
	delete(h.drifting, o.ID)
	var err error
	if drifted {
		d := plan.Drift{Seq: h.driftSeq + 1, ID: o.ID, Changes: changes, Time: h.cfg.now(), Reason: "was not as deployed (" + differences(changes) + ") and was made so again"}
		h.log.Info("drift repaired", "resource", o.ID, "changes", differences(changes))
		err = h.record(line{Drift: &d})
	}
	h.mu.Unlock()
	if err != nil {
		return err
	}
	return h.note(o)
}

// fail records why a resource is not deployed and when it is tried again.
func (p *pass) fail(ctx context.Context, o outcome, err error) outcome {
	h := p.h
	if ctx.Err() != nil { // interrupted: not its fault; the next pass begins again
		o.State, o.Reason = plan.Deploying, "interrupted"
		return o
	}
	o.State, o.Actual = plan.Failed, nil
	if slipway.Is(err, slipway.Unavailable) {
		o.State = plan.Unavailable
	}
	h.mu.Lock()
	again := h.retries[o.ID]
	again.failures++
	wait := min(time.Second<<min(again.failures-1, 10), h.cfg.Repair)
	again.at = h.cfg.now().Add(wait)
	if o.State == plan.Unavailable {
		again.at = h.cfg.now().Add(h.cfg.Repair)
	}
	var later *resource.Later
	if errors.As(err, &later) {
		again.at = later.At
	}
	h.retries[o.ID] = again
	h.mu.Unlock()
	o.Reason = err.Error()
	o.Finished = h.cfg.now()
	if old, ok := h.outcome(o.ID); ok && old.State == o.State && old.Reason == o.Reason && old.Hash == o.Hash {
		o.Finished, o.Started = old.Finished, old.Started // the same failure again is no news
	}
	if noteErr := h.note(o); noteErr != nil {
		h.log.Error("journal", "error", noteErr)
	}
	return o
}

func (h *holder) outcome(id string) (outcome, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	o, ok := h.outcomes[id]
	return o, ok
}

// purge takes a resource away.
func (p *pass) purge(ctx context.Context, r plan.Resource) error {
	h := p.h
	h.mu.Lock()
	again, failed := h.retries[r.ID]
	h.mu.Unlock()
	if failed && h.cfg.now().Before(again.at) {
		return nil
	}
	handler, err := h.host.Handler(r.Type)
	if err == nil {
		err = handler.Purge(ctx, resource.Want{Resource: r})
	}
	if err != nil {
		p.fail(ctx, outcome{Status: plan.Status{ID: r.ID, Hash: r.Hash}}, fmt.Errorf(purgeFailed+"%w", err))
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.retries, r.ID)
	h.log.Info("resource purged", "resource", r.ID)
	h.cfg.changed()
	return h.record(line{Gone: r.ID})
}

// differences words changes for a reason.
func differences(changes map[string]plan.Change) string {
	text := ""
	for _, name := range sortedKeys(changes) {
		if text != "" {
			text += ", "
		}
		text += fmt.Sprintf("%s: %s, not %s", name, changes[name].Current, changes[name].Desired)
	}
	return text
}
