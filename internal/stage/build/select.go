package build

import (
	"context"

	"slipway.dev/slipway/internal/slipway"
)

// Selection says which builds to list; empty fields select all.
type Selection struct {
	Product   string
	Component string
	Wave      string // those that make up the wave, reused ones too
	State     State
	Outcome   slipway.Outcome
	Key       string // the action's
	Commit    string // that it was built from
	Output    string // digest of what it made
	After     string // the id after which to go on
	Limit     int    // 0: no limit
}

// Select lists builds, newest first.
func (s *Service) Select(ctx context.Context, sel Selection) (found []Build, err error) {
	err = s.store.View(ctx, func(tx Tx) error {
		found = nil
		in := map[string]bool{}
		if sel.Wave != "" {
			head, err := tx.Waves().Get(ctx, sel.Wave)
			if err != nil {
				return err
			}
			w, err := assemble(ctx, tx, head)
			if err != nil {
				return err
			}
			for _, c := range w.Components {
				in[c.Build] = true
				for _, t := range c.Tests {
					in[t.Build] = true
				}
			}
		}
		q := slipway.Query{Product: sel.Product, Key: sel.Key, Newest: true, After: sel.After, Limit: 200}
		if sel.Wave != "" {
			q.Product = "" // it may have reused another product's builds
		}
		if sel.State != "" {
			q.States = []string{string(sel.State)}
		}
		for {
			page, err := tx.Builds().Find(ctx, q)
			if err != nil {
				return err
			}
			for _, b := range page {
				if sel.Component != "" && b.Component != sel.Component || sel.Commit != "" && b.Commit != sel.Commit || sel.Output != "" && b.Output != sel.Output || sel.Outcome != "" && b.Outcome != sel.Outcome || sel.Wave != "" && !in[b.ID] {
					continue
				}
				if found = append(found, b); sel.Limit > 0 && len(found) == sel.Limit {
					return nil
				}
			}
			if len(page) < q.Limit {
				return nil
			}
			q.After = page[len(page)-1].ID
		}
	})
	return found, err
}
