package plan_test

import (
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"slipway.dev/slipway/internal/platform/seeded"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/integration/plan"
)

func wave(state slipway.WaveState, components map[string]slipway.ComponentBuild) *slipway.WaveStatus {
	return &slipway.WaveStatus{State: state, Reason: "building libwire", Components: components}
}

func decision(states ...slipway.CheckState) *slipway.Decision {
	d := &slipway.Decision{OK: true}
	for _, s := range states {
		d.OK = d.OK && (s == slipway.CheckPassed || s == slipway.CheckWaived)
		d.Verdicts = append(d.Verdicts, slipway.Verdict{State: s, Requirement: slipway.Requirement{Check: "unit"}})
	}
	d.Reason = d.Summarize()
	return d
}

func TestNext(t *testing.T) {
	built := wave(slipway.WavePassed, map[string]slipway.ComponentBuild{"libwire": {State: "built", Outcome: slipway.Pass}})
	broken := wave(slipway.WaveFailed, map[string]slipway.ComponentBuild{
		"libwire": {State: "failed", Outcome: slipway.Fail, Reason: "exit 2"}, "relay": {State: "skipped", Reason: "needs libwire"}})
	lost := wave(slipway.WaveFailed, map[string]slipway.ComponentBuild{"libwire": {State: "failed", Outcome: slipway.Infra, Reason: "disk full"}})
	late := wave(slipway.WaveFailed, map[string]slipway.ComponentBuild{"libwire": {State: "failed", Outcome: slipway.Timeout, Reason: "10m"}})
	refused := wave(slipway.WaveFailed, map[string]slipway.ComponentBuild{"libwire": {State: "skipped", Reason: "could not be planned"}})
	refused.Reason = "slipway.yaml:3: cycle"
	done := slipway.ExperimentStatus{State: "done", Outcome: slipway.Pass}
	running := slipway.ExperimentStatus{State: "running", Number: 4, Reason: "on edge-1"}
	for _, tc := range []struct {
		name   string
		entry  plan.Entry
		frozen string
		want   plan.Verb
		why    string
	}{
		{"head", plan.Entry{Phase: plan.Queued}, "", plan.Start, "head"},
		{"frozen", plan.Entry{Phase: plan.Queued}, "release party", plan.Wait, "frozen: release party"},
		{"a freeze does not stop what runs", plan.Entry{Phase: plan.Building, Base: "b", Wave: wave(slipway.WaveRunning, nil)}, "party", plan.Wait, "building libwire"},
		{"moot", plan.Entry{Phase: plan.Queued, Moot: "has it"}, "", plan.Dequeue, "has it"},
		{"invalid", plan.Entry{Phase: plan.Building, Base: "b", Invalid: "cycle a, b"}, "", plan.Reject, "cycle"},
		{"base moved", plan.Entry{Phase: plan.Testing, Base: "a", Wave: built}, "", plan.Start, "main moved"},
		{"build failed", plan.Entry{Phase: plan.Building, Base: "b", Attempt: 1, Wave: broken}, "", plan.Reject, "build of libwire failed: exit 2; relay not built: needs libwire"},
		{"infrastructure failed", plan.Entry{Phase: plan.Building, Base: "b", Attempt: 2, Wave: lost}, "", plan.Start, "attempt 2"},
		{"infrastructure failed too often", plan.Entry{Phase: plan.Building, Base: "b", Attempt: 3, Wave: lost}, "", plan.Reject, "says nothing about the change"},
		{"a time-out does not blame", plan.Entry{Phase: plan.Building, Base: "b", Attempt: 1, Wave: late}, "", plan.Start, "attempt 1"},
		{"unit tests refute before nodes are taken", plan.Entry{Phase: plan.Building, Base: "b", Attempt: 1, Wave: built, Planned: 1, Decision: decision(slipway.CheckFailed, slipway.CheckMissing)}, "", plan.Reject, "failed"},
		{"a lost unit test is tried again before nodes are taken", plan.Entry{Phase: plan.Building, Base: "b", Attempt: 1, Wave: built, Planned: 1, Decision: decision(slipway.CheckErrored, slipway.CheckMissing)}, "", plan.Start, "attempt 1"},
		{"builds that could not be planned", plan.Entry{Phase: plan.Building, Base: "b", Attempt: 1, Wave: refused}, "", plan.Reject, "slipway.yaml:3: cycle"},
		{"built", plan.Entry{Phase: plan.Building, Base: "b", Wave: built, Planned: 1, Decision: decision(slipway.CheckPassed, slipway.CheckMissing)}, "", plan.Test, "built"},
		{"experiment runs", plan.Entry{Phase: plan.Testing, Base: "b", Wave: built, Planned: 1, Experiments: []slipway.ExperimentStatus{running}, Decision: decision(slipway.CheckMissing)}, "", plan.Wait, "experiment/4 is running: on edge-1"},
		{"one experiment failed, another runs", plan.Entry{Phase: plan.Testing, Base: "b", Wave: built, Planned: 2, Experiments: []slipway.ExperimentStatus{done, running}, Decision: decision(slipway.CheckFailed, slipway.CheckMissing)}, "", plan.Wait, "experiment/4 is running"},
		{"one experiment failed", plan.Entry{Phase: plan.Testing, Base: "b", Wave: built, Planned: 2, Experiments: []slipway.ExperimentStatus{done, done}, Decision: decision(slipway.CheckFailed, slipway.CheckPassed)}, "", plan.Reject, "failed"},
		{"all passed", plan.Entry{Phase: plan.Testing, Base: "b", Wave: built, Planned: 1, Experiments: []slipway.ExperimentStatus{done}, Decision: decision(slipway.CheckPassed)}, "", plan.Land, "passed"},
		{"waived", plan.Entry{Phase: plan.Building, Base: "b", Wave: built, Decision: decision(slipway.CheckWaived)}, "", plan.Land, "waived"},
		{"experiment lost its node", plan.Entry{Phase: plan.Testing, Base: "b", Attempt: 1, Wave: built, Planned: 1, Experiments: []slipway.ExperimentStatus{done}, Decision: decision(slipway.CheckErrored)}, "", plan.Start, "attempt 1"},
		{"landing goes on", plan.Entry{Phase: plan.Landing, Base: "a", Moot: "x", Wave: built}, "", plan.Land, "decided"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.entry.Number = 1
			steps := plan.Next(plan.Snapshot{Base: "b", Frozen: tc.frozen, Retries: 2, Entries: []plan.Entry{tc.entry}})
			if len(steps) != 1 || steps[0].Verb != tc.want || !strings.Contains(steps[0].Reason, tc.why) {
				t.Errorf("planned %+v, want %s because of %q", steps, tc.want, tc.why)
			}
		})
	}
}

func TestOrder(t *testing.T) {
	s := plan.Snapshot{Base: "b", Entries: []plan.Entry{
		{Number: 1, Phase: plan.Queued}, {Number: 2, Phase: plan.Queued, Priority: 5}, {Number: 3, Phase: plan.Building, Base: "b"}, {Number: 4, Phase: plan.Landed},
	}}
	var got []int64
	for _, step := range plan.Next(s) {
		got = append(got, step.Entry)
	}
	if want := []int64{3, 2, 1}; !reflect.DeepEqual(got, want) {
		t.Errorf("order %v, want %v: what runs, then by priority, then by age", got, want)
	}
}

// TestProperties holds for every snapshot: equal snapshots give equal plans whatever the order of their rows, each open entry gets one
// step with a reason, at most one entry is worked on, and nothing lands without a passed gate on the present base.
func TestProperties(t *testing.T) {
	seeded.Check(t, func(t *rapid.T) {
		phases := []plan.Phase{plan.Queued, plan.Building, plan.Testing, plan.Landed, plan.Rejected, plan.Dequeued}
		s := plan.Snapshot{Base: "b", Retries: 2, Frozen: rapid.SampledFrom([]string{"", "party"}).Draw(t, "frozen")}
		open := 0
		for i := range rapid.IntRange(0, 8).Draw(t, "entries") {
			e := plan.Entry{
				Number: int64(i + 1), Priority: rapid.IntRange(0, 2).Draw(t, "priority"), Phase: rapid.SampledFrom(phases).Draw(t, "phase"),
				Base: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "base"), Attempt: rapid.IntRange(0, 4).Draw(t, "attempt"),
			}
			if rapid.Bool().Draw(t, "waved") {
				state := rapid.SampledFrom([]slipway.WaveState{slipway.WaveRunning, slipway.WavePassed, slipway.WaveFailed}).Draw(t, "wave")
				e.Wave = wave(state, nil)
				e.Decision = decision(rapid.SampledFrom([]slipway.CheckState{slipway.CheckPassed, slipway.CheckFailed, slipway.CheckErrored, slipway.CheckMissing}).Draw(t, "check"))
			}
			if e.Phase.Open() {
				open++
			}
			s.Entries = append(s.Entries, e)
		}
		steps := plan.Next(s)
		if len(steps) != open {
			t.Fatalf("%d steps for %d open entries", len(steps), open)
		}
		shuffled := s
		shuffled.Entries = rapid.Permutation(s.Entries).Draw(t, "order")
		if again := plan.Next(shuffled); !reflect.DeepEqual(steps, again) {
			t.Fatalf("another order of rows gave another plan:\n%+v\n%+v", steps, again)
		}
		working := 0
		for _, step := range steps {
			if step.Reason == "" {
				t.Fatalf("no reason: %+v", step)
			}
			e := s.Entries[step.Entry-1]
			if step.Verb == plan.Start || step.Verb == plan.Test || step.Verb == plan.Land {
				working++
			}
			if step.Verb == plan.Land && (e.Base != s.Base || e.Decision == nil || !e.Decision.OK) {
				t.Fatalf("landed %+v untested", e)
			}
			if step.Verb == plan.Start && e.Phase == plan.Queued && s.Frozen != "" {
				t.Fatalf("started %+v in a frozen queue", e)
			}
		}
		if working > 1 {
			t.Fatalf("works on %d entries at once: %+v", working, steps)
		}
	})
}
