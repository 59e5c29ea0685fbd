package simulate

import (
	"encoding/json"
	"encoding/xml"
	"io"
	"strings"
	"testing"

	"slipway.dev/slipway/internal/slipway"
)

func TestRivalsKeepTheRulesToo(t *testing.T) {
	for _, name := range Policies() {
		t.Run(name, func(t *testing.T) {
			for _, s := range []Settings{Monorepo(), Multirepo()} {
				s.Entries = 60
				w, err := Generate(s)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := Compare(w, []string{name}, "97", 1, nil); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestTheSameSeedGivesTheSameBytes(t *testing.T) {
	answer := func() string {
		s := Multirepo()
		s.Entries = 150
		w, err := Generate(s)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Compare(w, []string{"slipway", "optimistic-window", "oracle"}, "logistic", 5, nil)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		return string(text) + Chart("chart", r)
	}
	if a, b := answer(), answer(); a != b {
		t.Fatalf("%s\n%s", a, b)
	}
}

// A run that is short enough for every day; docs/bench has the long ones, and the ratios to the oracle.
func TestSlipwayBeatsItsRivals(t *testing.T) {
	s := Multirepo()
	s.Entries, s.Load = 400, 0.8
	w, err := Generate(s)
	if err != nil {
		t.Fatal(err)
	}
	results, err := Compare(w, Policies(), "97", 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	ours := results[0]
	if ours.WrongEvictions > 0 {
		t.Errorf("%d wrong evictions", ours.WrongEvictions)
	}
	for _, r := range results[1:] {
		if r.Policy != "oracle" && (ours.P50 >= r.P50 || ours.P95 >= r.P95) {
			t.Errorf("P50 %.0f and P95 %.0f minutes, %s has %.0f and %.0f", ours.P50, ours.P95, r.Policy, r.P50, r.P95)
		}
	}
}

const file1 = `
name: small
flake: 0.01
pools: {build: {slots: 4}, rig: {slots: 1, weight: 20}}
needs: {app: [lib]}
checks:
  - {name: unit lib, pool: build, minutes: 5, components: [lib]}
  - {name: unit app, pool: build, minutes: 5, components: [app]}
  - {name: rig, tier: 1, pool: rig, minutes: 45, components: [app]}
entries:
  - {at: 0, moves: [lib]}
  - {at: 3, moves: [app], fails: rig, p: 0.9}
  - {at: 4, moves: [app], depends-on: [1], conflicts: [{with: 1, check: unit app}]}
  - {at: 5, moves: [app], minutes: {rig: 30}}
`

func TestAWorkloadFile(t *testing.T) {
	w, err := Parse([]byte(file1), "small.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(w.Changes[0].Needs); n != 3 {
		t.Fatalf("a change of lib affects %d checks, want 3", n)
	}
	results, err := Compare(w, []string{"slipway"}, "97", 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r := results[0]; r.Landed != 2 || r.Evicted != 2 {
		t.Fatalf("%d landed, %d evicted; want 2 and 2", r.Landed, r.Evicted)
	}
	for _, bad := range []string{"entries: [", "pools: {}", strings.Replace(file1, "fails: rig", "fails: unit lib", 1),
		strings.Replace(file1, "depends-on: [1]", "depends-on: [3]", 1), strings.Replace(file1, "slots: 4", "slots: 0", 1), strings.Replace(file1, "flake", "flaky", 1)} {
		if _, err := Parse([]byte(bad), "bad.yaml"); !slipway.Is(err, slipway.Invalid) || !strings.Contains(err.Error(), "bad.yaml") {
			t.Errorf("error %v of a bad file", err)
		}
	}
}

func TestTheChartIsXML(t *testing.T) {
	d := xml.NewDecoder(strings.NewReader(Chart("a < b", []Result{{Policy: "slipway", P50Ratio: 1.1, P95Ratio: 1.3}, {Policy: "serial", P50Ratio: 80, P95Ratio: 120}})))
	for {
		_, err := d.Token()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
