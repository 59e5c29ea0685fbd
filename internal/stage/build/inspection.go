package build

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build/inspect"
	"slipway.dev/slipway/internal/stage/build/plan"
)

// inspection is the check that every component has in a wave that validates: package inspect looks at its output.
const inspection = "inspect"

// Results takes what the default checks find; internal/server gives it to gating.
type Results interface {
	Record(ctx context.Context, r slipway.Result) error
	RecordAll(ctx context.Context, all []slipway.Result) error // in one transaction
}

// inspect looks at the output of one component of a wave. The key is the item's id. It is idempotent: what it finds follows from the
// output alone.
func (s *Service) inspect(ctx context.Context, id string) error {
	return s.inspectAll(ctx, []string{id})
}

// maxInspected is how many outputs are looked at before what was found is written.
const maxInspected = 32

// inspected is one inspection: what it is of, and what was found.
type inspected struct {
	item, built Item
	request     slipway.WaveRequest
	graph       *graph
	libraries   map[string]string // by component, the outputs that it was built with
	news        News
	results     []slipway.Result
}

// inspectAll is inspect of many items, which are read, and written, together.
func (s *Service) inspectAll(ctx context.Context, ids []string) error {
	all, orders, err := s.uninspected(ctx, ids)
	if err != nil || len(all) == 0 {
		return err
	}
	var results []slipway.Result
	for i := range all {
		if order, ok := orders[all[i].item.Wave]; ok { // the wave is not in memory
			all[i].request = order.Request
			if all[i].graph, err = s.plan(ctx, order); err != nil {
				return err
			}
		}
		if err := s.look(ctx, &all[i]); err != nil {
			return err
		}
		results = append(results, all[i].results...)
	}
	if len(results) > 0 {
		if err := s.cfg.Results.RecordAll(ctx, results); err != nil {
			return fmt.Errorf("record what the inspection of %s found: %w", all[0].item.Action, err)
		}
	}
	return s.store.Update(ctx, func(tx Tx) error {
		for _, one := range all {
			now, err := tx.Items().Get(ctx, one.item.Row().ID)
			if err != nil {
				return err
			}
			if now.State != string(Queued) {
				continue
			}
			if err := tx.News().Put(ctx, one.news); err != nil {
				return err
			}
			if err := tx.Wake(ctx, "build.wave", one.item.Wave, time.Time{}); err != nil {
				return err
			}
		}
		return nil
	})
}

// uninspected reads the items that wait to be looked at, and the orders of those waves that are not in memory: they are large, and the same for
// many items.
func (s *Service) uninspected(ctx context.Context, ids []string) (all []inspected, orders map[string]Order, err error) {
	err = s.store.View(ctx, func(tx Tx) error {
		all, orders = nil, map[string]Order{}
		for _, id := range ids {
			one := inspected{libraries: map[string]string{}}
			if one.item, err = tx.Items().Get(ctx, id); err != nil {
				return err
			}
			if one.item.State != string(Queued) {
				continue
			}
			if l := s.waves.get(one.item.Wave); l != nil { // neither changes once it is there
				one.request, one.graph = l.order.Request, l.graph
			} else if _, ok := orders[one.item.Wave]; !ok {
				if orders[one.item.Wave], err = tx.Orders().Get(ctx, one.item.Wave); err != nil {
					return err
				}
			}
			if one.built, err = tx.Items().Get(ctx, itemID(one.item.Wave, one.item.action().Component)); err != nil {
				return err
			}
			if one.built.Build != "" {
				b, err := tx.Builds().Get(ctx, one.built.Build)
				if err != nil {
					return err
				}
				maps.Copy(one.libraries, b.Inputs)
			}
			all = append(all, one)
		}
		return nil
	})
	return all, orders, err
}

// look looks at one output.
func (s *Service) look(ctx context.Context, one *inspected) error {
	a := plan.ParseAction(one.item.Action)
	rec := one.graph.recipes[a.Component]
	subject := inspect.Subject{Outputs: rec.Outputs, Paths: []string{srcDir, outDir}, Without: s.without(one.graph, rec)}
	var err error
	if subject.Dir, err = s.artifacts.Tree(ctx, one.built.Artifact); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(one.libraries)) {
		dir, err := s.artifacts.Tree(ctx, one.libraries[name])
		if err != nil {
			return err
		}
		subject.Libraries = append(subject.Libraries, dir)
	}
	system, err := s.system(ctx, one.request, rec)
	if err != nil {
		return err
	}
	subject.System = []string{system}
	findings, err := inspect.Tree(ctx, subject)
	if err != nil {
		return err
	}
	one.news = News{Wave: one.item.Wave, Action: one.item.Action, State: Done, Outcome: slipway.Pass}
	var bad []string
	for _, f := range findings {
		one.news.Notes = append(one.news.Notes, f.String())
		if f.Outcome != slipway.Pass {
			one.news.Outcome = slipway.Fail
			bad = append(bad, f.String())
		}
		if s.cfg.Results == nil || one.request.For == "" {
			continue
		}
		one.results = append(one.results, slipway.Result{Product: one.request.Product, Subject: one.request.For, Check: f.Check, Item: a.Component,
			Outcome: f.Outcome, Reason: f.Reason, Link: slipway.Ref("build", one.built.Build)})
	}
	one.news.Reason = strings.Join(bad, "; ")
	return nil
}

// without names the default checks that a component does not have, and why.
func (s *Service) without(g *graph, rec recipe) map[string]string {
	none := map[string]string{}
	if len(rec.Starts) == 0 {
		none["starts"] = "the component says of no program that it starts"
	}
	if s.cfg.Packages != nil && !g.plan.Has(plan.Action{Component: rec.Name, Check: installation}) {
		_, none[installation] = installable(s.cfg.Packages, rec)
	}
	return none
}

// system returns the folder whose libraries a component may use: the root of what it is built in.
func (s *Service) system(ctx context.Context, r slipway.WaveRequest, rec recipe) (string, error) {
	var b Build
	if _, err := s.equip(ctx, &b, r, rec); err != nil {
		return "", err
	}
	if b.Root == "" {
		return "/", nil
	}
	return s.artifacts.Tree(ctx, b.Root)
}
