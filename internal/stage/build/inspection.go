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
	var item, built Item
	var order Order
	libraries := map[string]string{} // by component, the outputs that it was built with
	err := s.store.View(ctx, func(tx Tx) (err error) {
		if item, err = tx.Items().Get(ctx, id); err != nil || item.State != string(Queued) {
			return err
		}
		if order, err = tx.Orders().Get(ctx, item.Wave); err != nil {
			return err
		}
		built, err = tx.Items().Get(ctx, itemID(item.Wave, item.action().Component))
		if err != nil || built.Build == "" {
			return err
		}
		b, err := tx.Builds().Get(ctx, built.Build)
		maps.Copy(libraries, b.Inputs)
		return err
	})
	if err != nil || item.State != string(Queued) {
		return err
	}
	g, err := s.plan(ctx, order)
	if err != nil {
		return err
	}
	a := plan.ParseAction(item.Action)
	subject := inspect.Subject{Outputs: g.recipes[a.Component].Outputs, Paths: []string{srcDir, outDir}}
	if subject.Dir, err = s.artifacts.Tree(ctx, built.Artifact); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(libraries)) {
		dir, err := s.artifacts.Tree(ctx, libraries[name])
		if err != nil {
			return err
		}
		subject.Libraries = append(subject.Libraries, dir)
	}
	subject.System = []string{"/"}
	findings, err := inspect.Tree(ctx, subject)
	if err != nil {
		return err
	}
	news := News{Wave: item.Wave, Action: item.Action, State: Done, Outcome: slipway.Pass}
	var bad []string
	var results []slipway.Result
	for _, f := range findings {
		news.Notes = append(news.Notes, f.String())
		if f.Outcome != slipway.Pass {
			news.Outcome = slipway.Fail
			bad = append(bad, f.String())
		}
		if s.cfg.Results == nil || order.Request.For == "" {
			continue
		}
		results = append(results, slipway.Result{Product: order.Request.Product, Subject: order.Request.For, Check: f.Check, Item: a.Component,
			Outcome: f.Outcome, Reason: f.Reason, Link: slipway.Ref("build", built.Build)})
	}
	if len(results) > 0 {
		if err := s.cfg.Results.RecordAll(ctx, results); err != nil {
			return fmt.Errorf("record what the inspection of %s found: %w", a.Component, err)
		}
	}
	news.Reason = strings.Join(bad, "; ")
	return s.store.Update(ctx, func(tx Tx) error {
		now, err := tx.Items().Get(ctx, id)
		if err != nil || now.State != string(Queued) {
			return err
		}
		if err := tx.News().Put(ctx, news); err != nil {
			return err
		}
		return tx.Wake(ctx, "build.wave", item.Wave, time.Time{})
	})
}
