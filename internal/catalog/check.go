package catalog

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
)

// Check says whether the files of a commit may come to ref (a branch, or refs/for/BRANCH) of repo; the git edge asks
// before it lets a push in. It refuses, with file and line:
//
//   - in products/NAME on main and on other branches with a queue: a product.yaml that is missing or broken, an experiment that a configuration names and that is
//     missing or broken, a model that is missing;
//   - in components/ and modules/, on branches that some product takes the component from: a broken slipway.yaml, one of
//     another component, a need that the product does not have, and needs that close a circle with those of the
//     other components as they are.
//
// In modules/, on main, a module.yaml is refused too.
//
// A repository that no product uses is held to a valid slipway.yaml at its root on main, if it has one. The function files
// reads a path of the commit; it returns NotFound when the commit does not have it. The error is of kind Invalid.
func (s *Service) Check(ctx context.Context, repo, ref string, files func(path string) ([]byte, error)) error {
	if product := slipway.ProductAt(repo, "main"); product != "" {
		has, err := s.HasQueue(ctx, repo, ref)
		if err != nil || !has {
			return err
		}
		return checkProduct(product, files)
	}
	if strings.HasPrefix(repo, "modules/") && onBranch(ref, "main") {
		if err := checkModule(files); err != nil {
			return err
		}
	}
	uses, err := s.ProductsOf(ctx, repo)
	if err != nil {
		return err
	}
	if len(uses) == 0 {
		if !onBranch(ref, "main") {
			return nil
		}
		data, err := files(spec.ComponentFile)
		if err != nil {
			return ignoreMissing(err)
		}
		_, err = spec.ParseComponent(data, spec.ComponentFile)
		return err
	}
	recipes := map[string]map[string]pushed{} // by product, then component
	for _, use := range uses {
		if !onBranch(ref, use.Branch) {
			continue
		}
		path := recipePath(use.Path)
		data, err := files(path)
		if slipway.Is(err, slipway.NotFound) {
			continue // a component may come later; until then its state says that it is missing
		}
		if err != nil {
			return err
		}
		recipe, err := parseComponent(use.Component, data, path)
		if err != nil {
			return err
		}
		if recipes[use.Product] == nil {
			recipes[use.Product] = map[string]pushed{}
		}
		recipes[use.Product][use.Component] = pushed{recipe.Needs, path, data}
	}
	for _, product := range slices.Sorted(maps.Keys(recipes)) {
		if err := s.checkNeeds(ctx, product, recipes[product]); err != nil {
			return err
		}
	}
	return nil
}

// checkModule refuses a module's own file: nothing would be built by it.
func checkModule(files func(path string) ([]byte, error)) error {
	data, err := files(spec.ModuleFile)
	if err != nil {
		return ignoreMissing(err)
	}
	m, err := spec.ParseModule(data, spec.ModuleFile)
	if err != nil {
		return err
	}
	at := spec.Place(data, spec.ModuleFile, "module")
	if len(m.Buildroots) > 0 {
		at = spec.Place(data, spec.ModuleFile, "buildroots")
	}
	return slipway.Errorf(slipway.Invalid, "nothing is built by a module's own file yet: what it says of the module %s would be passed over", m.Name).At(at).
		Try("write the module under modules: in the product's file, with its buildroots")
}

// pushed is a recipe that is about to come in.
type pushed struct {
	needs []string
	path  string
	data  []byte
}

// at is where the recipe asks for the problem's need.
func (r pushed) at(name string, problem Problem) string {
	need := problem.Unknown
	if i := slices.Index(problem.Cycle, name); i >= 0 && i+1 < len(problem.Cycle) {
		need = problem.Cycle[i+1]
	}
	return spec.Place(r.data, r.path, "needs", need)
}

// checkNeeds refuses problems of a product's graph that the new recipes bring, not those that were there.
func (s *Service) checkNeeds(ctx context.Context, product string, recipes map[string]pushed) error {
	p, _, err := s.Product(ctx, product)
	if err != nil {
		return ignoreMissing(err)
	}
	edges, err := s.NeedsAt(ctx, product, time.Time{})
	if err != nil {
		return err
	}
	needs := needsOf(edges)
	components := slices.Collect(maps.Keys(p.Components))
	before := needs.Without(p.Bootstrap).Problems(components)
	for name, recipe := range recipes {
		needs[name] = recipe.needs
	}
	for _, problem := range needs.Without(p.Bootstrap).Problems(components) {
		known := slices.ContainsFunc(before, func(old Problem) bool {
			return old.Component == problem.Component && old.Unknown == problem.Unknown && slices.Equal(old.Cycle, problem.Cycle)
		})
		if known {
			continue
		}
		where := spec.ProductFile
		for _, name := range append([]string{problem.Component}, problem.Cycle...) {
			if recipe, ok := recipes[name]; ok {
				where = recipe.at(name, problem)
				break
			}
		}
		return problem.Error().At(where + " (product " + product + ")")
	}
	return nil
}

func checkProduct(product string, files func(path string) ([]byte, error)) error {
	data, err := files(spec.ProductFile)
	if slipway.Is(err, slipway.NotFound) {
		return slipway.Errorf(slipway.Invalid, "the integration repository has no %s", spec.ProductFile).
			At(spec.ProductFile).Try("add it; see docs/guides/product-yaml.md")
	}
	if err != nil {
		return err
	}
	file, err := parseProduct(product, data)
	if err != nil {
		return err
	}
	var problems []error
	checked := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(file.Configurations)) {
		for _, path := range file.Configurations[name].Experiments {
			if checked[path] {
				continue
			}
			checked[path] = true
			text, err := files(path)
			switch {
			case slipway.Is(err, slipway.NotFound):
				problems = append(problems, slipway.Errorf(slipway.Invalid, "the configuration %s names the experiment %s, which is missing", name, path).
					At(spec.Place(data, spec.ProductFile, "configurations", name, "experiments", path)).Try("add the file to the commit"))
			case err != nil:
				return err
			default:
				problems = append(problems, checkExperiment(file, text, path))
			}
		}
	}
	if model := file.Deploy.Model; model != "" {
		if _, err := files(model); slipway.Is(err, slipway.NotFound) {
			problems = append(problems, slipway.Errorf(slipway.Invalid, "the model %s is missing", model).
				At(spec.Place(data, spec.ProductFile, "deploy", "model")).Try("add the file to the commit"))
		} else if err != nil {
			return err
		}
	}
	return join(problems)
}

// checkExperiment holds an experiment to its form and to the product's components.
func checkExperiment(file spec.Product, data []byte, path string) error {
	e, err := spec.ParseExperiment(data, path)
	if err != nil {
		return err
	}
	for _, role := range slices.Sorted(maps.Keys(e.Roles)) {
		for _, component := range e.Roles[role].Artifacts {
			if _, ok := file.Components[component]; !ok {
				return slipway.Errorf(slipway.Invalid, "the role %s wants artifacts of %s, which is no component of the product", role, component).
					At(spec.Place(data, path, "roles", role, "artifacts", component)).Try("there are: " + strings.Join(slices.Sorted(maps.Keys(file.Components)), ", "))
			}
		}
	}
	return nil
}

func join(problems []error) error {
	problems = slices.DeleteFunc(problems, func(err error) bool { return err == nil })
	switch len(problems) {
	case 0:
		return nil
	case 1:
		return problems[0]
	}
	return slipway.Errorf(slipway.Invalid, "%d problems: %w", len(problems), errors.Join(problems...))
}

// onBranch reports whether a push to ref is about the branch: to it, or to refs/for/ it, with or without a topic.
func onBranch(ref, branch string) bool {
	if ref == "refs/heads/"+branch {
		return true
	}
	rest, ok := strings.CutPrefix(ref, "refs/for/"+branch)
	return ok && (rest == "" || rest[0] == '/' || rest[0] == '%')
}
