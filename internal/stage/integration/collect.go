package integration

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
)

// collect makes entries of what has landed in the product's components, and of new product files, since it last looked.
func (s *Service) collect(ctx context.Context, product string) error {
	p, file, err := s.catalog.Product(ctx, product)
	if slipway.Is(err, slipway.NotFound) {
		return nil // no valid product file yet; the catalog says so
	}
	if err != nil {
		return err
	}
	var q Queue
	err = s.store.View(ctx, func(tx Tx) error { q, err = queueOf(ctx, tx, product); return err })
	if err != nil {
		return err
	}
	switch why, err := s.catalog.Retired(ctx, product); {
	case err != nil:
		return err
	case why != "":
		return s.empty(ctx, q, why)
	}
	base, err := s.baseOf(ctx, product)
	if err != nil {
		return err
	}
	current, err := s.current(ctx, product, p, base)
	if err != nil {
		return err
	}
	if len(current) == 0 {
		return s.collectFirst(ctx, q, p, file)
	}
	entries, seen, forced, err := s.collectUpdates(ctx, q, p, current)
	if err != nil {
		return err
	}
	dropped, err := s.dropped(ctx, product, forced)
	if err != nil {
		return err
	}
	if file != q.File && q.File != "" { // the manifests that a queue finds when it first looks go with the file it finds
		has, err := s.hasFile(ctx, product, file, q.Released)
		if err != nil {
			return err
		}
		if !has {
			entries = append(entries, Entry{Title: "product file at " + short(file), File: file})
		}
	}
	return s.enqueue(ctx, q, entries, dropped, func(q *Queue) {
		q.Seen, q.File, q.Reason = seen, file, ""
	})
}

// empty takes out everything that waits in the queue of a product that takes nothing in any more.
func (s *Service) empty(ctx context.Context, q Queue, why string) error {
	open, err := s.Entries(ctx, slipway.Query{Product: q.Product, States: OpenPhases()})
	if err != nil {
		return err
	}
	dropped := map[int64]string{}
	for _, e := range open {
		dropped[e.Number] = why
	}
	return s.enqueue(ctx, q, nil, dropped, func(q *Queue) { q.Reason = why })
}

// current returns the pins of all manifests at base, or nothing before the first release.
func (s *Service) current(ctx context.Context, product string, p spec.Product, base string) (map[string]slipway.Pin, error) {
	pins := map[string]slipway.Pin{}
	for name := range p.Configurations {
		m, err := s.manifest(ctx, product, base, name)
		if err != nil && !slipway.Is(err, slipway.NotFound) {
			return nil, err
		}
		for component, locked := range m.Components {
			pins[component] = locked.Pin(component)
		}
	}
	return pins, nil
}

// collectFirst makes one entry of all components as soon as each has a commit: the product's first release. As long as
// there is no release, it makes another one whenever something has moved.
func (s *Service) collectFirst(ctx context.Context, q Queue, p spec.Product, file string) error {
	var pins []slipway.Pin
	var missing []string
	seen := map[string]int64{}
	moved := file != q.File
	heads, at, err := s.catalog.HeadPins(ctx, p.Components)
	if err != nil {
		return err
	}
	for _, name := range sorted(p.Components) {
		pin, last, err := s.head(ctx, name, p.Components[name], heads[name], at[name])
		if slipway.Is(err, slipway.NotFound) {
			missing = append(missing, name)
			continue
		}
		if err != nil {
			return err
		}
		pins = append(pins, pin)
		seen[name] = last
		moved = moved || last != q.Seen[name]
	}
	if len(missing) > 0 {
		return s.enqueue(ctx, q, nil, nil, func(q *Queue) {
			q.Reason = "the first release waits for a commit of " + strings.Join(missing, ", ")
		})
	}
	if !moved {
		return nil
	}
	first := Entry{Title: "first release of " + q.Product, Pins: pins}
	if q.File != "" {
		first.Title += ", again"
	}
	return s.enqueue(ctx, q, []Entry{first}, nil, func(q *Queue) { q.Seen, q.File, q.Reason = seen, file, "" })
}

// head returns the pin at the head of a component's branch, and the position in branch history that made it. Known is the pin at a commit, when
// it is known already.
func (s *Service) head(ctx context.Context, name string, ref spec.ComponentRef, known slipway.Pin, at string) (slipway.Pin, int64, error) {
	updates, err := s.source.Updates(ctx, ref.Repo, "refs/heads/"+branch(ref), 0)
	if err != nil {
		return slipway.Pin{}, 0, err
	}
	if len(updates) == 0 || updates[len(updates)-1].New == slipway.ZeroCommit {
		return slipway.Pin{}, 0, slipway.Errorf(slipway.NotFound, "no commit at %s branch %s", ref.Repo, branch(ref))
	}
	last := updates[len(updates)-1]
	if last.New == at {
		return known, last.Seq, nil
	}
	pin, err := s.catalog.PinAt(ctx, name, ref, last.New)
	return pin, last.Seq, err
}

// collectUpdates makes an entry of each move of a component's branch, in the order of branch history. Components that share
// a repository move in one entry. Forced are the newest moves that dropped commits from a branch, by component.
func (s *Service) collectUpdates(ctx context.Context, q Queue, p spec.Product, current map[string]slipway.Pin) (entries []Entry, seen map[string]int64, forced map[string]Update, err error) {
	seen, forced = map[string]int64{}, map[string]Update{}
	moves := map[int64]Update{}
	pins := map[int64][]slipway.Pin{}
	for _, name := range sorted(p.Components) {
		ref := p.Components[name]
		last, taken := q.Seen[name]
		updates, err := s.source.Updates(ctx, ref.Repo, "refs/heads/"+branch(ref), last)
		if err != nil {
			return nil, nil, nil, err
		}
		if !taken && len(updates) > 1 {
			updates = updates[len(updates)-1:] // new in the product: only where it is now
		}
		for _, u := range updates {
			last = max(last, u.Seq)
			if u.Old != slipway.ZeroCommit && u.Old != "" {
				ahead := false
				if u.New != slipway.ZeroCommit {
					if ahead, err = s.ancestor(ctx, u.Repo, u.Old, u.New); err != nil {
						return nil, nil, nil, err
					}
				}
				if !ahead {
					forced[name] = u
				}
			}
			before := current[name]
			if taken {
				if before, err = s.pinBefore(ctx, name, ref, u); err != nil {
					return nil, nil, nil, err
				}
			}
			if u.New == slipway.ZeroCommit {
				continue
			}
			pin, err := s.catalog.PinAt(ctx, name, ref, u.New)
			if slipway.Is(err, slipway.NotFound) || (err == nil && pin.Commit == before.Commit) {
				continue // not there at that commit, or its path was not touched
			}
			if err != nil {
				return nil, nil, nil, err
			}
			moves[u.Seq] = u
			pins[u.Seq] = append(pins[u.Seq], pin)
		}
		seen[name] = last
	}
	for _, seq := range slices.Sorted(maps.Keys(moves)) {
		e, err := s.describe(ctx, moves[seq], pins[seq])
		if err != nil {
			return nil, nil, nil, err
		}
		entries = append(entries, e)
	}
	return entries, seen, forced, nil
}

// dropped says which open entries move to commits that are no longer on their branch, after a forced push or the removal of the branch.
func (s *Service) dropped(ctx context.Context, product string, forced map[string]Update) (map[int64]string, error) {
	if len(forced) == 0 {
		return nil, nil
	}
	open, err := s.Entries(ctx, slipway.Query{Product: product, States: OpenPhases()})
	if err != nil {
		return nil, err
	}
	dropped := map[int64]string{}
	for _, e := range open {
		for _, pin := range e.Pins {
			u, ok := forced[pin.Component]
			if !ok || e.Exact || pin.Repo != u.Repo {
				continue
			}
			head, err := s.source.Resolve(ctx, u.Repo, u.Ref)
			if err != nil && !slipway.Is(err, slipway.NotFound) {
				return nil, err
			}
			on := false
			if err == nil {
				if on, err = s.ancestor(ctx, pin.Repo, pin.Commit, head); err != nil {
					return nil, err
				}
			}
			if !on {
				dropped[e.Number] = fmt.Sprintf("%s %s is no longer on %s of %s: %s moved it to %s",
					pin.Component, short(pin.Commit), strings.TrimPrefix(u.Ref, "refs/heads/"), u.Repo, cmp.Or(u.Actor, "somebody"), short(u.New))
			}
		}
	}
	return dropped, nil
}

// pinBefore is where a component was before a move of its branch; the zero pin when it was not there.
func (s *Service) pinBefore(ctx context.Context, name string, ref spec.ComponentRef, u Update) (slipway.Pin, error) {
	if u.Old == slipway.ZeroCommit || u.Old == "" {
		return slipway.Pin{}, nil
	}
	pin, err := s.catalog.PinAt(ctx, name, ref, u.Old)
	if slipway.Is(err, slipway.NotFound) {
		return slipway.Pin{}, nil
	}
	return pin, err
}

// describe makes the entry of a move of a branch, and says for people what it brings: the title of its change, or of its newest commit.
func (s *Service) describe(ctx context.Context, u Update, pins []slipway.Pin) (Entry, error) {
	subject, depends, err := s.brings(ctx, u.Repo, u.Old, u.New)
	if err != nil {
		return Entry{}, err
	}
	c, ok, err := s.changes.Landed(ctx, u.Repo, u.New)
	if err != nil {
		return Entry{}, err
	}
	if ok {
		return Entry{Title: c.Title, Author: c.Author, Changes: []string{c.Ref}, Pins: pins, Depends: depends}, nil
	}
	var names []string
	for _, pin := range pins {
		names = append(names, pin.Component+" "+cmp.Or(pin.Version, short(pin.Commit)))
	}
	title := cmp.Or(subject, strings.Join(names, ", "))
	if r := []rune(title); len(r) > titleRunes {
		title = string(r[:titleRunes]) + "…"
	}
	return Entry{Title: title, Author: u.Actor, Pins: pins, Depends: depends}, nil
}

// titleRunes is how long a title may be that is the first line of a commit message.
const titleRunes = 100

// enqueue adds entries, marks those that were dropped and changes the queue's row, in one transaction. What was collected counts from looked, the row as it
// was; when another run has collected meanwhile, nothing is written.
func (s *Service) enqueue(ctx context.Context, looked Queue, entries []Entry, dropped map[int64]string, change func(*Queue)) error {
	next := looked
	if change(&next); len(entries) == 0 && reflect.DeepEqual(next, looked) {
		return nil
	}
	return s.store.Update(ctx, func(tx Tx) error {
		q, err := queueOf(ctx, tx, looked.Product)
		if err != nil {
			return err
		}
		if q.File != looked.File || !maps.Equal(q.Seen, looked.Seen) {
			return slipway.Errorf(slipway.Conflict, "another run has collected for the queue of %s meanwhile", q.Product)
		}
		change(&q)
		if err := tx.Queues().Put(ctx, q); err != nil {
			return err
		}
		for number, why := range dropped {
			e, err := tx.Entries().Get(ctx, fmt.Sprint(number))
			if err != nil {
				return err
			}
			if e.Withdrawn = why; e.Phase.Open() {
				if err := tx.Entries().Put(ctx, e); err != nil {
					return err
				}
			}
		}
		if len(dropped) > 0 {
			if err := tx.Wake(ctx, kindAdvance, looked.Product, tx.Now()); err != nil {
				return err
			}
		}
		for _, e := range entries {
			if _, err := add(ctx, tx, looked.Product, e); err != nil {
				return err
			}
		}
		return nil
	})
}

// add gives the entry a number and puts it into the queue.
func add(ctx context.Context, tx Tx, product string, e Entry) (Entry, error) {
	n, err := tx.Next(ctx, "entry")
	if err != nil {
		return e, err
	}
	e.Number, e.Product = n, product
	if e.Rank, err = placeOf(ctx, tx, e); err != nil {
		return e, err
	}
	e.enter(Queued, "waits for its turn", tx.Now())
	if err := tx.Entries().Put(ctx, e); err != nil {
		return e, err
	}
	return e, tx.Emit(ctx, event(slipway.EntryQueued, e, e.Title))
}

// event is an event about an entry, linked to what it brings and what it became.
func event(t slipway.EventType, e Entry, reason string) slipway.Event {
	links := append([]string{}, e.Changes...)
	if e.Candidate != "" {
		links = append(links, slipway.Ref("candidate", e.Candidate))
	}
	if e.Release != "" {
		links = append(links, slipway.Ref("release", e.Release))
	}
	for _, p := range e.Pins {
		links = append(links, slipway.Ref("commit", p.Commit))
	}
	return slipway.Event{Type: t, Subject: slipway.Ref("entry", e.ID()), Product: e.Product, Actor: e.Author, Reason: reason, Links: links}
}

func queueOf(ctx context.Context, tx Tx, product string) (Queue, error) {
	q, err := tx.Queues().Get(ctx, product)
	if slipway.Is(err, slipway.NotFound) {
		return Queue{Product: product, Seen: map[string]int64{}}, nil
	}
	return q, err
}

func short(commit string) string { return commit[:min(len(commit), 10)] }
