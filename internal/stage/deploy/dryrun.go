package deploy

import (
	"context"
	"fmt"
	"slices"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/deploy/plan"
)

// StartDryRun asks the agents what a version would change on their nodes. Nothing is written there. Nodes that are
// offline answer when they return.
func (s *Service) StartDryRun(ctx context.Context, version, actor string) (run DryRun, err error) {
	err = s.store.Update(ctx, func(tx Tx) error {
		v, err := tx.Versions().Get(ctx, version)
		if err != nil {
			return err
		}
		n, err := tx.Next(ctx, "dryrun/"+v.ID)
		if err != nil {
			return err
		}
		run = DryRun{ID: fmt.Sprintf("%s.%d", v.ID, n), Product: v.Product, Version: v.ID, Nodes: map[string]*NodeDryRun{}, Created: tx.Now(), By: actor}
		for _, node := range v.Nodes {
			run.Nodes[node] = &NodeDryRun{Diffs: []plan.Diff{}}
		}
		states, err := tx.NodeStates().Find(ctx, slipway.Query{Product: v.Product})
		if err != nil {
			return err
		}
		for _, st := range states { // nodes that the version would take everything from
			if run.Nodes[st.Node] == nil && len(st.Statuses) > 0 {
				run.Nodes[st.Node] = &NodeDryRun{Diffs: []plan.Diff{}}
			}
		}
		run.settle()
		return tx.DryRuns().Put(ctx, run)
	})
	if err == nil {
		for node := range run.Nodes {
			s.deps.Agents.Poke(node)
		}
	}
	return run, err
}

// DryRun returns what the agents have answered so far.
func (s *Service) DryRun(ctx context.Context, id string) (run DryRun, err error) {
	err = s.store.View(ctx, func(tx Tx) error {
		run, err = tx.DryRuns().Get(ctx, id)
		return err
	})
	return run, err
}

// settle sets state and reason from the nodes' answers.
func (d *DryRun) settle() {
	var open []string
	for node, n := range d.Nodes {
		if !n.Done {
			open = append(open, node)
		}
	}
	slices.Sort(open)
	d.State, d.Reason = "done", fmt.Sprintf("%d nodes have answered", len(d.Nodes))
	if len(open) > 0 {
		d.State, d.Reason = "waiting", fmt.Sprintf("%d of %d nodes have not answered: %v", len(open), len(d.Nodes), open[:min(len(open), 5)])
	}
}

// askedDryRuns lists the dry runs that wait for a node.
func askedDryRuns(ctx context.Context, tx Tx, node string) ([]plan.DryRun, error) {
	waiting, err := tx.DryRuns().Find(ctx, slipway.Query{States: []string{"waiting"}})
	if err != nil {
		return nil, err
	}
	var out []plan.DryRun
	for _, run := range waiting {
		if n := run.Nodes[node]; n == nil || n.Done {
			continue
		}
		slice, err := tx.Slices().Get(ctx, run.Version+"/"+node)
		if err != nil && !slipway.Is(err, slipway.NotFound) {
			return nil, err
		}
		out = append(out, plan.DryRun{ID: run.ID, Product: run.Product, Resources: slice.Resources})
	}
	return out, nil
}

// takeDryRuns records a node's answers.
func takeDryRuns(ctx context.Context, tx Tx, node string, reports []plan.DryRunReport) error {
	for _, r := range reports {
		run, err := tx.DryRuns().Get(ctx, r.ID)
		if slipway.Is(err, slipway.NotFound) {
			continue
		}
		if err != nil {
			return err
		}
		n := run.Nodes[node]
		if n == nil || n.Done {
			continue
		}
		n.Done, n.Diffs = true, r.Diffs
		run.settle()
		if err := tx.DryRuns().Put(ctx, run); err != nil {
			return err
		}
		if run.State != "done" {
			continue
		}
		err = tx.Emit(ctx, slipway.Event{Type: DryRunFinished, Subject: slipway.Ref("dryrun", run.ID), Product: run.Product, Actor: "deploy",
			Reason: run.Reason, Links: []string{slipway.Ref("version", run.Version)}})
		if err != nil {
			return err
		}
	}
	return nil
}
