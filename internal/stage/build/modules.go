package build

import (
	"context"
	"slices"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/build/plan"
)

// moduleCheck is a check of a product's module: a script that sees the outputs of all components of the module, each at $DEPS/NAME.
//
// A wave that validates has the checks of the modules of which it tests a component. Each is an action beside the tests of the first such
// component, with the name MODULE.CHECK; it waits for all of the module, and what needs the component waits for it unless something of the
// module is built in a later tier.
type moduleCheck struct {
	components []string
	step       spec.Step
}

// moduleChecks lists the checks of modules that a wave has.
func moduleChecks(req slipway.WaveRequest, modules map[string]spec.Module) map[plan.Action]moduleCheck {
	checks := map[plan.Action]moduleCheck{}
	if !req.Validate {
		return checks
	}
	pinned := make(map[string]bool, len(req.Pins))
	for _, p := range req.Pins {
		pinned[p.Component] = true
	}
	for name, m := range modules {
		all := slices.DeleteFunc(slices.Sorted(slices.Values(m.Components)), func(c string) bool { return !pinned[c] }) // the others were never pushed
		first := slices.IndexFunc(all, func(c string) bool { return slices.Contains(req.Tests, c) })
		if first < 0 {
			continue
		}
		for check, step := range m.Checks {
			checks[plan.Action{Component: all[first], Check: name + "." + check}] = moduleCheck{all, step}
		}
	}
	return checks
}

// addChecks gives components the checks of their modules, and names components whose recipes have to be read for that.
func addChecks(checks map[plan.Action]moduleCheck, found map[string]recipe, vertices map[string]plan.Component) (missing []string) {
	for a, m := range checks {
		vertices[a.Component] = vertices[a.Component].With(a.Check, m.components)
		for _, c := range m.components {
			if _, ok := found[c]; !ok && !slices.Contains(missing, c) {
				missing = append(missing, c)
			}
		}
	}
	slices.Sort(missing)
	return missing
}

// prepareModuleCheck makes the build of a module's check. It has no source and no output of its own.
func (s *Service) prepareModuleCheck(ctx context.Context, l *live, a plan.Action, m moduleCheck) (prepared, error) {
	rec, pin := l.graph.recipes[a.Component], l.pins[a.Component]
	empty, _, err := artifact.PutMessage(ctx, s.artifacts, &repb.Directory{})
	if err != nil {
		return prepared{}, err
	}
	b := buildFor(l.order.Request, pin, a)
	b.Source = empty
	root, err := s.equip(ctx, &b, l.order.Request, recipe{Component: spec.Component{Name: rec.Name}})
	if err != nil {
		return prepared{}, err
	}
	for _, c := range m.components {
		b.Inputs[c] = l.items[plan.Action{Component: c}].Artifact
	}
	b.Run = Run{Script: m.step.Run, Timeout: m.step.Timeout, Env: environment(pin, recipe{epoch: rec.epoch}, root)}
	p := prepared{action: a, build: b}
	if p.messages, err = s.messages(ctx, b); err != nil {
		return prepared{}, err
	}
	p.build.Key, err = keyOf(p.messages)
	return p, err
}
