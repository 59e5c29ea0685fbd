package build

import (
	"context"

	"slipway.dev/slipway/internal/slipway"
)

// Part returns a component's build in a wave, without reading the rest of the wave. NotFound when there is no such wave, or it has no
// such component.
func (s *Service) Part(ctx context.Context, wave, component string) (i Item, err error) {
	err = s.store.View(ctx, func(tx Tx) error { i, err = tx.Items().Get(ctx, itemID(wave, component)); return err })
	if !slipway.Is(err, slipway.NotFound) {
		return i, err
	}
	w, err := s.WaveRecord(ctx, wave) // an old row holds everything
	if err != nil {
		return Item{}, err
	}
	c, ok := w.Components[component]
	if !ok {
		return Item{}, slipway.Errorf(slipway.NotFound, "wave %s has no component %q", wave, component)
	}
	return Item{Wave: wave, Action: component, Tier: c.Tier, State: c.State, Build: c.Build, Key: c.Key, Artifact: c.Artifact}, nil
}
