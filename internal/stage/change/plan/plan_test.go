package plan

import (
	"math/rand/v2"
	"strings"
	"testing"
)

func TestNext(t *testing.T) {
	asked := []Wave{{Product: "ferry", Asked: true}}
	finished := []Wave{{Product: "ferry", Asked: true, Finished: true}}
	red := Gate{Missing: []string{"unit of libwire failed: TestFrame"}}
	green := Gate{OK: true}
	plus2, minus2 := Vote{"gail", 2, true}, Vote{"greg", -2, true}
	for _, c := range []struct {
		name string
		s    Snapshot
		act  Act
		to   State
		says string
	}{
		{"new", Snapshot{State: Open, Waves: []Wave{{Product: "ferry"}}}, Ask, Testing, ""},
		{"nothing to test", Snapshot{State: Open}, Enter, Tested, "no product"},
		{"one product not asked", Snapshot{State: Testing, Waves: append([]Wave{{Product: "b"}}, asked...)}, Ask, Testing, ""},
		{"tests run", Snapshot{State: Testing, Waves: asked, Gate: green}, Wait, Testing, "ferry"},
		{"tests passed", Snapshot{State: Testing, Waves: finished, Gate: green}, Enter, Tested, ""},
		{"tests failed", Snapshot{State: Testing, Waves: finished, Gate: red}, Enter, Failed, "TestFrame"},
		{"failed stays", Snapshot{State: Failed, Waves: finished, Gate: red, Votes: []Vote{plus2}, Automatic: true}, Wait, Failed, "TestFrame"},
		{"failed, then waived", Snapshot{State: Failed, Waves: finished, Gate: green}, Enter, Tested, ""},
		{"waits for approval", Snapshot{State: Tested}, Wait, Tested, "gatekeeper"},
		{"a developer's +1 is not enough", Snapshot{State: Tested, Votes: []Vote{{"dev", 1, false}}}, Wait, Tested, "gatekeeper"},
		{"a +2 of nobody who may", Snapshot{State: Tested, Votes: []Vote{{"dev", 2, false}}}, Wait, Tested, "gatekeeper"},
		{"approved", Snapshot{State: Tested, Votes: []Vote{plus2}}, Enter, Approved, "gail"},
		{"held back", Snapshot{State: Tested, Votes: []Vote{plus2, minus2}, Automatic: true}, Wait, Tested, "greg"},
		{"automatic", Snapshot{State: Tested, Automatic: true}, Enter, Approved, "policy"},
		{"held back at the last moment", Snapshot{State: Approved, Votes: []Vote{plus2, minus2}}, Enter, Tested, "greg"},
		{"lands", Snapshot{State: Approved}, Perform, Landing, ""},
		{"goes on landing", Snapshot{State: Landing}, Perform, Landing, ""},
		{"landed", Snapshot{State: Landed, Automatic: true}, Wait, Landed, ""},
		{"conflict", Snapshot{State: Conflict, Automatic: true, Gate: green}, Wait, Conflict, ""},
		{"abandoned", Snapshot{State: Abandoned, Votes: []Vote{plus2}}, Wait, Abandoned, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Next(c.s)
			if got.Act != c.act || got.State != c.to || !strings.Contains(got.Reason, c.says) {
				t.Errorf("got %+v, want %s %s saying %q", got, c.act, c.to, c.says)
			}
		})
	}
}

// TestNextNeverLandsUngated follows random changes: none is performed that had a failed gate, a veto, or no approval.
func TestNextNeverLandsUngated(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		s := Snapshot{State: Open, Automatic: r.IntN(2) == 0, Gate: Gate{OK: r.IntN(2) == 0}}
		for range r.IntN(3) {
			s.Waves = append(s.Waves, Wave{Product: "p"})
		}
		veto, approval := false, s.Automatic
		for range r.IntN(4) {
			v := Vote{"x", r.IntN(5) - 2, r.IntN(2) == 0}
			s.Votes = append(s.Votes, v)
			veto = veto || (v.Gatekeeper && v.Value == -2)
			approval = approval || (v.Gatekeeper && v.Value == 2)
		}
		for n := 0; ; n++ {
			if n > 10 {
				t.Fatalf("no end: %+v", s)
			}
			step := Next(s)
			if step.Act == Perform {
				if veto || !approval || (len(s.Waves) > 0 && !s.Gate.OK) {
					t.Fatalf("it lands: %+v", s)
				}
				break
			}
			if step.Act == Wait {
				if step.Reason == "" {
					t.Fatalf("it waits without a reason: %+v", s)
				}
				break
			}
			s.State = step.State
			for i := range s.Waves {
				s.Waves[i].Asked, s.Waves[i].Finished = true, true
			}
		}
	}
}

func TestBump(t *testing.T) {
	for _, c := range []struct {
		latest string
		level  string // messages, one a line
		want   string
	}{
		{"", "feat: x", "0.1.0"},
		{"1.2.3", "fix: x", "1.2.4"},
		{"1.2.3", "Update readme", "1.2.4"},
		{"1.2.3", "fix: x|feat(api): y|docs: z", "1.3.0"},
		{"1.2.3", "feat!: x", "2.0.0"},
		{"1.2.3", "refactor(core)!: x|feat: y", "2.0.0"},
		{"1.2.3", "fix: x\n\nlong text\n\nBREAKING CHANGE: gone", "2.0.0"},
		{"1.2.3", "fix: x\n\nBREAKING-CHANGE: gone", "2.0.0"},
		{"1.2.3", "fix: not a BREAKING CHANGE", "1.2.4"},
		{"0.2.3", "feat!: x", "0.3.0"},
		{"0.2.3", "feat: x", "0.3.0"},
		{"0.2.3", "fix: x", "0.2.4"},
		{"1.2.3", "feature: not a type of ours", "1.2.4"},
		{"1.2.3", "feat:no space", "1.2.4"},
		{"1.2.3", "Feat: capital", "1.3.0"},
	} {
		latest, found := ParseVersion(c.latest)
		got, reason := Bump(latest, found, strings.Split(c.level, "|"))
		if got.String() != c.want || reason == "" {
			t.Errorf("%q after %q: %s (%s), want %s", c.level, c.latest, got, reason, c.want)
		}
	}
}

func TestFromFile(t *testing.T) {
	at := Version{1, 2, 0}
	if v, write, _, err := FromFile("1.3.0\n", at, true); err != nil || write || v.String() != "1.3.0" {
		t.Errorf("%s %v %v", v, write, err)
	}
	if v, write, _, err := FromFile("1.2.0", at, true); err != nil || !write || v.String() != "1.2.1" {
		t.Errorf("%s %v %v", v, write, err)
	}
	if v, write, _, err := FromFile("0.0.9", Version{}, false); err != nil || write || v.String() != "0.0.9" {
		t.Errorf("%s %v %v", v, write, err)
	}
	if _, _, _, err := FromFile("soon", at, true); err == nil {
		t.Error("\"soon\" is a version")
	}
}

func TestLatest(t *testing.T) {
	tags := []string{"v1.2.0", "v1.10.0", "v1.9.9", "v2.0.0-rc1", "v2", "lib/v3.0.0", "x1.99.0", "v01.99.0"}
	if v, ok := Latest(tags, ""); !ok || v.String() != "1.10.0" {
		t.Errorf("%s %v", v, ok)
	}
	if v, ok := Latest(tags, "lib"); !ok || v.String() != "3.0.0" {
		t.Errorf("%s %v", v, ok)
	}
	if _, ok := Latest(tags, "li"); ok {
		t.Error("a path's beginning is not the path")
	}
}

func TestTouchesAndChangeID(t *testing.T) {
	files := []string{"libs/wire/a.go", "README"}
	for path, want := range map[string]bool{"": true, "libs/wire": true, "libs": true, "libs/wir": false, "README": true, "app": false} {
		if Touches(path, files) != want {
			t.Errorf("%q: %v", path, !want)
		}
	}
	if Touches("", nil) {
		t.Error("nothing touches something")
	}
	id := "I0123456789abcdef0123456789abcdef01234567"
	if got := ChangeID("x\n\nChange-Id: I00000000\nChange-Id: " + id + "\n"); got != id {
		t.Errorf("got %q", got)
	}
	if got := ChangeID("x\n\nnot a Change-Id: " + id); got != "" {
		t.Errorf("got %q", got)
	}
}
