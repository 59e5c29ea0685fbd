package integration

import (
	"context"
	"path"
	"slices"
	"strings"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
)

// checkNeeds refuses components that the product does not have, and needs that close a circle which the product does not say how to
// start. The error says where in which component's file.
func (s *Service) checkNeeds(ctx context.Context, product spec.Product, pins map[string]slipway.Pin, recipes map[string]spec.Component) error {
	const open, done = 1, 2
	state := map[string]int{}
	var way []string
	var visit func(name string) error
	visit = func(name string) error {
		state[name] = open
		way = append(way, name)
		for _, need := range recipes[name].Needs {
			_, known := recipes[need]
			given := slices.ContainsFunc(product.Bootstrap, func(b spec.Bootstrap) bool { return b.From == name && b.To == need })
			switch {
			case !known:
				return slipway.Errorf(slipway.Invalid, "component %s needs %s, which the product does not have", name, need).
					At(s.whereNeeds(ctx, pins[name], need)).Try("add " + need + " to the components of " + spec.ProductFile)
			case given: // the circle is broken here
			case state[need] == open:
				circle := append(slices.Clone(way[slices.Index(way, need):]), need)
				return slipway.Errorf(slipway.Invalid, "components need each other in a circle: %s", strings.Join(circle, " needs ")).
					At(s.whereNeeds(ctx, pins[name], need)).Try("remove one of these needs, or move what both share into a component of its own")
			case state[need] == 0:
				if err := visit(need); err != nil {
					return err
				}
			}
		}
		way = way[:len(way)-1]
		state[name] = done
		return nil
	}
	for _, name := range sorted(recipes) {
		if state[name] == 0 {
			if err := visit(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// whereNeeds is the place in a component's file that names a need; only the file when it cannot be read.
func (s *Service) whereNeeds(ctx context.Context, pin slipway.Pin, need string) string {
	text, err := s.source.File(ctx, pin.Repo, pin.Commit, path.Join(pin.Path, spec.ComponentFile))
	if err != nil {
		return recipeFile(pin)
	}
	return spec.Place(text, recipeFile(pin), "needs", need)
}

func recipeFile(pin slipway.Pin) string { return path.Join(pin.Repo, pin.Path, spec.ComponentFile) }

// checkGates refuses a gate that asks for a check which nothing runs: a slip of the pen would let everything pass.
func checkGates(product spec.Product, data []byte, recipes map[string]spec.Component) error {
	known := map[string]bool{"build": true, "experiment": true}
	for _, r := range recipes {
		for check := range r.Tests {
			known[check] = true
		}
	}
	for key, gate := range map[string][]string{"change": product.Gates.Change, "candidate": product.Gates.Candidate} {
		for _, check := range gate {
			if !known[check] {
				return slipway.Errorf(slipway.Invalid, "the gate for a %s asks for %q, a check that no component has", key, check).
					At(spec.Place(data, spec.ProductFile, "gates", key, check)).Try("there are " + strings.Join(sorted(known), ", "))
			}
		}
	}
	return nil
}
