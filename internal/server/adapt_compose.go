package server

import (
	"context"
	"path"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/compose"
	"slipway.dev/slipway/internal/stage/source"
)

// composeSource is the hosted repositories as the compose stage reads them.
type composeSource struct{ *source.Service }

func (s composeSource) ProductFile(ctx context.Context, product, commit, name string) ([]byte, error) {
	return s.File(ctx, "products/"+product, commit, name)
}

func (s composeSource) Recipe(ctx context.Context, pin slipway.Pin) (spec.Component, time.Time, error) {
	name := path.Join(pin.Path, spec.ComponentFile)
	text, err := s.File(ctx, pin.Repo, pin.Commit, name)
	if err != nil {
		return spec.Component{}, time.Time{}, err
	}
	c, err := spec.ParseComponent(text, pin.Repo+"/"+name)
	if err != nil {
		return spec.Component{}, time.Time{}, err
	}
	commit, err := s.Commit(ctx, pin.Repo, pin.Commit)
	return c, commit.Time, err
}

var _ compose.Source = composeSource{}
