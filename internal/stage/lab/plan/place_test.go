package plan_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"slipway.dev/slipway/internal/platform/seeded"
	"slipway.dev/slipway/internal/stage/lab/plan"
)

func edge(name string) plan.Node {
	return plan.Node{Name: name, Labels: map[string]string{"role": "edge"}}
}

func wants(id string, age int64, count int, labels ...string) plan.Request {
	m := map[string]string{}
	for _, l := range labels {
		k, v, _ := strings.Cut(l, "=")
		m[k] = v
	}
	return plan.Request{ID: id, Age: age, Length: time.Minute, Roles: []plan.Role{{Name: "r", Labels: m, Count: count}}}
}

func TestReasons(t *testing.T) {
	leased := edge("front-1")
	leased.Holder, leased.Busy = "experiment/3", time.Hour
	down := edge("front-2")
	down.Out = "offline since 10:04:05"
	for name, c := range map[string]struct {
		nodes    []plan.Node
		requests []plan.Request
		want     []string
	}{
		"no node at all":    {nil, []plan.Request{wants("experiment/1", 1, 1)}, []string{"unsatisfiable: role r needs 1 node, but no node has joined"}},
		"no such label":     {[]plan.Node{edge("a")}, []plan.Request{wants("experiment/1", 1, 1, "role=hub")}, []string{"unsatisfiable: no node has role=hub, which role r needs"}},
		"too few":           {[]plan.Node{edge("a"), edge("b")}, []plan.Request{wants("experiment/1", 1, 3, "role=edge")}, []string{"unsatisfiable: role r needs 3 nodes with role=edge, but only a, b exist"}},
		"leased":            {[]plan.Node{leased}, []plan.Request{wants("experiment/4", 4, 1, "role=edge")}, []string{"waits for 1 node with role=edge: front-1 leased to experiment/3, none other"}},
		"leased and down":   {[]plan.Node{leased, down}, []plan.Request{wants("experiment/4", 4, 2, "role=edge")}, []string{"waits for 2 nodes with role=edge: front-1 leased to experiment/3, front-2 is offline since 10:04:05, none other"}},
		"held for an elder": {[]plan.Node{leased, edge("x")}, []plan.Request{wants("experiment/4", 4, 2, "role=edge"), long(wants("experiment/5", 5, 1, "role=edge"))}, []string{"waits for 2 nodes with role=edge: front-1 leased to experiment/3, none other", "waits for 1 node with role=edge: front-1 leased to experiment/3, x held for experiment/4, which is before it, none other"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := plan.Place(plan.Snapshot{Nodes: c.nodes, Requests: c.requests})
			var got []string
			for _, w := range p.Waits {
				got = append(got, w.Reason)
				if w.Unsatisfiable != strings.HasPrefix(w.Reason, "unsatisfiable") {
					t.Errorf("%+v", w)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got\n%q\nwant\n%q", got, c.want)
			}
		})
	}
}

func long(r plan.Request) plan.Request { r.Length = 24 * time.Hour; return r }

func TestShortOnesSlipIntoTheGap(t *testing.T) {
	leased := edge("a")
	leased.Holder, leased.Busy = "experiment/1", 10*time.Minute
	short, exact, over := wants("short", 3, 1), wants("exact", 4, 1), wants("over", 4, 1)
	short.Length, exact.Length, over.Length = time.Minute, 10*time.Minute, 10*time.Minute+1
	for _, c := range []struct {
		r  plan.Request
		in bool
	}{{short, true}, {exact, true}, {over, false}} {
		p := plan.Place(plan.Snapshot{Nodes: []plan.Node{leased, edge("b")}, Requests: []plan.Request{wants("both", 2, 2), c.r}})
		if in := len(p.Assign) == 1 && p.Assign[0].ID == c.r.ID; in != c.in {
			t.Errorf("%s: %+v", c.r.ID, p)
		}
	}
}

func TestOverlappingRolesAreMatchedExactly(t *testing.T) {
	both := plan.Node{Name: "a", Labels: map[string]string{"x": "1", "y": "1"}}
	one := plan.Node{Name: "b", Labels: map[string]string{"x": "1"}}
	r := plan.Request{ID: "e", Roles: []plan.Role{{Name: "1st", Labels: map[string]string{"x": "1"}, Count: 1}, {Name: "2nd", Labels: map[string]string{"y": "1"}, Count: 1}}}
	p := plan.Place(plan.Snapshot{Nodes: []plan.Node{both, one}, Requests: []plan.Request{r}})
	if len(p.Assign) != 1 || p.Assign[0].Roles["1st"][0] != "b" || p.Assign[0].Roles["2nd"][0] != "a" {
		t.Fatalf("%+v", p)
	}
}

func TestAvoidedNodes(t *testing.T) {
	r := wants("e", 1, 1)
	r.Avoid = []string{"a"}
	busy := edge("b")
	busy.Holder, busy.Busy = "experiment/9", time.Minute
	for name, c := range map[string]struct {
		nodes []plan.Node
		want  string
	}{
		"another is free":     {[]plan.Node{edge("a"), edge("b")}, "b"},
		"another is busy":     {[]plan.Node{edge("a"), busy}, ""},
		"there is no other":   {[]plan.Node{edge("a")}, "a"},
		"the other is ailing": {[]plan.Node{edge("a"), {Name: "b", Suspect: true}}, "b"},
	} {
		p := plan.Place(plan.Snapshot{Nodes: c.nodes, Requests: []plan.Request{r}})
		got := ""
		if len(p.Assign) == 1 {
			got = p.Assign[0].Roles["r"][0]
		}
		if got != c.want {
			t.Errorf("%s: got %q, %+v", name, got, p.Waits)
		}
	}
}

func TestSoundNodesAndPlainOnesFirst(t *testing.T) {
	rare := plan.Node{Name: "a", Labels: map[string]string{"role": "edge", "gpu": "yes"}}
	ill := edge("b")
	ill.Suspect = true
	p := plan.Place(plan.Snapshot{Nodes: []plan.Node{rare, ill, edge("c")}, Requests: []plan.Request{wants("e", 1, 1, "role=edge")}})
	if p.Assign[0].Roles["r"][0] != "c" {
		t.Fatalf("%+v", p)
	}
}

// lab is a random world that the planner runs until it is empty.
type lab struct {
	now     time.Duration
	nodes   []plan.Node
	ends    map[string]time.Duration // node -> when its holder really ends
	bounds  map[string]time.Duration // node -> when its holder ends at the latest
	waiting []plan.Request
}

func (l *lab) snapshot() plan.Snapshot {
	s := plan.Snapshot{Requests: l.waiting}
	for _, n := range l.nodes {
		if n.Holder != "" {
			n.Busy = l.bounds[n.Name] - l.now
		}
		s.Nodes = append(s.Nodes, n)
	}
	return s
}

// TestNobodyIsDoubledSplitOrStarved runs random labs to the end, with a stream of newcomers, and checks every plan.
func TestNobodyIsDoubledSplitOrStarved(t *testing.T) {
	seeded.Check(t, func(t *rapid.T) {
		kinds := []string{"x", "y"}
		l := &lab{ends: map[string]time.Duration{}, bounds: map[string]time.Duration{}}
		for i := range rapid.IntRange(1, 6).Draw(t, "nodes") {
			labels := map[string]string{}
			for _, k := range kinds {
				if rapid.Bool().Draw(t, k) {
					labels[k] = "1"
				}
			}
			l.nodes = append(l.nodes, plan.Node{Name: fmt.Sprintf("n%d", i), Labels: labels})
		}
		arrivals := rapid.IntRange(1, 25).Draw(t, "arrivals")
		var promise = map[string]time.Duration{} // first in line -> latest start it was promised
		age := int64(0)
		for step := 0; arrivals > 0 || len(l.waiting) > 0; step++ {
			if step > 500 {
				t.Fatalf("starved: %+v", l.waiting)
			}
			if arrivals > 0 {
				arrivals--
				age++
				r := plan.Request{ID: fmt.Sprintf("e%d", age), Age: age, Length: time.Duration(rapid.IntRange(1, 9).Draw(t, "length"))}
				for i := range rapid.IntRange(1, 2).Draw(t, "roles") {
					role := plan.Role{Name: fmt.Sprintf("r%d", i), Labels: map[string]string{}, Count: rapid.IntRange(1, 3).Draw(t, "count")}
					if k := rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "label"); k != "" {
						role.Labels[k] = "1"
					}
					r.Roles = append(r.Roles, role)
				}
				l.waiting = append(l.waiting, r)
			}
			p := plan.Place(l.snapshot())
			if len(p.Assign)+len(p.Waits) != len(l.waiting) {
				t.Fatalf("somebody was forgotten: %+v", p)
			}
			gone := map[string]bool{}
			for _, w := range p.Waits {
				if w.Reason == "" {
					t.Fatalf("no reason: %+v", w)
				}
				gone[w.ID] = w.Unsatisfiable
			}
			for _, a := range p.Assign {
				i := slices.IndexFunc(l.waiting, func(r plan.Request) bool { return r.ID == a.ID })
				r := l.waiting[i]
				for _, role := range r.Roles {
					if len(a.Roles[role.Name]) != role.Count {
						t.Fatalf("%s got %v for %+v", a.ID, a.Roles, role)
					}
					for _, name := range a.Roles[role.Name] {
						n := &l.nodes[slices.IndexFunc(l.nodes, func(n plan.Node) bool { return n.Name == name })]
						if n.Holder != "" {
							t.Fatalf("%s was given %s, which %s has", a.ID, name, n.Holder)
						}
						for k := range role.Labels {
							if n.Labels[k] != "1" {
								t.Fatalf("%s does not fit %+v", name, role)
							}
						}
						n.Holder = a.ID
						l.bounds[name] = l.now + r.Length
						l.ends[name] = l.now + time.Duration(rapid.IntRange(1, int(r.Length)).Draw(t, "real"))
					}
				}
				if latest, ok := promise[a.ID]; ok && l.now > latest {
					t.Fatalf("%s was promised %d and began at %d", a.ID, latest, l.now)
				}
				gone[a.ID] = true
			}
			l.waiting = slices.DeleteFunc(l.waiting, func(r plan.Request) bool { return gone[r.ID] })
			// The first in line is promised to begin once all that runs now has ended at the latest.
			if len(l.waiting) > 0 {
				first := l.waiting[0].ID
				if _, ok := promise[first]; !ok {
					latest := l.now
					for _, n := range l.nodes {
						if n.Holder != "" {
							latest = max(latest, l.bounds[n.Name])
						}
					}
					promise[first] = latest
				}
			}
			l.now++
			for i, n := range l.nodes {
				if n.Holder != "" && l.ends[n.Name] <= l.now {
					l.nodes[i].Holder = ""
				}
			}
		}
	})
}
