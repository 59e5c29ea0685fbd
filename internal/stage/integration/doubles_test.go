package integration_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
)

// fate says how the next builds, tests or experiments of a name end; after that they end as their source says.
type fate map[string][]slipway.Outcome

func (f fate) next(name string) (slipway.Outcome, bool) {
	left := f[name]
	if len(left) == 0 {
		return "", false
	}
	f[name] = left[1:]
	return left[0], true
}

// builder is a build stage whose waves end when finish is called, or at once if all of it was built before. A component whose text has "no build"
// does not build, one with "no unit" fails its unit test; its artifact follows from the text and what it needs.
type builder struct {
	*world
	waves map[string]*wave
	order []string
	fate  fate // "build lib", "unit lib"
	texts map[string]string
	known map[string]slipway.ComponentBuild // by what it was built from; with its test, if that has a verdict
	built int
	slots int
	slow  bool // waves end only when finish is called, also those whose builds are all known
}

type wave struct {
	req    slipway.WaveRequest
	status slipway.WaveStatus
}

func (b *builder) StartWave(_ context.Context, req slipway.WaveRequest) (slipway.WaveStatus, error) {
	if err := b.power.on(); err != nil {
		return slipway.WaveStatus{}, err
	}
	if w, ok := b.waves[req.ID]; ok {
		return w.status, nil
	}
	w := &wave{req, slipway.WaveStatus{ID: req.ID, For: req.For, State: slipway.WaveRunning, Reason: "builds", Components: map[string]slipway.ComponentBuild{}}}
	for _, name := range req.Targets {
		w.status.Components[name] = slipway.ComponentBuild{State: "waiting"}
	}
	b.waves[req.ID] = w
	b.order = append(b.order, req.ID)
	reused := true
	for _, name := range req.Targets {
		known, ok := b.known[b.inputs(w, name)]
		reused = reused && ok && (len(known.Tests) > 0 || known.State != "built" || !slices.Contains(req.Tests, name))
	}
	if reused && !b.slow {
		b.end(w)
	}
	return w.status, b.power.wrote()
}

// inputs names what a component is built from.
func (b *builder) inputs(w *wave, name string) string {
	pin, recipe, text := b.source(w, name)
	key := pin.Component + "=" + text
	for _, need := range recipe.Needs {
		key += " (" + b.inputs(w, need) + ")"
	}
	return key
}

func (b *builder) source(w *wave, name string) (slipway.Pin, spec.Component, string) {
	b.t.Helper()
	i := slices.IndexFunc(w.req.Pins, func(p slipway.Pin) bool { return p.Component == name })
	if i < 0 {
		b.t.Fatalf("the wave %s has no pin for %s", w.req.ID, name)
	}
	pin := w.req.Pins[i]
	recipe, err := b.catalog.Recipe(b.t.Context(), pin)
	if err != nil {
		b.t.Fatal(err)
	}
	text, err := remember("file "+pin.Commit+" "+path.Join(pin.Path, "src"), func() ([]byte, error) {
		g, err := b.repos.git(pin.Repo)
		if err != nil {
			return nil, err
		}
		return g.File(b.t.Context(), pin.Commit, path.Join(pin.Path, "src"))
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return pin, recipe, string(text)
}

// Forget makes a failure be tried again.
func (b *builder) Forget(_ context.Context, id, _ string) error {
	if err := b.power.on(); err != nil {
		return err
	}
	for key, c := range b.known {
		switch {
		case c.Build == id:
			delete(b.known, key)
		case len(c.Tests) > 0 && c.Tests[0].Build == id:
			c.Tests = nil
			b.known[key] = c
		default:
			continue
		}
		return b.power.wrote()
	}
	return slipway.Errorf(slipway.NotFound, "no build %s", id)
}

func (b *builder) Wave(_ context.Context, id string) (slipway.WaveStatus, error) {
	if err := b.power.on(); err != nil {
		return slipway.WaveStatus{}, err
	}
	w, ok := b.waves[id]
	if !ok {
		return slipway.WaveStatus{}, slipway.Errorf(slipway.NotFound, "no wave %s", id)
	}
	return w.status, nil
}

func (b *builder) CancelWave(_ context.Context, id, reason string) error {
	if err := b.power.on(); err != nil {
		return err
	}
	w, ok := b.waves[id]
	if !ok {
		return slipway.Errorf(slipway.NotFound, "no wave %s", id)
	}
	if w.status.State != slipway.WaveRunning {
		return slipway.Errorf(slipway.Conflict, "the wave %s is %s already", id, w.status.State)
	}
	w.status.State, w.status.Reason = slipway.WaveCancelled, reason
	for name := range w.status.Components {
		w.status.Components[name] = slipway.ComponentBuild{State: "skipped", Reason: reason}
	}
	b.emit(slipway.Event{Type: slipway.WaveFinished, Subject: "wave/" + id})
	return b.power.wrote()
}

func (b *builder) Slots(context.Context) (int, error) { return b.slots, b.power.on() }

func (b *builder) running() []string {
	return slices.DeleteFunc(slices.Clone(b.order), func(id string) bool { return b.waves[id].status.State != slipway.WaveRunning })
}

// finish ends all waves that run and reports whether there were any.
func (b *builder) finish() bool {
	b.t.Helper()
	running := b.running()
	for _, id := range running {
		b.end(b.waves[id])
		b.emit(slipway.Event{Type: slipway.WaveFinished, Subject: "wave/" + id})
	}
	return len(running) > 0
}

func (b *builder) end(w *wave) {
	w.status.Components = map[string]slipway.ComponentBuild{}
	w.status.State, w.status.Reason = slipway.WavePassed, "all passed"
	for _, name := range w.req.Targets {
		b.build(w, name)
	}
}

// build ends the build of a component and those of all that it needs, each once.
func (b *builder) build(w *wave, name string) slipway.ComponentBuild {
	b.t.Helper()
	if done, ok := w.status.Components[name]; ok {
		return done
	}
	_, recipe, text := b.source(w, name)
	key := b.inputs(w, name)
	c, known := b.known[key]
	if !known {
		c = b.buildNow(name, key, text)
	}
	for _, need := range recipe.Needs {
		if b.build(w, need).State != "built" {
			c = slipway.ComponentBuild{State: "skipped", Reason: "needs " + need}
		}
	}
	if c.State == "built" {
		if len(c.Tests) == 0 && slices.Contains(w.req.Tests, name) {
			b.built++
			unit := slipway.ComponentTest{Check: "unit", State: "finished", Outcome: slipway.Pass, Build: fmt.Sprint(b.built)}
			if strings.Contains(text, "no unit") {
				unit.Outcome, unit.Reason = slipway.Fail, "assertion failed"
			}
			if o, ok := b.fate.next("unit " + name); ok {
				unit.Outcome, unit.Reason = o, "the test ended with "+string(o)
			}
			c.Tests = []slipway.ComponentTest{unit}
		}
		b.texts[c.Artifact] = text
	}
	switch {
	case c.State == "built" && (len(c.Tests) == 0 || verdict(c.Tests[0].Outcome)):
		b.known[key] = c
	case c.State == "built":
		without := c
		without.Tests = nil
		b.known[key] = without
	case c.State == "failed" && verdict(c.Outcome):
		b.known[key] = c
	}
	if !slices.Contains(w.req.Tests, name) {
		c.Tests = nil
	}
	if c.State != "built" {
		w.status.State, w.status.Reason = slipway.WaveFailed, name+": "+c.Reason
	} else if len(c.Tests) > 0 && c.Tests[0].Outcome != slipway.Pass {
		w.status.State, w.status.Reason = slipway.WaveFailed, name+"/unit: "+c.Tests[0].Reason
	}
	w.status.Components[name] = c
	return c
}

func verdict(o slipway.Outcome) bool { return o == slipway.Pass || o == slipway.Fail }

func (b *builder) buildNow(name, key, text string) slipway.ComponentBuild {
	b.built++
	sum, from := sha256.Sum256([]byte(text)), sha256.Sum256([]byte(key))
	c := slipway.ComponentBuild{State: "built", Outcome: slipway.Pass, Build: fmt.Sprint(b.built),
		Key: "sha256:key-" + hex.EncodeToString(from[:4]), Artifact: "sha256:" + hex.EncodeToString(sum[:8])}
	outcome := slipway.Pass
	if strings.Contains(text, "no build") {
		outcome = slipway.Fail
	}
	if o, ok := b.fate.next("build " + name); ok {
		outcome = o
	}
	if outcome != slipway.Pass {
		c.State, c.Outcome, c.Reason, c.Artifact = "failed", outcome, "make says "+string(outcome), ""
	}
	return c
}

// lab is a lab whose experiments end when finish is called. One that is given an artifact whose text has "no NAME" fails.
type lab struct {
	*world
	runs  map[string]*run
	order []string
	fate  fate // by the experiment's file
	nodes int
}

type run struct {
	req    slipway.ExperimentRequest
	status slipway.ExperimentStatus
}

func (l *lab) Run(_ context.Context, req slipway.ExperimentRequest) (slipway.ExperimentStatus, error) {
	if err := l.power.on(); err != nil {
		return slipway.ExperimentStatus{}, err
	}
	if x, ok := l.runs[req.ID]; ok {
		return x.status, nil
	}
	x := &run{req, slipway.ExperimentStatus{ID: req.ID, Number: int64(len(l.runs) + 1), State: "running", Nodes: []string{l.node(req.Avoid)}}}
	x.status.Reason = "on " + x.status.Nodes[0]
	l.runs[req.ID] = x
	l.order = append(l.order, req.ID)
	return x.status, l.power.wrote()
}

// node is the first that is not to be avoided.
func (l *lab) node(avoid []string) string {
	for i := range l.nodes {
		if name := fmt.Sprintf("edge-%d", i+1); !slices.Contains(avoid, name) {
			return name
		}
	}
	return "edge-1"
}

func (l *lab) Nodes(context.Context) ([]slipway.Node, error) {
	var nodes []slipway.Node
	for i := range l.nodes {
		nodes = append(nodes, slipway.Node{Name: fmt.Sprintf("edge-%d", i+1), Online: true})
	}
	return nodes, l.power.on()
}

func (l *lab) Experiment(_ context.Context, id string) (slipway.ExperimentStatus, error) {
	if err := l.power.on(); err != nil {
		return slipway.ExperimentStatus{}, err
	}
	x, ok := l.runs[id]
	if !ok {
		return slipway.ExperimentStatus{}, slipway.Errorf(slipway.NotFound, "no experiment %s", id)
	}
	return x.status, nil
}

func (l *lab) Cancel(_ context.Context, id, reason string) error {
	if err := l.power.on(); err != nil {
		return err
	}
	x, ok := l.runs[id]
	if !ok {
		return slipway.Errorf(slipway.NotFound, "no experiment %s", id)
	}
	if x.status.State == "done" {
		return nil
	}
	x.status.State, x.status.Outcome, x.status.Reason = "done", slipway.Cancelled, reason
	l.emit(slipway.Event{Type: slipway.ExperimentFinished, Subject: "experiment/" + id})
	return l.power.wrote()
}

func (l *lab) running() []string {
	return slices.DeleteFunc(slices.Clone(l.order), func(id string) bool { return l.runs[id].status.State == "done" })
}

// finish ends all experiments that run and reports whether there were any.
func (l *lab) finish() bool {
	running := l.running()
	for _, id := range running {
		l.end(id)
	}
	return len(running) > 0
}

// end ends one experiment.
func (l *lab) end(id string) {
	x := l.runs[id]
	name := strings.TrimSuffix(path.Base(x.req.File), ".yaml")
	x.status.State, x.status.Outcome, x.status.Reason = "done", slipway.Pass, "all steps passed"
	for _, component := range slices.Sorted(maps.Keys(x.req.Artifacts)) {
		if strings.Contains(l.builder.texts[x.req.Artifacts[component]], "no "+name) {
			x.status.Outcome, x.status.Reason = slipway.Fail, "step up of "+name+" ended with 1"
		}
	}
	if o, ok := l.fate.next(name); ok {
		x.status.Outcome, x.status.Reason = o, name+" ended with "+string(o)
	}
	l.emit(slipway.Event{Type: slipway.ExperimentFinished, Subject: "experiment/" + id})
}
