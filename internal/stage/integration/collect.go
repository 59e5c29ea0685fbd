package integration

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/integration/plan"
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
	base, err := s.source.Resolve(ctx, productRepo(product), "refs/heads/main")
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
	entries, seen, err := s.collectUpdates(ctx, q, p, current)
	if err != nil {
		return err
	}
	if file != q.File {
		e, ok, err := s.collectFile(ctx, product, file)
		if err != nil {
			return err
		}
		if ok {
			entries = append(entries, e)
		}
	}
	return s.enqueue(ctx, product, entries, func(q *Queue) {
		q.Seen, q.File, q.Reason = seen, file, ""
	})
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

// collectFirst makes one entry of all components as soon as each has a commit: the product's first release.
func (s *Service) collectFirst(ctx context.Context, q Queue, p spec.Product, file string) error {
	if q.File != "" {
		return s.collectAgain(ctx, q, p, file)
	}
	var pins []slipway.Pin
	var missing []string
	seen := map[string]int64{}
	for _, name := range sorted(p.Components) {
		pin, last, err := s.head(ctx, name, p.Components[name])
		if slipway.Is(err, slipway.NotFound) {
			missing = append(missing, name)
			continue
		}
		if err != nil {
			return err
		}
		pins = append(pins, pin)
		seen[name] = last
	}
	if len(missing) > 0 {
		return s.enqueue(ctx, p.Name, nil, func(q *Queue) {
			q.Reason = "the first release waits for a commit of " + strings.Join(missing, ", ")
		})
	}
	first := Entry{Title: "first release of " + p.Name, Pins: pins}
	return s.enqueue(ctx, p.Name, []Entry{first}, func(q *Queue) { q.Seen, q.File, q.Reason = seen, file, "" })
}

// collectAgain makes another first entry of whatever has moved since the one that failed.
func (s *Service) collectAgain(ctx context.Context, q Queue, p spec.Product, file string) error {
	moved := file != q.File
	var pins []slipway.Pin
	seen := map[string]int64{}
	for _, name := range sorted(p.Components) {
		pin, last, err := s.head(ctx, name, p.Components[name])
		if slipway.Is(err, slipway.NotFound) {
			return nil // what was there has gone, or is new and empty; a push brings us back
		}
		if err != nil {
			return err
		}
		moved = moved || last != q.Seen[name]
		pins = append(pins, pin)
		seen[name] = last
	}
	if !moved {
		return nil
	}
	again := Entry{Title: "first release of " + p.Name + ", again", Pins: pins}
	return s.enqueue(ctx, p.Name, []Entry{again}, func(q *Queue) { q.Seen, q.File = seen, file })
}

// head returns the pin at the head of a component's branch, and the position in branch history that made it.
func (s *Service) head(ctx context.Context, name string, ref spec.ComponentRef) (slipway.Pin, int64, error) {
	updates, err := s.source.Updates(ctx, ref.Repo, "refs/heads/"+branch(ref), 0)
	if err != nil {
		return slipway.Pin{}, 0, err
	}
	if len(updates) == 0 || updates[len(updates)-1].New == slipway.ZeroCommit {
		return slipway.Pin{}, 0, slipway.Errorf(slipway.NotFound, "no commit at %s branch %s", ref.Repo, branch(ref))
	}
	last := updates[len(updates)-1]
	pin, err := s.catalog.PinAt(ctx, name, ref, last.New)
	return pin, last.Seq, err
}

// collectUpdates makes an entry of each move of a component's branch. Components that share a repository move in one entry.
func (s *Service) collectUpdates(ctx context.Context, q Queue, p spec.Product, current map[string]slipway.Pin) ([]Entry, map[string]int64, error) {
	seen := map[string]int64{}
	var entries []Entry
	bySeq := map[int64]int{}          // position in branch history -> index in entries
	known := map[string]slipway.Pin{} // what the entries before leave a component at
	for _, name := range sorted(p.Components) {
		ref := p.Components[name]
		seen[name] = q.Seen[name]
		updates, err := s.source.Updates(ctx, ref.Repo, "refs/heads/"+branch(ref), q.Seen[name])
		if err != nil {
			return nil, nil, err
		}
		if _, taken := q.Seen[name]; !taken && len(updates) > 1 {
			updates = updates[len(updates)-1:] // new in the product: only where it is now
		}
		known[name] = current[name]
		for _, u := range updates {
			seen[name] = max(seen[name], u.Seq)
			if u.New == slipway.ZeroCommit {
				continue
			}
			pin, err := s.catalog.PinAt(ctx, name, ref, u.New)
			if slipway.Is(err, slipway.NotFound) || (err == nil && pin.Commit == known[name].Commit) {
				continue // not there at that commit, or its path was not touched
			}
			if err != nil {
				return nil, nil, err
			}
			known[name] = pin
			at, ok := bySeq[u.Seq]
			if !ok {
				at = len(entries)
				bySeq[u.Seq] = at
				e, err := s.describe(ctx, u, pin)
				if err != nil {
					return nil, nil, err
				}
				entries = append(entries, e)
			}
			entries[at].Pins = append(entries[at].Pins, pin)
		}
	}
	return entries, seen, nil
}

// describe says what a move of a branch brings, for people.
func (s *Service) describe(ctx context.Context, u Update, pin slipway.Pin) (Entry, error) {
	c, ok, err := s.changes.Landed(ctx, u.Repo, u.New)
	if err != nil {
		return Entry{}, err
	}
	if ok {
		return Entry{Title: c.Title, Author: c.Author, Changes: []string{c.Ref}}, nil
	}
	return Entry{Title: fmt.Sprintf("%s %s", pin.Component, cmp.Or(pin.Version, short(pin.Commit))), Author: u.Actor}, nil
}

// collectFile makes an entry without pins of a product file that somebody pushed.
func (s *Service) collectFile(ctx context.Context, product, file string) (Entry, bool, error) {
	last, err := s.lastLanded(ctx, product)
	if err != nil || last == "" {
		return Entry{}, false, err
	}
	released, err := s.source.IsAncestor(ctx, productRepo(product), file, last)
	return Entry{Title: "product file at " + short(file)}, err == nil && !released, err
}

// lastLanded is the commit of the newest release, or "".
func (s *Service) lastLanded(ctx context.Context, product string) (string, error) {
	var tag string
	err := s.store.View(ctx, func(tx Tx) error {
		landed, err := tx.Entries().Find(ctx, slipway.Query{Product: product, States: []string{string(plan.Landed)}, Newest: true, Limit: 1})
		if len(landed) > 0 {
			tag = strings.TrimPrefix(landed[0].Release, product+"-")
		}
		return err
	})
	if err != nil || tag == "" {
		return "", err
	}
	return s.source.Resolve(ctx, productRepo(product), "refs/tags/"+tag)
}

// enqueue adds the entries and changes the queue's row, in one transaction.
func (s *Service) enqueue(ctx context.Context, product string, entries []Entry, change func(*Queue)) error {
	return s.store.Update(ctx, func(tx Tx) error {
		q, err := queueOf(ctx, tx, product)
		if err != nil {
			return err
		}
		change(&q)
		if err := tx.Queues().Put(ctx, q); err != nil {
			return err
		}
		for _, e := range entries {
			if _, err := add(ctx, tx, product, e); err != nil {
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
	e.enter(plan.Queued, "waits for its turn", tx.Now())
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
