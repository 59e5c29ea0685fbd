package deploy

import (
	"context"
	"slices"

	"slipway.dev/slipway/internal/agent/resource"
	"slipway.dev/slipway/internal/stage/deploy/plan"
)

// askDryRuns takes the dry runs that the server still wants; finished ones that it no longer wants are forgotten.
func (h *holder) askDryRuns(wanted []plan.DryRun) {
	h.mu.Lock()
	defer h.mu.Unlock()
	still := map[string]bool{}
	for _, d := range wanted {
		still[d.ID] = true
		if _, done := h.dryDone[d.ID]; !done {
			h.dryRuns[d.ID] = d
			h.wake()
		}
	}
	for id := range h.dryDone {
		if !still[id] {
			delete(h.dryDone, id)
		}
	}
	for id := range h.dryRuns {
		if !still[id] {
			delete(h.dryRuns, id)
		}
	}
}

func (h *holder) finishedDryRuns() []plan.DryRunReport {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []plan.DryRunReport
	for _, id := range sortedKeys(h.dryDone) {
		all = append(all, h.dryDone[id])
	}
	return all
}

// dryRun compares for each dry run that is asked for. Handlers only read.
func (h *holder) dryRun(ctx context.Context) {
	h.mu.Lock()
	var asked []plan.DryRun
	for _, id := range sortedKeys(h.dryRuns) {
		asked = append(asked, h.dryRuns[id])
	}
	var held []plan.Resource
	for _, id := range sortedKeys(h.held) {
		held = append(held, h.held[id])
	}
	h.mu.Unlock()
	for _, d := range asked {
		report := plan.DryRunReport{ID: d.ID, Diffs: []plan.Diff{}}
		changing := map[string]bool{}
		for _, r := range plan.Orphans(held, d.Resources) {
			report.Diffs = append(report.Diffs, plan.Diff{ID: r.ID, Action: plan.ActionPurge})
		}
		for _, r := range d.Resources {
			diff := h.compare(ctx, r, slices.ContainsFunc(r.Requires, func(id string) bool { return changing[id] }))
			changing[r.ID] = diff.Action == plan.ActionCreate || diff.Action == plan.ActionChange
			report.Diffs = append(report.Diffs, diff)
		}
		if ctx.Err() != nil {
			return
		}
		h.mu.Lock()
		if _, still := h.dryRuns[d.ID]; still {
			delete(h.dryRuns, d.ID)
			h.dryDone[d.ID] = report
		}
		h.mu.Unlock()
		h.cfg.changed()
	}
}

// compare says what would be done about one resource. restarts: something that it requires would change.
func (h *holder) compare(ctx context.Context, r plan.Resource, restarts bool) plan.Diff {
	out := plan.Diff{ID: r.ID, Action: plan.ActionKeep}
	h.mu.Lock()
	w := resource.Want{Resource: r, Stamp: h.stamp(r)}
	h.mu.Unlock()
	handler, err := h.host.Handler(r.Type)
	var d resource.Diff
	if err == nil {
		d, err = handler.Diff(ctx, w)
	}
	switch {
	case err != nil:
		out.Action, out.Reason = plan.ActionError, err.Error()
	case d.Absent:
		out.Action, out.Changes = plan.ActionCreate, d.Changes
	case !d.Clean():
		out.Action, out.Changes = plan.ActionChange, d.Changes
	case restarts && (r.Type == plan.TypeProcess || r.Type == plan.TypeService):
		out.Action = plan.ActionChange
		out.Changes = map[string]plan.Change{"requirements": {Current: "as when it was started", Desired: "changed"}}
	}
	return out
}
