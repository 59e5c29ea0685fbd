package server

import (
	"context"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
)

// composeSource is the hosted repositories as the compose stage reads them.
type composeSource struct{ s *services }

func (c composeSource) ProductFile(ctx context.Context, product, commit, name string) ([]byte, error) {
	repo, _ := slipway.Integration(product)
	return c.s.source.File(ctx, repo, commit, name)
}

func (c composeSource) Recipe(ctx context.Context, pin slipway.Pin) (spec.Component, time.Time, error) {
	recipe, err := c.s.catalog.Recipe(ctx, pin)
	if err != nil {
		return recipe, time.Time{}, err
	}
	commit, err := c.s.source.Commit(ctx, pin.Repo, pin.Commit)
	return recipe, commit.Author.Time, err
}
