package integration

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
)

// compose makes the candidate of an entry on a base: the manifests there, with the entry's pins moved. An error of kind
// Invalid says that no candidate can be made of the entry.
func (s *Service) compose(ctx context.Context, e Entry, base string) (Candidate, error) {
	repo := productRepo(e.Product)
	data, err := s.source.File(ctx, repo, base, spec.ProductFile)
	if slipway.Is(err, slipway.NotFound) {
		err = slipway.Errorf(slipway.Invalid, "the product file is not there at %s: %w", short(base), err).At(spec.ProductFile).Try("restore it from the last release")
	}
	if err != nil {
		return Candidate{}, err
	}
	product, err := spec.ParseProduct(data, spec.ProductFile)
	if err != nil {
		return Candidate{}, err
	}
	pins, err := s.pins(ctx, e, product, data, base)
	if err != nil {
		return Candidate{}, err
	}
	recipes := map[string]spec.Component{}
	for _, name := range sorted(pins) {
		recipes[name], err = s.catalog.Recipe(ctx, pins[name])
		if slipway.Is(err, slipway.NotFound) {
			err = slipway.Errorf(slipway.Invalid, "component %s has no recipe at %s: %w", name, short(pins[name].Commit), err).At(recipeFile(pins[name]))
		}
		if err != nil {
			return Candidate{}, err
		}
	}
	if err := s.checkNeeds(ctx, product, pins, recipes); err != nil {
		return Candidate{}, err
	}
	if err := checkGates(product, data, recipes); err != nil {
		return Candidate{}, err
	}
	c := Candidate{Product: e.Product, Repo: repo, Base: base, Gate: product.Gates.Candidate, Moved: e.Pins}
	for _, name := range sorted(pins) {
		c.Pins = append(c.Pins, pins[name])
	}
	for _, name := range sorted(product.Configurations) {
		cc, err := s.configure(ctx, c, product, name, recipes)
		if err != nil {
			return Candidate{}, err
		}
		c.Configurations = append(c.Configurations, cc)
	}
	c.ID, err = digest(c)
	return c, err
}

// pins returns the pin of every component of the product: from the manifests at base, moved as the entry says; a component that is
// in neither, or that the product file takes from another place now, starts at the head of its branch. The text is that of the
// product file.
func (s *Service) pins(ctx context.Context, e Entry, product spec.Product, text []byte, base string) (map[string]slipway.Pin, error) {
	pins := map[string]slipway.Pin{}
	for name := range product.Configurations {
		m, err := s.manifest(ctx, e.Product, base, name)
		if slipway.Is(err, slipway.NotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for component, locked := range m.Components {
			// What has left the product, or moved to another place, is not taken from the manifest.
			if ref, ok := product.Components[component]; ok && ref.Repo == locked.Repo && ref.Path == locked.Path {
				pins[component] = locked.Pin(component)
			}
		}
	}
	for _, pin := range e.Pins {
		ref, ok := product.Components[pin.Component]
		if !ok {
			return nil, slipway.Errorf(slipway.Invalid, "the entry moves %s, which is not a component of the product", pin.Component).
				At(spec.Place(text, spec.ProductFile, "components")).Try("add it to the components, or leave it out of the entry")
		}
		if ref.Repo != pin.Repo || ref.Path != pin.Path {
			return nil, slipway.Errorf(slipway.Invalid, "the entry moves %s in %s, but the product takes it from %s", pin.Component, recipeFile(pin), recipeFile(slipway.Pin{Repo: ref.Repo, Path: ref.Path})).
				At(spec.Place(text, spec.ProductFile, "components", pin.Component))
		}
		pins[pin.Component] = pin
	}
	for _, name := range sorted(product.Components) {
		ref := product.Components[name]
		if _, ok := pins[name]; ok {
			continue
		}
		head, err := s.source.Resolve(ctx, ref.Repo, "refs/heads/"+branch(ref))
		if err == nil {
			pins[name], err = s.catalog.PinAt(ctx, name, ref, head)
		}
		if slipway.Is(err, slipway.NotFound) {
			return nil, slipway.Errorf(slipway.Invalid, "component %s has no commit at %s branch %s: %w", name, ref.Repo, branch(ref), err).
				At(spec.Place(text, spec.ProductFile, "components", name)).Try("push it, or take it out of the product file")
		}
		if err != nil {
			return nil, err
		}
	}
	return pins, nil
}

func (s *Service) configure(ctx context.Context, c Candidate, product spec.Product, name string, recipes map[string]spec.Component) (ConfigCandidate, error) {
	conf := product.Configurations[name]
	components := conf.Components
	if len(components) == 0 {
		components = sorted(product.Components)
	}
	components = closure(components, recipes)
	cc := ConfigCandidate{Name: name, Components: components, Params: map[string]string{}}
	for k, v := range product.Params {
		cc.Params[k] = v
	}
	for k, v := range conf.Params {
		cc.Params[k] = v
	}
	for _, file := range conf.Experiments {
		text, err := s.source.File(ctx, c.Repo, c.Base, file)
		if slipway.Is(err, slipway.NotFound) {
			return cc, slipway.Errorf(slipway.Invalid, "configuration %s names an experiment that is not there: %s", name, file).At(spec.ProductFile)
		}
		if err != nil {
			return cc, err
		}
		x, err := spec.ParseExperiment(text, file)
		if err != nil {
			return cc, err
		}
		exp := Experiment{Name: x.Name, File: file, Text: string(text)}
		for _, role := range sorted(x.Roles) {
			for _, component := range x.Roles[role].Artifacts {
				if !slices.Contains(components, component) {
					return cc, slipway.Errorf(slipway.Invalid, "experiment %s asks for component %s, which configuration %s does not have", x.Name, component, name).At(file)
				}
				if !slices.Contains(exp.Uses, component) {
					exp.Uses = append(exp.Uses, component)
				}
			}
		}
		cc.Experiments = append(cc.Experiments, exp)
	}
	return cc, nil
}

// closure returns the names and everything that they need, sorted.
func closure(names []string, recipes map[string]spec.Component) []string {
	in := map[string]bool{}
	var add func(name string)
	add = func(name string) {
		if in[name] {
			return
		}
		in[name] = true
		for _, need := range recipes[name].Needs {
			add(need)
		}
	}
	for _, name := range names {
		add(name)
	}
	return sorted(in)
}

// manifest reads a configuration's manifest at a commit of the integration repository.
func (s *Service) manifest(ctx context.Context, product, commit, configuration string) (m slipway.Manifest, err error) {
	path := "manifests/" + configuration + ".yaml"
	data, err := s.source.File(ctx, productRepo(product), commit, path)
	if err != nil {
		return m, err
	}
	if err := yaml.Unmarshal(data, &m); err != nil {
		return m, slipway.Errorf(slipway.Invalid, "not a manifest: %w", err).At(path).Try("restore it from the last release")
	}
	return m, nil
}

// wave is the request for everything that the candidate's configurations consist of, with all its tests. An entry asks under
// a new id for each attempt: what is known by its key is not built again, and what was cancelled once does not stay so.
func (c Candidate) wave(id string) slipway.WaveRequest {
	in := map[string]bool{}
	for _, cc := range c.Configurations {
		for _, name := range cc.Components {
			in[name] = true
		}
	}
	targets := sorted(in)
	return slipway.WaveRequest{
		ID: id, Product: c.Product, For: slipway.Ref("candidate", c.ID),
		Pins: c.Pins, Targets: targets, Tests: targets, Rules: c.Base,
		Reason: "candidate " + c.ID + " of the integration queue",
	}
}

// manifests locks the candidate to what its wave has built. It is complete when every component was built.
func (c Candidate) manifests(w slipway.WaveStatus) map[string]slipway.Manifest {
	all := map[string]slipway.Manifest{}
	for _, cc := range c.Configurations {
		m := slipway.Manifest{Product: c.Product, Configuration: cc.Name, Components: map[string]slipway.Locked{}}
		for _, name := range cc.Components {
			pin, built := c.pin(name), w.Components[name]
			m.Components[name] = slipway.Locked{Repo: pin.Repo, Path: pin.Path, Version: pin.Version, Commit: pin.Commit, Build: built.Key, Artifact: built.Artifact}
		}
		all[cc.Name] = m
	}
	return all
}

// experiments are the requests for the candidate's experiments. Each is named by the digest of exactly what it depends on,
// so that the same test of the same artifacts is never run twice, whichever candidate asks.
func (c Candidate) experiments(w slipway.WaveStatus) ([]slipway.ExperimentRequest, error) {
	var requests []slipway.ExperimentRequest
	for _, cc := range c.Configurations {
		for _, x := range cc.Experiments {
			req := slipway.ExperimentRequest{
				Product: c.Product, Configuration: cc.Name, File: x.File, Text: x.Text,
				Artifacts: map[string]string{}, Env: map[string]string{}, Priority: 10,
			}
			for k, v := range cc.Params {
				req.Env[k] = v
			}
			for _, name := range x.Uses {
				req.Artifacts[name] = w.Components[name].Artifact
			}
			// Only versions that it asks for: the others may move without a new verdict.
			for _, name := range cc.Components {
				if v := "VERSION_" + envName(name); strings.Contains(x.Text, v) {
					req.Env[v] = c.pin(name).Version
				}
			}
			id, err := digest(req)
			if err != nil {
				return nil, err
			}
			req.ID = slipway.QueueExperiments + id
			req.For = slipway.Ref("candidate", c.ID)
			requests = append(requests, req)
		}
	}
	return requests, nil
}

// required lists all that the candidate's gate asks for: every build and test of the wave, every experiment.
func (c Candidate) required(w slipway.WaveStatus) []slipway.Requirement {
	var all []slipway.Requirement
	add := func(r slipway.Requirement) {
		if len(c.Gate) == 0 || slices.Contains(c.Gate, r.Check) {
			all = append(all, r)
		}
	}
	for _, name := range sorted(w.Components) {
		add(slipway.Requirement{Check: "build", Item: name})
		for _, t := range w.Components[name].Tests {
			add(slipway.Requirement{Check: t.Check, Item: name})
		}
	}
	for _, cc := range c.Configurations {
		for _, x := range cc.Experiments {
			add(slipway.Requirement{Check: "experiment", Item: x.Name, Configuration: cc.Name})
		}
	}
	return all
}

// results are the outcomes that the wave has come to.
func (c Candidate) results(w slipway.WaveStatus) []slipway.Result {
	subject := slipway.Ref("candidate", c.ID)
	var all []slipway.Result
	for _, name := range sorted(w.Components) {
		b := w.Components[name]
		r := slipway.Result{Product: c.Product, Subject: subject, Check: "build", Item: name, Reason: b.Reason, Link: slipway.Ref("build", b.Build)}
		switch b.State {
		case "built":
			r.Outcome, r.Reason = slipway.Pass, ""
			all = append(all, r)
		case "failed":
			r.Outcome = cmp.Or(b.Outcome, slipway.Fail)
			all = append(all, r)
		}
		for _, t := range b.Tests {
			if t.State == "finished" {
				all = append(all, slipway.Result{Product: c.Product, Subject: subject, Check: t.Check, Item: name, Outcome: t.Outcome, Reason: t.Reason, Link: slipway.Ref("build", t.Build)})
			}
		}
	}
	return all
}

// digest names v by its content: 16 hexadecimal digits, for people to copy.
func digest(v any) (string, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8]), nil
}

func envName(component string) string {
	return strings.ToUpper(strings.ReplaceAll(component, "-", "_"))
}

func productRepo(product string) string { return "products/" + product }

func branch(ref spec.ComponentRef) string { return cmp.Or(ref.Branch, "main") }

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
