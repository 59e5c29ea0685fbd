package integration

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
)

// Candidate is an exact tuple of versions: what a trial is made of, and what lands.
type Candidate struct {
	ID             string            `json:"id"` // from the digest of the product, the pins, the configurations and the gate
	Product        string            `json:"product"`
	Repo           string            `json:"repo"` // the integration repository
	Base           string            `json:"base"` // the commit of it that the candidate was last made on
	Pins           []slipway.Pin     `json:"pins"` // of all components, by name
	Configurations []ConfigCandidate `json:"configurations"`
	Gate           []string          `json:"gate,omitempty"`     // the checks that must pass; empty: all that run
	Advisory       []string          `json:"advisory,omitempty"` // experiments that run without a vote
	Rules          string            `json:"rules,omitempty"`    // digest of the product file at the base
	Moved          []slipway.Pin     `json:"moved"`
	// Needs is what each component needs, by its file at its pin.
	Needs map[string][]string `json:"needs,omitempty"`
}

// ConfigCandidate is one configuration's part in a candidate.
type ConfigCandidate struct {
	Name        string            `json:"name"`
	Components  []string          `json:"components"` // with all that they need
	Params      map[string]string `json:"params,omitempty"`
	Experiments []Experiment      `json:"experiments,omitempty"`
}

// Experiment is the text of an experiment at the candidate's base.
type Experiment struct {
	Name string   `json:"name"`
	File string   `json:"file"`
	Text string   `json:"text"`
	Uses []string `json:"uses,omitempty"` // components whose artifacts it puts on nodes
}

// Row implements [slipway.Record].
func (c Candidate) Row() slipway.Row { return slipway.Row{ID: c.ID, Product: c.Product} }

// digest names the tuple: equal tuples are one candidate, whatever commit they stand on.
func (c Candidate) digest() (string, error) {
	c.ID, c.Base, c.Moved, c.Needs = "", "", nil, nil
	return digest(c)
}

func (c Candidate) pin(component string) slipway.Pin {
	for _, p := range c.Pins {
		if p.Component == component {
			return p
		}
	}
	return slipway.Pin{}
}

// tuple is a candidate as it was just made, with what only the queue needs to know of it.
type tuple struct {
	Candidate
	product spec.Product
	moving  bool // something in it was read from the head of a branch
}

// compose makes the candidate of some entries on a base: the manifests there, with the pins of the entries moved, in order. An error
// of kind Invalid says that no candidate can be made of them.
func (s *Service) compose(ctx context.Context, product, base string, entries ...Entry) (tuple, error) {
	key := product + " " + base
	for _, e := range entries {
		key += " " + e.content()
	}
	if t, ok := s.tuples.get(key); ok {
		return t.tuple, t.err
	}
	t, err := s.composeNow(ctx, product, base, entries)
	if err == nil && !t.moving || slipway.Is(err, slipway.Invalid) && !t.moving {
		s.tuples.put(key, composed{t, err})
	}
	return t, err
}

func (s *Service) composeNow(ctx context.Context, name, base string, entries []Entry) (t tuple, err error) {
	t.moving = true // until the pins are known
	repo, _ := slipway.Integration(name)
	data, err := s.source.File(ctx, repo, base, spec.ProductFile)
	if slipway.Is(err, slipway.NotFound) {
		err = slipway.Errorf(slipway.Invalid, "the product file is not there at %s: %w", short(base), err).At(spec.ProductFile).Try("restore it from the last release")
	}
	if err != nil {
		return t, err
	}
	rules, err := digest(string(data))
	if err != nil {
		return t, err
	}
	if t.product, err = spec.ParseProduct(data, spec.ProductFile); err != nil {
		return t, err
	}
	pins, moved, moving, err := s.pins(ctx, name, entries, t.product, data, base)
	if err != nil {
		return t, err
	}
	t.moving = moving
	recipes := map[string]spec.Component{}
	for _, name := range sorted(pins) {
		recipes[name], err = s.catalog.Recipe(ctx, pins[name])
		if slipway.Is(err, slipway.NotFound) {
			err = slipway.Errorf(slipway.Invalid, "component %s has no recipe at %s: %w", name, short(pins[name].Commit), err).At(recipeFile(pins[name]))
		}
		if err != nil {
			return t, err
		}
	}
	if err := s.checkNeeds(ctx, t.product, pins, recipes); err != nil {
		return t, err
	}
	if err := checkGates(t.product, data, recipes); err != nil {
		return t, err
	}
	c := Candidate{Product: name, Repo: repo, Base: base, Gate: t.product.Gates.Candidate, Advisory: t.product.Queue.Advisory, Rules: rules, Moved: moved, Needs: map[string][]string{}}
	for _, name := range sorted(pins) {
		c.Pins = append(c.Pins, pins[name])
		if needs := recipes[name].Needs; len(needs) > 0 {
			c.Needs[name] = needs
		}
	}
	for _, name := range sorted(t.product.Configurations) {
		cc, err := s.configure(ctx, c, t.product, name, recipes)
		if err != nil {
			return t, err
		}
		c.Configurations = append(c.Configurations, cc)
	}
	c.ID, err = c.digest()
	t.Candidate = c
	return t, err
}

// pins returns the pin of every component of the product: from the manifests at base, moved as the entries say, in their order; a component that
// is in neither, or that the product file takes from another place now, starts at the head of its branch. The text is that of the
// product file. An entry that was not asked for by hand moves nothing back.
func (s *Service) pins(ctx context.Context, name string, entries []Entry, product spec.Product, text []byte, base string) (pins map[string]slipway.Pin, moved []slipway.Pin, moving bool, err error) {
	pins = map[string]slipway.Pin{}
	for configuration := range product.Configurations {
		m, err := s.manifest(ctx, name, base, configuration)
		if slipway.Is(err, slipway.NotFound) {
			continue
		}
		if err != nil {
			return nil, nil, false, err
		}
		for component, locked := range m.Components {
			// What has left the product, or moved to another place, is not taken from the manifest.
			if ref, ok := product.Components[component]; ok && ref.Repo == locked.Repo && ref.Path == locked.Path {
				pins[component] = locked.Pin(component)
			}
		}
	}
	in := map[string]slipway.Pin{}
	for _, e := range entries {
		for _, pin := range e.Pins {
			ref, ok := product.Components[pin.Component]
			if !ok {
				return nil, nil, false, slipway.Errorf(slipway.Invalid, "the entry moves %s, which is not a component of the product", pin.Component).
					At(spec.Place(text, spec.ProductFile, "components")).Try("add it to the components, or leave it out of the entry")
			}
			if ref.Repo != pin.Repo || ref.Path != pin.Path {
				return nil, nil, false, slipway.Errorf(slipway.Invalid, "the entry moves %s in %s, but the product takes it from %s", pin.Component, recipeFile(pin), recipeFile(slipway.Pin{Repo: ref.Repo, Path: ref.Path})).
					At(spec.Place(text, spec.ProductFile, "components", pin.Component))
			}
			if now, ok := pins[pin.Component]; ok && !e.Exact && now.Repo == pin.Repo && now.Commit != pin.Commit {
				older, err := s.ancestor(ctx, pin.Repo, pin.Commit, now.Commit)
				if err != nil {
					return nil, nil, false, err
				}
				if older {
					continue
				}
			}
			pins[pin.Component], in[pin.Component] = pin, pin
		}
	}
	for _, name := range sorted(in) {
		moved = append(moved, in[name])
	}
	rest := maps.Clone(product.Components)
	maps.DeleteFunc(rest, func(name string, _ spec.ComponentRef) bool { _, ok := pins[name]; return ok })
	if len(rest) == 0 {
		return pins, moved, false, nil
	}
	heads, _, err := s.catalog.HeadPins(ctx, rest)
	if err != nil {
		return nil, nil, true, err
	}
	for _, name := range sorted(rest) {
		ref, ok := rest[name], false
		if pins[name], ok = heads[name]; ok {
			continue
		}
		head, err := s.source.Resolve(ctx, ref.Repo, "refs/heads/"+branch(ref))
		if err == nil {
			pins[name], err = s.catalog.PinAt(ctx, name, ref, head)
		}
		if slipway.Is(err, slipway.NotFound) {
			return nil, nil, true, slipway.Errorf(slipway.Invalid, "component %s has no commit at %s branch %s: %w", name, ref.Repo, branch(ref), err).
				At(spec.Place(text, spec.ProductFile, "components", name)).Try("push it, or take it out of the product file")
		}
		if err != nil {
			return nil, nil, true, err
		}
	}
	return pins, moved, true, nil
}

// ancestor reports whether one commit is in the history of another; what is not there is in no history. The answer never changes.
func (s *Service) ancestor(ctx context.Context, repo, older, newer string) (bool, error) {
	if older == newer {
		return true, nil
	}
	key := repo + " " + older + " " + newer
	if known, ok := s.ancestors.get(key); ok {
		return known, nil
	}
	is, err := s.source.IsAncestor(ctx, repo, older, newer)
	if slipway.Is(err, slipway.NotFound) {
		return false, nil
	}
	if err == nil {
		s.ancestors.put(key, is)
	}
	return is, err
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
	data, err := s.fileOf(ctx, product, commit, path)
	if err != nil {
		return m, err
	}
	if err := yaml.Unmarshal(data, &m); err != nil {
		return m, slipway.Errorf(slipway.Invalid, "not a manifest: %w", err).At(path).Try("restore it from the last release")
	}
	return m, nil
}

// wave is a request for builds of the candidate's components, and for their tests. What is known by its key is not built again.
func (c Candidate) wave(id string, targets []string, tests bool, reason string) slipway.WaveRequest {
	req := slipway.WaveRequest{ID: id, Product: c.Product, For: slipway.Ref("candidate", c.ID), Pins: c.Pins, Targets: targets, Rules: c.Base, Reason: reason}
	if tests {
		req.Tests = targets
	}
	return req
}

// components are all that the configurations consist of.
func (c Candidate) components() []string {
	in := map[string]bool{}
	for _, cc := range c.Configurations {
		for _, name := range cc.Components {
			in[name] = true
		}
	}
	return sorted(in)
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

// experiment is the request for one of the candidate's experiments, given a wave that has built what it uses. It is named by the
// digest of exactly what it depends on, so that the same test of the same artifacts is never run twice, whichever candidate asks.
func (c Candidate) experiment(cc ConfigCandidate, x Experiment, w slipway.WaveStatus) (slipway.ExperimentRequest, error) {
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
	for _, name := range x.asks(cc.Components) { // the others may move without a new verdict
		req.Env["VERSION_"+envName(name)] = c.pin(name).Version
	}
	id, err := digest(req)
	req.ID = slipway.QueueExperiments + id
	req.For = slipway.Ref("candidate", c.ID)
	return req, err
}

// asks lists the components whose versions the experiment's text asks for.
func (x Experiment) asks(components []string) []string {
	return slices.DeleteFunc(slices.Clone(components), func(name string) bool { return !strings.Contains(x.Text, "VERSION_"+envName(name)) })
}

// find returns the experiment of a check.
func (c Candidate) find(check Check) (ConfigCandidate, Experiment, bool) {
	for _, cc := range c.Configurations {
		for _, x := range cc.Experiments {
			if cc.Name == check.Configuration && x.Name == check.Item {
				return cc, x, true
			}
		}
	}
	return ConfigCandidate{}, Experiment{}, false
}

// votes reports whether the gate asks for a kind of check.
func (c Candidate) votes(kind string) bool { return len(c.Gate) == 0 || slices.Contains(c.Gate, kind) }

// required lists all that the candidate's gate asks for: every build and test of the wave, every experiment.
func (c Candidate) required(w slipway.WaveStatus) []slipway.Requirement {
	var all []slipway.Requirement
	add := func(r slipway.Requirement) {
		if c.votes(r.Check) && (r.Check != kindExperiment || !slices.Contains(c.Advisory, r.Item)) {
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

// baseOf returns the commit that a product's branch of its integration repository is at.
func (s *Service) baseOf(ctx context.Context, product string) (string, error) {
	repo, ref := slipway.Integration(product)
	return s.source.Resolve(ctx, repo, ref)
}

// fileOf reads a file of the integration repository at a commit.
func (s *Service) fileOf(ctx context.Context, product, commit, path string) ([]byte, error) {
	repo, _ := slipway.Integration(product)
	return s.source.File(ctx, repo, commit, path)
}

func branch(ref spec.ComponentRef) string { return cmp.Or(ref.Branch, "main") }

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
