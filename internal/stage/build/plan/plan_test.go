package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"slipway.dev/slipway/internal/slipway"
)

func graph(lines string) map[string]Component {
	g := map[string]Component{}
	for _, l := range strings.Split(lines, ";") {
		name, needs, _ := strings.Cut(strings.TrimSpace(l), ":")
		c := Component{Needs: strings.Fields(needs), Tests: []string{"unit"}, Where: map[string]string{}}
		for _, n := range c.Needs {
			c.Where[n] = name + "/slipway.yaml:3"
		}
		g[name] = c
	}
	return g
}

func TestTiers(t *testing.T) {
	p, err := Make(graph("app: srv lib; srv: lib base; lib: base; base; other: base"), []string{"app"}, []string{"lib", "other"})
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(p.Actions); got != "[base lib lib:unit srv app]" {
		t.Fatal(got)
	}
	if p.Tier["base"] != 0 || p.Tier["lib"] != 1 || p.Tier["srv"] != 2 || p.Tier["app"] != 3 {
		t.Fatal(p.Tier)
	}
}

func TestBadGraphs(t *testing.T) {
	for lines, want := range map[string]string{
		"app: lib; lib: base; base: app": "app/slipway.yaml:3: components need each other in a cycle: app needs lib needs base needs app",
		"app: app":                       "cycle: app needs app",
		"app: lib; lib: ghost":           `lib/slipway.yaml:3: lib needs an unknown component "ghost"`,
		"lib":                            `unknown component "app"`,
	} {
		_, err := Make(graph(lines), []string{"app"}, nil)
		text := fmt.Sprint(err)
		if strings.HasPrefix(want, "app/") { // the need that closes the cycle is the place
			want = strings.Replace(want, "app/slipway", "base/slipway", 1)
		}
		if !slipway.Is(err, slipway.Invalid) || !strings.Contains(text, want) || !strings.Contains(text, "(") {
			t.Errorf("%s:\n got %v\nwant %s", lines, err, want)
		}
	}
}

func TestDecide(t *testing.T) {
	p, err := Make(graph("app: srv; srv: lib; lib; tool"), []string{"app", "tool"}, []string{"lib", "srv"})
	if err != nil {
		t.Fatal(err)
	}
	a := func(s string) Action {
		c, k, _ := strings.Cut(s, ":")
		return Action{c, k}
	}
	d := p.Decide(nil)
	if fmt.Sprint(d.Start) != "[lib tool]" || d.Waits[a("lib:unit")] != "waits for its own build" || d.Waits[a("srv")] != "waits for lib" || d.Done {
		t.Fatalf("%+v", d)
	}
	d = p.Decide(map[Action]Status{a("lib"): Passed, a("tool"): Active})
	if fmt.Sprint(d.Start) != "[lib:unit srv]" {
		t.Fatalf("%+v", d)
	}
	d = p.Decide(map[Action]Status{a("lib"): Failed, a("tool"): Passed})
	if !d.Done || len(d.Start) != 0 || fmt.Sprint(d.Failed, d.Skipped) != "[lib] [lib:unit srv srv:unit app]" ||
		d.Skip[a("srv")] != "skipped because lib failed" || d.Skip[a("app")] != "skipped because srv was skipped" || d.Skip[a("lib:unit")] != "skipped because its own build failed" {
		t.Fatalf("%+v", d)
	}
	// A failing test blames its component, but does not stop those that need the output.
	d = p.Decide(map[Action]Status{a("lib"): Passed, a("tool"): Passed, a("lib:unit"): Failed})
	if fmt.Sprint(d.Start) != "[srv]" || d.Done {
		t.Fatalf("%+v", d)
	}
}

// TestEveryWaveEnds runs random graphs with random outcomes to the end and holds the plan's promises.
func TestEveryWaveEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(t, "n")
		g := map[string]Component{}
		var names []string
		for i := range n {
			c := Component{}
			for _, need := range names {
				if rapid.IntRange(0, 2).Draw(t, "edge") == 0 {
					c.Needs = append(c.Needs, need)
				}
			}
			if rapid.Bool().Draw(t, "tested") {
				c.Tests = []string{"unit"}
			}
			name := fmt.Sprintf("c%02d", i)
			g[name] = c
			names = append(names, name)
		}
		p, err := Make(g, names, names)
		if err != nil {
			t.Fatal(err)
		}
		status := map[Action]Status{}
		for range 10 * (len(p.Actions) + 1) {
			d := p.Decide(status)
			for a := range d.Skip {
				status[a] = Skipped
			}
			if d.Done {
				for _, a := range p.Actions {
					s := status[a]
					for _, need := range p.Needs(a) {
						if s == Passed && status[need] != Passed {
							t.Fatalf("%s passed before %s", a, need)
						}
					}
					bad := slices.ContainsFunc(p.Needs(a), func(n Action) bool { return status[n] != Passed })
					if (s == Skipped) != bad {
						t.Fatalf("%s is %s", a, s)
					}
				}
				return
			}
			for _, a := range d.Start {
				status[a] = Active
			}
			var active []Action
			for _, a := range p.Actions {
				if status[a] == Active {
					active = append(active, a)
				}
			}
			if len(active) > 0 {
				a := rapid.SampledFrom(active).Draw(t, "ends")
				status[a] = rapid.SampledFrom([]Status{Passed, Passed, Failed}).Draw(t, "how")
			}
		}
		t.Fatal("the wave did not end")
	})
}
