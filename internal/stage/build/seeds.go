package build

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/build/plan"
)

// Products is what the stage needs to know of products; nil in [Config] means that it knows none.
type Products interface {
	// Product returns a product's file and the commit that it was read at.
	Product(ctx context.Context, name string) (spec.Product, string, error)
	// Heads returns the pins of a product's components at the heads of their branches.
	Heads(ctx context.Context, product string) ([]slipway.Pin, error)
	// Locked returns what the product's last release locks, by component, and that release's id; NotFound if there is none.
	Locked(ctx context.Context, product string) (components map[string]slipway.Locked, release string, err error)
	// CommitsOf returns the commit that a ref of a repository names ("main", "main@{1}", "main@{TIME}", a commit), and after it the
	// commits at which components were pinned when the repository was there.
	CommitsOf(ctx context.Context, product, repo, ref string) ([]string, error)
}

// Seeded is an edge at which a wave breaks a cycle, with the output that is given there.
type Seeded struct {
	From     string `json:"from"`
	To       string `json:"to"`
	Artifact string `json:"artifact"`
	Why      string `json:"why"` // where the output is from
}

var commitID = regexp.MustCompile(`^[0-9a-f]{40}$`)

// seeds finds what breaks the cycles of a request, whose error without it is cause.
func (s *Service) seeds(ctx context.Context, r slipway.WaveRequest, cause error) ([]Seeded, error) {
	if s.cfg.Products == nil {
		return nil, cause
	}
	product, _, err := s.cfg.Products.Product(ctx, r.Product)
	if slipway.Is(err, slipway.NotFound) || err == nil && len(product.Bootstrap) == 0 {
		return nil, cause
	}
	if err != nil {
		return nil, err
	}
	_, vertices, err := s.recipes.graph(ctx, r, nil)
	if err != nil {
		return nil, err
	}
	req := plan.Request{Targets: r.Targets}
	for _, b := range product.Bootstrap {
		req.Seeds = append(req.Seeds, plan.Seed{From: b.From, To: b.To})
	}
	p, err := plan.New(vertices, req)
	if err != nil {
		return nil, err
	}
	var seeds []Seeded
	for _, b := range product.Bootstrap {
		first := plan.Action{Component: b.From, Check: plan.Bootstrap}
		if len(p.Needs(plan.Action{Component: b.From})) == 0 {
			continue // it is not part of this wave
		}
		if _, given := p.Inputs(first)[b.To]; given || !p.Has(first) {
			continue // this edge closes no cycle
		}
		seed := Seeded{From: b.From, To: b.To}
		if seed.Artifact, seed.Why, err = s.given(ctx, r.Product, b); err != nil {
			return nil, err
		}
		seeds = append(seeds, seed)
	}
	return seeds, nil
}

// given returns the output that a bootstrap edge starts from.
func (s *Service) given(ctx context.Context, product string, b spec.Bootstrap) (digest, why string, err error) {
	bad := func(format string, args ...any) error {
		return slipway.Errorf(slipway.Invalid, "the bootstrap of %s from %s: %s", b.From, b.To, fmt.Sprintf(format, args...)).At(spec.ProductFile).
			Try("write at: with the digest of an output of " + b.To + ", or the commit of a build of it that passed")
	}
	switch {
	case strings.HasPrefix(b.At, artifact.Prefix):
		if _, err := s.artifacts.Stat(ctx, b.At); err != nil {
			if slipway.Is(err, slipway.NotFound) {
				err = bad("there is no artifact %s", b.At)
			}
			return "", "", err
		}
		return b.At, "the product file names it", nil
	case commitID.MatchString(b.At):
		product, _, err := s.cfg.Products.Product(ctx, product)
		if err != nil {
			return "", "", err
		}
		built, err := s.marks(ctx, commitMark(product.Components[b.To].Repo, b.At))
		if err != nil {
			return "", "", err
		}
		for _, made := range built {
			if made.Component == b.To && made.Output != "" {
				return made.Output, fmt.Sprintf("build %s of %.12s", made.ID, b.At), nil
			}
		}
		return "", "", bad("no build of %s at %.12s has passed", b.To, b.At)
	}
	locked, release, err := s.cfg.Products.Locked(ctx, product)
	if err != nil && !slipway.Is(err, slipway.NotFound) {
		return "", "", err
	}
	if locked[b.To].Artifact == "" {
		return "", "", bad("nothing of %s was released yet", b.To)
	}
	return locked[b.To].Artifact, "released in " + release, nil
}
