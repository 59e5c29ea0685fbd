package retain

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build"
)

// use is what somebody who is not done yet needs of a wave that he names.
type use int

const (
	nothing use = iota
	items       // how its actions ended
	outputs     // that, and what it built
)

// named lists the waves that something needs which is not over, however long ago they ended.
func (s *Service) named(ctx context.Context) (map[string]use, error) {
	waves := map[string]use{}
	need := func(wave string, what use) {
		if wave != "" {
			waves[wave] = max(waves[wave], what)
		}
	}
	last := map[string]string{} // by product and module: the last wave of the newest rebuild that passed
	for table, f := range map[string]func(Document) error{
		"entries": func(d Document) error { // what lands is what was tested
			var e struct{ Wave string }
			if slices.Contains([]string{"landed", "rejected", "dequeued"}, d.State) {
				return nil
			}
			err := json.Unmarshal(d.Text, &e)
			need(e.Wave, outputs)
			return err
		},
		"changes": func(d Document) error {
			var c struct{ Tests []struct{ Wave string } }
			if slices.Contains([]string{"landed", "abandoned"}, d.State) {
				return nil
			}
			err := json.Unmarshal(d.Text, &c)
			for _, t := range c.Tests {
				need(t.Wave, items)
			}
			return err
		},
		"rebuilds": func(d Document) error {
			var r build.Rebuild
			if err := json.Unmarshal(d.Text, &r); err != nil || len(r.Attempts) == 0 {
				return err
			}
			switch r.State {
			case build.RebuildPassed:
				last[r.Product+"\x00"+r.Cause.Module] = r.Attempts[len(r.Attempts)-1].Wave
			case build.RebuildCancelled:
			default:
				need(r.Before, items)
				for _, a := range r.Attempts {
					need(a.Wave, items)
				}
			}
			return nil
		},
	} {
		if err := s.docs.Each(ctx, table, f); err != nil {
			return nil, fmt.Errorf("look for the waves that %s need: %w", table, err)
		}
	}
	for _, wave := range last {
		need(wave, items)
	}
	return waves, nil
}

// over lists the waves of which nothing is needed but how they ended, and of which there is more.
func (s *Service) over(ctx context.Context, named map[string]use) (ids []string, err error) {
	whole := map[string]bool{}
	if err := s.docs.Each(ctx, "orders", func(d Document) error { whole[d.ID] = true; return nil }); err != nil {
		return nil, err
	}
	err = s.docs.Each(ctx, "waves", func(d Document) error {
		if d.State == string(slipway.WaveRunning) || named[d.ID] != nothing || !whole[d.ID] {
			return nil
		}
		var w struct{ Finished time.Time }
		if err := json.Unmarshal(d.Text, &w); err != nil {
			return fmt.Errorf("read wave %s: %w", d.ID, err)
		}
		if !s.young(w.Finished, s.keep.Builds) {
			ids = append(ids, d.ID)
		}
		return nil
	})
	return ids, err
}
