package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"slipway.dev/slipway/internal/platform/seeded"
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

func begin(t *testing.T, p *Plan, status map[Action]Status) (*Progress, map[string]string) {
	t.Helper()
	r, skips := p.Begin(status)
	return r, whys(skips)
}

func whys(skips []Skip) map[string]string {
	all := map[string]string{}
	for _, s := range skips {
		all[s.Action.String()] = s.Why
	}
	return all
}

func TestProgress(t *testing.T) {
	p, err := Make(graph("app: srv; srv: lib; lib; tool"), []string{"app", "tool"}, []string{"lib", "srv"})
	if err != nil {
		t.Fatal(err)
	}
	a := ParseAction
	r, _ := begin(t, p, nil)
	if fmt.Sprint(r.Ready(0), r.Ready(1)) != "[lib tool] [lib]" || r.Waits(a("lib:unit")) != "waits for its own build" || r.Waits(a("srv")) != "waits for lib" || r.Done() {
		t.Fatalf("%v", r.Ready(0))
	}
	r, _ = begin(t, p, map[Action]Status{a("lib"): Passed, a("tool"): Active})
	if fmt.Sprint(r.Ready(0)) != "[lib:unit srv]" {
		t.Fatalf("%v", r.Ready(0))
	}
	r, _ = begin(t, p, map[Action]Status{a("tool"): Passed})
	skipped := whys(r.Set(a("lib"), Failed))
	if !r.Done() || len(r.Ready(0)) != 0 || r.Count(Failed) != 1 || r.Count(Skipped) != 4 || skipped["srv"] != "skipped because lib failed" ||
		skipped["app"] != "skipped because srv was skipped" || skipped["lib:unit"] != "skipped because its own build failed" {
		t.Fatal(skipped)
	}
	if _, again := begin(t, p, map[Action]Status{a("tool"): Passed, a("lib"): Failed, a("srv"): Skipped}); len(again) != 3 || again["srv"] != "" {
		t.Fatal(again)
	}
	// A failing test blames its component, but does not stop those that need the output.
	r, skipped = begin(t, p, map[Action]Status{a("lib"): Passed, a("tool"): Passed, a("lib:unit"): Failed})
	if fmt.Sprint(r.Ready(0)) != "[srv]" || r.Done() || len(skipped) != 0 {
		t.Fatal(r.Ready(0), skipped)
	}
}

// A wave that validates begins no tier before those below it have ended, and builds nothing on what failed a check.
func TestValidate(t *testing.T) {
	p, err := New(graph("app: srv; srv: lib; lib; tool; user: tool"), Request{Targets: []string{"app", "user"}, Tests: []string{"lib", "tool"}, Checks: []string{"inspect"}, Validate: true})
	if err != nil {
		t.Fatal(err)
	}
	a := ParseAction
	r, _ := begin(t, p, map[Action]Status{a("lib"): Passed, a("tool"): Passed})
	if got := fmt.Sprint(r.Ready(0)); got != "[lib:inspect lib:unit tool:inspect tool:unit]" {
		t.Fatal(got)
	}
	for _, done := range []string{"lib:inspect", "lib:unit", "tool:unit"} {
		r.Set(a(done), Passed)
	}
	if got := fmt.Sprint(r.Ready(0)); got != "[tool:inspect]" || r.Waits(a("srv")) != "waits for the tiers before it" {
		t.Fatal(got, r.Waits(a("srv")))
	}
	skipped := whys(r.Set(a("tool:inspect"), Failed))
	if len(skipped) != 1 || skipped["user"] != "skipped because tool:inspect failed" || fmt.Sprint(r.Ready(0)) != "[srv]" {
		t.Fatal(skipped, r.Ready(0))
	}
}

func TestSeeds(t *testing.T) {
	g := graph("cc: libc; libc: cc headers; headers; app: cc libc")
	if _, err := Make(g, []string{"app"}, nil); !slipway.Is(err, slipway.Invalid) || !strings.Contains(err.Error(), "cc needs libc needs cc") || !strings.Contains(err.Error(), "bootstrap:") {
		t.Fatal(err)
	}
	p, err := New(g, Request{Targets: []string{"app"}, Tests: []string{"cc"}, Seeds: []Seed{{"cc", "libc"}, {"app", "headers"}}})
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(p.Actions); got != "[cc:bootstrap headers libc cc cc:unit app]" {
		t.Fatal(got)
	}
	for action, want := range map[string]string{
		"cc:bootstrap": "map[]", "libc": "map[cc:cc:bootstrap headers:headers]", "cc": "map[libc:libc]", "app": "map[cc:cc libc:libc]", "cc:unit": "map[libc:libc]",
	} {
		if got := fmt.Sprint(p.Inputs(ParseAction(action))); got != want {
			t.Errorf("%s: %s, want %s", action, got, want)
		}
	}
	// A longer way round: all of the cycle sees the first build, who is outside sees the second.
	p, err = New(graph("a: b; b: c; c: a; d: a c"), Request{Targets: []string{"d"}, Seeds: []Seed{{"a", "b"}}})
	if err != nil || fmt.Sprint(p.Actions) != "[a:bootstrap c b a d]" || fmt.Sprint(p.Inputs(ParseAction("c"))) != "map[a:a:bootstrap]" || fmt.Sprint(p.Inputs(ParseAction("d"))) != "map[a:a c:c]" {
		t.Fatal(p, err)
	}
	// A seed elsewhere breaks nothing, and what it does not break is told.
	if _, err := New(graph("a: b; b: a; c: d; d: c"), Request{Targets: []string{"a", "c"}, Seeds: []Seed{{"a", "b"}}}); err == nil || !strings.Contains(err.Error(), "c needs d needs c") {
		t.Fatal(err)
	}
	if _, err := New(graph("a: b; b: a; x"), Request{Targets: []string{"a"}, Seeds: []Seed{{"x", "a"}, {"b", "x"}}}); err == nil {
		t.Fatal("a seed of another edge broke the cycle")
	}
	clash := graph("a: b; b: a")
	clash["a"] = Component{Needs: []string{"b"}, Tests: []string{Bootstrap}}
	if _, err := New(clash, Request{Targets: []string{"a"}, Tests: []string{"a"}, Seeds: []Seed{{"a", "b"}}}); !slipway.Is(err, slipway.Invalid) {
		t.Fatal(err)
	}
}

func TestForecast(t *testing.T) {
	p, err := Make(graph("app: srv lib; srv: lib; lib: base; base; other: base; tool"), []string{"app", "other", "tool"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range p.Forecast(map[string]string{"lib": "its source changed"}) {
		got = append(got, fmt.Sprintf("%d %s %v %s", e.Tier, e.Component, e.Certain, e.Why))
	}
	want := []string{"1 lib true its source changed", "2 srv false only if the output of lib changes", "3 app false only if the output of lib or srv changes"}
	if !slices.Equal(got, want) {
		t.Fatal(strings.Join(got, "\n"))
	}
	if users := Users(graph("app: srv lib; srv: lib; lib: base; base"), []string{"lib", "ghost"}); fmt.Sprint(users) != "[app lib srv]" {
		t.Fatal(users)
	}
}

// TestEveryWaveEnds runs random graphs with random outcomes to the end and holds the plan's promises, also when it is taken up
// again from its statuses at any point.
func TestEveryWaveEnds(t *testing.T) {
	seeded.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(t, "n")
		g := map[string]Component{}
		var names []string
		var seeds []Seed
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
		if back := rapid.IntRange(0, n-1).Draw(t, "back"); back > 0 { // one edge against the order
			first := g[names[0]]
			first.Needs = append(first.Needs, names[back])
			g[names[0]], seeds = first, append(seeds, Seed{names[0], names[back]})
		}
		p, err := New(g, Request{Targets: names, Tests: names, Seeds: seeds, Validate: rapid.Bool().Draw(t, "validate")})
		if err != nil {
			t.Fatal(err)
		}
		status := map[Action]Status{}
		r, _ := p.Begin(nil)
		note := func(a Action, s Status) {
			status[a] = s
			for _, skip := range r.Set(a, s) {
				status[skip.Action] = Skipped
			}
		}
		for range 10 * (len(p.Actions) + 1) {
			if rapid.IntRange(0, 3).Draw(t, "again") == 0 {
				fresh, skips := p.Begin(status)
				if len(skips) > 0 || fmt.Sprint(fresh.Ready(0)) != fmt.Sprint(r.Ready(0)) || fresh.Gate() != r.Gate() {
					t.Fatalf("taken up again it differs: %v, %v and %v", skips, fresh.Ready(0), r.Ready(0))
				}
				r = fresh
			}
			if r.Done() {
				for _, a := range p.Actions {
					s := status[a]
					bad := slices.ContainsFunc(p.Needs(a), func(n Action) bool { return status[n] != Passed })
					if (s == Skipped) != bad || !ended(s) {
						t.Fatalf("%s is %s", a, s)
					}
				}
				return
			}
			for _, a := range r.Ready(rapid.IntRange(0, 3).Draw(t, "limit")) {
				if slices.ContainsFunc(p.Needs(a), func(n Action) bool { return status[n] != Passed }) {
					t.Fatalf("%s starts too early", a)
				}
				note(a, Active)
			}
			var active []Action
			for _, a := range p.Actions {
				if status[a] == Active {
					active = append(active, a)
				}
			}
			if len(active) > 0 {
				note(rapid.SampledFrom(active).Draw(t, "ends"), rapid.SampledFrom([]Status{Passed, Passed, Failed}).Draw(t, "how"))
			}
		}
		t.Fatal("the wave did not end")
	})
}

// TestChoose holds the strategies against a run of three tiers: tools; base and doc; lib, app.
func TestChoose(t *testing.T) {
	m := func(component string, tier int, source string) Member {
		return Member{Component: component, Tier: tier, Source: source, Environment: "e", Arches: []string{"amd64"}}
	}
	before := []Member{m("tools", 0, "t1"), m("base", 1, "b1"), m("doc", 1, "d1"), m("lib", 2, "l1"), m("app", 3, "a1"), m("web", 3, "w1")}
	with := func(change ...Member) []Member {
		now := slices.Clone(before)
		for _, c := range change {
			i := slices.IndexFunc(now, func(m Member) bool { return m.Component == c.Component })
			if i < 0 {
				now = append(now, c)
			} else {
				now[i] = c
			}
		}
		return now
	}
	arm := m("base", 1, "b1")
	arm.Arches = []string{"arm64"}
	macros := m("base", 1, "b1")
	macros.Environment = "f"
	for name, c := range map[string]struct {
		strategy Strategy
		now      []Member
		before   []Member
		want     string // components that are built
		why      string // of one of them
	}{
		"all builds everything":                        {All, before, before, "app base doc lib tools web", "everything"},
		"by-key goes by bytes":                         {ByKey, before, before, "app base doc lib tools web", "bytes"},
		"by-key is the default":                        {"", before, before, "app base doc lib tools web", "bytes"},
		"only-changed, nothing changed":                {OnlyChanged, before, before, "", ""},
		"only-changed leaves what needs it":            {OnlyChanged, with(m("base", 1, "b2")), before, "base", "source changed"},
		"only-changed heeds arches":                    {OnlyChanged, with(arm), before, "base", "amd64, now for arm64"},
		"only-changed heeds the environment":           {OnlyChanged, with(macros), before, "base", "built with"},
		"only-changed cares for no tier":               {OnlyChanged, with(m("app", 2, "a1")), before, "", ""},
		"only-changed, a new one":                      {OnlyChanged, with(m("new", 1, "n1")), before, "new", "did not have it"},
		"without a run before":                         {OnlyChanged, before[:2], nil, "base tools", "no earlier run"},
		"changed-and-after, nothing changed":           {ChangedAndAfter, before, before, "", ""},
		"changed-and-after, the same tier is beside":   {ChangedAndAfter, with(m("base", 1, "b2")), before, "app base lib web", "tier 1 before it changed: base changed"},
		"changed-and-after, the last tier alone":       {ChangedAndAfter, with(m("app", 3, "a2")), before, "app", "source changed"},
		"changed-and-after, from the third tier":       {ChangedAndAfter, with(m("lib", 2, "l2")), before, "app lib web", "tier 2 before it changed: lib changed"},
		"changed-and-after, a new one in a tier":       {ChangedAndAfter, with(m("new", 2, "n1")), before, "app new web", "new is new in it"},
		"changed-and-after, one that left":             {ChangedAndAfter, before[:5], append(slices.Clone(before), m("gone", 0, "g1")), "app base doc lib", "gone left it"},
		"changed-and-after, one that changed its tier": {ChangedAndAfter, with(m("web", 4, "w1")), before, "web", "was in tier 3"},
		"changed-and-after heeds arches":               {ChangedAndAfter, with(arm), before, "app base lib web", "base changed"},
		"changed-and-after heeds the environment":      {ChangedAndAfter, with(macros), before, "base", "built with"},
	} {
		choices := Choose(c.strategy, c.now, c.before)
		var built []string
		told := false
		for component, choice := range choices {
			if choice.Why == "" || choice.Way == Anew && c.strategy != All {
				t.Errorf("%s: %s: %+v", name, component, choice)
			}
			if choice.Way != Reused {
				built = append(built, component)
				told = told || strings.Contains(choice.Why, c.why)
			}
		}
		slices.Sort(built)
		if strings.Join(built, " ") != c.want || len(choices) != len(c.now) || !told && c.want != "" {
			t.Errorf("%s: builds %v, want %s (%s): %v", name, built, c.want, c.why, choices)
		}
	}
	if _, err := ParseStrategy("some"); !slipway.Is(err, slipway.Invalid) {
		t.Error(err)
	}
}
