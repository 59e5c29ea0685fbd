package speculate_test

import (
	"fmt"
	"slices"
	"testing"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/integration/speculate"
)

// yard is a small controller: it does what plans say, and ends runs as a test tells it.
type yard struct {
	t       *testing.T
	s       speculate.Snapshot
	planner speculate.Planner
	checks  map[string]int
	landed  [][]speculate.ID // by landing
	evicted map[speculate.ID]speculate.Eviction
	certs   []speculate.Certificate
	last    speculate.Plan
	runs    int64
	started int
}

// newYard makes a queue with these checks, all of them in a pool of 100 slots.
func newYard(t *testing.T, o speculate.Options, checks ...speculate.Check) *yard {
	y := &yard{t: t, planner: speculate.New(o), checks: map[string]int{}, evicted: map[speculate.ID]speculate.Eviction{}}
	y.s.Ledger = speculate.NewLedger()
	y.s.Pools = []speculate.Pool{{Label: "build", Total: 100, Weight: 1}, {Label: "rig", Total: 1, Weight: 20}}
	y.s.Landed = func(id speculate.ID) bool {
		return slices.ContainsFunc(y.landed, func(l []speculate.ID) bool { return slices.Contains(l, id) })
	}
	for _, c := range checks {
		y.checks[c.Name] = len(y.s.Checks)
		y.s.Checks = append(y.s.Checks, c)
		y.s.Base = append(y.s.Base, speculate.Digest("base of "+c.Name))
		y.s.Ledger.Prove(y.checks[c.Name], y.s.Base[y.checks[c.Name]])
		y.s.Ledger.Base(y.checks[c.Name], y.s.Base[y.checks[c.Name]])
	}
	return y
}

func builds(names ...string) (checks []speculate.Check) {
	for _, n := range names {
		checks = append(checks, speculate.Check{Name: n, Label: "build", Whole: true})
	}
	return checks
}

// enter queues an entry that affects some checks.
func (y *yard) enter(id speculate.ID, checks ...string) *speculate.Entry {
	e := speculate.Entry{ID: id, P: 0.99, Digest: speculate.Digest(fmt.Sprint("entry ", id)), Arrived: y.s.Now}
	for _, c := range checks {
		e.Needs = append(e.Needs, speculate.Need{Check: y.checks[c], Minutes: 10})
	}
	e.Rank = speculate.Place(y.s.Entries, e)
	y.s.Entries = append(y.s.Entries, e)
	return &y.s.Entries[len(y.s.Entries)-1]
}

func (y *yard) entry(id speculate.ID) *speculate.Entry {
	for i := range y.s.Entries {
		if y.s.Entries[i].ID == id {
			return &y.s.Entries[i]
		}
	}
	y.t.Fatalf("entry %d is not in the queue", id)
	return nil
}

func (y *yard) drop(id speculate.ID) {
	y.s.Entries = slices.DeleteFunc(y.s.Entries, func(e speculate.Entry) bool { return e.ID == id })
}

// settle plans and does what the plan says until nothing changes.
func (y *yard) settle() {
	y.t.Helper()
	for range 100 {
		for i := range y.s.Pools {
			p := &y.s.Pools[i]
			p.Free = p.Total
			for _, r := range y.s.Runs {
				if y.s.Checks[r.Edge.Check].Label == p.Label {
					p.Free--
				}
			}
		}
		base, digests := slices.Clone(y.s.Base), map[speculate.ID]speculate.State{}
		for _, e := range y.s.Entries {
			digests[e.ID] = e.Digest
		}
		p := y.planner.Plan(&y.s)
		y.last, y.s.Memory = p, p.Memory
		for _, c := range p.Cancel {
			y.s.Runs = slices.DeleteFunc(y.s.Runs, func(r speculate.Run) bool { return r.ID == c.Run })
		}
		for _, l := range p.Land {
			if why := speculate.Verify(l.Certificate, y.s.Checks, y.s.Ledger); why != "" {
				y.t.Fatalf("the certificate of %v does not hold: %s", l.Entries, why)
			}
			for _, id := range l.Entries {
				e := y.entry(id)
				for _, n := range e.Needs {
					y.s.Base[n.Check] = y.s.Base[n.Check].Plus(e.Digest)
				}
			}
			for _, proof := range l.Certificate.Proofs {
				if y.s.Base[proof.Check] != proof.To {
					y.t.Fatalf("%v landed on another tuple than was proven", l.Entries)
				}
				y.s.Ledger.Base(proof.Check, proof.To)
			}
			for _, id := range l.Entries {
				y.drop(id)
			}
			y.landed, y.certs = append(y.landed, l.Entries), append(y.certs, l.Certificate)
		}
		for _, e := range p.Evict {
			y.evicted[e.Entry] = e
			y.drop(e.Entry)
		}
		for _, id := range p.Yield {
			e := *y.entry(id)
			y.drop(id)
			e.Rank = speculate.Place(y.s.Entries, e)
			y.s.Entries = append(y.s.Entries, e)
		}
		for _, st := range p.Start {
			to := base[st.Edge.Check]
			for _, id := range st.Set {
				to = to.Plus(digests[id])
			}
			if to != st.Edge.To {
				y.t.Fatalf("a run of %s is for another tuple than the base and %v", y.s.Checks[st.Edge.Check].Name, st.Set)
			}
			y.runs++
			y.started++
			y.s.Runs = append(y.s.Runs, speculate.Run{ID: y.runs, Edge: st.Edge, Set: st.Set, Covers: st.Covers, Left: st.Minutes})
			for _, id := range st.Covers {
				y.entry(id).Begun = true
			}
		}
		if len(p.Land)+len(p.Evict)+len(p.Cancel)+len(p.Start)+len(p.Yield) == 0 {
			return
		}
	}
	y.t.Fatal("the plan does not come to rest")
}

// end ends the run of a check that covers an entry on a tuple, and settles. Without a tuple it is the only run.
func (y *yard) end(check string, id speculate.ID, outcome slipway.Outcome, tuple ...speculate.ID) {
	y.t.Helper()
	i := slices.IndexFunc(y.s.Runs, func(r speculate.Run) bool {
		return r.Edge.Check == y.checks[check] && (slices.Contains(r.Covers, id) || id == 0 && len(r.Covers) == 0) && (tuple == nil || slices.Equal(r.Set, tuple))
	})
	if i < 0 {
		y.t.Fatalf("no run of %s for entry %d on %v; there are %s", check, id, tuple, y.running())
	}
	r := y.s.Runs[i]
	y.s.Runs = slices.Delete(slices.Clone(y.s.Runs), i, i+1)
	y.s.Ledger.Record(r.Edge, outcome, fmt.Sprint("executor-", r.ID))
	for k := range y.s.Entries {
		e := &y.s.Entries[k]
		for n := range e.Needs {
			switch need := &e.Needs[n]; {
			case need.Check != r.Edge.Check || !slices.Contains(r.Covers, e.ID):
			case outcome == slipway.Pass:
				need.Passed, need.Failed = true, 0
			case outcome == slipway.Fail && len(r.Covers) == 1 && y.s.Ledger.Alone(r.Edge.Check, r.Edge.To, e.Digest):
				need.Failed++
			}
		}
	}
	y.settle()
}

// refute fails the runs of an entry until it is evicted.
func (y *yard) refute(check string, id speculate.ID) {
	y.t.Helper()
	for range 6 {
		if _, out := y.evicted[id]; out {
			return
		}
		y.end(check, id, slipway.Fail)
	}
	y.t.Fatalf("entry %d is not evicted however often it fails", id)
}

func (y *yard) running() string {
	s := ""
	for _, r := range y.s.Runs {
		s += fmt.Sprintf("%s %v covers %v; ", y.s.Checks[r.Edge.Check].Name, r.Set, r.Covers)
	}
	return s
}

func (y *yard) wantLanded(want ...speculate.ID) {
	y.t.Helper()
	if got := slices.Concat(y.landed...); !slices.Equal(got, want) {
		y.t.Fatalf("landed %v, want %v (evicted %v; running %s)", got, want, y.evicted, y.running())
	}
}

func (y *yard) wantRuns(want int) {
	y.t.Helper()
	if len(y.s.Runs) != want {
		y.t.Fatalf("%d runs, want %d: %s", len(y.s.Runs), want, y.running())
	}
}

func (y *yard) wantEvicted(id speculate.ID, why speculate.Why) {
	y.t.Helper()
	if e, out := y.evicted[id]; !out || e.Why != why || e.Reason == "" {
		y.t.Fatalf("entry %d: %+v, want it evicted as %s with a reason", id, y.evicted[id], why)
	}
}

func (y *yard) reason(id speculate.ID) string {
	for _, w := range y.last.Wait {
		if w.Entry == id {
			return w.Reason
		}
	}
	return ""
}
