package integration_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/integration"
	"slipway.dev/slipway/internal/store"
)

// TestChaos drives the queue through random histories: pushes good and bad, forced pushes and vetoes, people who take out, promote, freeze and
// requeue, builds and experiments that end in any order, infrastructure that fails, a server that is killed after any write. Whatever happens:
// every entry ends, once; what lands was tested as it landed, and lands once; nothing bad, vetoed or dropped is ever released; nobody is blamed whose own
// content is good; what has passed is not tested again without a reason.
func TestChaos(t *testing.T) {
	for _, engine := range engines {
		first := fleetOn(t, engine, "")
		if err := first.db.Close(); err != nil {
			t.Fatal(err)
		}
		for seed := range chaosSeeds {
			t.Run(fmt.Sprint(engine, "-", seed), func(t *testing.T) {
				t.Parallel()
				c := chaos{first.copy(t), rand.New(rand.NewPCG(uint64(seed), 2026)), map[int64]bool{}}
				for range 30 {
					c.step()
				}
				c.do(func() error { return c.s.Resume(t.Context(), product, "ada") })
				c.power.until, c.power.longer = 0, 0
				c.settle()
				c.check()
			})
		}
	}
}

type chaos struct {
	*world
	r    *rand.Rand
	lost map[int64]bool // entries that a veto or a forced push took their right to land from
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
	switch c.r.IntN(14) {
	case 0, 1, 2, 3:
		name := names[c.r.IntN(len(names))]
		text := fmt.Sprintf("%s %d", name, c.r.Uint32())
		if c.r.IntN(4) == 0 {
			text += ", " + faults[name][c.r.IntN(len(faults[name]))]
		}
		w.move(name, text)
		if c.r.IntN(2) == 0 { // it came from a change
			head := w.repos.updates[len(w.repos.updates)-1].New
			w.changes[head] = integration.Change{Ref: slipway.Ref("change", fmt.Sprint(len(w.repos.updates))), Title: text, Author: "ada"}
		}
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
	case 12:
		for _, e := range c.open() {
			if len(e.Changes) == 0 || e.Phase == integration.Landing {
				continue
			}
			w.veto(e.Changes[0], "grace votes -2")
			c.lost[e.Number] = true
			break
		}
	case 13:
		name := names[c.r.IntN(len(names))]
		head, err := w.repos.Resolve(w.t.Context(), "components/"+name, "refs/heads/main")
		if err != nil || w.released(name, head) {
			break // what was released stays on its branch
		}
		for _, e := range c.open() {
			for _, pin := range e.Pins {
				c.lost[e.Number] = c.lost[e.Number] || pin.Commit == head && e.Phase != integration.Landing
			}
		}
		w.amend(name, fmt.Sprintf("%s %d, amended", name, c.r.Uint32()))
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
		case e.Phase == integration.Rejected && !guilty && !c.gaveUp(e):
			t.Errorf("entry %d, %s, is good and was rejected: %s", e.Number, e.Title, e.Reason)
		case e.Phase == integration.Landed:
			c.verified(e.Number)
			if c.lost[e.Number] {
				t.Errorf("entry %d, %s, landed although it had no right to", e.Number, e.Title)
			}
		}
		for i, s := range e.History {
			if s.Phase.Open() == (i == len(e.History)-1) {
				t.Errorf("entry %d went through %+v", e.Number, e.History)
			}
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
	c.landedOnce()
	c.kept()
	t.Logf("%v, %d releases, %d trials, %d writes", ends, len(c.releases()), len(c.trials()), c.power.n)
}

// gaveUp reports whether an entry was sent away without blame, for three runs of one check that came to no verdict.
func (c *chaos) gaveUp(e integration.Entry) bool {
	runs := map[integration.Check]int{}
	for _, t := range c.trials() {
		if slices.Contains(t.Covers, e.Number) && (t.Outcome == slipway.Infra || t.Outcome == slipway.Timeout) {
			if runs[t.Check]++; runs[t.Check] == 3 {
				return strings.HasPrefix(e.Reason, "no verdict after 3 attempts")
			}
		}
	}
	return false
}

// landedOnce checks that each release moved main once, and that each landing was told once.
func (c *chaos) landedOnce() {
	moves, told := map[string]int{}, map[string]int{}
	for _, u := range c.repos.updates {
		if u.Repo == "products/"+product && u.Ref == "refs/heads/main" {
			moves[u.New]++
		}
	}
	for _, r := range c.releases() {
		if moves[r.Commit] != 1 {
			c.t.Errorf("main was moved to %s %d times", r.Tag, moves[r.Commit])
		}
	}
	events, err := c.db.Events(c.t.Context(), store.EventQuery{Limit: 10000})
	c.world.do(err)
	for _, e := range events {
		if e.Type == slipway.EntryLanded {
			told[e.Subject]++
		}
	}
	for _, e := range c.entries() {
		if want := map[bool]int{true: 1}[e.Phase == integration.Landed]; told[slipway.Ref("entry", e.ID())] != want {
			c.t.Errorf("that entry %d, which is %s, landed was told %d times", e.Number, e.Phase, told[slipway.Ref("entry", e.ID())])
		}
	}
}

// kept checks that verdicts are kept: what has passed runs again on equal inputs only where a trial asked for a fresh verdict.
func (c *chaos) kept() {
	passed, fresh := map[string]int{}, map[string]int{}
	inputs := func(id string) string { base, _, _ := strings.Cut(id, "."); return base }
	for _, id := range c.lab.order {
		if c.lab.runs[id].status.Outcome == slipway.Pass {
			passed[inputs(id)]++
		}
	}
	for _, t := range c.trials() {
		if t.Fresh && t.Requested != "" {
			fresh[inputs(t.Requested)]++
		}
	}
	for id, n := range passed {
		if n > 1+fresh[id] {
			c.t.Errorf("the experiment %s passed %d times, and %d fresh verdicts were asked for", id, n, fresh[id])
		}
	}
}
