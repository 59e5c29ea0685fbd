package integration

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"slipway.dev/slipway/internal/platform/jobs"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/integration/speculate"
)

// Deps are the parts of Slipway that the queue relies on.
type Deps struct {
	Source   Source
	Catalog  Catalog
	Changes  Changes
	Builder  Builder
	Lab      Lab
	Gate     Gate
	Releaser Releaser
}

// Service is the integration queue.
type Service struct {
	store    slipway.Store[Tx]
	source   Source
	catalog  Catalog
	changes  Changes
	builder  Builder
	lab      Lab
	gate     Gate
	releaser Releaser

	tuples    *cache[composed] // candidates that were made
	ancestors *cache[bool]
}

// New makes the service.
func New(st slipway.Store[Tx], d Deps) *Service {
	return &Service{st, d.Source, d.Catalog, d.Changes, d.Builder, d.Lab, d.Gate, d.Releaser,
		&cache[composed]{limit: 4096}, &cache[bool]{limit: 1 << 16}}
}

// The kinds of jobs of this stage; the key is a product.
const (
	kindCollect = "integration.collect"
	kindAdvance = "integration.advance"
)

// Handlers are the stage's reconcilers.
func (s *Service) Handlers() []jobs.Handler {
	return []jobs.Handler{
		{Kind: kindCollect, Slots: 4, Do: s.collect},
		{Kind: kindAdvance, Slots: 4, Do: s.advance},
	}
}

// Routes say which events move the queue on.
func Routes() []jobs.Route {
	var routes []jobs.Route
	for _, t := range []slipway.EventType{slipway.ComponentSeen, slipway.ProductLoaded, slipway.ProductRetired} {
		routes = append(routes, jobs.Route{On: t, Kind: kindCollect, Key: jobs.Product})
	}
	for _, t := range []slipway.EventType{
		slipway.EntryQueued, slipway.EntryLanded, slipway.EntryRejected, slipway.EntryDequeued, slipway.QueueFrozen, slipway.QueueResumed,
		slipway.WaveFinished, slipway.ExperimentStarted, slipway.ExperimentFinished,
		slipway.WaiverGranted, slipway.WaiverRevoked, slipway.ProductLoaded, slipway.ChangeVoted,
	} {
		routes = append(routes, jobs.Route{On: t, Kind: kindAdvance, Key: jobs.Product})
	}
	for _, t := range []slipway.EventType{slipway.BuildFinished, slipway.BuildReused} {
		routes = append(routes, jobs.Route{On: t, Kind: kindAdvance, Key: ofCandidate})
	}
	return routes
}

// ofCandidate takes the product from the event of a build that is for a candidate; the builds of changes and rebuilds move no queue.
func ofCandidate(e slipway.Event) (string, bool) {
	if _, ok := jobs.Linked("candidate")(e); !ok {
		return "", false
	}
	return e.Product, e.Product != ""
}

// Entries lists entries, oldest first unless the query says otherwise; its states are phases.
func (s *Service) Entries(ctx context.Context, q slipway.Query) (found []Entry, err error) {
	err = s.store.View(ctx, func(tx Tx) error { found, err = tx.Entries().Find(ctx, q); return err })
	return found, err
}

// Entry returns one entry.
func (s *Service) Entry(ctx context.Context, number int64) (e Entry, err error) {
	err = s.store.View(ctx, func(tx Tx) error {
		e, err = tx.Entries().Get(ctx, strconv.FormatInt(number, 10))
		return err
	})
	return e, err
}

// Queue returns what a product's queue remembers beside its entries.
func (s *Service) Queue(ctx context.Context, product string) (q Queue, err error) {
	err = s.store.View(ctx, func(tx Tx) error { q, err = queueOf(ctx, tx, product); return err })
	return q, err
}

// Candidate returns one candidate.
func (s *Service) Candidate(ctx context.Context, id string) (c Candidate, err error) {
	err = s.store.View(ctx, func(tx Tx) error { c, err = tx.Candidates().Get(ctx, id); return err })
	return c, err
}

// Decision says how the newest candidate of an entry stands at its gate now. Before the entry lands, builds that its checks do not ask for
// are not among the requirements.
func (s *Service) Decision(ctx context.Context, number int64) (slipway.Decision, error) {
	e, err := s.Entry(ctx, number)
	if err != nil {
		return slipway.Decision{}, err
	}
	if e.Candidate == "" {
		return slipway.Decision{}, slipway.Errorf(slipway.Conflict, "entry %d has no candidate yet: %s", number, e.Reason)
	}
	c, err := s.Candidate(ctx, e.Candidate)
	if err != nil {
		return slipway.Decision{}, err
	}
	w, err := s.builder.Wave(ctx, e.Wave)
	if err != nil && !slipway.Is(err, slipway.NotFound) { // not asked for yet: its experiments are missing
		return slipway.Decision{}, err
	}
	return s.gate.Decide(ctx, e.Product, slipway.Ref("candidate", c.ID), c.required(w))
}

// Trials lists the runs of checks on a candidate, oldest first; of all candidates of a product that are under way or still count when
// the candidate is empty.
func (s *Service) Trials(ctx context.Context, product, candidate string) (found []Trial, err error) {
	q := slipway.Query{Product: product, Key: candidate}
	if candidate == "" {
		q.States = []string{string(TrialRunning), string(TrialEnded)}
	}
	err = s.store.View(ctx, func(tx Tx) error { found, err = tx.Trials().Find(ctx, q); return err })
	return found, err
}

// Move names a component and where to move it: a commit, tag or branch of its repository.
type Move struct {
	Component string `json:"component"`
	To        string `json:"to"`
}

// Add asks for pins to be moved, all or nothing.
func (s *Service) Add(ctx context.Context, product, title, author string, moves []Move) (Entry, error) {
	p, _, err := s.catalog.Product(ctx, product)
	if err != nil {
		return Entry{}, err
	}
	if len(moves) == 0 {
		return Entry{}, slipway.Errorf(slipway.Invalid, "nothing to move").Try("name at least one component, as COMPONENT@COMMIT")
	}
	if err := s.takesIn(ctx, product); err != nil {
		return Entry{}, err
	}
	e := Entry{Title: title, Author: author, Exact: true}
	var names []string
	for _, m := range moves {
		if slices.ContainsFunc(e.Pins, func(p slipway.Pin) bool { return p.Component == m.Component }) {
			return Entry{}, slipway.Errorf(slipway.Invalid, "component %s is to be moved twice", m.Component).Try("name each component once")
		}
		ref, ok := p.Components[m.Component]
		if !ok {
			return Entry{}, slipway.Errorf(slipway.Invalid, "product %s has no component %q", product, m.Component).
				Try("it has " + strings.Join(sorted(p.Components), ", "))
		}
		commit, err := s.source.Resolve(ctx, ref.Repo, m.To)
		if err != nil {
			return Entry{}, err
		}
		pin, err := s.catalog.PinAt(ctx, m.Component, ref, commit)
		if err != nil {
			return Entry{}, err
		}
		e.Pins = append(e.Pins, pin)
		names = append(names, m.Component+" "+pin.Version)
	}
	if e.Title == "" {
		e.Title = "move " + strings.Join(names, ", ")
	}
	err = s.store.Update(ctx, func(tx Tx) error { e, err = add(ctx, tx, product, e); return err })
	return e, err
}

// takesIn is an error of kind Conflict when the product has no queue any more.
func (s *Service) takesIn(ctx context.Context, product string) error {
	why, err := s.catalog.Retired(ctx, product)
	if err == nil && why != "" {
		err = slipway.Errorf(slipway.Conflict, "%s takes nothing in any more: %s", product, why)
	}
	return err
}

// Dequeue takes an entry out of the queue. What runs for it is cancelled soon after.
func (s *Service) Dequeue(ctx context.Context, number int64, actor, reason string) error {
	_, err := s.change(ctx, number, func(tx Tx, e *Entry) error {
		if !e.Phase.Open() {
			return slipway.Errorf(slipway.Conflict, "entry %d is %s already", number, e.Phase)
		}
		if e.Phase == Landing {
			return slipway.Errorf(slipway.Conflict, "entry %d is landing; too late to take it out", number)
		}
		e.enter(Dequeued, fmt.Sprintf("taken out by %s: %s", actor, reason), tx.Now())
		ev := event(slipway.EntryDequeued, *e, e.Reason)
		ev.Actor = actor
		return tx.Emit(ctx, ev)
	})
	return err
}

// Requeue puts an entry that was rejected or dequeued back, behind those that wait.
func (s *Service) Requeue(ctx context.Context, number int64, actor string) (Entry, error) {
	var again Entry
	e, err := s.Entry(ctx, number)
	if err != nil {
		return again, err
	}
	if err := s.takesIn(ctx, e.Product); err != nil {
		return again, err
	}
	err = s.store.Update(ctx, func(tx Tx) error {
		e, err := tx.Entries().Get(ctx, strconv.FormatInt(number, 10))
		if err != nil {
			return err
		}
		if e.Phase != Rejected && e.Phase != Dequeued {
			return slipway.Errorf(slipway.Conflict, "entry %d is %s; only what was rejected or dequeued can be requeued", number, e.Phase)
		}
		again, err = add(ctx, tx, e.Product, Entry{Title: e.Title, Author: actor, Changes: e.Changes, Pins: e.Pins, File: e.File, Exact: e.Exact, Depends: e.Depends, Priority: e.Priority})
		return err
	})
	return again, err
}

// Promote gives an entry another priority, higher first, and a new place accordingly: before those of lower priority that have not begun.
// What runs already is not disturbed. An urgent entry goes before everything that is not urgent, begun or not.
func (s *Service) Promote(ctx context.Context, number int64, actor string, priority int, urgent bool) error {
	_, err := s.change(ctx, number, func(tx Tx, e *Entry) error {
		if !e.Phase.Open() {
			return slipway.Errorf(slipway.Conflict, "entry %d is %s already", number, e.Phase)
		}
		if e.Priority == priority && e.Urgent == urgent {
			return nil
		}
		e.Priority, e.Urgent = priority, urgent
		var err error
		if e.Rank, err = placeOf(ctx, tx, *e); err != nil {
			return err
		}
		said := fmt.Sprintf("priority %d by %s", priority, actor)
		if urgent {
			said = fmt.Sprintf("urgent, says %s", actor)
		}
		ev := event(slipway.EntryQueued, *e, said)
		ev.Actor = actor
		return tx.Emit(ctx, ev)
	})
	return err
}

// placeOf is the rank that an entry gets when it joins the others now.
func placeOf(ctx context.Context, tx Tx, e Entry) (float64, error) {
	open, err := tx.Entries().Find(ctx, slipway.Query{Product: e.Product, States: OpenPhases()})
	if err != nil {
		return 0, err
	}
	var others []speculate.Entry
	for _, o := range open {
		if o.Number != e.Number {
			others = append(others, o.place())
		}
	}
	rank := speculate.Place(others, e.place())
	if !slices.ContainsFunc(others, func(o speculate.Entry) bool { return o.Rank > rank }) {
		rank = max(rank, float64(e.Number))
	}
	return rank, nil
}

// Freeze keeps new entries from starting, until Resume. What has started goes on.
func (s *Service) Freeze(ctx context.Context, product, actor, reason string) error {
	if strings.TrimSpace(reason) == "" {
		return slipway.Errorf(slipway.Invalid, "freezing a queue needs a reason").Try("everybody who waits will read it")
	}
	return s.setFrozen(ctx, product, actor, reason, slipway.QueueFrozen)
}

// Resume ends a freeze, and has checks that fail on the base tried on it again.
func (s *Service) Resume(ctx context.Context, product, actor string) error {
	return s.setFrozen(ctx, product, actor, "", slipway.QueueResumed)
}

// thaw forgets that checks failed on the base.
func thaw(ctx context.Context, tx Tx, product string) error {
	trials, err := tx.Trials().Find(ctx, slipway.Query{Product: product, States: []string{string(TrialEnded)}})
	for _, t := range trials {
		if err == nil && t.Control {
			err = spend(ctx, tx, t, trials)
		}
	}
	return err
}

func (s *Service) setFrozen(ctx context.Context, product, actor, reason string, t slipway.EventType) error {
	if _, _, err := s.catalog.Product(ctx, product); err != nil {
		return err
	}
	return s.store.Update(ctx, func(tx Tx) error {
		q, err := queueOf(ctx, tx, product)
		if err != nil || q.Frozen == reason && (reason != "" || len(q.Lanes) == 0) {
			return err
		}
		q.Frozen, q.FrozenBy = reason, actor
		if t == slipway.QueueResumed {
			if err := thaw(ctx, tx, product); err != nil {
				return err
			}
		}
		if err := tx.Queues().Put(ctx, q); err != nil {
			return err
		}
		return tx.Emit(ctx, slipway.Event{Type: t, Subject: slipway.Ref("product", product), Product: product, Actor: actor, Reason: cmp.Or(reason, "resumed by "+actor)})
	})
}

// change loads an entry, lets f change it and writes it back.
func (s *Service) change(ctx context.Context, number int64, f func(tx Tx, e *Entry) error) (e Entry, err error) {
	err = s.store.Update(ctx, func(tx Tx) error {
		if e, err = tx.Entries().Get(ctx, strconv.FormatInt(number, 10)); err != nil {
			return err
		}
		if err := f(tx, &e); err != nil {
			return err
		}
		return tx.Entries().Put(ctx, e)
	})
	return e, err
}

// Pins returns what a product consists of now: the pins of its manifests; for what is in none, the heads of branches.
func (s *Service) Pins(ctx context.Context, product string) ([]slipway.Pin, error) {
	p, _, err := s.catalog.Product(ctx, product)
	if err != nil {
		return nil, err
	}
	base, err := s.baseOf(ctx, product)
	if err != nil {
		return nil, err
	}
	current, err := s.current(ctx, product, p, base)
	if err != nil {
		return nil, err
	}
	rest := maps.Clone(p.Components)
	maps.DeleteFunc(rest, func(name string, _ spec.ComponentRef) bool { _, ok := current[name]; return ok })
	heads, _, err := s.catalog.HeadPins(ctx, rest)
	var pins []slipway.Pin
	for _, name := range sorted(p.Components) {
		if pin, ok := current[name]; ok {
			pins = append(pins, pin)
		} else if pin, ok := heads[name]; ok { // else it was not pushed yet
			pins = append(pins, pin)
		}
	}
	return pins, err
}
