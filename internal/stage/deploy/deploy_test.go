package deploy_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/deploy"
	"slipway.dev/slipway/internal/stage/deploy/plan"
)

// serving deploys a program that answers with its version.
const serving = `
for n in nodes("edge"):
    bin = n.artifact("/opt/served", component="served")
    conf = n.file("/etc/served.conf", content="tag = %s\n" % release.tag)
    n.process("served", command=[bin.path + "/bin/served"], requires=[bin, conf],
        env={"SERVE": "127.0.0.1:" + n.facts["port"], "PROGRAM": n.facts["program"], "VERSION_FILE": bin.path + "/version"},
        health="http://127.0.0.1:" + n.facts["port"] + "/")
`

func TestReleaseTravelsToItsNodes(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a, b := w.node("edge-1"), w.node("edge-2")
		first := w.release("1.0.0", serving, nil)
		w.eventually("attempt", func() string {
			s, err := w.svc.Status(t.Context(), "ferry")
			if err != nil || s.Deployment.Attempt.State != deploy.AttemptWaiting {
				return fmt.Sprint(s.Deployment.Attempt, err)
			}
			return ""
		})
		w.composed(first, "finished", "")
		v := w.reaches("ferry-1", deploy.Deployed)
		if v.Release != first.ID || v.Resources != 6 || v.Finished.IsZero() {
			t.Fatalf("version %+v", v)
		}
		for _, n := range []*running{a, b} {
			if said, err := n.get("/"); said != "1.0.0" {
				t.Fatalf("%s says %q, %v", n.name, said, err)
			}
		}
		pid := w.status("edge-1", "process[served]").Actual["pid"]
		second := w.release("1.1.0", serving, nil)
		w.composed(second, "finished", "")
		w.reaches("ferry-2", deploy.Deployed)
		if said, err := a.get("/"); said != "1.1.0" {
			t.Fatalf("after the upgrade it says %q, %v", said, err)
		}
		now := w.status("edge-1", "process[served]")
		if now.Actual["pid"] == pid || !strings.HasPrefix(now.Actual["exe_digest"], "sha256:") {
			t.Fatalf("process %v, before %s", now.Actual, pid)
		}
		if conf, err := os.ReadFile(a.path("etc/served.conf")); string(conf) != "tag = v1.1.0\n" {
			t.Fatalf("conf %q %v", conf, err)
		}
		if old := w.reaches("ferry-1", deploy.Superseded); !strings.Contains(old.Reason, "ferry-2") {
			t.Errorf("superseded because %q", old.Reason)
		}
		if n := len(w.events(slipway.VersionDeployed)); n != 2 {
			t.Errorf("%d versions deployed", n)
		}

		back, err := w.svc.Rollback(t.Context(), "ferry", "", "ops", "1.1.0 is slow")
		must(t, err)
		if back.ID != "ferry-3" || back.Copy != "ferry-1" {
			t.Fatalf("rollback %+v", back)
		}
		w.reaches("ferry-3", deploy.Deployed)
		if said, err := b.get("/"); said != "1.0.0" {
			t.Fatalf("after the rollback it says %q, %v", said, err)
		}
		// A node that joins later gets the release that was rolled back to, not the newest.
		c := w.node("edge-3")
		w.reaches("ferry-4", deploy.Deployed)
		if said, err := c.get("/"); said != "1.0.0" {
			t.Fatalf("the late node says %q, %v", said, err)
		}
		if _, err := w.svc.Release(t.Context(), "ferry-2", "ops"); !slipway.Is(err, slipway.Conflict) {
			t.Fatalf("releasing an old version: %v", err)
		}
		w.composed(w.release("1.2.0", serving, nil), "finished", "")
		w.reaches("ferry-5", deploy.Deployed)
		if said, err := c.get("/"); said != "1.2.0" {
			t.Fatalf("a newer release ends the hold; it says %q, %v", said, err)
		}
	})
}

func TestDriftIsRepairedAndTold(t *testing.T) {
	w := newSQLite(t)
	a := w.node("edge-1")
	w.composed(w.release("1.0.0", serving, nil), "finished", "")
	w.reaches("ferry-1", deploy.Deployed)
	first := w.status("edge-1", "process[served]").Actual["pid"]
	must(t, os.WriteFile(a.path("etc/served.conf"), []byte("tag = mine\n"), 0o644))
	repaired := func(id string) {
		t.Helper()
		w.eventually("repair of "+id, func() string {
			for _, e := range w.events(slipway.DriftRepaired) {
				if strings.HasPrefix(e.Reason, "edge-1/"+id) && e.Subject == "node/edge-1" {
					return ""
				}
			}
			return "no event"
		})
	}
	repaired("file[/etc/served.conf]")
	if conf, err := os.ReadFile(a.path("etc/served.conf")); string(conf) != "tag = v1.0.0\n" {
		t.Fatalf("conf %q %v", conf, err)
	}
	// What requires the file starts again; then that process is killed.
	pid := 0
	w.eventually("a process that read the repaired file", func() string {
		s := w.status("edge-1", "process[served]")
		if s.State != plan.Deployed || s.Actual["pid"] == first {
			return string(s.State) + " " + s.Reason
		}
		var err error
		pid, err = strconv.Atoi(s.Actual["pid"])
		must(t, err)
		return ""
	})
	must(t, syscall.Kill(pid, syscall.SIGKILL))
	repaired("process[served]")
	w.eventually("an answer", func() string {
		if said, err := a.get("/"); said != "1.0.0" {
			return fmt.Sprint(said, err)
		}
		return ""
	})
	must(t, os.Remove(a.path("opt/served/version")))
	repaired("artifact[/opt/served]")
	if _, err := os.Stat(a.path("opt/served/version")); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, e := range w.events(slipway.DriftRepaired) {
		if seen[e.ID] {
			t.Errorf("event %s twice", e.ID)
		}
		seen[e.ID] = true
	}
}

func TestFailureSkipsDependentsAndRecovers(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.node("edge-1")
		w.composed(w.release("1.0.0", `
for n in nodes("edge"):
    e = n.exec("prepare", command="echo no licence >&2; test -e \"$ROOT/licence\" && touch \"$ROOT/prepared\"", creates="/prepared")
    f = n.file("/etc/one", content="1", requires=[e])
    n.file("/etc/two", content="2", requires=[f])
    n.file("/etc/free", content="3")
    n.service("sshd")
`, nil), "finished", "")
		v := w.reaches("ferry-1", deploy.Failed) // as soon as one resource has
		w.eventually("everything has been tried", func() string {
			for _, id := range []string{"exec[prepare]", "file[/etc/one]", "file[/etc/two]", "file[/etc/free]", "service[sshd.service]"} {
				if s := w.status("edge-1", id); s.State == "" || s.State == plan.Waiting || s.State == plan.Deploying {
					return id + " is " + string(s.State)
				}
			}
			return ""
		})
		w.eventually("the version names the failure", func() string {
			var err error
			v, err = w.svc.Version(t.Context(), v.ID)
			must(t, err)
			if !strings.Contains(v.Reason, "edge-1/exec[prepare] is failed") {
				return v.Reason
			}
			return ""
		})
		if s := w.status("edge-1", "exec[prepare]"); s.State != plan.Failed || !strings.Contains(s.Reason, "no licence") {
			t.Errorf("exec %s %q", s.State, s.Reason)
		}
		if s := w.status("edge-1", "file[/etc/one]"); s.State != plan.Skipped || !strings.Contains(s.Reason, "requires edge-1/exec[prepare], which is failed: ") {
			t.Errorf("one %s %q", s.State, s.Reason)
		}
		if s := w.status("edge-1", "file[/etc/two]"); s.State != plan.Skipped || s.Reason != "requires edge-1/file[/etc/one], which is skipped" {
			t.Errorf("two %s %q", s.State, s.Reason)
		}
		if s := w.status("edge-1", "file[/etc/free]"); s.State != plan.Deployed {
			t.Errorf("free %s %q", s.State, s.Reason)
		}
		if s := w.status("edge-1", "service[sshd.service]"); s.State != plan.Unavailable || !strings.Contains(s.Reason, "systemd") {
			t.Errorf("service %s %q", s.State, s.Reason)
		}
		must(t, os.WriteFile(a.path("licence"), nil, 0o644))
		w.eventually("recovery", func() string {
			if s := w.status("edge-1", "file[/etc/two]"); s.State != plan.Deployed {
				return string(s.State) + " " + s.Reason
			}
			return ""
		})
		if _, err := os.Stat(a.path("etc/two")); err != nil {
			t.Fatal(err)
		}
	})
}

func TestWhatIsGoneFromTheModelIsPurged(t *testing.T) {
	w := newSQLite(t)
	a := w.node("edge-1")
	w.composed(w.release("1.0.0", serving+`
for n in nodes("edge"):
    d = n.directory("/var/lib/served")
    n.file("/var/lib/served/seed", content="x", requires=d)
`, nil), "finished", "")
	w.reaches("ferry-1", deploy.Deployed)
	w.composed(w.release("1.1.0", `
for n in nodes("edge"):
    n.file("/etc/served.conf", content="tag = %s\n" % release.tag)
`, nil), "finished", "")
	w.reaches("ferry-2", deploy.Deployed)
	for _, p := range []string{"opt/served", "opt/.served.slipway", "var/lib/served"} {
		if _, err := os.Lstat(a.path(p)); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", p, err)
		}
	}
	if said, err := a.get("/"); err == nil {
		t.Errorf("the process still says %q", said)
	}
	if _, err := os.Stat(a.path("etc/served.conf")); err != nil {
		t.Error(err)
	}
	// A node that leaves the model altogether lets go of everything.
	w.composed(w.release("1.2.0", "nodes('edge')\n", nil), "finished", "")
	w.reaches("ferry-3", deploy.Deployed)
	if _, err := os.Lstat(a.path("etc/served.conf")); !os.IsNotExist(err) {
		t.Errorf("the file is still there: %v", err)
	}
}

func TestBrokenModelLeavesTheVersionInForce(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		a := w.node("edge-1")
		w.composed(w.release("1.0.0", serving, nil), "finished", "")
		w.reaches("ferry-1", deploy.Deployed)
		attempt := func(state deploy.AttemptState, parts ...string) {
			t.Helper()
			w.eventually(string(state), func() string {
				s, err := w.svc.Status(t.Context(), "ferry")
				if err != nil {
					return err.Error()
				}
				got := s.Deployment.Attempt
				for _, p := range parts {
					if got.State != state || !strings.Contains(got.Reason, p) {
						return fmt.Sprint(got)
					}
				}
				if s.Version.ID != "ferry-1" || s.Version.State != deploy.Deployed {
					return s.Version.ID + " is in force"
				}
				return ""
			})
		}
		w.composed(w.release("1.1.0", "for n in nodes('edge'):\n    n.artifact('/opt/x', component='nope')\n", nil), "finished", "")
		attempt(deploy.AttemptBroken, "deploy/model.star:2:15: ", "no component \"nope\"")
		w.composed(w.release("1.2.0", serving, map[string]string{"product.yaml": "product: ferry\nwhat: 7\n"}), "finished", "")
		attempt(deploy.AttemptBroken, "product.yaml:2")
		w.composed(w.release("1.3.0", serving, nil), "failed", "disk full")
		attempt(deploy.AttemptBlocked, "compose ferry-v1.3.0 failed: disk full")
		if n := len(w.events(slipway.ModelBroken)); n != 2 {
			t.Errorf("%d events of broken models", n)
		}
		if e := w.events(slipway.ModelBroken)[0]; !strings.Contains(e.Reason, "ferry-1 stays in force") || e.Links[0] != "release/ferry-v1.1.0" {
			t.Errorf("event %+v", e)
		}
		if said, err := a.get("/"); said != "1.0.0" {
			t.Fatalf("it says %q, %v", said, err)
		}
		w.composed(w.list[3], "finished", "") // the compose was retried
		w.reaches("ferry-2", deploy.Deployed)
	})
}

// TestTwoBranchesDoNotFightOverANode releases a branch of a product whose model, a copy of main's, asks for the same file on the same node.
func TestTwoBranchesDoNotFightOverANode(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		const both = "for n in nodes('edge'):\n    n.file('/etc/both', content='the same')\n    n.file('/etc/%s', content='%s')\n"
		a := w.node("edge-1")
		w.composed(w.release("1.0.0", fmt.Sprintf(both, "motd", "main"), nil), "finished", "")
		w.reaches("ferry-1", deploy.Deployed)
		w.composed(w.releaseOf("ferry@stable-1", "1.0.1", fmt.Sprintf(both, "motd", "stable"), nil), "finished", "")
		w.eventually("refused", func() string {
			s, err := w.svc.Status(t.Context(), "ferry@stable-1")
			if err != nil {
				return err.Error()
			}
			at := s.Deployment.Attempt
			for _, part := range []string{"deploy/model.star:3:11: edge-1/file[/etc/motd] is there already, and otherwise: the version ferry-1 of ferry asks for it", "different nodes"} {
				if at.State != deploy.AttemptBroken || !strings.Contains(at.Reason, part) {
					return fmt.Sprint(at)
				}
			}
			return ""
		})
		w.composed(w.releaseOf("ferry@stable-1", "1.0.2", fmt.Sprintf(both, "other", "stable"), nil), "finished", "")
		w.reaches("ferry@stable-1-1", deploy.Deployed)
		for path, want := range map[string]string{"/etc/both": "the same", "/etc/motd": "main", "/etc/other": "stable"} {
			if text, err := os.ReadFile(a.path(path)); err != nil || string(text) != want {
				t.Errorf("%s: %q, %v", path, text, err)
			}
		}
	})
}

func TestDryRunTellsAndWritesNothing(t *testing.T) {
	w := newSQLite(t)
	a := w.node("edge-1")
	manual := map[string]string{"product.yaml": productFile + "  automatic: false\n"}
	w.composed(w.release("1.0.0", serving, nil), "finished", "")
	w.reaches("ferry-1", deploy.Deployed)
	w.composed(w.release("1.1.0", serving+"    n.file('/etc/new', content='new')\n", manual), "finished", "")
	v := w.reaches("ferry-2", deploy.Compiled)
	if !strings.Contains(v.Reason, "slipway deploy release") {
		t.Errorf("reason %q", v.Reason)
	}
	run, err := w.svc.StartDryRun(t.Context(), "ferry-2", "ops")
	must(t, err)
	w.eventually("dry run", func() string {
		run, err = w.svc.DryRun(t.Context(), run.ID)
		if err != nil || run.State != "done" {
			return fmt.Sprint(run.Reason, err)
		}
		return ""
	})
	actions := map[string]plan.Diff{}
	for _, d := range run.Nodes["edge-1"].Diffs {
		actions[strings.TrimPrefix(d.ID, "edge-1/")] = d
	}
	for id, want := range map[string]string{"artifact[/opt/served]": plan.ActionChange, "file[/etc/served.conf]": plan.ActionChange,
		"file[/etc/new]": plan.ActionCreate, "process[served]": plan.ActionChange} {
		if actions[id].Action != want {
			t.Errorf("%s: %+v, want %s", id, actions[id], want)
		}
	}
	if c := actions["file[/etc/served.conf]"].Changes["content"]; !strings.Contains(c.Current, "v1.0.0") || !strings.Contains(c.Desired, "v1.1.0") {
		t.Errorf("content %+v", c)
	}
	if _, err := os.Lstat(a.path("etc/new")); !os.IsNotExist(err) {
		t.Fatalf("the dry run wrote: %v", err)
	}
	if _, err := w.svc.Release(t.Context(), "ferry-2", "ops"); err != nil {
		t.Fatal(err)
	}
	w.reaches("ferry-2", deploy.Deployed)
	if _, err := os.Lstat(a.path("etc/new")); err != nil {
		t.Fatal(err)
	}
}

func TestRequirementOnAnotherNode(t *testing.T) {
	w := newSQLite(t)
	a, b := w.node("edge-1"), w.node("edge-2")
	w.composed(w.release("1.0.0", `
first, second = nodes("edge")
e = first.exec("open", command="test -e \"$ROOT/go\" && touch \"$ROOT/opened\"", creates="/opened")
second.file("/etc/after", content="x", requires=e)
`, nil), "finished", "")
	w.eventually("wait", func() string {
		if s := w.status("edge-2", "file[/etc/after]"); s.State != plan.Skipped || !strings.Contains(s.Reason, "requires edge-1/exec[open], which is failed") {
			return string(s.State) + " " + s.Reason
		}
		return ""
	})
	must(t, os.WriteFile(a.path("go"), nil, 0o644))
	w.reaches("ferry-1", deploy.Deployed)
	if _, err := os.Stat(b.path("etc/after")); err != nil {
		t.Fatal(err)
	}
}
