package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"slipway.dev/slipway/internal/agent"
	"slipway.dev/slipway/internal/agent/executor"
	"slipway.dev/slipway/internal/edge/agentapi"
	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/bus"
	"slipway.dev/slipway/internal/platform/jobs"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/lab"
	"slipway.dev/slipway/internal/store"
	"slipway.dev/slipway/internal/store/storetest"
)

// TestMain lets the test binary be an agent's process, for the tests that kill one.
func TestMain(m *testing.M) {
	if text := os.Getenv("SLIPWAY_TEST_AGENT"); text != "" {
		var cfg agent.Config
		if err := json.Unmarshal([]byte(text), &cfg); err != nil {
			panic(err)
		}
		if err := serve(context.Background(), cfg); err != nil {
			panic(err)
		}
		return
	}
	os.Exit(m.Run())
}

// serve runs an agent with an executor, as `slipway agent run` does.
func serve(ctx context.Context, cfg agent.Config) error {
	cfg.Log = slog.New(slog.DiscardHandler)
	a, err := agent.New(cfg)
	if err != nil {
		return err
	}
	x, err := executor.New(executor.Config{Root: a.Root(), Blobs: a.Blobs(), Facts: a.Facts(), Log: cfg.Log, Grace: time.Second})
	if err != nil {
		return err
	}
	a.Add(x)
	return a.Run(ctx)
}

// world is a server with everything that agents meet, and a folder that stands for what they do to the outside.
type world struct {
	t      *testing.T
	db     *store.DB
	lab    *lab.Service
	disk   *artifact.Disk
	api    *agentapi.Server
	poker  *poker
	url    string
	dir    string // bus
	shared string

	bus     *bus.Embedded
	stopBus func()
}

// poker pokes over the bus that is there at the moment.
type poker struct{ conn atomic.Pointer[nats.Conn] }

func (p *poker) Poke(node string) {
	if err := p.conn.Load().Publish(bus.PokeSubject(node), nil); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		panic(err)
	}
}

func newWorld(t *testing.T, cfg lab.Config) *world {
	t.Helper()
	w := &world{t: t, db: storetest.Open(t), poker: &poker{}, dir: t.TempDir(), shared: t.TempDir()}
	w.lab = lab.New(store.Scope(w.db, func(tx *store.Tx) lab.Tx { return tx }), spec.ParseExperiment, w.poker, cfg)
	var err error
	if w.disk, err = artifact.OpenDisk(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	runner, err := jobs.NewRunner(w.db, w.lab.Handlers(), jobs.Config{Owner: "test", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := runner.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := runner.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	w.startBus()
	t.Cleanup(func() { w.stopBus() })
	w.api = w.newAPI()
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.api.Handler().ServeHTTP(rw, r) }))
	t.Cleanup(srv.Close)
	w.url = srv.URL
	return w
}

func (w *world) newAPI() *agentapi.Server {
	return agentapi.New(w.lab, w.disk, map[string]agentapi.SyncHandler{"lab": w.lab.Sync}, agentapi.Config{BusURL: w.bus.URL(), Log: slog.New(slog.DiscardHandler)})
}

func (w *world) startBus() {
	w.t.Helper()
	b, err := bus.StartEmbedded(bus.EmbeddedConfig{Dir: w.dir, Lookup: w.lab.NodeByKey, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		w.t.Fatal(err)
	}
	w.bus = b
	w.poker.conn.Store(b.Conn)
	w.lab.Listening()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	api := w.newAPI()
	go func() { done <- api.Serve(ctx, b.Conn) }()
	w.stopBus = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
		b.Close()
	})
}

func (w *world) config(name string, labels map[string]string) agent.Config {
	w.t.Helper()
	token, _, err := w.lab.CreateJoinToken(w.t.Context(), "admin", name, nil, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	return agent.Config{Server: w.url, Token: token, Name: name, Root: w.t.TempDir(), Labels: labels, Facts: map[string]string{"port": "81" + name, "address": "127.0.0.1"},
		Every: 50 * time.Millisecond, Backoff: 200 * time.Millisecond}
}

// agent starts an agent in this process and returns what stops it.
func (w *world) agent(name, role string) (stop func()) {
	w.t.Helper()
	return w.start(w.config(name, map[string]string{"role": role}))
}

func (w *world) start(cfg agent.Config) (stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- serve(ctx, cfg) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(stop)
	w.eventually("node "+cfg.Name+" is online", func() bool {
		n, err := w.lab.Node(w.t.Context(), cfg.Name)
		return err == nil && n.State == lab.NodeOnline
	})
	return stop
}

// eventually waits for a condition, for at most a generous time.
func (w *world) eventually(what string, ok func() bool) {
	w.t.Helper()
	deadline := time.After(60 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			w.dump()
			w.t.Fatalf("never came true: %s", what)
		case <-tick.C:
		}
	}
}

func (w *world) dump() {
	all, err := w.lab.List(context.Background(), "", nil, "", 0)
	if err != nil {
		w.t.Log(err)
	}
	for _, e := range all {
		e.Request.Text = ""
		b, _ := json.MarshalIndent(struct {
			State, Reason string
			Outcome       slipway.Outcome
			Members       []lab.Member
			Past          []lab.Attempt
		}{e.State, e.Reason, e.Outcome, e.Members, e.Past}, "", " ")
		w.t.Logf("%s: %s", e.Ref(), b)
	}
}

func (w *world) run(id, text string, artifacts map[string]string) {
	w.t.Helper()
	_, err := w.lab.Run(w.t.Context(), slipway.ExperimentRequest{ID: id, Product: "ferry", For: "candidate/c1", File: "smoke.yaml", Text: text, Artifacts: artifacts,
		Env: map[string]string{"SHARED": w.shared, "VERSION_FERRY": "1.2.3"}})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) done(id string) lab.Experiment {
	w.t.Helper()
	var e lab.Experiment
	w.eventually(id+" is done", func() bool {
		var err error
		if e, err = w.lab.Get(w.t.Context(), id); err != nil {
			w.t.Fatal(err)
		}
		return e.State == lab.Done
	})
	return e
}

func (w *world) expect(e lab.Experiment, outcome slipway.Outcome, reason string) {
	w.t.Helper()
	if e.Outcome != outcome || !strings.Contains(e.Reason, reason) {
		w.dump()
		w.t.Fatalf("%s ended as %s: %s; want %s: ...%s...", e.Request.ID, e.Outcome, e.Reason, outcome, reason)
	}
}

func (w *world) file(name string) string {
	b, err := os.ReadFile(filepath.Join(w.shared, name))
	if err != nil && !os.IsNotExist(err) {
		w.t.Fatal(err)
	}
	return string(b)
}

func (w *world) touch(name string) {
	w.t.Helper()
	if err := os.WriteFile(filepath.Join(w.shared, name), []byte("x\n"), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) log(id, node, step string) string {
	w.t.Helper()
	data, _, err := w.lab.Log(w.t.Context(), id, node, step, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(data)
}

func (w *world) events(t slipway.EventType) []slipway.Event {
	w.t.Helper()
	events, err := w.db.Events(w.t.Context(), store.EventQuery{Type: string(t)})
	if err != nil {
		w.t.Fatal(err)
	}
	return events
}

func step(w *world, e lab.Experiment, node, id string) lab.StepResult {
	w.t.Helper()
	for _, m := range e.Members {
		for _, s := range m.Steps {
			if m.Node == node && s.Step == id {
				return s
			}
		}
	}
	w.dump()
	w.t.Fatalf("%s has no step %s on %s", e.Request.ID, id, node)
	return lab.StepResult{}
}

func TestExperimentOverTwoRoles(t *testing.T) {
	w := newWorld(t, lab.Config{})
	w.agent("edge-1", "edge")
	w.agent("edge-2", "edge")
	w.agent("hub-1", "hub")
	src := t.TempDir()
	if err := os.WriteFile(filepath.Join(src, "greet"), []byte("#!/bin/sh\necho hello from $NODE\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	tree, err := artifact.PutTree(t.Context(), w.disk, src)
	if err != nil {
		t.Fatal(err)
	}
	w.run("two-roles", `
experiment: two-roles
roles:
  edge: {labels: {role: edge}, nodes: 2, artifacts: [ferry]}
  hub: {labels: {role: hub}}
steps:
  - {id: serve, role: hub, background: true, run: "echo up; echo $NODE > $SHARED/hub; trap 'echo stopped > $SHARED/stopped; exit 0' TERM; while :; do sleep 0.05; done"}
  - {id: greet, role: edge, run: "$ARTIFACTS/ferry/greet; test $ROLE = edge; test $NODE_HUB = 127.0.0.1; test \"$NODES_EDGE\" = '127.0.0.1 127.0.0.1'; test $FACT_PORT = 81$NODE; test $VERSION_FERRY = 1.2.3; test $EXPERIMENT = experiment/1; echo $NODE > node; cp node $SHARED/greeted-$NODE"}
  - {id: meet, barrier: all-up}
  - {id: after, role: hub, run: "test -e $SHARED/greeted-edge-1; test -e $SHARED/greeted-edge-2; test ! -e $SHARED/stopped"}
  - {id: last, role: edge, after: [after], run: "test $(cat $WORK/node) = $NODE"}
cleanup:
  - {id: tidy, run: "echo $NODE >> $SHARED/tidied"}
`, map[string]string{"ferry": tree})
	e := w.done("two-roles")
	w.expect(e, slipway.Pass, "all steps passed")
	if got := w.log("two-roles", "edge-1", "greet"); got != "hello from edge-1\n" {
		t.Errorf("log is %q", got)
	}
	if got := strings.Fields(w.file("tidied")); len(got) != 3 {
		t.Errorf("tidied on %v", got)
	}
	if w.file("stopped") == "" {
		t.Error("the background step was not asked to stop")
	}
	if s := step(w, e, "edge-2", "greet"); s.Outcome != slipway.Pass || s.Tail != "hello from edge-2\n" || s.Started.IsZero() || s.Finished.Before(s.Started) {
		t.Errorf("%+v", s)
	}
	if n := len(w.events(slipway.LeaseGranted)); n != 3 {
		t.Errorf("%d leases were granted", n)
	}
	w.eventually("all leases have ended", func() bool { return len(w.events(slipway.LeaseEnded)) == 3 })
	finished := w.events(slipway.ExperimentFinished)
	if len(finished) != 1 || !slices.Contains(finished[0].Links, "candidate/c1") {
		t.Errorf("finished: %+v", finished)
	}
}

const oneStep = `
experiment: one
roles: {edge: {labels: {role: edge}}}
steps:
  - {id: try, role: edge, run: %q, timeout: %s, retries: %d}
cleanup:
  - {id: tidy, run: "echo $NODE >> $SHARED/tidied"}
`

func TestFailureIsToldAndCleanedUp(t *testing.T) {
	w := newWorld(t, lab.Config{})
	w.agent("edge-1", "edge")
	w.run("fails", fmt.Sprintf(oneStep, "echo working; echo 'the door is shut' >&2; exit 7", "10s", 1), nil)
	e := w.done("fails")
	w.expect(e, slipway.Fail, "edge-1: step try: exit status 7: the door is shut")
	if s := step(w, e, "edge-1", "try"); s.Exit != 7 || s.Tries != 2 {
		t.Errorf("%+v", s)
	}
	if e.Attempt != 1 || w.file("tidied") != "edge-1\n" {
		t.Errorf("attempt %d, tidied %q", e.Attempt, w.file("tidied"))
	}
	if got := w.log("fails", "edge-1", "try"); got != "working\nthe door is shut\n--- try 2 ---\nworking\nthe door is shut\n" {
		t.Errorf("log is %q", got)
	}
}

func TestTimeoutKillsEveryProcess(t *testing.T) {
	w := newWorld(t, lab.Config{})
	w.agent("edge-1", "edge")
	// One child in the group, one in a session of its own.
	w.run("slow", fmt.Sprintf(oneStep, "sleep 1000 & echo $! > $SHARED/pids; setsid sleep 1001 & echo $! >> $SHARED/pids; wait", "300ms", 0), nil)
	w.expect(w.done("slow"), slipway.Timeout, "edge-1: step try: did not end in 300ms")
	pids := strings.Fields(w.file("pids"))
	if len(pids) != 2 {
		t.Fatalf("pids %v", pids)
	}
	for _, pid := range pids {
		if alive(pid) {
			t.Errorf("process %s lives", pid)
		}
	}
	if w.file("tidied") == "" {
		t.Error("no cleanup")
	}
}

func TestWholeExperimentHasATime(t *testing.T) {
	w := newWorld(t, lab.Config{})
	w.agent("edge-1", "edge")
	w.run("long", "timeout: 300ms\n"+fmt.Sprintf(oneStep, "sleep 1000", "10m", 0), nil)
	w.expect(w.done("long"), slipway.Timeout, "the experiment did not end in 300ms")
}

func TestCompetitorsTakeTurns(t *testing.T) {
	w := newWorld(t, lab.Config{})
	text := `
experiment: exclusive
roles: {edge: {labels: {role: edge}, nodes: 2}}
steps:
  - {id: enter, role: edge, run: "mkdir $SHARED/busy-$NODE"}
  - {id: meet, role: edge, barrier: in}
cleanup:
  - {id: leave, run: "rmdir $SHARED/busy-$NODE"}
`
	w.run("first", text, nil)
	w.run("second", text, nil)
	w.eventually("both say that they wait", func() bool {
		for _, id := range []string{"first", "second"} {
			if s, err := w.lab.Experiment(t.Context(), id); err != nil || !strings.Contains(s.Reason, "unsatisfiable: role edge needs 2 nodes with role=edge, but no node has joined") {
				return false
			}
		}
		return true
	})
	w.agent("edge-1", "edge")
	w.eventually("one node is not enough", func() bool {
		s, err := w.lab.Experiment(t.Context(), "first")
		return err == nil && s.State == lab.Queued && strings.Contains(s.Reason, "only edge-1 exist")
	})
	w.agent("edge-2", "edge")
	w.expect(w.done("first"), slipway.Pass, "")
	w.expect(w.done("second"), slipway.Pass, "")
}

func TestServerOutageInTheMiddle(t *testing.T) {
	w := newWorld(t, lab.Config{})
	cfg := w.config("edge-1", map[string]string{"role": "edge"})
	w.start(cfg)
	w.run("outage", fmt.Sprintf(oneStep, "echo before > $SHARED/began; until [ -e $SHARED/go ]; do sleep 0.02; done; echo after; touch $SHARED/ended", "1m", 0), nil)
	w.eventually("the step runs", func() bool { return w.file("began") != "" })
	w.stopBus()
	w.touch("go")
	w.eventually("the node has the result on disk", func() bool {
		files, _ := filepath.Glob(filepath.Join(cfg.Root, "lab", "*", "records"))
		for _, f := range files {
			if b, err := os.ReadFile(f); err == nil && strings.Contains(string(b), `"kind":"finished"`) {
				return true
			}
		}
		return false
	})
	if e, err := w.lab.Get(t.Context(), "outage"); err != nil || e.State != lab.Running {
		t.Fatalf("the server cannot know yet: %s %v", e.State, err)
	}
	w.startBus()
	t.Cleanup(w.stopBus)
	e := w.done("outage")
	w.expect(e, slipway.Pass, "")
	if e.Attempt != 1 || len(w.events(slipway.ExperimentFinished)) != 1 || w.log("outage", "edge-1", "try") != "after\n" || w.file("tidied") != "edge-1\n" {
		t.Errorf("attempt %d, log %q, tidied %q", e.Attempt, w.log("outage", "edge-1", "try"), w.file("tidied"))
	}
	w.eventually("the node forgets what was taken", func() bool {
		dirs, _ := filepath.Glob(filepath.Join(cfg.Root, "lab", "*", "records"))
		return len(dirs) == 0
	})
}

func TestAgentKilledInTheMiddle(t *testing.T) {
	w := newWorld(t, lab.Config{})
	cfg := w.config("edge-1", map[string]string{"role": "edge"})
	text, err := json.Marshal(struct {
		Server, Token, Name, Root string
		Labels, Facts             map[string]string
		Every, Backoff            time.Duration
	}{cfg.Server, cfg.Token, cfg.Name, cfg.Root, cfg.Labels, cfg.Facts, cfg.Every, cfg.Backoff})
	if err != nil {
		t.Fatal(err)
	}
	spawn := func() *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "SLIPWAY_TEST_AGENT="+string(text))
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill() // dead already in most cases
			_ = cmd.Wait()
		})
		return cmd
	}
	first := spawn()
	w.run("killed", `
experiment: killed
roles: {edge: {labels: {role: edge}}}
steps:
  - {id: one, role: edge, run: "echo one"}
  - {id: two, role: edge, run: "echo two; [ ! -e $SHARED/pid ] || exit 0; echo $$ > $SHARED/pid.new; mv $SHARED/pid.new $SHARED/pid; sleep 1000"}
cleanup:
  - {id: tidy, run: "echo $NODE >> $SHARED/tidied"}
`, nil)
	w.eventually("the second step runs", func() bool { return w.file("pid") != "" })
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait() // killed
	pid := strings.TrimSpace(w.file("pid"))
	if !alive(pid) {
		t.Fatal("the step died with its agent, so this test shows nothing")
	}
	spawn()
	e := w.done("killed")
	w.expect(e, slipway.Pass, "")
	if len(e.Past) != 1 || e.Past[0].Outcome != slipway.Infra || !strings.Contains(e.Past[0].Reason, "the agent was restarted while it ran two") {
		t.Errorf("%+v", e.Past)
	}
	one := e.Past[0].Members[0].Steps[0]
	if one.Step != "one" || one.Outcome != slipway.Pass {
		t.Errorf("what was recorded before the kill is lost: %+v", one)
	}
	if alive(pid) {
		t.Error("the killed agent's step still runs")
	}
	if w.file("tidied") != "edge-1\nedge-1\n" {
		t.Errorf("tidied %q", w.file("tidied"))
	}
	if n := len(w.events(slipway.NodeJoined)); n != 1 {
		t.Errorf("joined %d times", n)
	}
}

// alive reports whether a process runs; one that ended but was not yet collected by its parent has no command line.
func alive(pid string) bool {
	cmdline, err := os.ReadFile("/proc/" + pid + "/cmdline")
	return err == nil && len(cmdline) > 0
}

func TestDeadNodeIsNotBlamedOnTheSteps(t *testing.T) {
	w := newWorld(t, lab.Config{OfflineAfter: 500 * time.Millisecond, LeaseTTL: 1500 * time.Millisecond})
	stop := w.agent("edge-1", "edge")
	w.run("moves", fmt.Sprintf(oneStep, "echo $NODE > $SHARED/on; if [ $NODE = edge-1 ]; then sleep 1000; fi", "1m", 0), nil)
	w.eventually("it runs on the first node", func() bool { return w.file("on") == "edge-1\n" })
	w.agent("edge-2", "edge")
	stop()
	e := w.done("moves")
	w.expect(e, slipway.Pass, "")
	if len(e.Past) != 1 || e.Past[0].Outcome != slipway.Infra || !strings.Contains(e.Past[0].Reason, "edge-1: not heard since") || w.file("on") != "edge-2\n" {
		t.Errorf("%+v", e.Past)
	}
	w.eventually("the node is offline", func() bool {
		n, err := w.lab.Node(t.Context(), "edge-1")
		return err == nil && n.State == lab.NodeOffline && strings.HasPrefix(n.Reason, "not heard since")
	})
}

func TestBarrierEndsWithItsMembers(t *testing.T) {
	text := `
experiment: meets
roles:
  edge: {labels: {role: edge}}
  hub: {labels: {role: hub}}
steps:
  - {id: meet, role: hub, barrier: up, timeout: %s}
  - {id: early, role: edge, run: %q}
  - {id: also, role: edge, barrier: up, timeout: 1m}
cleanup:
  - {id: tidy, run: "echo $NODE >> $SHARED/tidied"}
`
	for name, c := range map[string]struct {
		timeout, script string
		outcome         slipway.Outcome
		reason          string
	}{
		"a member fails":   {"1m", "exit 3", slipway.Fail, "edge-1: step early: exit status 3"},
		"a member is late": {"1s", "sleep 1000", slipway.Timeout, "hub-1: step meet: waited 1s at the barrier up for edge-1"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, lab.Config{})
			w.agent("edge-1", "edge")
			w.agent("hub-1", "hub")
			w.run("meets", fmt.Sprintf(text, c.timeout, c.script), nil)
			w.expect(w.done("meets"), c.outcome, c.reason)
			if got := strings.Fields(w.file("tidied")); len(got) != 2 {
				t.Errorf("tidied on %v", got)
			}
		})
	}
}

func TestBackgroundStepThatDiesFails(t *testing.T) {
	w := newWorld(t, lab.Config{})
	w.agent("edge-1", "edge")
	w.agent("hub-1", "hub")
	w.run("dies", `
experiment: dies
roles:
  edge: {labels: {role: edge}}
  hub: {labels: {role: hub}}
steps:
  - {id: serve, role: hub, background: true, run: "until [ -e $SHARED/go ]; do sleep 0.02; done; echo 'out of memory'; exit 5"}
  - {id: use, role: edge, after: [serve], run: "touch $SHARED/go; sleep 1000"}
`, nil)
	w.expect(w.done("dies"), slipway.Fail, "hub-1: background step serve: exit status 5: out of memory")
}

func TestCancelStopsAndCleansUp(t *testing.T) {
	w := newWorld(t, lab.Config{})
	w.agent("edge-1", "edge")
	w.run("stopped", fmt.Sprintf(oneStep, "touch $SHARED/began; sleep 1000", "1m", 0), nil)
	w.eventually("it runs", func() bool { _, err := os.Stat(filepath.Join(w.shared, "began")); return err == nil })
	if err := w.lab.Cancel(t.Context(), "experiment/1", "cancelled by ann"); err != nil {
		t.Fatal(err)
	}
	e := w.done("stopped")
	w.expect(e, slipway.Cancelled, "cancelled by ann")
	if s := step(w, e, "edge-1", "try"); s.Outcome != slipway.Cancelled || w.file("tidied") == "" {
		t.Errorf("%+v, tidied %q", s, w.file("tidied"))
	}
}

func TestMissingArtifactIsInfra(t *testing.T) {
	w := newWorld(t, lab.Config{})
	w.agent("edge-1", "edge")
	w.run("bare", `
experiment: bare
roles: {edge: {labels: {role: edge}, artifacts: [ferry]}}
steps: [{id: try, role: edge, run: "true"}]
`, map[string]string{"ferry": artifact.DigestOf([]byte("never stored"))})
	e := w.done("bare")
	w.expect(e, slipway.Infra, "artifact ferry")
	if e.Attempt != 3 {
		t.Errorf("tried %d times", e.Attempt)
	}
}

func TestRemovedNodeIsRefused(t *testing.T) {
	w := newWorld(t, lab.Config{})
	cfg := w.config("edge-1", nil)
	stop := w.start(cfg)
	key, err := w.lab.Remove(t.Context(), "edge-1", "admin")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.bus.Kick(key); err != nil {
		t.Fatal(err)
	}
	stop()
	// Its folder remembers the join; the server does not.
	a, err := agent.New(agent.Config{Server: w.url, Name: "edge-1", Root: cfg.Root})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Blobs().Open(t.Context(), artifact.DigestOf([]byte("x"))); !slipway.Is(err, slipway.Forbidden) {
		t.Fatalf("a removed node still gets bytes: %v", err)
	}
}

func TestJoinRefusals(t *testing.T) {
	w := newWorld(t, lab.Config{})
	cfg := w.config("edge-1", nil)
	w.start(cfg)
	for name, c := range map[string]struct {
		change func(*agent.Config)
		kind   slipway.Kind
	}{
		"the token again":     {func(c *agent.Config) { c.Token, c.Name = cfg.Token, "edge-2" }, slipway.Unauthenticated},
		"no token":            {func(c *agent.Config) { c.Token = "" }, slipway.Unauthenticated},
		"a wrong token":       {func(c *agent.Config) { c.Token = "slipway-join-x" }, slipway.Unauthenticated},
		"another's name":      {func(c *agent.Config) { c.Name = "edge-9" }, slipway.Forbidden},
		"a name with escapes": {func(c *agent.Config) { c.Name = "../edge" }, slipway.Invalid},
		"another's folder":    {func(c *agent.Config) { c.Root = cfg.Root }, slipway.Conflict},
	} {
		t.Run(name, func(t *testing.T) {
			other := w.config("edge-2", nil)
			c.change(&other)
			err := serve(t.Context(), other)
			if !slipway.Is(err, c.kind) {
				t.Fatalf("got %v", err)
			}
		})
	}
	token, _, err := w.lab.CreateJoinToken(t.Context(), "admin", "", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	taken := w.config("edge-1", nil)
	taken.Token = token
	if err := serve(t.Context(), taken); !slipway.Is(err, slipway.Conflict) {
		t.Fatalf("a taken name: %v", err)
	}
}

func TestKeyIsPrivate(t *testing.T) {
	root := t.TempDir()
	if _, err := agent.New(agent.Config{Server: "http://127.0.0.1:1", Name: "x", Root: root}); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(root, "agent", "key.nk"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info.Mode(), err)
	}
}

func TestBlobsAreWhole(t *testing.T) {
	w := newWorld(t, lab.Config{})
	cfg := w.config("edge-1", nil)
	w.start(cfg)
	a, err := agent.New(agent.Config{Server: w.url, Name: "edge-1", Root: cfg.Root})
	if err != nil {
		t.Fatal(err)
	}
	digest, _, err := w.disk.Put(t.Context(), strings.NewReader("bytes"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := a.Blobs().Open(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if b, err := io.ReadAll(r); err != nil || string(b) != "bytes" {
		t.Fatalf("%q, %v", b, err)
	}
	if _, err := a.Blobs().Open(t.Context(), artifact.DigestOf([]byte("none"))); !slipway.Is(err, slipway.NotFound) {
		t.Fatalf("a missing blob: %v", err)
	}
	if _, err := a.Blobs().Open(t.Context(), "sha256:../../etc/passwd"); err == nil || errors.Is(err, io.EOF) {
		t.Fatalf("an escape: %v", err)
	}
}
