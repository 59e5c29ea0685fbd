package integration

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/integration/speculate"
)

// trailer is how a commit says what has to land before it, or with it.
const trailer = "depends-on:"

// messagesRead bounds how many commits of one push are searched for trailers.
const messagesRead = 200

// brings reads the commits that a move of a branch brings: the first line of the newest, and all trailers.
func (s *Service) brings(ctx context.Context, repo, before, after string) (subject string, depends []string, err error) {
	limit := messagesRead
	if before == slipway.ZeroCommit || before == "" {
		before, limit = "", 1 // its history is not what this push brings
	}
	messages, err := s.source.Messages(ctx, repo, before, after, limit)
	if err != nil {
		return "", nil, err
	}
	for i, m := range messages {
		if i == 0 {
			subject, _, _ = strings.Cut(strings.TrimSpace(m), "\n")
		}
		if before == "" {
			continue
		}
		for _, name := range trailers(m) {
			if !slices.Contains(depends, name) {
				depends = append(depends, name)
			}
		}
	}
	slices.Sort(depends)
	return subject, depends, nil
}

// trailers returns what the last paragraph of a commit message says that it depends on.
func trailers(message string) []string {
	paragraphs := strings.Split(strings.TrimSpace(strings.ReplaceAll(message, "\r\n", "\n")), "\n\n")
	var names []string
	for line := range strings.Lines(paragraphs[len(paragraphs)-1]) {
		if len(line) > len(trailer) && strings.EqualFold(line[:len(trailer)], trailer) {
			names = append(names, strings.TrimSpace(line[len(trailer):]))
		}
	}
	return names
}

// dependencies say what open entries wait for.
type dependencies struct {
	on     map[int64][]int64 // entries, open or not
	waits  map[int64]string  // entries that wait for a change which has not reached the queue, and why
	broken map[int64]string  // entries that wait for what will never come, and why
}

// depends resolves the trailers of open entries.
func (s *Service) depends(ctx context.Context, product string, open []Entry) (dependencies, error) {
	d := dependencies{map[int64][]int64{}, map[int64]string{}, map[int64]string{}}
	if !slices.ContainsFunc(open, func(e Entry) bool { return len(e.Depends) > 0 }) {
		return d, nil
	}
	all, err := s.Entries(ctx, slipway.Query{Product: product})
	if err != nil {
		return d, err
	}
	for _, e := range open {
		for _, name := range e.Depends {
			c, ok, err := s.changes.Named(ctx, name)
			if err != nil {
				return d, err
			}
			if !ok {
				d.waits[e.Number] = fmt.Sprintf("depends on %s, which nobody has proposed yet", name)
				continue
			}
			if slices.Contains(e.Changes, c.Ref) {
				continue // it moves with it
			}
			last, best := int64(0), 0
			for _, o := range all {
				if !slices.Contains(o.Changes, c.Ref) {
					continue
				}
				good := 1 // it left; the newest open one counts more, and one that landed most
				if o.Phase.Open() {
					good = 2
				}
				if o.Phase == Landed {
					good = 3
				}
				if good >= best {
					last, best = o.Number, good
				}
			}
			switch {
			case last > 0:
				d.on[e.Number] = append(d.on[e.Number], last)
			case c.Gone != "":
				d.broken[e.Number] = fmt.Sprintf("depends on %s, which %s", c.Ref, c.Gone)
			default:
				d.waits[e.Number] = fmt.Sprintf("depends on %s, which has not reached the queue", c.Ref)
			}
		}
	}
	for more := true; more; { // who depends on one that waits, waits
		more = false
		for _, e := range open {
			for _, on := range d.on[e.Number] {
				if _, waits := d.waits[on]; waits && d.waits[e.Number] == "" {
					d.waits[e.Number] = fmt.Sprintf("depends on entry %d, which waits for another change", on)
					more = true
				}
			}
		}
	}
	return d, nil
}

// join makes one entry of those that depend on each other in circles: the oldest takes over the others, unless one of them has begun and
// cannot. It reports whether it changed anything.
func (s *Service) join(ctx context.Context, p *pass) (bool, error) {
	on := map[speculate.ID][]speculate.ID{}
	for _, e := range p.entries {
		on[speculate.ID(e.Number)] = nil
		for _, d := range p.deps.on[e.Number] {
			on[speculate.ID(e.Number)] = append(on[speculate.ID(e.Number)], speculate.ID(d))
		}
	}
	for _, group := range speculate.ChangeSets(on) {
		if len(group) == 1 {
			continue
		}
		joined := false
		err := s.store.Update(ctx, func(tx Tx) (err error) {
			joined, err = joinGroup(ctx, tx, group)
			return err
		})
		if err != nil || joined {
			return joined, err
		}
	}
	return false, nil
}

func joinGroup(ctx context.Context, tx Tx, group []speculate.ID) (bool, error) {
	var members []Entry
	for _, id := range group {
		e, err := tx.Entries().Get(ctx, fmt.Sprint(id))
		if err != nil {
			return false, err
		}
		if !e.Phase.Open() || e.Phase == Landing {
			return false, nil
		}
		members = append(members, e)
	}
	head := members[0]
	for _, e := range members[1:] {
		for _, pin := range e.Pins {
			i := slices.IndexFunc(head.Pins, func(p slipway.Pin) bool { return p.Component == pin.Component })
			if i < 0 {
				head.Pins = append(head.Pins, pin)
			} else {
				head.Pins[i] = pin // the younger one's is the newer
			}
		}
		for _, c := range e.Changes {
			if !slices.Contains(head.Changes, c) {
				head.Changes = append(head.Changes, c)
			}
		}
		for _, name := range e.Depends {
			if !slices.Contains(head.Depends, name) {
				head.Depends = append(head.Depends, name)
			}
		}
		head.Exact = head.Exact || e.Exact
		head.Urgent = head.Urgent || e.Urgent
		head.Priority = max(head.Priority, e.Priority)
		head.Title += "; " + e.Title
		e.enter(Dequeued, fmt.Sprintf("they depend on each other, so it moves with entry %d, as one change set", head.Number), tx.Now())
		if err := tx.Entries().Put(ctx, e); err != nil {
			return false, err
		}
		if err := tx.Emit(ctx, event(slipway.EntryDequeued, e, e.Reason)); err != nil {
			return false, err
		}
	}
	reason := fmt.Sprintf("brings entries %s, which depend on each other, as one change set", numbers(group[1:]))
	head.Phase = ""
	head.enter(Queued, reason, tx.Now())
	if err := tx.Entries().Put(ctx, head); err != nil {
		return false, err
	}
	return true, tx.Emit(ctx, event(slipway.EntryQueued, head, reason))
}
