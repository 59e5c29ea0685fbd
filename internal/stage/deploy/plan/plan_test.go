package plan

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func res(id string, requires ...string) Resource {
	return Resource{ID: id, Hash: "h-" + id, Requires: requires, Attrs: []byte(`{}`)}
}

func ids(resources []Resource) []string {
	var out []string
	for _, r := range resources {
		out = append(out, r.ID)
	}
	return out
}

func TestSortPutsRequirementsFirst(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		n := 1 + rng.IntN(40)
		var all []Resource
		for i := range n {
			r := res(fmt.Sprintf("n/%d", i))
			for j := range i {
				if rng.IntN(4) == 0 {
					r.Requires = append(r.Requires, fmt.Sprintf("n/%d", j))
				}
			}
			all = append(all, r)
		}
		rng.Shuffle(n, func(i, j int) { all[i], all[j] = all[j], all[i] })
		ordered, cycle := Sort(all)
		if cycle != nil || len(ordered) != n {
			t.Fatalf("seed %d: %d of %d ordered, cycle %v", seed, len(ordered), n, cycle)
		}
		at := map[string]int{}
		for i, r := range ordered {
			at[r.ID] = i
		}
		for _, r := range all {
			for _, q := range r.Requires {
				if at[q] > at[r.ID] {
					t.Fatalf("seed %d: %s comes before %s", seed, r.ID, q)
				}
			}
		}
	}
}

func TestSortNamesACycle(t *testing.T) {
	_, cycle := Sort([]Resource{res("a"), res("b", "a", "d"), res("c", "b"), res("d", "c"), res("e", "d")})
	if len(cycle) != 4 || cycle[0] != cycle[3] || slices.Contains(cycle, "a") || slices.Contains(cycle, "e") {
		t.Fatalf("cycle %v", cycle)
	}
}

func TestIncrementOmitsWhatIsHeld(t *testing.T) {
	desired := []Resource{res("a"), res("b"), res("c")}
	sent := Increment(desired, []Status{{ID: "a", Hash: "h-a"}, {ID: "b", Hash: "older"}})
	if sent[0].Attrs != nil || sent[1].Attrs == nil || sent[2].Attrs == nil {
		t.Fatalf("sent %+v", sent)
	}
	full, ok := Merge(sent, map[string]Resource{"a": desired[0]})
	if !ok || string(full[0].Attrs) != `{}` {
		t.Fatalf("merged %+v %v", full, ok)
	}
	if _, ok := Merge(sent, nil); ok {
		t.Fatal("an increment over nothing was taken for complete")
	}
	if _, ok := Merge(sent, map[string]Resource{"a": {ID: "a", Hash: "older"}}); ok {
		t.Fatal("attributes of another hash were taken")
	}
}

func TestOrphansArePurgedBackwards(t *testing.T) {
	held := []Resource{res("dir"), res("file", "dir"), res("proc", "file"), res("stays")}
	if got := ids(Orphans(held, []Resource{res("stays")})); !slices.Equal(got, []string{"proc", "file", "dir"}) {
		t.Fatalf("purge order %v", got)
	}
}

func TestWalkSkipsWhatRequiresAFailure(t *testing.T) {
	w, skipped := NewWalk([]Resource{res("a"), res("b", "a"), res("c", "b"), res("d", "a"), res("e", "elsewhere/x"), res("f", "elsewhere/y")},
		map[string]string{"f": "requires elsewhere/y, which is waiting"})
	if len(skipped) != 1 || skipped[0].ID != "f" {
		t.Fatalf("skipped at the start: %+v", skipped)
	}
	var taken []string
	reasons := map[string]string{}
	for {
		r, ok := w.Take()
		if !ok {
			break
		}
		taken = append(taken, r.ID)
		state, reason := Deployed, ""
		if r.ID == "b" {
			state, reason = Failed, "exit status 3"
		}
		for _, s := range w.Done(r.ID, state, reason) {
			reasons[s.ID] = s.Reason
		}
	}
	slices.Sort(taken)
	if !slices.Equal(taken, []string{"a", "b", "d", "e"}) || w.Open() != 0 {
		t.Fatalf("taken %v, open %d", taken, w.Open())
	}
	if reasons["c"] != "requires b, which is failed: exit status 3" || len(reasons) != 1 {
		t.Fatalf("reasons %v", reasons)
	}
}

func TestStandAndJudge(t *testing.T) {
	desired := []Resource{res("n/a"), res("n/b", "n/a")}
	done := []Status{{ID: "n/a", Hash: "h-n/a", State: Deployed}, {ID: "n/b", Hash: "h-n/b", State: Deployed}}
	cases := []struct {
		name   string
		node   Node
		state  State
		reason string
	}{
		{"nothing heard", Node{Online: true, Desired: desired}, Waiting, "not taken up"},
		{"offline", Node{Desired: desired}, Waiting, "offline"},
		{"all done", Node{Online: true, Heard: true, Desired: desired, Reported: done}, Deployed, "all 2"},
		{"done, then offline", Node{Heard: true, Desired: desired, Reported: done}, Deployed, "all 2"},
		{"a status about another hash", Node{Online: true, Heard: true, Desired: desired,
			Reported: []Status{done[0], {ID: "n/b", Hash: "older", State: Deployed}}}, Deploying, "1 of 2"},
		{"failed", Node{Online: true, Heard: true, Desired: desired,
			Reported: []Status{{ID: "n/a", Hash: "h-n/a", State: Failed, Reason: "disk full"}, {ID: "n/b", Hash: "h-n/b", State: Skipped}}}, Failed, "n/a is failed: disk full"},
		{"purge to go", Node{Online: true, Heard: true, Desired: desired[:1], Reported: done}, Deploying, "1 of 2"},
	}
	for _, c := range cases {
		got := Stand(c.node)
		if got.State != c.state || !strings.Contains(got.Reason, c.reason) {
			t.Errorf("%s: %s %q, want %s %q", c.name, got.State, got.Reason, c.state, c.reason)
		}
	}
	verdict := func(states ...State) State {
		var nodes []Standing
		for _, s := range states {
			nodes = append(nodes, Standing{Node: "n", State: s})
		}
		got, reason := Judge(nodes)
		if reason == "" {
			t.Errorf("no reason for %v", states)
		}
		return got
	}
	for _, c := range []struct {
		nodes []State
		want  State
	}{
		{nil, Deployed},
		{[]State{Deployed, Deployed}, Deployed},
		{[]State{Deployed, Waiting}, Deploying},
		{[]State{Waiting, Waiting}, Waiting},
		{[]State{Failed, Deploying}, Deploying},
		{[]State{Failed, Deployed, Waiting}, Failed},
	} {
		if got := verdict(c.nodes...); got != c.want {
			t.Errorf("%v: %s, want %s", c.nodes, got, c.want)
		}
	}
}
