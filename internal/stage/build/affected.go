package build

import (
	"context"
	"slices"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
)

// Affected is what was made from a commit of a repository.
type Affected struct {
	Repo       string   `json:"repo"`
	Commit     string   `json:"commit"` // what the ref named
	Components []string `json:"components"`
	Builds     []Build  `json:"builds"`  // from the commit, newest first
	Over       []Build  `json:"over"`    // with an output of one of those among their inputs, newest first
	Modules    []string `json:"modules"` // of the product, with one of the components
}

// Affected finds what was made from the commit that a ref of a repository names: "main@{1}" (one move ago), "main@{TIME}", a branch, or a
// commit. An empty product means all; modules are told of one product alone.
func (s *Service) Affected(ctx context.Context, product, repo, ref string) (Affected, error) {
	if s.cfg.Products == nil {
		return Affected{}, slipway.Errorf(slipway.Unavailable, "this server knows no products")
	}
	commits, err := s.cfg.Products.CommitsOf(ctx, product, repo, ref)
	if err != nil {
		return Affected{}, err
	}
	a := Affected{Repo: repo, Commit: commits[0], Components: []string{}, Builds: []Build{}, Over: []Build{}, Modules: []string{}}
	seen := map[string]bool{}
	for _, commit := range commits {
		made, err := s.marks(ctx, commitMark(repo, commit))
		if err != nil {
			return a, err
		}
		for _, b := range made {
			if product != "" && b.Product != product || seen[b.ID] {
				continue
			}
			seen[b.ID] = true
			a.Builds = append(a.Builds, b)
			if !slices.Contains(a.Components, b.Component) {
				a.Components = append(a.Components, b.Component)
			}
		}
	}
	slices.Sort(a.Components)
	for _, b := range a.Builds {
		if b.Output == "" {
			continue
		}
		users, err := s.marks(ctx, inputMark(b.Output))
		if err != nil {
			return a, err
		}
		for _, u := range users {
			if !seen[u.ID] && (product == "" || u.Product == product) {
				seen[u.ID] = true
				a.Over = append(a.Over, u)
			}
		}
	}
	if product == "" {
		return a, nil
	}
	file, _, err := s.cfg.Products.Product(ctx, product)
	if err != nil {
		return a, err
	}
	a.Modules = modulesWith(file, a.Components)
	return a, nil
}

func modulesWith(file spec.Product, components []string) []string {
	names := []string{}
	for name, m := range file.Modules {
		if slices.ContainsFunc(m.Components, func(c string) bool { return slices.Contains(components, c) }) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
