package deploy_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/internal/agent/deploy"
	"slipway.dev/slipway/internal/stage/deploy/plan"
)

// open starts a module over fresh directories.
func open(t *testing.T, cfg deploy.Config) (*deploy.Module, deploy.Config) {
	t.Helper()
	cfg.Node = "n"
	if cfg.Root == "" {
		cfg.Root, cfg.State = t.TempDir(), t.TempDir()
	}
	cfg.StopAll = true
	m, err := deploy.New(cfg)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		must(t, <-ended)
	})
	return m, cfg
}

func apply(t *testing.T, m *deploy.Module, s plan.Slice) {
	t.Helper()
	doc, err := json.Marshal(plan.Desired{Products: map[string]plan.Slice{"ferry": s}})
	must(t, err)
	must(t, m.Apply(t.Context(), doc))
}

// await returns a resource's status when f accepts it.
func await(t *testing.T, m *deploy.Module, id string, f func(plan.Status) bool) plan.Status {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	for {
		var last plan.Status
		for _, s := range report(m).Products["ferry"].Statuses {
			if s.ID == id {
				last = s
			}
		}
		if f(last) {
			return last
		}
		select {
		case <-m.Changed():
		case <-deadline.C:
			t.Fatalf("%s is %+v", id, last)
		}
	}
}

func is(state plan.State) func(plan.Status) bool {
	return func(s plan.Status) bool { return s.State == state }
}

func TestProcessRestartsWhenARequirementChanges(t *testing.T) {
	m, cfg := open(t, deploy.Config{Repair: 200 * time.Millisecond})
	conf := resource(t, plan.TypeFile, "/conf", plan.File{Path: "/conf", Content: []byte("one"), Mode: 0o600})
	proc := resource(t, plan.TypeProcess, "p", plan.Process{Command: []string{"sleep", "1000"}}, conf.ID)
	apply(t, m, slice(1, conf, proc))
	first := await(t, m, proc.ID, is(plan.Deployed))
	// The file drifts: it is written again, and what had read it starts again.
	must(t, os.WriteFile(filepath.Join(cfg.Root, "conf"), []byte("two"), 0o600))
	second := await(t, m, proc.ID, func(s plan.Status) bool { return s.State == plan.Deployed && s.Actual["pid"] != first.Actual["pid"] })
	if c := second.Changes["requirements"]; c.Desired != "changed since" {
		t.Errorf("changes %+v", second.Changes)
	}
	drifts := report(m).Products["ferry"].Drifts
	if len(drifts) != 1 || drifts[0].ID != conf.ID || drifts[0].Changes["content"].Current == "" {
		t.Errorf("drifts %+v", drifts)
	}
	other := resource(t, plan.TypeFile, "/conf", plan.File{Path: "/conf", Content: []byte("three"), Mode: 0o600})
	apply(t, m, slice(2, other, proc))
	await(t, m, proc.ID, func(s plan.Status) bool { return s.State == plan.Deployed && s.Actual["pid"] != second.Actual["pid"] })
}

func TestProcessThatKeepsEndingBacksOff(t *testing.T) {
	m, _ := open(t, deploy.Config{Repair: time.Hour})
	proc := resource(t, plan.TypeProcess, "p", plan.Process{Command: []string{"/bin/sh", "-c", "echo cannot open the port; exit 3"}})
	apply(t, m, slice(1, proc))
	s := await(t, m, proc.ID, func(s plan.Status) bool {
		return s.State == plan.Failed && strings.Contains(s.Reason, "times in a row")
	})
	for _, part := range []string{"exited with status 3", "it is started again at ", "cannot open the port"} {
		if !strings.Contains(s.Reason, part) {
			t.Errorf("reason %q lacks %q", s.Reason, part)
		}
	}
}

func TestUnhealthyProcessSaysWhy(t *testing.T) {
	m, _ := open(t, deploy.Config{Repair: time.Hour})
	proc := resource(t, plan.TypeProcess, "p", plan.Process{Command: []string{"sleep", "1000"}, Health: "http://" + freePort(t) + "/", Timeout: 1})
	after := resource(t, plan.TypeFile, "/after", plan.File{Path: "/after", Content: []byte("x"), Mode: 0o600}, proc.ID)
	apply(t, m, slice(1, proc, after))
	s := await(t, m, proc.ID, is(plan.Failed))
	if !strings.Contains(s.Reason, "not healthy after 1s") || !strings.Contains(s.Reason, "connection refused") {
		t.Errorf("reason %q", s.Reason)
	}
	await(t, m, after.ID, is(plan.Skipped))
}

func TestNewVersionInterruptsAnOldOne(t *testing.T) {
	m, _ := open(t, deploy.Config{Repair: time.Hour})
	slow := resource(t, plan.TypeExec, "slow", plan.Exec{Command: []string{"sleep", "1000"}, Creates: "/never"})
	apply(t, m, slice(1, slow))
	await(t, m, slow.ID, is(plan.Deploying))
	quick := resource(t, plan.TypeFile, "/quick", plan.File{Path: "/quick", Content: []byte("x"), Mode: 0o600})
	apply(t, m, slice(2, quick))
	await(t, m, quick.ID, is(plan.Deployed))
	await(t, m, slow.ID, is("")) // and the old one is gone
}

func TestIncrementOverNothingAsksForEverything(t *testing.T) {
	m, _ := open(t, deploy.Config{Repair: time.Hour})
	f := resource(t, plan.TypeFile, "/f", plan.File{Path: "/f", Content: []byte("x"), Mode: 0o600})
	s := slice(1, f)
	bare := s
	bare.Resources = plan.Increment(s.Resources, []plan.Status{{ID: f.ID, Hash: f.Hash}})
	apply(t, m, bare)
	if r := report(m).Products["ferry"]; !r.Full || r.Epoch != 0 {
		t.Fatalf("report %+v", r)
	}
	apply(t, m, s)
	await(t, m, f.ID, is(plan.Deployed))
	if r := report(m).Products["ferry"]; r.Full || r.Epoch != 1 {
		t.Fatalf("report %+v", r)
	}
}

func TestWrongDigestIsRefused(t *testing.T) {
	m, _ := open(t, deploy.Config{Repair: time.Hour})
	f := resource(t, plan.TypeFile, "/f", plan.File{Path: "/f", Content: []byte("x"), Mode: 0o600})
	s := slice(3, f)
	s.Digest = "sha256:other"
	apply(t, m, s)
	if r := report(m).Products["ferry"]; r.RefusedEpoch != 3 || !strings.Contains(r.Refused, "ferry-3") {
		t.Fatalf("report %+v", r)
	}
}

// What drifted while the server was away comes in pieces that fit into a message, in order; a flood of it does not grow for ever.
func TestManyDriftsComeInPieces(t *testing.T) {
	state := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(state, "ferry"), 0o700))
	one := slice(1)
	var journal strings.Builder
	enc := json.NewEncoder(&journal)
	must(t, enc.Encode(map[string]any{"slice": one}))
	for seq := int64(1); seq <= 10_700; seq++ {
		must(t, enc.Encode(map[string]any{"drift": plan.Drift{Seq: seq, ID: "n/process/p", Reason: "was not as deployed"}}))
	}
	must(t, os.WriteFile(filepath.Join(state, "ferry", "journal"), []byte(journal.String()), 0o600))
	m, _ := open(t, deploy.Config{Root: t.TempDir(), State: state})
	next := int64(701) // the oldest are gone
	for rounds := 0; next <= 10_700; rounds++ {
		if rounds > 100 {
			t.Fatalf("after %d reports drift %d has not come", rounds, next)
		}
		doc, err := m.Report(t.Context())
		must(t, err)
		if len(doc) > 1<<20 {
			t.Fatalf("a report has %d bytes", len(doc))
		}
		drifts := report(m).Products["ferry"].Drifts
		if len(drifts) == 0 || drifts[0].Seq != next {
			t.Fatalf("%d drifts, want the next from %d on", len(drifts), next)
		}
		one.AckedSeq = drifts[len(drifts)-1].Seq
		next = one.AckedSeq + 1
		apply(t, m, one)
	}
	if left := report(m).Products["ferry"].Drifts; len(left) != 0 {
		t.Errorf("%d drifts are left", len(left))
	}
}
