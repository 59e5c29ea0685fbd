package integration_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/integration"
)

// TestChaos drives the queue through random histories: pushes good and bad, people who take out, promote, freeze and requeue, builds and experiments
// that end in any order, infrastructure that fails, a server that is killed after any write. Whatever happens: every entry ends, once; what lands
// was tested as it landed; nothing bad is ever released; nobody is blamed whose own content is good.
func TestChaos(t *testing.T) {
	first := fleet(t, "queue: {retries: 20}\n")
	if err := first.db.Close(); err != nil {
		t.Fatal(err)
	}
	for seed := range chaosSeeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			w := first.copy(t)
			c := chaos{w, rand.New(rand.NewPCG(uint64(seed), 2026))}
			for range 30 {
				c.step()
			}
			c.do(func() error { return w.s.Resume(t.Context(), product, "ada") })
			w.power.until, w.power.longer = 0, 0
			w.settle()
			c.check()
		})
	}
}

type chaos struct {
	*world
	r *rand.Rand
}

// faults are words that make a component fail, by component.
var faults = map[string][]string{
	"lib": {"no unit", "no build", "no load"}, "app": {"no smoke", "no unit"}, "hull": {"no float"}, "mast": {"no build", "no float"}, "bell": {"no ring"},
}

var names = []string{"lib", "app", "hull", "mast", "bell"}

func (c *chaos) step() {
	w := c.world
	if w.power.until <= w.power.n && c.r.IntN(3) == 0 {
		w.power.until = w.power.n + 1 + c.r.IntN(12)
	}
	switch c.r.IntN(12) {
	case 0, 1, 2, 3:
		name := names[c.r.IntN(len(names))]
		text := fmt.Sprintf("%s %d", name, c.r.Uint32())
		if c.r.IntN(4) == 0 {
			text += ", " + faults[name][c.r.IntN(len(faults[name]))]
		}
		w.move(name, text)
	case 4:
		if open := c.open(); len(open) > 0 {
			number := open[c.r.IntN(len(open))].Number
			c.do(func() error { return w.s.Dequeue(w.t.Context(), number, "ada", "not today") })
		}
	case 5:
		if open := c.open(); len(open) > 0 {
			number, urgent := open[c.r.IntN(len(open))].Number, c.r.IntN(3) == 0
			c.do(func() error { return w.s.Promote(w.t.Context(), number, "ada", 5, urgent) })
		}
	case 6:
		c.do(func() error { return w.s.Freeze(w.t.Context(), product, "ada", "a while") })
	case 7:
		c.do(func() error { return w.s.Resume(w.t.Context(), product, "ada") })
	case 8:
		w.lab.fate[[]string{"ring", "float", "smoke", "load"}[c.r.IntN(4)]] = []slipway.Outcome{slipway.Infra}
		w.builder.fate["build "+names[c.r.IntN(len(names))]] = []slipway.Outcome{slipway.Timeout}
	case 9:
		w.product(map[string]string{"README.md": fmt.Sprint(c.r.Uint32())})
	case 10:
		if running := w.builder.running(); len(running) > 0 {
			id := running[c.r.IntN(len(running))]
			w.builder.end(w.builder.waves[id])
			w.emit(slipway.Event{Type: slipway.WaveFinished, Subject: "wave/" + id})
		}
	case 11:
		if running := w.lab.running(); len(running) > 0 {
			w.lab.end(running[c.r.IntN(len(running))])
		}
	}
	w.clock.Advance(time.Duration(c.r.IntN(300)) * time.Second)
	if c.r.IntN(2) == 0 {
		w.drain()
	}
}

// do asks as a person does who asks again when cut off; a refusal is an answer.
func (c *chaos) do(f func() error) {
	err := f()
	if err != nil && c.power.out {
		c.start()
		err = f()
	}
	if err != nil && !slipway.Is(err, slipway.Conflict) {
		c.t.Fatal(err)
	}
}

func (c *chaos) open() []integration.Entry {
	if c.power.out {
		c.start()
	}
	var open []integration.Entry
	for _, e := range c.entries() {
		if e.Phase.Open() {
			open = append(open, e)
		}
	}
	return open
}

func (c *chaos) check() {
	t := c.t
	c.outcome() // every entry has ended, each release once; nothing is left running
	bad := func(pin slipway.Pin) bool {
		g, err := c.repos.git(pin.Repo)
		c.world.do(err)
		text, err := g.File(t.Context(), pin.Commit, "src")
		c.world.do(err)
		return strings.Contains(string(text), ", no ")
	}
	ends := map[integration.Phase]int{}
	for _, e := range c.entries() {
		ends[e.Phase]++
		guilty := false
		for _, pin := range e.Pins {
			guilty = guilty || bad(pin)
		}
		switch {
		case e.Phase == integration.Rejected && !guilty:
			t.Errorf("entry %d, %s, is good and was rejected: %s", e.Number, e.Title, e.Reason)
		case e.Phase == integration.Landed:
			c.verified(e.Number)
		}
		if n := len(e.History); e.History[n-1].Phase != e.Phase {
			t.Errorf("entry %d is %s, and its history ends %s", e.Number, e.Phase, e.History[n-1].Phase)
		}
	}
	for _, r := range c.releases() {
		for configuration, m := range r.Manifests {
			for name, locked := range m.Components {
				if bad(locked.Pin(name)) {
					t.Errorf("%s was released with a bad %s in %s", r.Tag, name, configuration)
				}
			}
		}
	}
	t.Logf("%v, %d releases, %d trials, %d writes", ends, len(c.releases()), len(c.trials()), c.power.n)
}
