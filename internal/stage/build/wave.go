package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build/plan"
)

// batchSize bounds the actions that one step places, and with that how long its transaction keeps other writers waiting.
const batchSize = 64

// A wave of which nothing runs leaves slots idle while a step prepares a whole batch. So the first steps are small, each twice the one
// before, from firstBatch on; as long as no more than few actions are under way.
const (
	firstBatch = 4
	few        = 8
)

// advance moves a wave on as far as it goes now: it takes over what builds have come to, looks up the keys of what can start, and
// queues what nobody has built. A wave of known keys passes all its tiers in one call.
func (s *Service) advance(ctx context.Context, id string) error {
	if err := s.markAll(ctx); err != nil {
		return err
	}
	for size := firstBatch; ; size = min(2*size, batchSize) {
		again, err := s.step(ctx, id, size)
		if err != nil {
			s.waves.forget(id) // memory may be ahead of the rows
			return s.refuse(ctx, id, err)
		}
		if !again {
			return nil
		}
	}
}

// errStale undoes a step that was decided by what is true no more.
var errStale = errors.New("the wave has to be looked at again")

// step is one look and one transaction. What it writes is what has changed: items, the wave's small row, and what is queued. A wave of which
// little runs starts at most so many actions.
func (s *Service) step(ctx context.Context, id string, first int) (again bool, err error) {
	l, news, builds, err := s.wave(ctx, id)
	if err != nil || l == nil {
		return false, err
	}
	answers, err := s.excuse(ctx, l, heard(l, news, builds))
	if err != nil {
		return false, err
	}
	l.hear(news, builds, answers)
	size := batchSize
	if l.progress.Count(plan.Active) <= few {
		size = first
	}
	ready, err := s.ready(ctx, l, size)
	if err != nil {
		return false, err
	}
	if answers, err = s.excuse(ctx, l, known(ready)); err != nil {
		return false, err
	}
	if len(news) == 0 && len(ready) == 0 && len(l.dirty) == 0 && !l.progress.Done() && l.head.Reason == l.reason(nil) {
		return false, nil
	}
	var placed []Item
	var head Wave
	stale := false
	err = s.store.Update(ctx, func(tx Tx) (err error) {
		placed, stale = nil, false
		if head, err = tx.Waves().Get(ctx, id); err != nil {
			return err
		}
		if stale = head.State != slipway.WaveRunning || head.Rev != l.head.Rev; stale {
			return nil
		}
		for _, one := range ready {
			item, err := s.place(ctx, tx, l, one)
			if err != nil {
				return err
			}
			if _, asked := answers[one.action]; item.State == failed && !asked && s.excusable(l.head.Request, one.action) {
				stale = true // it failed since the gate was asked
				return errStale
			}
			item.waive(answers)
			placed = append(placed, item)
			if err := l.broken(ctx, tx, item); err != nil {
				return err
			}
			if err := tx.Items().Put(ctx, item); err != nil {
				return err
			}
		}
		for a := range l.dirty {
			if err := l.broken(ctx, tx, *l.items[a]); err != nil {
				return err
			}
			if err := tx.Items().Put(ctx, *l.items[a]); err != nil {
				return err
			}
		}
		for _, n := range news {
			if err := tx.News().Delete(ctx, n.Row().ID); err != nil {
				return err
			}
		}
		head.Rev++
		if !l.progress.Done() {
			head.Reason = l.reason(placed)
			return tx.Waves().Put(ctx, head)
		}
		l.finish(&head, tx.Now())
		if err := tx.Waves().Put(ctx, head); err != nil {
			return err
		}
		return head.end(ctx, tx)
	})
	switch {
	case err != nil && !errors.Is(err, errStale):
		return false, err
	case stale:
		s.waves.forget(id)
		return true, nil
	case head.State != slipway.WaveRunning:
		s.waves.forget(id)
		return false, nil
	}
	l.head = head
	clear(l.dirty)
	for _, item := range placed {
		*l.items[item.action()] = item
		l.moved(item.action())
		delete(l.dirty, item.action())
		again = again || item.status() != plan.Active
	}
	return again || len(l.dirty) > 0 || len(ready) == size || len(news) > 0, nil
}

// ready prepares what can start now: keys are computed, and the messages that define unknown ones are kept.
func (s *Service) ready(ctx context.Context, l *live, n int) ([]prepared, error) {
	if l.head.Paused != "" {
		return nil, nil
	}
	if limit := l.order.Request.Limit; limit > 0 {
		if n = min(n, limit-l.progress.Count(plan.Active)); n <= 0 {
			return nil, nil
		}
	}
	actions := l.progress.Ready(n)
	ready := make([]prepared, len(actions))
	var g errgroup.Group
	g.SetLimit(4)
	for i, a := range actions {
		g.Go(func() (err error) { ready[i], err = s.prepareItem(ctx, l, a); return err })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return ready, s.keepMessages(ctx, ready)
}

// prepareItem makes the build of an action whose needs have passed. What needs no key has none.
func (s *Service) prepareItem(ctx context.Context, l *live, a plan.Action) (prepared, error) {
	if a.Check == inspection || l.takeover(a) != nil {
		return prepared{action: a}, nil
	}
	if a.Check == installation {
		return s.prepareInstallation(ctx, l, a)
	}
	if m, ok := l.graph.modules[a]; ok {
		return s.prepareModuleCheck(ctx, l, a, m)
	}
	outputs := map[string]string{}
	for name, need := range l.graph.plan.Inputs(a) {
		outputs[name] = l.items[need].Artifact
	}
	if !a.Builds() { // a test sees its own output
		outputs[a.Component] = l.items[plan.Action{Component: a.Component}].Artifact
	}
	what := a
	if a.Check == plan.Bootstrap {
		what.Check = "" // the same action as the second build, with other inputs
		for _, seed := range l.order.Seeds {
			if seed.From == a.Component {
				outputs[seed.To] = seed.Artifact
			}
		}
	}
	req := l.order.Request
	req.Pins = []slipway.Pin{l.pins[a.Component]}
	one, err := s.prepare(ctx, what, req, l.graph.recipes[a.Component], outputs)
	one.action = a
	return one, err
}

// keepMessages does what must not be done inside the transaction that queues: where a key seems unknown, the messages that define
// it are kept, all of a step with one sync.
func (s *Service) keepMessages(ctx context.Context, ready []prepared) error {
	var unknown []prepared
	err := s.store.View(ctx, func(tx Tx) error {
		unknown = nil
		for k, one := range ready {
			if one.build.Key == "" {
				continue
			}
			known, err := tx.Builds().Find(ctx, slipway.Query{Key: one.build.Key, Newest: true})
			if err != nil {
				return err
			}
			if i := slices.IndexFunc(known, func(b Build) bool { return b.usable() || b.joinable() }); i >= 0 {
				ready[k].known = known[i]
			}
			if _, err := s.artifacts.Stat(ctx, one.build.Key); len(known) == 0 || err != nil { // a build may be known longer than its inputs are kept
				unknown = append(unknown, one)
			}
		}
		return nil
	})
	if err != nil || len(unknown) == 0 {
		return err
	}
	return s.artifacts.Together(ctx, func(ctx context.Context, st artifact.Store) error {
		for _, one := range unknown {
			for _, m := range one.messages {
				data, err := artifact.Marshal(m)
				if err != nil {
					return err
				}
				if _, _, err := st.Put(ctx, bytes.NewReader(data)); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// refuse ends a wave whose request or recipes are wrong; other errors are for the job to try again.
func (s *Service) refuse(ctx context.Context, id string, cause error) error {
	switch slipway.KindOf(cause) {
	case slipway.Invalid, slipway.TooLarge:
	case slipway.NotFound: // a repository or commit that a pin names
	default:
		return cause
	}
	return s.store.Update(ctx, func(tx Tx) error {
		w, err := tx.Waves().Get(ctx, id)
		if err != nil || w.State != slipway.WaveRunning {
			return err
		}
		items, err := tx.Items().Find(ctx, slipway.Query{Key: id})
		if err != nil {
			return err
		}
		for _, i := range items {
			if i.State != waiting {
				continue
			}
			i.State, i.Reason = skipped, "skipped because the wave could not be planned"
			if err := tx.Items().Put(ctx, i); err != nil {
				return err
			}
		}
		w.State, w.Reason, w.Finished = slipway.WaveFailed, cause.Error(), tx.Now()
		w.Rev++
		if err := tx.Waves().Put(ctx, w); err != nil {
			return err
		}
		return w.end(ctx, tx)
	})
}

// place finds or makes the build of an action that can start, and returns the item as it then is.
func (s *Service) place(ctx context.Context, tx Tx, l *live, one prepared) (Item, error) {
	item := *l.items[one.action]
	item.Notes = one.notes
	wave, subject := l.head.Request.ID, l.head.Request.For
	if one.action.Check == inspection {
		item.State, item.Reason = string(Queued), "is inspected"
		return item, tx.Wake(ctx, "build.inspect", itemID(wave, item.Action), time.Time{})
	}
	if was := l.takeover(one.action); was != nil {
		item.State, item.Outcome, item.Reused = passed, slipway.Pass, true
		item.Build, item.Key, item.Artifact, item.Host = was.Build, was.Key, was.Artifact, was.Host
		item.CutOff = l.touched(one.action)
		item.Reason = fmt.Sprintf("taken over from build %s: %s", was.Build, l.choices[one.action.Component].Why)
		return item, nil
	}
	if one.action.Builds() {
		item.Host = one.build.Host
	}
	same, err := tx.Builds().Find(ctx, slipway.Query{Key: one.build.Key, Newest: true})
	if err != nil {
		return Item{}, err
	}
	anew := l.choices[one.action.Component].Way == plan.Anew
	for _, b := range same {
		if b.usable() && (!anew || subject != "" && slices.Contains(b.For, subject)) {
			if b.Output != "" {
				if _, err := s.artifacts.Stat(ctx, b.Output); err != nil {
					continue // its output was lost: build it again
				}
			}
			item.take(b, true)
			if anew {
				item.Reused = false // it was built for this very request
			} else {
				item.CutOff = l.touched(one.action)
			}
			return item, tx.Emit(ctx, reusedEvent(b, l.head.Request, item.Action))
		}
		if b.joinable() {
			if !slices.Contains(b.Waves, wave) {
				b.Waves = append(b.Waves, wave)
			}
			if !slices.Contains(b.For, subject) {
				b.For = append(b.For, subject)
			}
			item.take(b, false)
			return item, tx.Builds().Put(ctx, b)
		}
	}
	b := one.build
	if err := s.compare(ctx, tx, &b, same); err != nil {
		return Item{}, err
	}
	if anew {
		b.Why = "the strategy all builds it anew; " + b.Why
	}
	n, err := tx.Next(ctx, "build")
	if err != nil {
		return Item{}, err
	}
	b.ID, b.Queued, b.Reason = strconv.FormatInt(n, 10), tx.Now(), b.Why
	for _, m := range b.marks() {
		if err := tx.Marks().Put(ctx, m); err != nil {
			return Item{}, err
		}
	}
	if err := tx.Emit(ctx, b.event(slipway.BuildQueued, "queued", b.Why)); err != nil {
		return Item{}, err
	}
	if err := s.submit(ctx, tx, &b, l.order.Request.Class, anew || len(same) > 0); err != nil {
		return Item{}, err
	}
	item.take(b, false)
	return item, nil
}

func reusedEvent(b Build, r slipway.WaveRequest, action string) slipway.Event {
	e := b.event(slipway.BuildReused, "reused/"+r.ID+"/"+action, "reused, the same inputs were built before")
	e.Product, e.Links = r.Product, []string{slipway.Ref("component", b.Component), slipway.Ref("wave", r.ID)}
	if r.For != "" {
		e.Links = append(e.Links, r.For)
	}
	return e
}

// reason says what a running wave waits for, with what was just placed.
func (l *live) reason(placed []Item) string {
	done := l.progress.Count(plan.Passed)
	var active []string
	for _, actions := range l.builds {
		for _, a := range actions {
			active = append(active, a.String())
		}
	}
	for a := range l.looked {
		active = append(active, a.String())
	}
	for _, i := range placed {
		switch i.status() {
		case plan.Active:
			active = append(active, i.Action)
		case plan.Passed:
			done++
		}
	}
	text := fmt.Sprintf("%d of %d done", done, len(l.items))
	if l.head.Paused != "" {
		text += ", paused: " + l.head.Paused
	}
	if n := len(active); n > 0 {
		const shown = 5
		slices.Sort(active)
		text += ", waits for " + strings.Join(active[:min(n, shown)], ", ")
		if n > shown {
			text += fmt.Sprintf(" and %d more", n-shown)
		}
	}
	return text
}

// count adds up what the builds of a wave came to; tests are not counted.
func count(items []Item) (c slipway.WaveCounts) {
	for _, i := range items {
		if !i.action().Builds() {
			continue
		}
		switch {
		case i.State == passed && i.CutOff:
			c.CutOff++
		case i.State == passed && i.Reused:
			c.Reused++
		case i.State == passed:
			c.Built++
		case i.State == failed:
			c.Failed++
		default:
			c.Skipped++
		}
	}
	return c
}

// finish ends the wave by what its actions have come to.
func (l *live) finish(w *Wave, now time.Time) {
	items := make([]Item, 0, len(l.items))
	for _, i := range l.items {
		items = append(items, *i)
	}
	w.Finished, w.Counts = now, count(items)
	if l.progress.Count(plan.Failed) == 0 && l.progress.Count(plan.Skipped) == 0 {
		w.State = slipway.WavePassed
		reused := 0
		var excused []string
		for _, a := range l.graph.plan.Actions {
			i := l.items[a]
			if i.Reused {
				reused++
			}
			if i.State == waived {
				excused = append(excused, i.Action)
			}
		}
		w.Reason = fmt.Sprintf("all passed: %d ran, %d reused", len(items)-reused, reused)
		if w.Counts.CutOff > 0 {
			w.Reason += fmt.Sprintf("; %d components were cut off early, as what they need came out with the same bytes", w.Counts.CutOff)
		}
		if len(excused) > 0 {
			w.Reason += "; waived: " + strings.Join(excused, ", ")
		}
		return
	}
	w.State = slipway.WaveFailed
	var said, left []string
	for _, a := range l.graph.plan.Actions {
		switch i := l.items[a]; i.State {
		case failed:
			said = append(said, a.String()+": "+i.Reason)
		case skipped:
			left = append(left, a.String())
		}
	}
	w.Reason = strings.Join(said, "; ")
	if n := len(left); n > 0 {
		const shown = 20
		w.Reason += "; skipped because of that: " + strings.Join(left[:min(n, shown)], ", ")
		if n > shown {
			w.Reason += fmt.Sprintf(" and %d more", n-shown)
		}
	}
}

// takeover returns what the wave's strategy takes over for an action from an earlier wave; nil when its key decides.
func (l *live) takeover(a plan.Action) *Item {
	if a.Check != "" || l.choices[a.Component].Way != plan.Reused {
		return nil
	}
	was, ok := l.before[a.Component]
	if !ok {
		return nil
	}
	return &was
}

// choose applies the strategy of a wave to what the wave before it built.
func (s *Service) choose(ctx context.Context, l *live) error {
	strategy, err := plan.ParseStrategy(l.order.Request.Strategy)
	if err != nil || strategy == plan.ByKey {
		return err
	}
	host, err := s.host.fingerprint(ctx)
	if err != nil {
		return err
	}
	var items []Item
	if id := l.order.Request.Before; id != "" {
		err := s.store.View(ctx, func(tx Tx) (err error) {
			items, err = tx.Items().Find(ctx, slipway.Query{Key: id})
			return err
		})
		if err != nil {
			return err
		}
	}
	l.before = map[string]Item{}
	var now, before []plan.Member
	for _, i := range items {
		if a := i.action(); a.Check == "" && i.State == passed {
			if _, err := s.artifacts.Stat(ctx, i.Artifact); err == nil { // otherwise it was lost, and is built again
				l.before[a.Component] = i
			}
			before = append(before, plan.Member{Component: a.Component, Tier: i.Tier, Source: i.Source, Environment: i.Host})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(l.graph.plan.Tier)) {
		now = append(now, plan.Member{Component: name, Tier: l.graph.plan.Tier[name], Source: l.graph.recipes[name].tree, Environment: host})
	}
	l.choices = plan.Choose(strategy, now, before)
	return nil
}
