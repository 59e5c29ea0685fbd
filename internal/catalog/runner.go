package catalog

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"slipway.dev/slipway/internal/platform/git"
	"slipway.dev/slipway/internal/platform/jobs"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
)

const (
	productKind = "catalog.product"
	repoKind    = "catalog.repo"
)

// Handlers returns the reconcilers.
func (s *Service) Handlers() []jobs.Handler {
	return []jobs.Handler{
		{Kind: productKind, Slots: 2, Do: s.reconcileProduct},
		{Kind: repoKind, Slots: 2, Do: s.reconcileRepo},
	}
}

// Routes says what wakes them.
func Routes() []jobs.Route {
	return []jobs.Route{
		{On: slipway.RefUpdated, Kind: productKind, Key: moved(true)},
		{On: slipway.RefUpdated, Kind: repoKind, Key: moved(false)},
	}
}

// moved finds the product, or the repository of components, of which a branch has moved.
func moved(product bool) func(slipway.Event) (string, bool) {
	return func(e slipway.Event) (string, bool) {
		var u slipway.RefUpdate
		if err := json.Unmarshal(e.Data, &u); err != nil || !strings.HasPrefix(u.Ref, "refs/heads/") {
			return "", false
		}
		_, repo, ok := slipway.SplitRef(e.Subject)
		name := slipway.ProductAt(repo, strings.TrimPrefix(u.Ref, "refs/heads/"))
		switch {
		case !ok || (name != "") != product:
			return "", false
		case product:
			return name, true
		}
		return repo, true
	}
}

// reconcileProduct brings the product file at the head of the product's branch into force.
func (s *Service) reconcileProduct(ctx context.Context, name string) error {
	repo, ref := slipway.Integration(name)
	has, err := s.HasQueue(ctx, repo, ref)
	switch {
	case slipway.Is(err, slipway.Invalid) || err == nil && !has:
		return s.retire(ctx, name)
	case err != nil:
		return err
	}
	head, err := s.files.Resolve(ctx, repo, ref)
	if slipway.Is(err, slipway.NotFound) {
		return nil // nothing pushed yet, or the branch was deleted: what was in force stays
	}
	if err != nil {
		return err
	}
	var branches []git.Ref // what the file at main says is about them
	if slipway.ProductAt(repo, "main") == name {
		if branches, err = s.files.Refs(ctx, repo, "refs/heads/"); err != nil {
			return err
		}
	}
	data, err := s.files.File(ctx, repo, head, spec.ProductFile)
	if err != nil && !slipway.Is(err, slipway.NotFound) {
		return err
	}
	var file spec.Product
	if err == nil {
		file, err = parseProduct(slipway.ProductAt(repo, "main"), data)
	}
	problem := err
	return s.st.Update(ctx, func(tx Tx) error {
		p, err := tx.Products().Get(ctx, name)
		if err != nil && !slipway.Is(err, slipway.NotFound) {
			return err
		}
		if p.Head == head {
			return nil
		}
		event := slipway.Event{Subject: slipway.Ref("product", name), Product: name, Actor: "catalog", Links: []string{slipway.Ref("commit", head)}}
		p.Name, p.Head = name, head
		if problem != nil {
			p.State = Broken
			p.Reason = fmt.Sprintf("product.yaml at %.12s is not valid: %v", head, problem)
			event.Type, event.Reason = slipway.ProductBroken, p.Reason
			if err := tx.Products().Put(ctx, p); err != nil {
				return err
			}
			return tx.Emit(ctx, event)
		}
		if p.State == Loaded && sameSpec(p.Spec, file) {
			return tx.Products().Put(ctx, p) // another file of the repository changed
		}
		p.State, p.Spec, p.Commit, p.Since = Loaded, file, head, tx.Now()
		p.Reason = fmt.Sprintf("product.yaml at %.12s is in force", head)
		event.Type, event.Reason = slipway.ProductLoaded, p.Reason
		if err := tx.Products().Put(ctx, p); err != nil {
			return err
		}
		if err := s.members(ctx, tx, name, file); err != nil {
			return err
		}
		if len(branches) > 0 {
			if err := s.wakeBranches(ctx, tx, repo, branches); err != nil {
				return err
			}
		}
		return tx.Emit(ctx, event)
	})
}

// wakeBranches has the other branches of an integration repository looked at: which of them have a queue is what the file at main says.
func (s *Service) wakeBranches(ctx context.Context, tx Tx, repo string, branches []git.Ref) error {
	main := slipway.ProductAt(repo, "main")
	names := map[string]bool{}
	for _, b := range branches {
		names[slipway.ProductAt(repo, strings.TrimPrefix(b.Name, "refs/heads/"))] = true
	}
	all, err := tx.Products().Find(ctx, slipway.Query{})
	if err != nil {
		return err
	}
	for _, p := range all { // also those whose branch is gone
		if of, _ := slipway.Integration(p.Name); of == repo {
			names[p.Name] = true
		}
	}
	delete(names, main)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if err := tx.Wake(ctx, productKind, name, time.Time{}); err != nil {
			return err
		}
	}
	return nil
}

// retire takes a branch that has no queue any more out of what moves: it keeps its history, and nothing new comes in. Of a branch that never
// was a product it leaves no trace.
func (s *Service) retire(ctx context.Context, name string) error {
	return s.st.Update(ctx, func(tx Tx) error {
		p, err := tx.Products().Get(ctx, name)
		if err != nil {
			return ignoreMissing(err)
		}
		if p.State == Retired {
			return nil
		}
		_, ref := slipway.Integration(name)
		p.State, p.Head, p.Since = Retired, "", tx.Now() // should it come back, it is read anew
		p.Reason = fmt.Sprintf("branches: of %s at main does not name %s any more", spec.ProductFile, strings.TrimPrefix(ref, "refs/heads/"))
		if err := tx.Products().Put(ctx, p); err != nil {
			return err
		}
		if err := s.members(ctx, tx, name, spec.Product{}); err != nil {
			return err
		}
		return tx.Emit(ctx, slipway.Event{Type: slipway.ProductRetired, Subject: slipway.Ref("product", name), Product: name, Actor: "catalog", Reason: p.Reason})
	})
}

// parseProduct reads a product file, which has the name of its repository on all branches.
func parseProduct(name string, data []byte) (spec.Product, error) {
	file, err := spec.ParseProduct(data, spec.ProductFile)
	if err == nil && file.Name != name {
		err = slipway.Errorf(slipway.Invalid, "the file is of the product %q, the repository of %q", file.Name, name).
			At(spec.ProductFile).Try("write product: " + name)
	}
	return file, err
}

func sameSpec(a, b spec.Product) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

// members makes the rows of components follow the product file, and has their repositories read.
func (s *Service) members(ctx context.Context, tx Tx, product string, file spec.Product) error {
	rows, err := tx.Components().Find(ctx, slipway.Query{Product: product})
	if err != nil {
		return err
	}
	edges, err := tx.Edges().At(ctx, product, time.Time{})
	if err != nil {
		return err
	}
	have := map[string]Component{}
	for _, c := range rows {
		have[c.Name] = c
		if ref, stays := file.Components[c.Name]; stays && ref == c.Source {
			continue
		}
		delete(have, c.Name)
		for _, e := range edges {
			if e.Component == c.Name {
				if err := tx.Edges().Close(ctx, e, tx.Now()); err != nil {
					return err
				}
			}
		}
		if err := tx.Components().Delete(ctx, componentID(product, c.Name)); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(file.Components)) {
		ref := file.Components[name]
		if _, ok := have[name]; !ok {
			c := Component{Product: product, Name: name, Source: ref, State: Missing, Reason: "not read yet"}
			if err := tx.Components().Put(ctx, c); err != nil {
				return err
			}
		}
		if err := tx.Wake(ctx, repoKind, ref.Repo, time.Time{}); err != nil {
			return err
		}
	}
	return nil
}

// reconcileRepo reads the components of one repository at every move that they have not seen.
func (s *Service) reconcileRepo(ctx context.Context, repo string) error {
	uses, err := s.ProductsOf(ctx, repo)
	if err != nil {
		return err
	}
	var of heads // git is asked once for all components
	for _, use := range uses {
		for {
			more, err := s.advance(ctx, componentID(use.Product, use.Component), &of)
			if err != nil {
				return err
			}
			if !more {
				break
			}
		}
	}
	return nil
}

// advance reads a component at the next move of its branch that it has not seen. A branch that nobody ever moved is
// missing. What is known of the repository is read again when the branch has moved since.
func (s *Service) advance(ctx context.Context, id string, of *heads) (more bool, err error) {
	var c Component
	var moves []Move
	err = s.st.View(ctx, func(tx Tx) error {
		if c, err = tx.Components().Get(ctx, id); err != nil {
			return err
		}
		moves, err = tx.Moves(ctx, c.Source.Repo, "refs/heads/"+c.Source.Branch, c.Seen)
		return err
	})
	if slipway.Is(err, slipway.NotFound) {
		return false, nil // left the product meanwhile
	}
	if err != nil {
		return false, err
	}
	if len(moves) == 0 {
		if c.Seen > 0 {
			return false, nil
		}
		return false, s.note(ctx, c, fmt.Sprintf("nobody has pushed to %s of %s yet", c.Source.Branch, c.Source.Repo))
	}
	if of.branch["refs/heads/"+c.Source.Branch] != moves[len(moves)-1].New {
		if *of, err = s.heads(ctx, c.Source.Repo); err != nil {
			return false, err
		}
	}
	next := c
	move := moves[0]
	next.Seen, next.Head, next.Since = move.Seq, move.New, move.Time
	if move.New == slipway.ZeroCommit {
		next.State, next.Reason = Missing, fmt.Sprintf("the branch %s of %s was deleted", c.Source.Branch, c.Source.Repo)
	} else if err := s.readRecipe(ctx, &next, *of); err != nil {
		return false, err
	}
	return len(moves) > 1, s.record(ctx, c, next, move)
}

// note corrects the reason of a component of which nothing was read.
func (s *Service) note(ctx context.Context, c Component, reason string) error {
	if c.Reason == reason {
		return nil
	}
	return s.st.Update(ctx, func(tx Tx) error {
		now, err := tx.Components().Get(ctx, componentID(c.Product, c.Name))
		if err != nil || now.Seen != c.Seen || now.Source != c.Source {
			return ignoreMissing(err)
		}
		now.Reason = reason
		return tx.Components().Put(ctx, now)
	})
}

func ignoreMissing(err error) error {
	if slipway.Is(err, slipway.NotFound) {
		return nil
	}
	return err
}

// readRecipe fills in what the file says at the component's head. Only what may pass is an error.
func (s *Service) readRecipe(ctx context.Context, c *Component, of heads) error {
	path := recipePath(c.Source.Path)
	data, err := s.files.File(ctx, c.Source.Repo, c.Head, path)
	if slipway.Is(err, slipway.NotFound) {
		c.State, c.Reason = Missing, fmt.Sprintf("%s has no %s at %.12s", c.Source.Repo, path, c.Head)
		return nil
	}
	if err != nil {
		return err
	}
	recipe, err := parseComponent(c.Name, data, path)
	if err != nil {
		c.State, c.Reason = Broken, fmt.Sprintf("at %.12s: %v", c.Head, err)
		return nil
	}
	version, commit, err := s.version(ctx, c.Source, c.Head, recipe.Paths, of)
	if err != nil {
		return err
	}
	c.State, c.Recipe, c.Version, c.Commit = OK, recipe, version, commit
	c.Reason = fmt.Sprintf("%s is at %.12s", c.Source.Branch, c.Head)
	return nil
}

func parseComponent(name string, data []byte, path string) (spec.Component, error) {
	recipe, err := spec.ParseComponent(data, path)
	if err == nil && recipe.Name != name {
		err = slipway.Errorf(slipway.Invalid, "the file is of the component %q, the product has %q there", recipe.Name, name).
			At(spec.Place(data, path, "component")).Try("write component: " + name + ", or rename it in product.yaml")
	}
	return recipe, err
}

// record commits what was read at a move, with the edges that begin and end there.
func (s *Service) record(ctx context.Context, before, next Component, move Move) error {
	return s.st.Update(ctx, func(tx Tx) error {
		now, err := tx.Components().Get(ctx, componentID(next.Product, next.Name))
		if err != nil {
			return ignoreMissing(err)
		}
		if now.Seen != before.Seen || now.Source != before.Source {
			return nil // somebody else was here
		}
		if err := tx.Components().Put(ctx, next); err != nil {
			return err
		}
		if next.State != Broken { // a broken file leaves the needs as they are
			if err := s.edges(ctx, tx, next, move); err != nil {
				return err
			}
		}
		return tx.Emit(ctx, slipway.Event{
			Type: slipway.ComponentSeen, Subject: slipway.Ref("component", next.Name), Product: next.Product, Actor: "catalog",
			Reason: next.State + ": " + next.Reason, Links: []string{slipway.Ref("commit", next.Head), slipway.Ref("repo", next.Source.Repo)},
		})
	})
}

func (s *Service) edges(ctx context.Context, tx Tx, c Component, move Move) error {
	edges, err := tx.Edges().At(ctx, c.Product, time.Time{})
	if err != nil {
		return err
	}
	var wanted []string
	if c.State == OK {
		wanted = c.Recipe.Needs
	}
	var have []string
	for _, e := range edges {
		if e.Component != c.Name {
			continue
		}
		if slices.Contains(wanted, e.Needs) {
			have = append(have, e.Needs)
			continue
		}
		if err := tx.Edges().Close(ctx, e, move.Time); err != nil {
			return err
		}
	}
	for _, need := range wanted {
		if slices.Contains(have, need) {
			continue
		}
		e := Edge{Product: c.Product, Component: c.Name, Branch: c.Source.Branch, Needs: need, Since: move.Time, Commit: move.New}
		if err := tx.Edges().Open(ctx, e); err != nil {
			return err
		}
	}
	return nil
}
