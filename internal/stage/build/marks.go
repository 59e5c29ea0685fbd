package build

import (
	"context"
	"maps"
	"slices"

	"slipway.dev/slipway/internal/slipway"
)

// Mark makes a build findable by something that it was made of, or that it made.
type Mark struct {
	Mark  string `json:"mark"`
	Build string `json:"build"`
}

// Row implements [slipway.Record]; the key is the mark.
func (m Mark) Row() slipway.Row { return slipway.Row{ID: m.Mark + "#" + m.Build, Key: m.Mark} }

func actionMark(product, name string) string { return "action/" + product + "/" + name }
func commitMark(repo, commit string) string  { return "commit/" + repo + "/" + commit }
func inputMark(digest string) string         { return "input/" + digest }
func outputMark(digest string) string        { return "output/" + digest }

// allMarked is the mark that says that every build has its marks, also those from before there were any.
var allMarked = Mark{"all", "all"}

// marks are what a build is found by from its start on.
func (b Build) marks() []Mark {
	all := []Mark{{actionMark(b.Product, b.Name()), b.ID}, {commitMark(b.Repo, b.Commit), b.ID}}
	for _, digest := range slices.Compact(slices.Sorted(maps.Values(b.Inputs))) {
		all = append(all, Mark{inputMark(digest), b.ID})
	}
	return all
}

// markAll gives the builds of an older Slipway their marks, once.
func (s *Service) markAll(ctx context.Context) error {
	if s.marked.Load() {
		return nil
	}
	for after := ""; ; {
		last := false
		err := s.store.Update(ctx, func(tx Tx) error {
			if _, err := tx.Marks().Get(ctx, allMarked.Row().ID); !slipway.Is(err, slipway.NotFound) {
				last = true
				return err
			}
			page, err := tx.Builds().Find(ctx, slipway.Query{After: after, Limit: 200})
			if err != nil {
				return err
			}
			for _, b := range page {
				marks := b.marks()
				if b.Output != "" {
					marks = append(marks, Mark{outputMark(b.Output), b.ID})
				}
				for _, m := range marks {
					if err := tx.Marks().Put(ctx, m); err != nil {
						return err
					}
				}
				after = b.ID
			}
			if last = len(page) < 200; last {
				return tx.Marks().Put(ctx, allMarked)
			}
			return nil
		})
		if err != nil {
			return err
		}
		if last {
			s.marked.Store(true)
			return nil
		}
	}
}

// marked returns the builds that have a mark, newest first; at most limit (0: all).
func marked(ctx context.Context, tx Tx, mark string, limit int) ([]Build, error) {
	marks, err := tx.Marks().Find(ctx, slipway.Query{Key: mark, Newest: true, Limit: limit})
	if err != nil {
		return nil, err
	}
	found := make([]Build, 0, len(marks))
	for _, m := range marks {
		b, err := tx.Builds().Get(ctx, m.Build)
		if slipway.Is(err, slipway.NotFound) {
			continue // it was cleared away
		}
		if err != nil {
			return nil, err
		}
		found = append(found, b)
	}
	return found, nil
}

// marks returns the builds of a mark, newest first.
func (s *Service) marks(ctx context.Context, mark string) (found []Build, err error) {
	if err := s.markAll(ctx); err != nil {
		return nil, err
	}
	err = s.store.View(ctx, func(tx Tx) error { found, err = marked(ctx, tx, mark, 0); return err })
	return found, err
}
