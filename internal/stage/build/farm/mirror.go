package farm

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build/farm/plan"
)

const (
	halfLife = 5 * time.Minute  // after which slot time that a product used counts half
	perShare = 60.0             // seconds of slot time that weigh as much as one running task
	away     = 90 * time.Second // of silence after which a worker without tasks is gone
	forget   = time.Hour        // of silence after which it is forgotten
)

// The functions of this file change the mirror in memory; callers hold mu, unless they say that they take it.

// push adds a task to those that wait, in the order of their asking.
func (f *Farm[T]) push(t Task) {
	p := t.planned()
	i, found := slices.BinarySearchFunc(f.queue, p, func(a, b plan.Task) int { return a.Queued.Compare(b.Queued) })
	for found && i < len(f.queue) && f.queue[i].Queued.Equal(p.Queued) {
		i++ // as many are asked for in one transaction
	}
	f.queue = slices.Insert(f.queue, i, p)
}

// wake lets the claims that wait look again.
func (f *Farm[T]) wake() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// drop forgets a task that ended while it waited. It takes mu.
func (f *Farm[T]) drop(t Task) {
	f.mu.Lock()
	f.queue = slices.DeleteFunc(f.queue, func(p plan.Task) bool { return p.ID == t.ID })
	f.mu.Unlock()
	f.told(t)
}

// reclass makes a waiting task more urgent. It takes mu.
func (f *Farm[T]) reclass(t Task) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.queue {
		if f.queue[i].ID == t.ID {
			f.queue[i].Class = t.Class.Rank()
			f.wake()
		}
	}
}

// release forgets a claim that ended. It takes mu.
func (f *Farm[T]) release(h *held) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.held[h.hold.Task] != h {
		return
	}
	delete(f.held, h.hold.Task)
	u := f.usageOf(h.task.Product)
	now := f.cfg.Clock.Now()
	u.decay(now)
	u.running--
	u.seconds += now.Sub(h.since).Seconds()
	h.log.close()
	if h.reason == "" {
		close(h.stop) // whoever waits for orders learns that the claim is gone
		h.reason = "the claim ended"
	}
	f.wake()
}

func (f *Farm[T]) usageOf(product string) *usage {
	if f.used[product] == nil {
		f.used[product] = &usage{at: f.cfg.Clock.Now()}
	}
	return f.used[product]
}

func (u *usage) decay(now time.Time) {
	if d := now.Sub(u.at); d > 0 {
		u.seconds *= math.Exp2(-float64(d) / float64(halfLife))
		u.at = now
	}
}

func (f *Farm[T]) snapshot() plan.Snapshot {
	now := f.cfg.Clock.Now()
	s := plan.Snapshot{Now: now, Queued: f.queue, Share: make(map[string]float64, len(f.used)), Aging: f.cfg.Aging}
	for product, u := range f.used {
		u.decay(now)
		s.Share[product] = float64(u.running) + u.seconds/perShare
	}
	for _, w := range f.workers {
		if w.local || now.Sub(w.seen) < away {
			s.Workers = append(s.Workers, w.Worker)
		}
	}
	return s
}

// meet notes that a worker is there.
func (f *Farm[T]) meet(r ClaimRequest) *worker {
	w := f.workers[r.Worker]
	if w == nil {
		w = &worker{}
		f.workers[r.Worker] = w
		f.cfg.Log.Info("worker", "name", r.Worker, "host", r.Host, "labels", r.Labels, "slots", r.Slots)
	}
	w.Worker = plan.Worker{Name: r.Worker, Host: r.Host, Labels: r.Labels}
	w.slots, w.local, w.seen = r.Slots, r.local, f.cfg.Clock.Now()
	return w
}

// Workers lists the workers that are there or were lately, by name, with what they run.
func (f *Farm[T]) Workers(ctx context.Context) ([]Worker, error) {
	running, err := f.Tasks(ctx, slipway.Query{States: []string{string(Claimed)}})
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.cfg.Clock.Now()
	all := []Worker{}
	known := map[string]int{}
	for _, name := range slices.Sorted(maps.Keys(f.workers)) {
		w := f.workers[name]
		one := Worker{Name: name, Host: w.Host, Labels: w.Labels, Slots: w.slots, State: "online", Seen: w.seen.UTC(), Tasks: []Task{}}
		if !w.local && now.Sub(w.seen) >= away {
			one.State, one.Reason = "gone", fmt.Sprintf("not heard of for %s", now.Sub(w.seen).Round(time.Second))
		}
		known[name] = len(all)
		all = append(all, one)
	}
	for _, t := range running {
		i, ok := known[t.Worker]
		if !ok { // the server started again, and it has not called yet
			i = len(all)
			known[t.Worker] = i
			all = append(all, Worker{Name: t.Worker, Host: t.Host, State: "gone", Reason: "not heard of since the server started", Tasks: []Task{}})
		}
		all[i].Tasks = append(all[i].Tasks, t)
	}
	for i, w := range all {
		if w.State == "online" {
			all[i].Reason = fmt.Sprintf("%d of %d slots busy", min(len(w.Tasks), w.Slots), w.Slots) // others are being ended
		}
	}
	return all, nil
}
