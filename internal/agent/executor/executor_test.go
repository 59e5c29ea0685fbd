package executor

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/lab"
)

// steps parses a graph: "id[role]<after,after" with & for the background and ! for a barrier.
func steps(text string) []spec.ExperimentStep {
	var out []spec.ExperimentStep
	for _, f := range strings.Fields(text) {
		head, after, _ := strings.Cut(f, "<")
		id, role, _ := strings.Cut(strings.TrimRight(head, "&!]"), "[")
		s := spec.ExperimentStep{ID: id, Role: role, Run: "true", Background: strings.HasSuffix(head, "&")}
		if strings.HasSuffix(head, "!") {
			s.Run, s.Barrier = "", "meet"
		}
		if after != "" {
			s.After = strings.Split(after, ",")
		}
		out = append(out, s)
	}
	return out
}

func TestWhatMayStart(t *testing.T) {
	for name, c := range map[string]struct {
		graph, role string
		state       map[string]stepState
		remote      []string
		want        string
		complete    bool
	}{
		"the first, of its own role":   {"a[x] b[y]", "x", nil, nil, "a", false},
		"both without an order":        {"a[x] b[x]", "x", nil, nil, "a b", false},
		"not before the one above":     {"a[x] b[x]<a", "x", map[string]stepState{"a": stepRunning}, nil, "", false},
		"after it":                     {"a[x] b[x]<a", "x", map[string]stepState{"a": stepPassed}, nil, "b", false},
		"never after a failure":        {"a[x] b[x]<a", "x", map[string]stepState{"a": stepFailed}, nil, "", false},
		"once the background runs":     {"a[x]& b[x]<a", "x", map[string]stepState{"a": stepRunning}, nil, "b", false},
		"not before another role's":    {"a[y] b[x]<a", "x", nil, nil, "", false},
		"after another role's":         {"a[y] b[x]<a", "x", nil, []string{"a"}, "b", false},
		"both arms of a fork":          {"a[x] b[x]<a c[x]<a d[x]<b,c", "x", map[string]stepState{"a": stepPassed}, nil, "b c", false},
		"the join needs both":          {"a[x] b[x]<a c[x]<a d[x]<b,c", "x", map[string]stepState{"a": stepPassed, "b": stepPassed, "c": stepRunning}, nil, "", false},
		"a barrier needs its own only": {"a[x] b[y] m!<a,b", "x", map[string]stepState{"a": stepPassed}, nil, "m", false},
		"complete with a background":   {"a[x]& b[x]<a c[y]", "x", map[string]stepState{"a": stepRunning, "b": stepPassed}, nil, "", true},
		"not complete at a barrier":    {"m!", "x", map[string]stepState{"m": stepWaiting}, nil, "", false},
		"nothing to do":                {"a[y]", "x", nil, nil, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			g := steps(c.graph)
			if c.state == nil {
				c.state = map[string]stepState{}
			}
			var got []string
			for _, i := range startable(g, c.role, c.state, c.remote) {
				got = append(got, g[i].ID)
			}
			if strings.Join(got, " ") != c.want || complete(g, c.role, c.state) != c.complete {
				t.Errorf("may start %v, complete %v", got, complete(g, c.role, c.state))
			}
		})
	}
}

func open(t *testing.T, root string) *Executor {
	t.Helper()
	x, err := New(Config{Root: root, Blobs: nothing{}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

type nothing struct{}

func (nothing) Open(_ context.Context, d string) (io.ReadCloser, error) {
	return nil, slipway.Errorf(slipway.NotFound, "no %s", d)
}

func give(t *testing.T, x *Executor, r lab.Reply) error {
	t.Helper()
	raw, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return x.Apply(t.Context(), raw)
}

func order(id string, epoch int64) *lab.Order {
	return &lab.Order{ID: id, Epoch: epoch, Phase: lab.PhasePrepare, Work: &lab.Work{Experiment: "experiment/1", Role: "x", Node: "n", Steps: steps("a[x]")}}
}

func TestOlderEpochIsRefusedForEver(t *testing.T) {
	root := t.TempDir()
	x := open(t, root)
	if err := give(t, x, lab.Reply{Order: order("2.1-n", 7)}); err != nil {
		t.Fatal(err)
	}
	if err := give(t, x, lab.Reply{Order: order("1.1-n", 6)}); !slipway.Is(err, slipway.Conflict) || !strings.Contains(err.Error(), "epoch 6") {
		t.Fatalf("an older epoch: %v", err)
	}
	again := open(t, root) // the epoch is on disk
	if err := give(t, again, lab.Reply{Order: order("1.1-n", 6)}); !slipway.Is(err, slipway.Conflict) {
		t.Fatalf("an older epoch after a restart: %v", err)
	}
	if err := give(t, again, lab.Reply{Order: &lab.Order{ID: "2.1-n", Epoch: 8}}); !slipway.Is(err, slipway.Conflict) {
		t.Fatalf("another epoch for the same assignment: %v", err)
	}
	if err := give(t, again, lab.Reply{Order: order("../../etc", 9)}); !slipway.Is(err, slipway.Invalid) {
		t.Fatalf("an id that is a path: %v", err)
	}
}

func reported(t *testing.T, x *Executor) lab.Report {
	t.Helper()
	raw, err := x.Report(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var r lab.Report
	if err := json.Unmarshal(raw, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestReportsGoOnUntilTheyAreAcknowledged(t *testing.T) {
	root := t.TempDir()
	x := open(t, root)
	if err := give(t, x, lab.Reply{Order: order("1.1-n", 1)}); err != nil {
		t.Fatal(err)
	}
	a := x.all["1.1-n"]
	for range 3 {
		a.record(lab.Record{Kind: lab.RecordStep, Step: &lab.StepResult{Step: "a"}})
	}
	if err := note(a.logFile("a"), "some output"); err != nil {
		t.Fatal(err)
	}
	seqs := func(x *Executor) (out []int64) {
		for _, r := range reported(t, x).Assignments[0].Records {
			if r.Order != nil {
				t.Errorf("what stays on the node went out: %+v", r)
			}
			out = append(out, r.Seq)
		}
		return out
	}
	for range 2 {
		if got := seqs(x); !slices.Equal(got, []int64{1, 2, 3, 4}) {
			t.Fatalf("reported %v", got)
		}
	}
	if err := give(t, x, lab.Reply{Acks: map[string]lab.Ack{"1.1-n": {Taken: 3, Logs: map[string]int64{"a": 5}}}}); err != nil {
		t.Fatal(err)
	}
	if got := seqs(x); !slices.Equal(got, []int64{4}) {
		t.Fatalf("reported %v", got)
	}
	if logs := reported(t, x).Assignments[0].Logs; len(logs) != 1 || logs[0].Offset != 5 || string(logs[0].Data) != "output" {
		t.Fatalf("%+v", logs)
	}
	// Another process knows nothing of the acknowledgement, and says everything once more.
	if got := seqs(open(t, root)); !slices.Equal(got, []int64{1, 2, 3, 4}) {
		t.Fatalf("reported %v", got)
	}
}

func TestReportsStayBelowWhatTheBusCarries(t *testing.T) {
	x := open(t, t.TempDir())
	if err := give(t, x, lab.Reply{Order: order("1.1-n", 1)}); err != nil {
		t.Fatal(err)
	}
	a := x.all["1.1-n"]
	for i := range 400 {
		a.record(lab.Record{Kind: lab.RecordStep, Step: &lab.StepResult{Step: fmt.Sprint(i), Tail: strings.Repeat("x", tailBytes)}})
	}
	if err := note(a.logFile("a"), strings.Repeat("line\n", 1<<20)); err != nil {
		t.Fatal(err)
	}
	var taken, logged int64
	for rounds := 0; taken < 401 || logged < 5<<20; rounds++ {
		if rounds > 100 {
			t.Fatalf("stuck at %d records, %d bytes", taken, logged)
		}
		raw, err := x.Report(t.Context())
		if err != nil || len(raw) > 2<<20 {
			t.Fatalf("a report of %d bytes, %v", len(raw), err)
		}
		r := reported(t, x).Assignments[0]
		taken += int64(len(r.Records))
		for _, l := range r.Logs {
			logged += int64(len(l.Data))
		}
		if err := give(t, x, lab.Reply{Acks: map[string]lab.Ack{"1.1-n": {Taken: taken, Logs: map[string]int64{"a": logged}}}}); err != nil {
			t.Fatal(err)
		}
		if taken < 401 || logged < 5<<20 {
			<-x.Changed() // there is more, so the agent is told to sync again
		}
	}
}

// stuck is a server that takes requests and never answers.
type stuck struct{ asked chan struct{} }

func (s stuck) Open(ctx context.Context, _ string) (io.ReadCloser, error) {
	select {
	case s.asked <- struct{}{}:
	default:
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

// A node whose artifacts never come is free again as soon as the server says so, and is not to blame.
func TestADownloadThatHangsCanBeStopped(t *testing.T) {
	from := stuck{make(chan struct{}, 1)}
	x, err := New(Config{Root: t.TempDir(), Blobs: from, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- x.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	o := order("1.1-n", 1)
	o.Work.Artifacts = map[string]string{"app": "sha256:" + strings.Repeat("a", 64)}
	o.Work.Timeout = time.Hour
	if err := give(t, x, lab.Reply{Order: o}); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(10 * time.Second)
	select {
	case <-from.asked:
	case <-deadline:
		t.Fatal("the artifact is not asked for")
	}
	if err := give(t, x, lab.Reply{Order: &lab.Order{ID: o.ID, Epoch: 1, Phase: lab.PhaseClean, Reason: "cancelled by eve"}}); err != nil {
		t.Fatal(err)
	}
	for {
		records := reported(t, x).Assignments[0].Records
		if last := records[len(records)-1]; last.Kind == lab.RecordClean {
			finished := records[len(records)-2]
			if finished.Kind != lab.RecordFinished || finished.Result.Outcome != slipway.Cancelled || !strings.Contains(finished.Result.Reason, "cancelled by eve") {
				t.Errorf("finished as %+v", finished.Result)
			}
			return
		}
		select {
		case <-x.Changed():
		case <-deadline:
			t.Fatalf("the node does not come free: %+v", records)
		}
	}
}

// What an experiment's file sets cannot change who the members are.
func TestMembersAddressesCannotBeSet(t *testing.T) {
	a := &assignment{x: &Executor{}, order: *order("1.1-n", 1)}
	a.order.Work.Members = []lab.Member{{Node: "m", Role: "x-y", Address: "10.0.0.1"}, {Node: "n", Role: "x-y"}}
	a.order.Work.Env = map[string]string{"NODE_X_Y": "evil", "NODES_X_Y": "evil", "NODE": "evil", "ODD": "kept"}
	env := a.env()
	for _, want := range []string{"NODE_X_Y=10.0.0.1", "NODES_X_Y=10.0.0.1 n", "NODE=n", "ODD=kept"} {
		if !slices.Contains(env, want) {
			t.Errorf("no %s in %q", want, env)
		}
	}
}
