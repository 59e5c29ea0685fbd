package build

import (
	"context"
	"maps"
	"slices"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build/buildroot"
)

// Buildroots lists the names of the buildroots of a product and its modules, as its file says now, and resolves none.
func (s *Service) Buildroots(ctx context.Context, product string) ([]string, error) {
	rs, err := s.rulesNow(ctx, product)
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(rs.product.Roots())), nil
}

// Buildroot resolves one of a product's buildroots, as its file says now. Anew means not to go by its committed lock: what it would be
// locked to today.
func (s *Service) Buildroot(ctx context.Context, product, name string, anew bool) (buildroot.Root, error) {
	rs, err := s.rulesNow(ctx, product)
	if err != nil {
		return buildroot.Root{}, err
	}
	req, ok := rs.request(name)
	if !ok {
		return buildroot.Root{}, slipway.Errorf(slipway.NotFound, "the product %s has no buildroot %q", product, name).
			Try("slipway buildroot list " + product)
	}
	if anew {
		req.Lock = nil
	}
	return s.roots.Resolve(ctx, req)
}

func (s *Service) rulesNow(ctx context.Context, product string) (*rules, error) {
	if s.cfg.Products == nil {
		return nil, slipway.Errorf(slipway.NotFound, "there is no product %q", product)
	}
	_, commit, err := s.cfg.Products.Product(ctx, product)
	if err != nil {
		return nil, err
	}
	return s.rules.read(ctx, product, commit)
}
