package integration_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/integration"
	"slipway.dev/slipway/internal/store"
)

// roads are stories in which the process may be killed after any write.
var roads = map[string]func(w *world){
	"two entries, the first fails its experiment": func(w *world) {
		w.app("app 2, no smoke")
		w.lib("lib 2")
		w.settle()
	},
	"infrastructure fails once": func(w *world) {
		w.builder.fate["unit lib"] = []slipway.Outcome{slipway.Infra}
		w.lab.fate["load"] = []slipway.Outcome{slipway.Timeout}
		w.lib("lib 2")
		w.settle()
	},
	"dequeued while experiments run": func(w *world) {
		w.app("app 2")
		w.lib("lib 2")
		w.drain()
		w.builder.finish()
		w.drain()
		w.ask(func() error { return w.s.Dequeue(w.t.Context(), 2, "ada", "not today") })
		w.settle()
	},
	"the base moves while it is tested, and before it lands": func(w *world) {
		w.app("app 2")
		w.drain()
		w.builder.finish()
		w.drain()
		w.product(map[string]string{"README.md": "by hand"})
		w.repos.before = func() { w.product(map[string]string{"README.md": "by hand, again"}) }
		w.settle()
	},
	"two at once where rigs are scarce": func(w *world) {
		w.lab.nodes = 1
		w.app("app 2")
		w.lib("lib 2")
		w.app("app 3, no load")
		w.settle()
	},
	"a change that a gatekeeper vetoes, a branch that is forced back": func(w *world) {
		w.named("change/7", "app", "app 2", "feat: app\n")
		w.seen("app")
		w.lib("lib 2")
		w.drain()
		w.veto("change/7", "grace votes -2")
		w.drain()
		w.amend("lib", "lib 2, amended")
		w.settle()
	},
	"a product file, a build that fails, an entry that is overtaken": func(w *world) {
		w.product(map[string]string{spec.ProductFile: productFile + "params: {speed: fast}\n"})
		w.lib("lib 2, no build")
		w.lib("lib 3")
		w.lib("lib 4")
		w.drain()
		w.ask(func() error { return w.s.Promote(w.t.Context(), 5, "ada", 9, false) })
		w.settle()
	},
}

// ask does what a person does whose request was cut off: ask again.
func (w *world) ask(do func() error) {
	w.t.Helper()
	err := do()
	if errors.As(err, &killed{}) {
		w.start()
		if err = do(); slipway.Is(err, slipway.Conflict) {
			return // it was done
		}
	}
	w.do(err)
}

// outcome is everything that has come of a road.
func (w *world) outcome() string {
	w.t.Helper()
	var parts []any
	landed := map[string][]string{} // by release
	for _, e := range w.entries() {
		parts = append(parts, e)
		if e.Phase.Open() {
			w.t.Errorf("entry %d is left %s: %s", e.Number, e.Phase, e.Reason)
		}
		if e.Phase == integration.Landed {
			landed[e.Release] = append(landed[e.Release], slipway.Ref("entry", e.ID()))
		}
	}
	for _, r := range w.releases() {
		parts = append(parts, r)
		if !slices.Contains(landed[r.ID], r.Entry) {
			w.t.Errorf("%s was asked for by %s, but %v landed with it", r.Tag, r.Entry, landed[r.ID])
		}
		delete(landed, r.ID)
	}
	for release, entries := range landed {
		w.t.Errorf("%v landed with the release %q, which is not there", entries, release)
	}
	q, err := w.s.Queue(w.t.Context(), product)
	if err != nil {
		w.t.Fatal(err)
	}
	if len(q.Stops) > 0 || len(w.builder.running()) > 0 || len(w.lab.running()) > 0 {
		w.t.Errorf("left behind: %+v, waves %v, experiments %v", q.Stops, w.builder.running(), w.lab.running())
	}
	events := map[slipway.EventType]int{}
	told, err := w.db.Events(w.t.Context(), store.EventQuery{Limit: 10000})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range told {
		events[e.Type]++
	}
	for _, repo := range w.repos.updates {
		parts = append(parts, repo.Ref+" "+repo.New)
	}
	parts = append(parts, q, w.manifest(), w.builder.order, w.lab.order, events)
	data, err := json.MarshalIndent(parts, "", " ")
	if err != nil {
		w.t.Fatal(err)
	}
	return string(data)
}

// TestKilledAfterAnyWrite kills the process after the first write of a road, after the second, and so on, until it goes through to the end.
// Every time it starts again, and every time all that has come of the road is the same: entries, releases, refs, events.
func TestKilledAfterAnyWrite(t *testing.T) {
	for _, engine := range engines {
		first := releasedOn(t, engine)
		if err := first.db.Close(); err != nil {
			t.Fatal(err)
		}
		for name, road := range roads {
			t.Run(engine+"-"+strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
				t.Parallel() // each waits for its own disk
				killAlong(t, first, road)
			})
		}
	}
}

// along lets a road be gone once, with the power going as it is told to.
func along(t *testing.T, first *world, road func(w *world), until, longer int) (outcome string, writes int) {
	t.Helper()
	w := first.copy(t)
	defer w.db.Close() // there are many
	w.power.until, w.power.longer = until, longer
	road(w)
	return w.outcome(), w.power.n
}

func killAlong(t *testing.T, first *world, road func(w *world)) {
	t.Helper()
	want, _ := along(t, first, road, 0, 0) // never
	killed := 0
	for until := killEvery; ; until += killEvery {
		got, writes := along(t, first, road, until, 0)
		if got != want {
			t.Fatalf("killed after write %d, something else came of it: %s", until, difference(want, got))
		}
		if writes < until {
			break
		}
		killed++
	}
	if got, _ := along(t, first, road, 1, 1); got != want {
		t.Fatalf("killed again and again, something else came of it: %s", difference(want, got))
	}
	if killed < max(1, 30/killEvery) {
		t.Errorf("killed only %d times; this test looks in the wrong place", killed)
	}
	t.Logf("killed %d times", killed)
}

// difference shows the lines around the first that differs.
func difference(want, got string) string {
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	i := 0
	for i < min(len(a), len(b)) && a[i] == b[i] {
		i++
	}
	from := max(0, i-8)
	return "want\n" + strings.Join(a[from:min(i+8, len(a))], "\n") + "\ngot\n" + strings.Join(b[from:min(i+8, len(b))], "\n")
}
