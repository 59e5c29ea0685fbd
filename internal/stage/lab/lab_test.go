package lab_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/internal/platform/clock"
	"slipway.dev/slipway/internal/platform/jobs/jobstest"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/lab"
	"slipway.dev/slipway/internal/store"
	"slipway.dev/slipway/internal/store/storetest"
)

// bench is a lab on a clock that stands still, with nodes that the test plays.
type bench struct {
	t     *testing.T
	db    *store.DB
	clock *clock.Fake
	lab   *lab.Service
	seq   map[string]int64 // assignment -> number of the last record that was sent
}

// each runs f on both databases.
func each(t *testing.T, f func(t *testing.T, b *bench)) {
	for engine, url := range map[string]func(t *testing.T) string{
		"sqlite":   func(t *testing.T) string { return "sqlite:" + t.TempDir() + "/slipway.db" },
		"postgres": func(t *testing.T) string { return storetest.Postgres(t) },
	} {
		t.Run(engine, func(t *testing.T) {
			b := &bench{t: t, clock: clock.NewFake(time.Date(2026, 11, 3, 10, 0, 0, 0, time.UTC)), seq: map[string]int64{}}
			db, err := store.Open(t.Context(), store.Config{URL: url(t), Clock: b.clock})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { db.Close() })
			b.db = db
			b.restart()
			f(t, b)
		})
	}
}

// restart is a new server process on the same database.
func (b *bench) restart() {
	b.lab = lab.New(store.Scope(b.db, func(tx *store.Tx) lab.Tx { return tx }), spec.ParseExperiment, nil, lab.Config{Clock: b.clock})
}

func (b *bench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) drain() {
	b.t.Helper()
	jobstest.Drain(b.t, b.db, b.lab.Handlers()...)
}

func (b *bench) join(names ...string) {
	b.t.Helper()
	for _, n := range names {
		role, _, _ := strings.Cut(n, "-")
		token, _, err := b.lab.CreateJoinToken(b.t.Context(), "admin", "", map[string]string{"role": role}, 0)
		b.must(err)
		_, err = b.lab.Join(b.t.Context(), lab.JoinRequest{Token: token, Name: n, PublicKey: "U" + strings.ToUpper(n)})
		b.must(err)
		b.heard(n)
	}
}

func (b *bench) heard(names ...string) {
	b.t.Helper()
	for _, n := range names {
		b.must(b.lab.Heard(b.t.Context(), n, nil, map[string]string{"address": "10.0.0.1"}))
	}
}

const twoEdges = `
experiment: two
roles: {edge: {labels: {role: edge}, nodes: 2}}
timeout: 5m
steps:
  - {id: meet, barrier: in}
  - {id: try, role: edge, run: "true"}
`

const oneEdge = `
experiment: one
roles: {edge: {labels: {role: edge}}}
timeout: 5m
steps: [{id: try, role: edge, run: "true"}]
`

func (b *bench) run(id, text string) lab.Experiment {
	b.t.Helper()
	_, err := b.lab.Run(b.t.Context(), slipway.ExperimentRequest{ID: id, Product: "ferry", For: "candidate/c", File: "e.yaml", Text: text})
	b.must(err)
	b.drain()
	return b.get(id)
}

func (b *bench) get(id string) lab.Experiment {
	b.t.Helper()
	e, err := b.lab.Get(b.t.Context(), id)
	b.must(err)
	return e
}

// send is one sync of a node about its assignment in e, with new records.
func (b *bench) send(e lab.Experiment, node string, records ...lab.Record) lab.Reply {
	b.t.Helper()
	i := slices.IndexFunc(e.Members, func(m lab.Member) bool { return m.Node == node })
	if i < 0 {
		b.t.Fatalf("%s is not part of %s", node, e.Ref())
	}
	m := e.Members[i]
	for j := range records {
		b.seq[m.Assignment]++
		records[j].Seq = b.seq[m.Assignment]
	}
	return b.sync(node, lab.AssignmentReport{ID: m.Assignment, Epoch: m.Epoch, Records: records})
}

func (b *bench) sync(node string, reports ...lab.AssignmentReport) lab.Reply {
	b.t.Helper()
	b.heard(node)
	raw, err := json.Marshal(lab.Report{Assignments: reports})
	b.must(err)
	answer, err := b.lab.Sync(b.t.Context(), node, raw)
	b.must(err)
	var reply lab.Reply
	b.must(json.Unmarshal(answer, &reply))
	return reply
}

func ready() lab.Record   { return lab.Record{Kind: lab.RecordReady} }
func running() lab.Record { return lab.Record{Kind: lab.RecordRunning} }
func arrived(step string) lab.Record {
	return lab.Record{Kind: lab.RecordArrived, Step: &lab.StepResult{Step: step}}
}
func clean() lab.Record {
	return lab.Record{Kind: lab.RecordClean, Result: &lab.StepResult{Outcome: slipway.Pass}}
}
func finished(o slipway.Outcome, reason string) lab.Record {
	return lab.Record{Kind: lab.RecordFinished, Result: &lab.StepResult{Outcome: o, Reason: reason}}
}

func (b *bench) state(id, state string, outcome slipway.Outcome, reason string) lab.Experiment {
	b.t.Helper()
	b.drain()
	e := b.get(id)
	if e.State != state || e.Outcome != outcome || !strings.Contains(e.Reason, reason) {
		b.t.Fatalf("%s is %s %q: %s; want %s %q: ...%s...", id, e.State, e.Outcome, e.Reason, state, outcome, reason)
	}
	return e
}

func (b *bench) events(t slipway.EventType) int {
	b.t.Helper()
	events, err := b.db.Events(b.t.Context(), store.EventQuery{Type: string(t)})
	b.must(err)
	return len(events)
}

func TestWholeLife(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		b.join("edge-1", "edge-2")
		e := b.run("e", twoEdges)
		if e.State != lab.Reserved || len(e.Members) != 2 {
			t.Fatalf("%s: %s", e.State, e.Reason)
		}
		if again := b.run("e", "not even yaml: ["); again.Number != e.Number {
			t.Fatal("the same id became another experiment")
		}
		// The order comes whole as long as the node does not have it, then short.
		if r := b.sync("edge-1"); r.Order == nil || r.Order.Work == nil || r.Order.Phase != lab.PhasePrepare || len(r.Order.Work.Members) != 2 {
			t.Fatalf("%+v", r.Order)
		}
		if r := b.send(e, "edge-1", ready()); r.Order.Work != nil || r.Order.Phase != lab.PhasePrepare || r.Acks[r.Order.ID].Taken != 1 {
			t.Fatalf("%+v", r)
		}
		if r := b.send(e, "edge-2", ready()); r.Order.Phase != lab.PhaseRun {
			t.Fatalf("all are ready: %+v", r.Order)
		}
		if r := b.send(e, "edge-1", running(), arrived("meet")); len(r.Order.Open) != 0 || !slices.Equal(r.Order.Missing["in"], []string{"edge-2"}) {
			t.Fatalf("%+v", r.Order)
		}
		b.restart() // nothing of this is in memory
		if r := b.send(e, "edge-2", running(), arrived("meet")); !slices.Equal(r.Order.Open, []string{"in"}) {
			t.Fatalf("%+v", r.Order)
		}
		b.send(e, "edge-1", finished(slipway.Pass, ""))
		if r := b.send(e, "edge-2", finished(slipway.Pass, "")); r.Order.Phase != lab.PhaseClean {
			t.Fatalf("%+v", r.Order)
		}
		if r := b.send(e, "edge-1", clean()); len(r.Forget) != 1 || r.Order != nil {
			t.Fatalf("edge-1 is free before the others are: %+v", r)
		}
		b.send(e, "edge-2", clean())
		b.state("e", lab.Done, slipway.Pass, "all steps passed")
		for typ, want := range map[slipway.EventType]int{slipway.LeaseGranted: 2, slipway.LeaseEnded: 2, slipway.ExperimentQueued: 1, slipway.ExperimentStarted: 1, slipway.ExperimentFinished: 1} {
			if n := b.events(typ); n != want {
				t.Errorf("%d events %s, want %d", n, typ, want)
			}
		}
	})
}

func TestRepeatedAndReorderedReportsChangeNothing(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		b.join("edge-1")
		e := b.run("e", oneEdge)
		m := e.Members[0]
		report := lab.AssignmentReport{ID: m.Assignment, Epoch: m.Epoch, Records: []lab.Record{{Seq: 1, Kind: lab.RecordReady}, {Seq: 2, Kind: lab.RecordRunning}},
			Logs: []lab.LogReport{{Step: "try", Offset: 0, Data: []byte("hello ")}}}
		for range 3 {
			r := b.sync("edge-1", report)
			if r.Acks[m.Assignment].Taken != 2 || r.Acks[m.Assignment].Logs["try"] != 6 {
				t.Fatalf("%+v", r.Acks)
			}
		}
		// A gap is not taken; an overlap is, from where it is new; a step that the experiment does not have is not.
		report.Records = []lab.Record{{Seq: 4, Kind: lab.RecordFinished}}
		report.Logs = []lab.LogReport{{Step: "try", Offset: 9, Data: []byte("gap")}, {Step: "try", Offset: 4, Data: []byte("o world")}, {Step: "../x", Data: []byte("x")}}
		r := b.sync("edge-1", report)
		if r.Acks[m.Assignment].Taken != 2 || r.Acks[m.Assignment].Logs["try"] != 11 || len(r.Acks[m.Assignment].Logs) != 1 {
			t.Fatalf("%+v", r.Acks)
		}
		data, more, err := b.lab.Log(t.Context(), "1", "edge-1", "try", 3)
		if err != nil || !more || string(data) != "lo world" {
			t.Fatalf("%q %v %v", data, more, err)
		}
	})
}

// An agent that says too much, by error or on purpose, does not fill the database.
func TestWhatAnAgentSaysIsBounded(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		b.join("edge-1")
		e := b.run("e", oneEdge)
		m := e.Members[0]
		report := lab.AssignmentReport{ID: m.Assignment, Epoch: m.Epoch, Records: []lab.Record{
			{Seq: 1, Kind: lab.RecordReady},
			{Seq: 2, Kind: lab.RecordStep, Step: &lab.StepResult{Step: "nobody's", State: "finished", Outcome: slipway.Pass}},
			{Seq: 3, Kind: lab.RecordArrived, Step: &lab.StepResult{Step: "nobody's"}},
			{Seq: 4, Kind: lab.RecordArrived, Step: &lab.StepResult{Step: "try"}},
			{Seq: 5, Kind: lab.RecordArrived, Step: &lab.StepResult{Step: "try"}},
		}, Logs: []lab.LogReport{{Step: "try", Data: bytes.Repeat([]byte("x"), lab.MaxLog-10)}}}
		b.sync("edge-1", report)
		report.Logs[0].Offset = lab.MaxLog - 20
		for range 2 {
			if r := b.sync("edge-1", report); r.Acks[m.Assignment].Taken != 5 || r.Acks[m.Assignment].Logs["try"] != lab.MaxLog {
				t.Fatalf("%+v", r.Acks)
			}
			report.Logs[0].Offset = lab.MaxLog
		}
		got := b.get("e").Members[0]
		if len(got.Steps) != 0 || len(got.Arrived) != 1 {
			t.Errorf("steps %+v, arrived %v", got.Steps, got.Arrived)
		}
	})
}

func TestStaleEpochIsRefused(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		b.join("edge-1")
		e := b.run("e", oneEdge)
		m := e.Members[0]
		// The node falls silent; its lease ends; it is given to the second attempt when it comes back.
		b.clock.Advance(2 * time.Minute)
		b.drain()
		b.clock.Advance(2 * time.Minute)
		b.state("e", lab.Queued, "", "edge-1: not heard since 10:00:00")
		b.heard("edge-1")
		again := b.state("e", lab.Reserved, "", "")
		if again.Attempt != 2 || again.Members[0].Epoch != m.Epoch+1 {
			t.Fatalf("%+v", again.Members)
		}
		r := b.sync("edge-1", lab.AssignmentReport{ID: m.Assignment, Epoch: m.Epoch, Records: []lab.Record{{Seq: 1, Kind: lab.RecordReady}, {Seq: 2, Kind: lab.RecordFinished, Result: &lab.StepResult{Outcome: slipway.Fail}}}})
		if len(r.Forget) != 1 || r.Forget[0].ID != m.Assignment || r.Order == nil || r.Order.Epoch != m.Epoch+1 {
			t.Fatalf("%+v", r)
		}
		// The right name with the old epoch is as stale.
		now := again.Members[0]
		r = b.sync("edge-1", lab.AssignmentReport{ID: now.Assignment, Epoch: m.Epoch, Records: []lab.Record{{Seq: 1, Kind: lab.RecordReady}}})
		if len(r.Forget) != 1 || !strings.Contains(r.Forget[0].Reason, "epoch") {
			t.Fatalf("%+v", r)
		}
		if e := b.get("e"); e.State != lab.Reserved || e.Members[0].Taken != 0 {
			t.Fatalf("a stale report was taken: %+v", e.Members)
		}
	})
}

func TestDeathIsNotBlamedUnlessItCameLater(t *testing.T) {
	for name, c := range map[string]struct {
		dieFirst bool
		outcome  slipway.Outcome
	}{"it died first": {true, slipway.Infra}, "it died afterwards": {false, slipway.Fail}} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, b *bench) {
				b.join("edge-1", "edge-2")
				e := b.run("e", twoEdges)
				b.send(e, "edge-1", ready(), running())
				b.send(e, "edge-2", ready(), running())
				b.clock.Advance(5 * time.Second)
				if !c.dieFirst {
					b.heard("edge-2")
				}
				b.send(e, "edge-1", finished(slipway.Fail, "step try: exit status 1"))
				b.state("e", lab.Cleaning, slipway.Fail, "edge-1: step try")
				b.send(e, "edge-1", clean())
				for range 3 { // edge-2 never comes back
					b.clock.Advance(40 * time.Second)
					b.heard("edge-1")
					b.drain()
				}
				e = b.get("e")
				if c.dieFirst && (e.State != lab.Queued || len(e.Past) != 1 || e.Past[0].Outcome != slipway.Infra || !slices.Equal(e.Avoid, []string{"edge-2"})) {
					t.Fatalf("%s %s: %s %+v", e.State, e.Outcome, e.Reason, e.Past)
				}
				if !c.dieFirst && (e.State != lab.Done || e.Outcome != slipway.Fail) {
					t.Fatalf("%s %s: %s", e.State, e.Outcome, e.Reason)
				}
			})
		})
	}
}

func TestInfraIsTriedThreeTimes(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		b.join("edge-1", "edge-2", "edge-3")
		b.run("e", oneEdge)
		var used []string
		for range 3 {
			e := b.state("e", lab.Reserved, "", "")
			used = append(used, e.Members[0].Node)
			b.send(e, e.Members[0].Node, finished(slipway.Infra, "the disk is full"), clean())
		}
		slices.Sort(used)
		if !slices.Equal(used, []string{"edge-1", "edge-2", "edge-3"}) {
			t.Errorf("tried on %v", used)
		}
		b.state("e", lab.Done, slipway.Infra, "the disk is full")
		n, err := b.lab.Node(t.Context(), "edge-1")
		if err != nil || !strings.Contains(n.Suspect, "the disk is full") {
			t.Errorf("%+v, %v", n, err)
		}
	})
}

func TestDeadlines(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		b.join("edge-1")
		queued := b.run("queued", strings.ReplaceAll(oneEdge, "role: edge}}", "role: moon}}"))
		if queued.Reason != "unsatisfiable: no node has role=moon, which role edge needs" {
			t.Errorf("reason %q", queued.Reason)
		}
		e := b.run("slow", oneEdge)
		b.send(e, "edge-1", ready(), running())
		started := b.clock.Now()
		for b.clock.Now().Before(started.Add(5*time.Minute + 29*time.Second)) {
			b.clock.Advance(10 * time.Second)
			b.sync("edge-1", lab.AssignmentReport{ID: e.Members[0].Assignment, Epoch: e.Members[0].Epoch})
			b.drain()
		}
		b.state("slow", lab.Cleaning, slipway.Timeout, "edge-1 not finished in 5m0s")
		b.clock.Advance(5 * time.Minute)
		b.state("slow", lab.Done, slipway.Timeout, "")
		b.clock.Advance(time.Hour)
		b.state("queued", lab.Done, slipway.Infra, "got no nodes in 1h0m0s: unsatisfiable")
	})
}

func TestServersAbsenceIsNotTheNodes(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		b.join("edge-1")
		e := b.run("e", oneEdge)
		b.send(e, "edge-1", ready(), running())
		b.clock.Advance(3 * time.Hour) // the server was off
		b.restart()
		b.drain()
		if n, err := b.lab.Node(t.Context(), "edge-1"); err != nil || n.State != lab.NodeOnline {
			t.Fatalf("%+v, %v", n, err)
		}
		b.state("e", lab.Running, "", "")
		b.clock.Advance(5 * time.Second)
		b.send(e, "edge-1", finished(slipway.Pass, ""))
		b.send(e, "edge-1", clean())
		b.state("e", lab.Done, slipway.Pass, "")
	})
}

func TestNodesComeAndGo(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		b.join("edge-1")
		b.drain()
		b.clock.Advance(9 * time.Second)
		b.drain()
		if n, err := b.lab.Node(t.Context(), "edge-1"); err != nil || n.State != lab.NodeOnline {
			t.Fatalf("%+v, %v", n, err)
		}
		b.clock.Advance(time.Second)
		b.drain()
		n, err := b.lab.Node(t.Context(), "edge-1")
		if err != nil || n.State != lab.NodeOffline || n.Reason != "not heard since 10:00:00" {
			t.Fatalf("%+v, %v", n, err)
		}
		b.heard("edge-1")
		if got := []int{b.events(slipway.NodeOnline), b.events(slipway.NodeOffline)}; !slices.Equal(got, []int{2, 1}) {
			t.Errorf("online, offline: %v", got)
		}
		b.must(b.lab.Drain(t.Context(), "edge-1", "new disk"))
		e := b.run("e", oneEdge)
		if e.State != lab.Queued || e.Reason != "waits for 1 node with role=edge: edge-1 is drained: new disk, none other" {
			t.Errorf("%s: %s", e.State, e.Reason)
		}
		b.must(b.lab.Drain(t.Context(), "edge-1", ""))
		b.state("e", lab.Reserved, "", "")
		// A node that is removed takes its experiment's attempt with it.
		if _, err := b.lab.Remove(t.Context(), "edge-1", "admin"); err != nil {
			t.Fatal(err)
		}
		b.state("e", lab.Queued, "", "edge-1: its lease was taken away")
		if _, ok, err := b.lab.NodeByKey(t.Context(), "UEDGE-1"); ok || err != nil {
			t.Errorf("the key of a removed node is known: %v", err)
		}
		// Under the same name again, the epoch goes on.
		b.join("edge-1")
		if e := b.state("e", lab.Reserved, "", ""); e.Members[0].Epoch < 3 {
			t.Errorf("epoch %d", e.Members[0].Epoch)
		}
	})
}

func TestJoinTokens(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		token, expires, err := b.lab.CreateJoinToken(t.Context(), "admin", "edge-1", map[string]string{"site": "deck"}, time.Minute)
		if err != nil || !expires.Equal(b.clock.Now().Add(time.Minute)) {
			t.Fatal(expires, err)
		}
		join := func(token, name, key string) error {
			_, err := b.lab.Join(t.Context(), lab.JoinRequest{Token: token, Name: name, PublicKey: key, Labels: map[string]string{"site": "moon", "gpu": "yes"}})
			return err
		}
		for _, c := range []struct {
			what             string
			token, name, key string
			kind             slipway.Kind
		}{
			{"unknown", "x", "edge-1", "UA", slipway.Unauthenticated},
			{"for another name", token, "edge-2", "UA", slipway.Forbidden},
			{"not a name", token, "Edge 1", "UA", slipway.Invalid},
			{"good", token, "edge-1", "UA", ""},
			{"used", token, "edge-1", "UB", slipway.Unauthenticated},
			{"used, other name", token, "edge-3", "UB", slipway.Unauthenticated},
			{"the answer was lost", token, "edge-1", "UA", ""},
		} {
			if err := join(c.token, c.name, c.key); slipway.KindOf(err) != c.kind {
				t.Errorf("%s: %v", c.what, err)
			}
		}
		n, err := b.lab.Node(t.Context(), "edge-1")
		if err != nil || n.Labels["site"] != "deck" || n.Labels["gpu"] != "yes" {
			t.Errorf("%v, %v", n.Labels, err)
		}
		late, _, err := b.lab.CreateJoinToken(t.Context(), "admin", "", nil, time.Minute)
		b.must(err)
		b.clock.Advance(time.Minute)
		if err := join(late, "edge-4", "UD"); !slipway.Is(err, slipway.Unauthenticated) || !strings.Contains(err.Error(), "expired") {
			t.Errorf("expired: %v", err)
		}
	})
}

func TestCancel(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		b.join("edge-1")
		e := b.run("runs", oneEdge)
		b.run("waits", oneEdge)
		b.must(b.lab.Cancel(t.Context(), "waits", "not needed"))
		b.state("waits", lab.Done, slipway.Cancelled, "not needed")
		b.must(b.lab.Cancel(t.Context(), "runs", ""))
		b.state("runs", lab.Cleaning, slipway.Cancelled, "cancelled")
		if r := b.send(e, "edge-1", finished(slipway.Cancelled, "stopped")); r.Order.Phase != lab.PhaseClean {
			t.Fatalf("%+v", r.Order)
		}
		b.send(e, "edge-1", clean())
		b.state("runs", lab.Done, slipway.Cancelled, "cancelled")
		b.must(b.lab.Cancel(t.Context(), "runs", "again"))
		if err := b.lab.Cancel(t.Context(), "none", ""); !slipway.Is(err, slipway.NotFound) {
			t.Errorf("%v", err)
		}
	})
}

func TestBadRequests(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		for what, r := range map[string]slipway.ExperimentRequest{
			"no id":            {Text: oneEdge},
			"not yaml":         {ID: "e", Text: "a: ["},
			"unknown artifact": {ID: "e", Text: strings.ReplaceAll(oneEdge, "role: edge}}}", "role: edge}, artifacts: [relay]}}")},
			"a path":           {ID: "e", Text: strings.ReplaceAll(oneEdge, "id: try", "id: ../try")},
			"a barrier twice":  {ID: "e", Text: oneEdge[:strings.Index(oneEdge, "steps:")] + "steps: [{id: a, barrier: x}, {id: b, barrier: x}]\n"},
		} {
			if _, err := b.lab.Run(t.Context(), r); !slipway.Is(err, slipway.Invalid) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if all, err := b.lab.List(t.Context(), "", nil, "", 0); err != nil || len(all) != 0 {
			t.Errorf("%v, %v", all, err)
		}
	})
}

// TestNobodyGetsANodeTwice throws many experiments at few nodes, from many goroutines, and checks every lease.
func TestNobodyGetsANodeTwice(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		b.join("edge-1", "edge-2", "edge-3")
		errs := make(chan error)
		const count = 30
		for i := range count {
			go func() {
				text := oneEdge
				if i%3 == 0 {
					text = twoEdges
				}
				_, err := b.lab.Run(context.WithoutCancel(t.Context()), slipway.ExperimentRequest{ID: fmt.Sprint("e", i), Text: text})
				errs <- err
			}()
		}
		for range count {
			b.must(<-errs)
		}
		for done := 0; done < count; {
			b.drain()
			active, err := b.lab.List(t.Context(), "", []string{lab.Reserved}, "", 0)
			b.must(err)
			if len(active) == 0 {
				t.Fatalf("stuck after %d", done)
			}
			holder := map[string]string{}
			for _, e := range active {
				for _, m := range e.Members {
					if holder[m.Node] != "" {
						t.Fatalf("%s has %s, and so has %s", e.Ref(), m.Node, holder[m.Node])
					}
					holder[m.Node] = e.Ref()
				}
			}
			for _, e := range active {
				for _, m := range e.Members {
					b.send(e, m.Node, ready(), running(), finished(slipway.Pass, ""))
				}
				for _, m := range e.Members {
					b.send(e, m.Node, clean())
				}
				b.drain()
				b.state(e.Request.ID, lab.Done, slipway.Pass, "")
				done++
			}
		}
		if n := b.events(slipway.ExperimentFinished); n != count {
			t.Errorf("%d finished", n)
		}
	})
}
