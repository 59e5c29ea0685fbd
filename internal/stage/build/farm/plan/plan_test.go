package plan_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/internal/stage/build/farm/plan"
)

var t0 = time.Unix(1_700_000_000, 0)

func at(s int) time.Time { return t0.Add(time.Duration(s) * time.Second) }

func TestNext(t *testing.T) {
	local := plan.Worker{Name: "local", Host: "h1"}
	far := plan.Worker{Name: "far", Host: "h2", Labels: map[string]string{"gpu": "yes"}}
	for name, tc := range map[string]struct {
		s    plan.Snapshot
		w    plan.Worker
		want string
	}{
		"nothing": {plan.Snapshot{}, local, ""},
		"class first": {plan.Snapshot{Now: at(9), Queued: []plan.Task{
			{ID: "rebuild", Class: 2, Queued: at(1)}, {ID: "change", Class: 0, Queued: at(2)}}}, local, "change"},
		"waiting raises the class": {plan.Snapshot{Now: at(1201), Aging: 10 * time.Minute, Queued: []plan.Task{
			{ID: "rebuild", Class: 2, Queued: at(0)}, {ID: "change", Class: 0, Queued: at(1200)}}}, local, "rebuild"},
		"the product with less": {plan.Snapshot{Now: at(9), Share: map[string]float64{"big": 3, "small": 1}, Queued: []plan.Task{
			{ID: "b", Product: "big", Queued: at(1)}, {ID: "s", Product: "small", Queued: at(2)}}}, local, "s"},
		"first come in a product": {plan.Snapshot{Now: at(9), Queued: []plan.Task{
			{ID: "a", Product: "p", Queued: at(1)}, {ID: "b", Product: "p", Queued: at(2)}}}, local, "a"},
		"another host":  {plan.Snapshot{Now: at(9), Queued: []plan.Task{{ID: "a", Host: "h2"}}}, local, ""},
		"the same host": {plan.Snapshot{Now: at(9), Queued: []plan.Task{{ID: "a", Host: "h2"}}}, far, "a"},
		"a label":       {plan.Snapshot{Now: at(9), Queued: []plan.Task{{ID: "a", Labels: map[string]string{"gpu": "yes"}}}}, local, ""},
		"draining": {plan.Snapshot{Now: at(9), Queued: []plan.Task{{ID: "a"}}},
			plan.Worker{Name: "local", Draining: true}, ""},
		"not where it failed": {plan.Snapshot{Now: at(9), Workers: []plan.Worker{local, far}, Queued: []plan.Task{
			{ID: "a", Failed: []string{"local"}}}}, local, ""},
		"elsewhere at once": {plan.Snapshot{Now: at(9), Workers: []plan.Worker{local, far}, Queued: []plan.Task{
			{ID: "a", Failed: []string{"local"}, NotBefore: at(99)}}}, far, "a"},
		"where it failed, if nobody else is there": {plan.Snapshot{Now: at(9), Workers: []plan.Worker{local}, Queued: []plan.Task{
			{ID: "a", Failed: []string{"local"}}}}, local, "a"},
		"but not too soon": {plan.Snapshot{Now: at(9), Workers: []plan.Worker{local}, Queued: []plan.Task{
			{ID: "a", Failed: []string{"local"}, NotBefore: at(10)}}}, local, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			if i := tc.s.Next(tc.w); i >= 0 {
				got = tc.s.Queued[i].ID
			}
			if got != tc.want {
				t.Errorf("%q, not %q", got, tc.want)
			}
		})
	}
}

// Three products with different appetites share one class: while all of them have tasks waiting, none has more than one slot more
// than another; and an idle task gets its turn although urgent ones never end.
func TestFairAndWithoutStarvation(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const slots = 6
	running := map[string]int{}
	type run struct {
		product string
		end     time.Time
	}
	var runs []run
	var queued []plan.Task
	n := 0
	add := func(product string, class int, now time.Time) {
		n++
		queued = append(queued, plan.Task{ID: fmt.Sprint(n), Product: product, Class: class, Queued: now})
	}
	for range 500 {
		add("huge", 1, t0)
	}
	for range 60 {
		add("middle", 1, t0)
		add("small", 1, t0)
	}
	add("idle", 3, t0)
	idleAt := time.Time{}
	for now := t0; now.Before(t0.Add(40 * time.Minute)); now = now.Add(time.Second) {
		add("huge", 1, now) // it asks faster than the farm runs
		kept := runs[:0]
		for _, r := range runs {
			if now.Before(r.end) {
				kept = append(kept, r)
			} else {
				running[r.product]--
			}
		}
		runs = kept
		for len(runs) < slots {
			share := map[string]float64{}
			waiting := map[string]bool{}
			for p, r := range running {
				share[p] = float64(r)
			}
			for _, q := range queued {
				waiting[q.Product] = true
			}
			i := plan.Snapshot{Now: now, Queued: queued, Share: share, Aging: 10 * time.Minute}.Next(plan.Worker{Name: "w"})
			if i < 0 {
				t.Fatal("a slot is free and nothing starts")
			}
			next := queued[i]
			queued = append(queued[:i], queued[i+1:]...)
			running[next.Product]++
			runs = append(runs, run{next.Product, now.Add(time.Duration(1+random.IntN(20)) * time.Second)})
			if next.Product == "idle" && idleAt.IsZero() {
				idleAt = now
			}
			if waiting["middle"] && waiting["small"] && next.Product == "huge" && now.Before(t0.Add(9*time.Minute)) && running["huge"] > min(running["middle"], running["small"])+1 {
				t.Fatalf("huge has %d slots while others wait with %v", running["huge"], running)
			}
		}
	}
	if idleAt.IsZero() {
		t.Error("the idle task starved")
	}
}

func TestWhy(t *testing.T) {
	w := plan.Worker{Name: "local", Host: "h1"}
	for _, tc := range []struct {
		s    plan.Snapshot
		t    plan.Task
		want string
	}{
		{plan.Snapshot{}, plan.Task{}, "no worker"},
		{plan.Snapshot{Workers: []plan.Worker{w}}, plan.Task{}, "free slot"},
		{plan.Snapshot{Workers: []plan.Worker{w}}, plan.Task{Host: "h2", Labels: map[string]string{"gpu": "a"}}, "none of 1 workers has the host tools h2 and the label gpu=a"},
		{plan.Snapshot{Now: t0, Workers: []plan.Worker{w}}, plan.Task{Failed: []string{"local"}, NotBefore: at(60)}, "tried again at"},
	} {
		if got := tc.s.Why(tc.t); !strings.Contains(got, tc.want) {
			t.Errorf("%q does not say %q", got, tc.want)
		}
	}
}

func BenchmarkNext(b *testing.B) {
	s := plan.Snapshot{Now: at(100), Aging: 10 * time.Minute, Share: map[string]float64{}}
	for i := range 10_000 {
		s.Queued = append(s.Queued, plan.Task{ID: fmt.Sprint(i), Product: fmt.Sprintf("p%d", i%20), Class: i % 4, Queued: at(i % 50), Host: "h"})
	}
	for b.Loop() {
		if s.Next(plan.Worker{Name: "w", Host: "h"}) < 0 {
			b.Fatal("nothing")
		}
	}
}
