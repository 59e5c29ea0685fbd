package deploy_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	agent "slipway.dev/slipway/internal/agent/deploy"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/deploy"
	"slipway.dev/slipway/internal/stage/deploy/plan"
	"slipway.dev/slipway/internal/store/storetest"
)

func newSQLite(t *testing.T) *world { return newWorld(t, storetest.Open(t, deploy.Routes()...)) }

func TestOfflineNodeGoesOnWhenItReturns(t *testing.T) {
	w := newSQLite(t)
	a, b := w.node("edge-1"), w.node("edge-2")
	w.composed(w.release("1.0.0", serving, nil), "finished", "")
	w.reaches("ferry-1", deploy.Deployed)
	pid := w.status("edge-2", "process[served]").Actual["pid"]
	b.halt()
	if said, err := b.get("/"); said != "1.0.0" {
		t.Fatalf("without its agent the process says %q, %v", said, err)
	}
	w.composed(w.release("1.1.0", serving, nil), "finished", "")
	w.eventually("half the way", func() string {
		v, err := w.svc.Version(t.Context(), "ferry-2")
		if err != nil {
			return err.Error()
		}
		if v.State != deploy.Deploying || !strings.Contains(v.Reason, "edge-2") || !strings.Contains(v.Reason, "offline") {
			return string(v.State) + ": " + v.Reason
		}
		return ""
	})
	w.eventually("the other node to have it", func() string {
		if said, err := a.get("/"); said != "1.1.0" {
			return fmt.Sprint(said, err)
		}
		return ""
	})
	b = w.start("edge-2", false)
	w.reaches("ferry-2", deploy.Deployed)
	if said, err := b.get("/"); said != "1.1.0" {
		t.Fatalf("it says %q, %v", said, err)
	}
	if now := w.status("edge-2", "process[served]").Actual["pid"]; now == pid || now == "" {
		t.Fatalf("process %s, before %s", now, pid)
	}
}

func TestAgentRestartKeepsProcesses(t *testing.T) {
	w := newSQLite(t)
	a := w.node("edge-1")
	w.composed(w.release("1.0.0", serving, nil), "finished", "")
	w.reaches("ferry-1", deploy.Deployed)
	pid := w.status("edge-1", "process[served]").Actual["pid"]
	a.halt()
	a = w.start("edge-1", false)
	w.eventually("the agent's return", func() string {
		if s := w.status("edge-1", "process[served]"); s.State != plan.Deployed || s.Actual["pid"] != pid {
			return string(s.State) + " " + s.Actual["pid"] + ", before " + pid
		}
		return ""
	})
	if n := len(w.events(slipway.DriftRepaired)); n != 0 {
		t.Fatalf("%d repairs after a mere restart", n)
	}
	// It ends while the adopted process is watched, although it is not the agent's child.
	if _, err := a.get("/exit"); err == nil {
		t.Fatal("it did not exit")
	}
	w.eventually("a new process", func() string {
		s := w.status("edge-1", "process[served]")
		if s.State != plan.Deployed || s.Actual["pid"] == pid {
			return string(s.State) + " " + s.Reason
		}
		return ""
	})
}

func TestOldEpochsAreRefusedOnBothSides(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.node("edge-1")
		one := `[n.file("/etc/tag", content=release.tag) for n in nodes("edge")]` + "\n"
		w.composed(w.release("1.0.0", one, nil), "finished", "")
		w.reaches("ferry-1", deploy.Deployed)
		raw, err := a.module.Report(t.Context())
		must(t, err)
		old, err := w.svc.Sync(t.Context(), "edge-9", nil) // a node that nothing is asked of
		must(t, err)
		var nothing plan.Desired
		must(t, json.Unmarshal(old, &nothing))
		if len(nothing.Products) != 0 {
			t.Fatalf("a stranger was told %s", old)
		}
		var before plan.Desired
		slice, err := w.svc.Slices(t.Context(), "ferry-1", "edge-1")
		must(t, err)
		before.Products = map[string]plan.Slice{"ferry": {Product: "ferry", Version: "ferry-1", Epoch: 1, Digest: slice[0].Digest, Complete: true, Resources: slice[0].Resources}}
		w.composed(w.release("1.1.0", one, nil), "finished", "")
		w.reaches("ferry-2", deploy.Deployed)
		a.halt()

		// A late report about ferry-1 changes nothing.
		state, err := w.svc.Status(t.Context(), "ferry")
		must(t, err)
		if _, err := w.svc.Sync(t.Context(), "edge-1", raw); err != nil {
			t.Fatal(err)
		}
		after, err := w.svc.Status(t.Context(), "ferry")
		must(t, err)
		if after.Nodes[0].StatusDigest != state.Nodes[0].StatusDigest || after.Version.State != deploy.Deployed {
			t.Fatalf("an old report was heard: %+v", after.Nodes[0])
		}

		// A server that went back in time cannot make the agent follow.
		a = w.start("edge-1", false)
		a.cancel()
		<-a.done
		m := reopen(t, a)
		doc, err := json.Marshal(before)
		must(t, err)
		must(t, m.Apply(t.Context(), doc))
		raw, err = m.Report(t.Context())
		must(t, err)
		var report plan.Report
		must(t, json.Unmarshal(raw, &report))
		if r := report.Products["ferry"]; r.Epoch != 2 || !strings.Contains(r.Refused, "holds ferry-2, which is newer than ferry-1") {
			t.Fatalf("report %+v", r)
		}
		must(t, m.Close())
		if tag, err := os.ReadFile(a.path("etc/tag")); string(tag) != "v1.1.0" {
			t.Fatalf("tag %q %v", tag, err)
		}

		// An agent ahead of the server is told as such, and the next version is newer than what it holds.
		r := report.Products["ferry"]
		r.Version, r.Epoch = "ferry-40", 40
		raw, err = json.Marshal(plan.Report{Products: map[string]plan.ProductReport{"ferry": r}})
		must(t, err)
		_, err = w.svc.Sync(t.Context(), "edge-1", raw)
		must(t, err)
		after, err = w.svc.Status(t.Context(), "ferry")
		must(t, err)
		if !strings.Contains(after.Nodes[0].Standing.Reason, "the node holds version ferry-40, newer than ferry-2") {
			t.Fatalf("standing %+v", after.Nodes[0].Standing)
		}
		w.composed(w.release("1.2.0", one, nil), "finished", "")
		w.start("edge-1", false)
		w.reaches("ferry-41", deploy.Deployed)
	})
}

func TestIdleSyncWritesNothing(t *testing.T) {
	w := newSQLite(t)
	a := w.node("edge-1")
	w.composed(w.release("1.0.0", serving, nil), "finished", "")
	w.reaches("ferry-1", deploy.Deployed)
	a.cancel()
	<-a.done
	m := reopen(t, a)
	defer m.Close()
	count := func() int { return len(w.events(slipway.NodeReported)) }
	var desired plan.Desired
	for range 3 {
		raw, err := m.Report(t.Context())
		must(t, err)
		raw, err = w.svc.Sync(t.Context(), "edge-1", raw)
		must(t, err)
		desired = plan.Desired{}
		must(t, json.Unmarshal(raw, &desired))
		must(t, m.Apply(t.Context(), raw))
	}
	before := count()
	raw, err := m.Report(t.Context())
	must(t, err)
	if len(raw) > 400 || strings.Contains(string(raw), `"statuses":[`) {
		t.Errorf("an idle report has %d bytes: %s", len(raw), raw)
	}
	raw, err = w.svc.Sync(t.Context(), "edge-1", raw)
	must(t, err)
	if len(raw) > 400 {
		t.Errorf("an idle answer has %d bytes: %s", len(raw), raw)
	}
	if after := count(); after != before {
		t.Errorf("%d events of an idle sync", after-before)
	}
}

// reopen opens the module of an agent that has ended, without running it.
func reopen(t *testing.T, a *running) *agent.Module {
	t.Helper()
	m, err := agent.New(agent.Config{Node: a.name, Root: a.root, State: filepath.Join(a.root, "state"), Artifacts: a.w.disk})
	must(t, err)
	return m
}
