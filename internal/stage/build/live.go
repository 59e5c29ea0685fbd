package build

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/build/plan"
)

// live is a running wave in memory, as its rows say. One job at a time works on it.
type live struct {
	head     Wave
	order    Order
	graph    *graph
	pins     map[string]slipway.Pin
	items    map[plan.Action]*Item
	progress *plan.Progress
	builds   map[string][]plan.Action // those that are queued or run, by build
	looked   map[plan.Action]bool     // inspections that are under way
	dirty    map[plan.Action]bool     // items that differ from their rows
	choices  map[string]plan.Choice   // by component, what the wave's strategy does
	before   map[string]Item          // by component, what may be taken over
}

// graph is what recipes at pins say, and the order that follows. It does not change.
type graph struct {
	recipes map[string]recipe
	modules map[plan.Action]moduleCheck
	plan    *plan.Plan
}

// waves keeps waves and graphs in memory. A wave is valid while its row has the revision that it was read at; a graph for ever.
type waves struct {
	mu     sync.Mutex
	known  map[string]*live
	graphs map[string]*graph
}

// maxGraphs bounds the graphs that are kept; one of 1,000 components takes some megabytes.
const maxGraphs = 8

func (w *waves) get(id string) *live {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.known[id]
}

func (w *waves) put(id string, l *live) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.known == nil {
		w.known = map[string]*live{}
	}
	w.known[id] = l
}

func (w *waves) forget(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.known, id)
}

func (w *waves) graph(id string) *graph {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.graphs[id]
}

func (w *waves) keep(id string, g *graph) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.graphs == nil || len(w.graphs) >= maxGraphs {
		w.graphs = map[string]*graph{}
	}
	w.graphs[id] = g
}

// plan reads the recipes of what an order's targets need and orders it all. The same pins and targets are planned once.
func (s *Service) plan(ctx context.Context, o Order) (*graph, error) {
	r := o.Request
	named := []any{r.Pins, r.Targets, r.Tests, r.Validate, o.Seeds}
	var modules map[string]spec.Module
	if r.Validate { // its checks follow from the product's file too
		rs, err := s.rules.read(ctx, r.Product, r.Rules)
		if err != nil {
			return nil, err
		}
		modules = rs.product.Modules
		named = append(named, r.Product, r.Rules)
	}
	text, err := json.Marshal(named)
	if err != nil {
		return nil, err
	}
	id := fmt.Sprintf("%x", sha256.Sum256(text))
	if g := s.waves.graph(id); g != nil {
		return g, nil
	}
	checks := moduleChecks(r, modules)
	recipes, vertices, err := s.recipes.graph(ctx, r, checks)
	if err != nil {
		return nil, err
	}
	req := plan.Request{Targets: r.Targets, Tests: r.Tests, Validate: r.Validate}
	if r.Validate {
		req.Checks = []string{inspection}
	}
	for _, seed := range o.Seeds {
		req.Seeds = append(req.Seeds, plan.Seed{From: seed.From, To: seed.To})
	}
	p, err := plan.New(vertices, req)
	if err != nil {
		return nil, err
	}
	g := &graph{recipes, checks, p}
	s.waves.keep(id, g)
	return g, nil
}

// graph reads the recipes of the targets and all that they need. What nobody has is left to the planner to tell, with its place.
func (r *recipes) graph(ctx context.Context, req slipway.WaveRequest, checks map[plan.Action]moduleCheck) (map[string]recipe, map[string]plan.Component, error) {
	pins := make(map[string]slipway.Pin, len(req.Pins))
	for _, p := range req.Pins {
		pins[p.Component] = p
	}
	found := make(map[string]recipe, len(req.Pins))
	vertices := make(map[string]plan.Component, len(req.Pins))
	asked := make(map[string]bool, len(req.Pins))
	todo := slices.Clone(req.Targets)
	for len(todo) > 0 {
		var batch []slipway.Pin
		for _, name := range todo {
			if pin, ok := pins[name]; ok && !asked[name] {
				asked[name] = true
				batch = append(batch, pin)
			}
		}
		read, errs := make([]recipe, len(batch)), make([]error, len(batch))
		var g errgroup.Group
		g.SetLimit(8)
		for i, pin := range batch {
			if rec, ok := r.cached(pin); ok {
				read[i] = rec
				continue
			}
			g.Go(func() error { read[i], errs[i] = r.read(ctx, pin); return nil })
		}
		_ = g.Wait() // the errors are in errs, so that the first by order is told, not the first by time
		todo = nil
		for i, pin := range batch {
			if errs[i] != nil {
				return nil, nil, errs[i]
			}
			rec := read[i]
			found[pin.Component] = rec
			vertices[pin.Component] = plan.Component{Needs: rec.Needs, Where: rec.lines, Tests: slices.Sorted(maps.Keys(rec.Tests))}
			todo = append(todo, rec.Needs...)
		}
		if !slices.ContainsFunc(todo, func(name string) bool { return !asked[name] }) {
			todo = append(r.installs(ctx, req, found, vertices), addChecks(checks, found, vertices)...)
		}
	}
	return found, vertices, nil
}

func (r *recipes) cached(pin slipway.Pin) (recipe, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rec, ok := r.known[pin.Repo+"\x00"+pin.Path+"\x00"+pin.Commit]
	return rec, ok
}

// wave returns a running wave as it is now, with the news for it; nil when it has ended. What is in memory is used while it is true.
func (s *Service) wave(ctx context.Context, id string) (l *live, news []News, builds map[string]Build, err error) {
	l = s.waves.get(id)
	var head Wave
	var order Order
	var items []Item
	old := false
	err = s.store.View(ctx, func(tx Tx) (err error) {
		news, builds, items, old = nil, map[string]Build{}, nil, false
		if head, err = tx.Waves().Get(ctx, id); err != nil || head.State != slipway.WaveRunning {
			return err
		}
		if news, err = tx.News().Find(ctx, slipway.Query{Key: id, Limit: 500}); err != nil {
			return err
		}
		for _, n := range news {
			if n.Build == "" {
				continue
			}
			if builds[n.Build], err = tx.Builds().Get(ctx, n.Build); err != nil {
				return err
			}
		}
		if l != nil && l.head.Rev == head.Rev {
			return nil
		}
		l = nil
		if order, err = tx.Orders().Get(ctx, id); slipway.Is(err, slipway.NotFound) {
			order, old, err = Order{Request: head.Request}, true, nil
		}
		if err != nil {
			return err
		}
		if items, err = tx.Items().Find(ctx, slipway.Query{Key: id}); err != nil {
			return err
		}
		if old {
			items = itemsOf(head)
		}
		for _, i := range items { // what moved while nobody told us
			if i.status() == plan.Active && i.Build != "" {
				if builds[i.Build], err = tx.Builds().Get(ctx, i.Build); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil || head.State != slipway.WaveRunning {
		s.waves.forget(id)
		return nil, nil, nil, err
	}
	if l != nil {
		return l, news, builds, nil
	}
	l = &live{head: head, order: order, items: map[plan.Action]*Item{}, builds: map[string][]plan.Action{}, looked: map[plan.Action]bool{}, dirty: map[plan.Action]bool{}, pins: map[string]slipway.Pin{}}
	for _, p := range order.Request.Pins {
		l.pins[p.Component] = p
	}
	for _, i := range items {
		l.items[i.action()] = &i
	}
	if !head.Laid {
		if err := s.lay(ctx, l); err != nil {
			return nil, nil, nil, err
		}
	} else if l.graph, err = s.plan(ctx, l.order); err != nil {
		return nil, nil, nil, err
	}
	if err := s.choose(ctx, l); err != nil {
		return nil, nil, nil, err
	}
	status := make(map[plan.Action]plan.Status, len(l.items))
	for a, i := range l.items {
		status[a] = i.status()
		l.follow(a, i)
	}
	var skips []plan.Skip
	l.progress, skips = l.graph.plan.Begin(status)
	l.skip(skips)
	s.waves.put(id, l)
	return l, news, builds, nil
}

// lay plans a wave and gives each of its actions a row.
func (s *Service) lay(ctx context.Context, l *live) (err error) {
	if l.graph, err = s.planWithSeeds(ctx, &l.order); err != nil {
		return err
	}
	p := l.graph.plan
	for _, a := range p.Actions {
		i := l.items[a]
		if i == nil {
			i = &Item{Wave: l.head.Request.ID, Action: a.String(), State: waiting}
			l.items[a] = i
		}
		i.Tier = p.TierOf(a)
		i.Needs = nil
		for _, need := range p.Needs(a) {
			i.Needs = append(i.Needs, need.String())
		}
		if a.Builds() {
			i.Source = l.graph.recipes[a.Component].tree
		}
	}
	const batch = 250 // rows in a transaction, so that other writers need not wait for long
	for rest := p.Actions; len(rest) > 0; rest = rest[min(batch, len(rest)):] {
		last := len(rest) <= batch
		err := s.store.Update(ctx, func(tx Tx) error {
			head, err := tx.Waves().Get(ctx, l.head.Request.ID)
			if err != nil {
				return err
			}
			if head.Rev != l.head.Rev || head.State != slipway.WaveRunning { // cancelled, or paused: the job looks again
				return slipway.Errorf(slipway.Conflict, "the wave %s moved while it was planned", head.Request.ID)
			}
			for _, a := range rest[:min(batch, len(rest))] {
				if err := tx.Items().Put(ctx, *l.items[a]); err != nil {
					return err
				}
			}
			if !last {
				return nil
			}
			if err := tx.Orders().Put(ctx, l.order); err != nil {
				return err
			}
			head.Laid, head.Request, head.Components = true, bare(head.Request), nil
			head.Rev++
			head.Reason = fmt.Sprintf("0 of %d done", len(p.Actions))
			if err := tx.Waves().Put(ctx, head); err != nil {
				return err
			}
			l.head = head
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// itemsOf are the items of a wave whose row holds everything.
func itemsOf(w Wave) []Item {
	var items []Item
	for name, c := range w.Components {
		i := Item{Wave: w.Request.ID, Action: name, Tier: c.Tier, State: c.State, Outcome: c.Outcome, Reason: c.Reason, Build: c.Build, Key: c.Key, Artifact: c.Artifact, Reused: c.Reused}
		if i.State == "built" {
			i.State = passed
		}
		items = append(items, i)
		for _, t := range c.Tests {
			i := Item{Wave: w.Request.ID, Action: name + ":" + t.Check, Tier: c.Tier, State: t.State, Outcome: t.Outcome, Reason: t.Reason, Build: t.Build, Reused: t.Reused}
			if i.State == "finished" {
				i.State = failed
				if i.Outcome == slipway.Pass {
					i.State = passed
				}
			}
			items = append(items, i)
		}
	}
	slices.SortFunc(items, func(a, b Item) int { return strings.Compare(a.Action, b.Action) })
	return items
}

// skip notes actions that will never start.
func (l *live) skip(skips []plan.Skip) {
	for _, skip := range skips {
		i := l.items[skip.Action]
		i.State, i.Reason = skipped, skip.Why
		l.dirty[skip.Action] = true
	}
}

// moved notes that an item has another state, and what follows.
func (l *live) moved(a plan.Action) {
	i := l.items[a]
	l.dirty[a] = true
	l.follow(a, i)
	l.skip(l.progress.Set(a, i.status()))
}

// follow keeps what is under way findable.
func (l *live) follow(a plan.Action, i *Item) {
	active := i.status() == plan.Active
	switch {
	case a.Check == inspection && active:
		l.looked[a] = true
	case a.Check == inspection:
		delete(l.looked, a)
	case !active || i.Build == "":
		rest := slices.DeleteFunc(slices.Clone(l.builds[i.Build]), func(o plan.Action) bool { return o == a })
		if l.builds[i.Build] = rest; len(rest) == 0 {
			delete(l.builds, i.Build)
		}
	case !slices.Contains(l.builds[i.Build], a):
		l.builds[i.Build] = append(l.builds[i.Build], a)
	}
}

// hear takes over what builds and inspections have come to.
func (l *live) hear(news []News, builds map[string]Build, answers excuses) {
	for id, b := range builds {
		for _, a := range slices.Clone(l.builds[id]) {
			before := *l.items[a]
			l.items[a].take(b, false)
			l.items[a].waive(answers)
			if before.State != l.items[a].State || before.Reason != l.items[a].Reason {
				l.moved(a)
			}
		}
	}
	for _, n := range news {
		a := plan.ParseAction(n.Action)
		if i := l.items[a]; n.Action != "" && i != nil && i.status() == plan.Active {
			i.State, i.Outcome, i.Reason, i.Notes = failed, n.Outcome, n.Reason, n.Notes
			if n.Outcome == slipway.Pass {
				i.State = passed
			}
			i.waive(answers)
			l.moved(a)
		}
	}
}

// touched reports whether something that an action sees, directly or not, was built anew in this wave.
func (l *live) touched(a plan.Action) bool {
	for _, need := range l.graph.plan.Inputs(a) {
		if i := l.items[need]; !i.Reused || i.CutOff {
			return true
		}
	}
	return false
}
