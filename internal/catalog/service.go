package catalog

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
)

// Service answers what exists.
type Service struct {
	pins  pins
	st    slipway.Store[Tx]
	files Files
}

// New makes the service over a store and the repositories.
func New(st slipway.Store[Tx], files Files) *Service { return &Service{st: st, files: files} }

// Get returns a product as it stands. NotFound if nothing was ever pushed to its integration repository.
func (s *Service) Get(ctx context.Context, name string) (p Product, err error) {
	err = s.st.View(ctx, func(tx Tx) error {
		p, err = tx.Products().Get(ctx, name)
		return err
	})
	if slipway.Is(err, slipway.NotFound) {
		err = slipway.Errorf(slipway.NotFound, "there is no product %q", name).
			Try(comeAbout(name))
	}
	return p, err
}

// comeAbout says how a product comes about.
func comeAbout(name string) string {
	repo, ref := slipway.Integration(name)
	branch := strings.TrimPrefix(ref, "refs/heads/")
	remedy := fmt.Sprintf("push a %s to %s of the repository %s", spec.ProductFile, branch, repo)
	if slipway.ProductAt(repo, "main") != name {
		remedy += ", and name " + branch + " under branches: of the one at main"
	}
	return remedy
}

// Retired says why a product takes nothing in any more; empty while it does.
func (s *Service) Retired(ctx context.Context, name string) (string, error) {
	p, err := s.Get(ctx, name)
	if slipway.Is(err, slipway.NotFound) {
		return "", nil
	}
	if err != nil || p.State != Retired {
		return "", err
	}
	return p.Reason, nil
}

// HasQueue reports whether a branch ("refs/heads/stable-1") of an integration repository is a product: main, and what branches: of the file at
// main names. The error is of kind Invalid when it is meant to be, and its name does not do.
func (s *Service) HasQueue(ctx context.Context, repo, ref string) (bool, error) {
	branch, ok := strings.CutPrefix(ref, "refs/heads/")
	main := slipway.ProductAt(repo, "main")
	if !ok || main == "" {
		return false, nil
	}
	if branch == "main" {
		return true, nil
	}
	p, _, err := s.Product(ctx, main)
	if err != nil {
		return false, ignoreMissing(err)
	}
	return p.Follows(branch)
}

// Product returns the product file in force and the commit it was read at. NotFound if there was never a valid one.
func (s *Service) Product(ctx context.Context, name string) (spec.Product, string, error) {
	p, err := s.Get(ctx, name)
	if err != nil {
		return spec.Product{}, "", err
	}
	if p.Commit == "" {
		return spec.Product{}, "", slipway.Errorf(slipway.NotFound, "the product %s never had a valid product.yaml: %s", name, p.Reason)
	}
	return p.Spec, p.Commit, nil
}

// Products lists products, oldest first.
func (s *Service) Products(ctx context.Context, after string, limit int) (list []Product, err error) {
	err = s.st.View(ctx, func(tx Tx) error {
		list, err = tx.Products().Find(ctx, slipway.Query{After: after, Limit: limit})
		return err
	})
	return list, err
}

// Components lists the components of a product by name.
func (s *Service) Components(ctx context.Context, product string) (list []Component, err error) {
	if _, err := s.Get(ctx, product); err != nil {
		return nil, err
	}
	err = s.st.View(ctx, func(tx Tx) error {
		list, err = tx.Components().Find(ctx, slipway.Query{Product: product})
		return err
	})
	slices.SortFunc(list, func(a, b Component) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return list, err
}

// Component returns one component of a product.
func (s *Service) Component(ctx context.Context, product, name string) (c Component, err error) {
	err = s.st.View(ctx, func(tx Tx) error {
		c, err = tx.Components().Get(ctx, componentID(product, name))
		return err
	})
	if slipway.Is(err, slipway.NotFound) {
		err = slipway.Errorf(slipway.NotFound, "the product %s has no component %q", product, name).Try("see slipway component list --product " + product)
	}
	return c, err
}

// Named returns the components of that name in all products.
func (s *Service) Named(ctx context.Context, name string) ([]Component, error) {
	var found []Component
	err := s.st.View(ctx, func(tx Tx) error {
		found = nil
		all, err := tx.Components().Find(ctx, slipway.Query{})
		for _, c := range all {
			if c.Name == name {
				found = append(found, c)
			}
		}
		return err
	})
	return found, err
}

// Use is a place where a product has a component.
type Use struct {
	Product   string `json:"product"`
	Component string `json:"component"`
	Path      string `json:"path,omitempty"`
	Branch    string `json:"branch"`

	Paths []string `json:"paths,omitempty"` // others of the repository that its file declares
}

// ProductsOf returns which products have which components in a repository.
func (s *Service) ProductsOf(ctx context.Context, repo string) ([]Use, error) {
	var uses []Use
	err := s.st.View(ctx, func(tx Tx) error {
		uses = nil
		list, err := tx.Components().Find(ctx, slipway.Query{Key: repo})
		for _, c := range list {
			uses = append(uses, Use{Product: c.Product, Component: c.Name, Path: c.Source.Path, Branch: c.Source.Branch, Paths: c.Recipe.Paths})
		}
		return err
	})
	return uses, err
}

// Heads returns the pins of a product's components at the heads of their branches, by name. A component that is not there
// yet (its repository, branch or file is missing) is left out; [Service.Components] says which and why.
func (s *Service) Heads(ctx context.Context, product string) ([]slipway.Pin, error) {
	p, _, err := s.Product(ctx, product)
	if err != nil {
		return nil, err
	}
	all, _, err := s.HeadPins(ctx, p.Components)
	pins := []slipway.Pin{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		pins = append(pins, all[name])
	}
	return pins, err
}

// HeadPins returns the pins of components at the heads of their branches, and those heads, by name; what is not there is left out. It is the way to
// ask for many: git is asked once for each repository, and once for each commit that was not asked for before.
func (s *Service) HeadPins(ctx context.Context, components map[string]spec.ComponentRef) (pins map[string]slipway.Pin, at map[string]string, err error) {
	pins, at = map[string]slipway.Pin{}, map[string]string{}
	known := map[string]heads{} // by repository
	for _, name := range slices.Sorted(maps.Keys(components)) {
		ref := components[name]
		of, ok := known[ref.Repo]
		if !ok {
			if of, err = s.heads(ctx, ref.Repo); err != nil && !slipway.Is(err, slipway.NotFound) {
				return nil, nil, err
			}
			known[ref.Repo] = of
		}
		commit, ok := of.branch["refs/heads/"+cmp.Or(ref.Branch, "main")]
		if !ok {
			continue
		}
		pin, err := s.pinned(ctx, name, ref, commit, of)
		switch {
		case err == nil:
			pins[name], at[name] = pin, commit
		case !slipway.Is(err, slipway.NotFound):
			return nil, nil, err
		}
	}
	return pins, at, nil
}

// NeedsAt returns who needed whom in a product at a time; the zero time means now.
func (s *Service) NeedsAt(ctx context.Context, product string, at time.Time) (edges []Edge, err error) {
	if _, err := s.Get(ctx, product); err != nil {
		return nil, err
	}
	err = s.st.View(ctx, func(tx Tx) error {
		edges, err = tx.Edges().At(ctx, product, at)
		return err
	})
	return edges, err
}

// Dependents returns the components that need the named one now, directly or through others, nearest first.
func (s *Service) Dependents(ctx context.Context, product, component string) ([]Dependent, error) {
	return s.DependentsAt(ctx, product, component, time.Time{})
}

// DependentsAt is [Service.Dependents] at a time. NotFound when the product never had the component.
func (s *Service) DependentsAt(ctx context.Context, product, component string, at time.Time) ([]Dependent, error) {
	edges, err := s.NeedsAt(ctx, product, at)
	if err != nil {
		return nil, err
	}
	dependents := needsOf(edges).Dependents(component)
	if len(dependents) > 0 || !at.IsZero() {
		return dependents, nil
	}
	_, err = s.Component(ctx, product, component)
	return dependents, err
}

// Problems says what is wrong with the needs of a product's components taken together: unknown ones and cycles.
func (s *Service) Problems(ctx context.Context, product string) ([]Problem, error) {
	p, _, err := s.Product(ctx, product)
	if err != nil {
		return nil, err
	}
	edges, err := s.NeedsAt(ctx, product, time.Time{})
	if err != nil {
		return nil, err
	}
	return needsOf(edges).Without(p.Bootstrap).Problems(slices.Collect(maps.Keys(p.Components))), nil
}
