package build

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build/plan"
)

// Rebuild is a part of a product that is built again, tier by tier, because something changed.
//
// It is a row that follows waves: each attempt is a wave that validates. What an attempt built, the next one finds by its key, so an
// attempt goes on where the one before stopped, whoever or whatever stopped it.
//
//	running   an attempt is under way
//	paused    the same, and it starts nothing new
//	stuck     the last attempt ended with failures; a push to a component of it, or a retry, begins the next
//	passed    everything is built and has passed its checks
//	cancelled
type Rebuild struct {
	ID       string             `json:"id"` // a number, counted up
	Product  string             `json:"product"`
	Cause    RebuildCause       `json:"cause"`
	State    string             `json:"state"`
	Reason   string             `json:"reason"`
	Actor    string             `json:"actor"`
	Changed  map[string]string  `json:"changed"` // by component: why its own inputs changed
	Targets  []string           `json:"targets"`
	Pins     []slipway.Pin      `json:"pins"`
	Rules    string             `json:"rules,omitempty"`  // commit of the integration repository whose buildroots count
	Before   string             `json:"before,omitempty"` // wave that a strategy takes over from
	Attempts []RebuildAttempt   `json:"attempts"`
	Counts   slipway.WaveCounts `json:"counts"` // of the last attempt that has ended
	Created  time.Time          `json:"created"`
	Finished time.Time          `json:"finished,omitzero"`
}

// RebuildAttempt is one wave of a rebuild.
type RebuildAttempt struct {
	Wave     string             `json:"wave"`
	Why      string             `json:"why"`
	State    slipway.WaveState  `json:"state"`
	Reason   string             `json:"reason,omitempty"`
	Counts   slipway.WaveCounts `json:"counts"`
	Started  time.Time          `json:"started"`
	Finished time.Time          `json:"finished,omitzero"`
}

// The states of a rebuild.
const (
	RebuildRunning   = "running"
	RebuildPaused    = "paused"
	RebuildStuck     = "stuck"
	RebuildPassed    = "passed"
	RebuildCancelled = "cancelled"
)

// Row implements [slipway.Record].
func (r Rebuild) Row() slipway.Row {
	return slipway.Row{ID: r.ID, Product: r.Product, State: r.State, Key: r.Cause.Module}
}

func (r Rebuild) subject() string { return slipway.Ref("rebuild", r.ID) }

func (r Rebuild) event(t slipway.EventType, what, actor string) slipway.Event {
	return slipway.Event{ID: fmt.Sprintf("rebuild/%s/%d/%s", r.ID, len(r.Attempts), what), Type: t, Subject: r.subject(), Product: r.Product, Actor: actor, Reason: r.Reason}
}

// RebuildCause says what changed. One of the first group is given.
type RebuildCause struct {
	All        bool          `json:"all,omitempty"`        // everything, as when the world changed
	Components []string      `json:"components,omitempty"` // these
	Package    string        `json:"package,omitempty"`    // the components that make it
	Buildroot  string        `json:"buildroot,omitempty"`  // the components that are built in it; "host" for the tools of the host
	Repo       string        `json:"repo,omitempty"`       // what was built from the commit that Ref names in it
	Ref        string        `json:"ref,omitempty"`        // "main@{1}", "main@{2026-11-21T06:00:00Z}", a branch, or a commit
	Pins       []slipway.Pin `json:"pins,omitempty"`       // a candidate's: what differs from what was released last
	Module     string        `json:"module,omitempty"`     // the components of one of the product's modules

	Strategy string `json:"strategy,omitempty"` // by-key (default), all, only-changed, changed-and-after; of a module its own
	Limit    int    `json:"limit,omitempty"`    // actions at once; 0: as many as there are workers
	Reason   string `json:"reason,omitempty"`   // for a person
}

// RebuildPlan is what a rebuild would do.
type RebuildPlan struct {
	Product    string            `json:"product"`
	Changed    map[string]string `json:"changed"`
	Expected   []plan.Expected   `json:"expected"` // lower tiers first
	Certain    int               `json:"certain"`
	Possible   int               `json:"possible"`   // those that may be cut off
	Unaffected int               `json:"unaffected"` // components of the product that keep their keys

	pins []slipway.Pin
}

// targets are the components that a plan names.
func (p RebuildPlan) targets() []string {
	var all []string
	for _, e := range p.Expected {
		all = append(all, e.Component)
	}
	slices.Sort(all)
	return all
}

// PlanRebuild says which components a cause concerns, tier by tier, at the heads of their branches or at the cause's pins.
func (s *Service) PlanRebuild(ctx context.Context, product string, c RebuildCause) (RebuildPlan, error) {
	if s.cfg.Products == nil {
		return RebuildPlan{}, slipway.Errorf(slipway.Unavailable, "this server knows no products")
	}
	if _, err := plan.ParseStrategy(c.Strategy); err != nil {
		return RebuildPlan{}, err
	}
	pins, err := s.cfg.Products.Heads(ctx, product)
	if err != nil {
		return RebuildPlan{}, err
	}
	for _, p := range c.Pins {
		i := slices.IndexFunc(pins, func(h slipway.Pin) bool { return h.Component == p.Component })
		if i < 0 {
			return RebuildPlan{}, unknownIn(product, p.Component, pins)
		}
		pins[i] = p
	}
	if len(pins) == 0 {
		return RebuildPlan{}, slipway.Errorf(slipway.Invalid, "no component of %s has been pushed yet", product)
	}
	order := Order{Request: slipway.WaveRequest{Product: product, Pins: pins}}
	for _, p := range pins {
		order.Request.Targets = append(order.Request.Targets, p.Component)
	}
	g, err := s.planWithSeeds(ctx, &order)
	if err != nil {
		return RebuildPlan{}, err
	}
	r := RebuildPlan{Product: product, pins: pins}
	if r.Changed, err = s.changed(ctx, product, c, pins, g); err != nil {
		return RebuildPlan{}, err
	}
	r.Expected = g.plan.Forecast(r.Changed)
	for _, e := range r.Expected {
		if e.Certain {
			r.Certain++
		} else {
			r.Possible++
		}
	}
	r.Unaffected = len(pins) - len(r.Expected)
	return r, nil
}

func unknownIn(product, component string, pins []slipway.Pin) error {
	var names []string
	for _, p := range pins {
		names = append(names, p.Component)
	}
	return slipway.Errorf(slipway.NotFound, "%s has no component %q", product, component).Try("there are " + strings.Join(names, ", "))
}

// changed says whose own inputs a cause changes, and why.
func (s *Service) changed(ctx context.Context, product string, c RebuildCause, pins []slipway.Pin, g *graph) (map[string]string, error) {
	at := map[string]slipway.Pin{}
	for _, p := range pins {
		at[p.Component] = p
	}
	changed := map[string]string{}
	switch {
	case c.All:
		for name := range at {
			changed[name] = "everything was asked for"
		}
	case len(c.Components) > 0:
		for _, name := range c.Components {
			pin, ok := at[name]
			if !ok {
				return nil, unknownIn(product, name, pins)
			}
			changed[name] = fmt.Sprintf("it was asked for, at %s (%.12s)", pin.Version, pin.Commit)
		}
	case c.Package != "":
		for name, rec := range g.recipes {
			for _, p := range rec.Packages {
				if p.Name == c.Package {
					changed[name] = "it makes the package " + c.Package
				}
			}
		}
		if len(changed) == 0 {
			return nil, slipway.Errorf(slipway.NotFound, "no component of %s makes a package %q", product, c.Package).Try("see packages: in the components' files")
		}
	case c.Buildroot != "":
		file, _, err := s.cfg.Products.Product(ctx, product)
		if err != nil {
			return nil, err
		}
		for name, rec := range g.recipes {
			if file.RootOf(name, rec.Buildroot) == c.Buildroot {
				changed[name] = "it is built in the buildroot " + c.Buildroot
			}
		}
		if len(changed) == 0 {
			return nil, slipway.Errorf(slipway.NotFound, "no component of %s is built in a buildroot %q", product, c.Buildroot)
		}
	case c.Module != "":
		file, _, err := s.cfg.Products.Product(ctx, product)
		if err != nil {
			return nil, err
		}
		module, ok := file.Modules[c.Module]
		if !ok {
			return nil, slipway.Errorf(slipway.NotFound, "%s has no module %q", product, c.Module).Try("see modules: in its product file")
		}
		for _, name := range module.Components {
			if _, ok := at[name]; !ok {
				return nil, unknownIn(product, name, pins)
			}
			changed[name] = "it is part of the module " + c.Module
		}
	case c.Repo != "":
		affected, err := s.Affected(ctx, product, c.Repo, c.Ref)
		if err != nil {
			return nil, err
		}
		for _, name := range affected.Components {
			if pin, ok := at[name]; ok {
				changed[name] = fmt.Sprintf("it was built from %.12s, and is at %.12s now", affected.Commit, pin.Commit)
			}
		}
		if len(changed) == 0 {
			return nil, slipway.Errorf(slipway.NotFound, "nothing of %s was built from %.12s", product, affected.Commit).At(c.Repo)
		}
	case len(c.Pins) > 0:
		locked, release, err := s.cfg.Products.Locked(ctx, product)
		if err != nil && !slipway.Is(err, slipway.NotFound) {
			return nil, err
		}
		for _, p := range c.Pins {
			if was, ok := locked[p.Component]; !ok {
				changed[p.Component] = "it was never released"
			} else if was.Commit != p.Commit {
				changed[p.Component] = fmt.Sprintf("it moves from %s in %s to %s", was.Version, release, p.Version)
			}
		}
	default:
		return nil, slipway.Errorf(slipway.Invalid, "say what changed").
			Try("name components, a package, a buildroot, a module, a repository with a ref, pins, or all")
	}
	return changed, nil
}

// planWithSeeds plans an order, with the product's bootstrap edges when there is a cycle.
func (s *Service) planWithSeeds(ctx context.Context, o *Order) (*graph, error) {
	g, err := s.plan(ctx, *o)
	if slipway.Is(err, slipway.Invalid) && len(o.Seeds) == 0 {
		if o.Seeds, err = s.seeds(ctx, o.Request, err); err != nil {
			return nil, err
		}
		g, err = s.plan(ctx, *o)
	}
	return g, err
}

// StartRebuild begins a rebuild of what the cause concerns.
func (s *Service) StartRebuild(ctx context.Context, product string, c RebuildCause, actor string) (Rebuild, error) {
	p, err := s.PlanRebuild(ctx, product, c)
	if err != nil {
		return Rebuild{}, err
	}
	if len(p.Expected) == 0 {
		return Rebuild{}, slipway.Errorf(slipway.Conflict, "nothing of %s has changed by that", product)
	}
	file, rules, err := s.cfg.Products.Product(ctx, product)
	if err != nil {
		return Rebuild{}, err
	}
	if c.Module != "" && c.Strategy == "" {
		c.Strategy = file.Modules[c.Module].Strategy
	}
	r := Rebuild{Product: product, Cause: c, State: RebuildRunning, Actor: actor, Changed: p.Changed, Targets: p.targets(), Pins: p.pins, Rules: rules}
	if c.Module != "" { // the module alone; who needs it from outside is another's concern
		r.Targets = slices.Sorted(maps.Keys(p.Changed))
	}
	why := cmp.Or(c.Reason, fmt.Sprintf("components that changed: %d, and %d more may have to follow", p.Certain, p.Possible))
	err = s.store.Update(ctx, func(tx Tx) error {
		r := &r
		r.Attempts = nil
		n, err := tx.Next(ctx, "rebuild")
		if err != nil {
			return err
		}
		r.ID, r.Created = strconv.FormatInt(n, 10), tx.Now()
		if r.Before, err = lastPassed(ctx, tx, *r); err != nil {
			return err
		}
		if err := r.attempt(ctx, tx, why); err != nil {
			return err
		}
		return tx.Emit(ctx, r.event(slipway.RebuildStarted, "started", actor))
	})
	return r, err
}

// lastPassed returns the last wave of the newest passed rebuild of the same module, or of the product.
func lastPassed(ctx context.Context, tx Tx, r Rebuild) (string, error) {
	old, err := tx.Rebuilds().Find(ctx, slipway.Query{Product: r.Product, Key: r.Cause.Module, States: []string{RebuildPassed}, Newest: true})
	if err != nil {
		return "", err
	}
	for _, o := range old {
		if o.Cause.Module == r.Cause.Module && len(o.Attempts) > 0 {
			return o.Attempts[len(o.Attempts)-1].Wave, nil
		}
	}
	return "", nil
}

// attempt begins the next wave of a rebuild and writes its row.
func (r *Rebuild) attempt(ctx context.Context, tx Tx, why string) error {
	n := len(r.Attempts) + 1
	wave := slipway.WaveRequest{
		ID: fmt.Sprintf("rebuild-%s.%d", r.ID, n), Product: r.Product, For: r.subject(), Pins: r.Pins, Targets: r.Targets, Tests: r.Targets, Reason: why,
		Rules: r.Rules, Class: slipway.ClassRebuild, Strategy: r.Cause.Strategy, Before: r.Before, Validate: true, Limit: r.Cause.Limit,
	}
	if _, err := begin(ctx, tx, wave); err != nil {
		return err
	}
	r.Attempts = append(r.Attempts, RebuildAttempt{Wave: wave.ID, Why: why, State: slipway.WaveRunning, Started: tx.Now()})
	r.State, r.Reason = RebuildRunning, fmt.Sprintf("attempt %d: %s", n, why)
	return tx.Rebuilds().Put(ctx, *r)
}

// Rebuild returns one rebuild.
func (s *Service) Rebuild(ctx context.Context, id string) (r Rebuild, err error) {
	err = s.store.View(ctx, func(tx Tx) error { r, err = tx.Rebuilds().Get(ctx, id); return err })
	return r, err
}

// Rebuilds lists rebuilds.
func (s *Service) Rebuilds(ctx context.Context, q slipway.Query) (all []Rebuild, err error) {
	err = s.store.View(ctx, func(tx Tx) error { all, err = tx.Rebuilds().Find(ctx, q); return err })
	return all, err
}
