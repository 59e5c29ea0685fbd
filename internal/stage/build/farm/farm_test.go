package farm_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"
	"google.golang.org/protobuf/proto"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/execution"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build/farm"
	"slipway.dev/slipway/internal/store"
	"slipway.dev/slipway/internal/store/storetest"
)

// yard is a farm on a real database and a real store. The tests play its workers.
type yard struct {
	*farm.Farm[farm.Tx]
	t    testing.TB
	db   *store.DB
	dir  string
	disk *artifact.Disk
	cfg  farm.Config

	mu   sync.Mutex
	told []string // what the owners were told
}

func (y *yard) say(what, id string, t farm.Task) error {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.told = append(y.told, fmt.Sprintf("%s %s %s", id, what, t.Outcome))
	return nil
}

func (y *yard) Started(_ context.Context, _ farm.Tx, id string, t farm.Task) error {
	return y.say("started", id, t)
}
func (y *yard) Requeued(_ context.Context, _ farm.Tx, id string, t farm.Task) error {
	return y.say("requeued", id, t)
}
func (y *yard) Ended(_ context.Context, _ farm.Tx, id string, t farm.Task) error {
	return y.say("ended", id, t)
}

func (y *yard) heard() []string {
	y.mu.Lock()
	defer y.mu.Unlock()
	return slices.Clone(y.told)
}

func newYard(t testing.TB, db *store.DB, cfg farm.Config) *yard {
	y := &yard{t: t, db: db, dir: t.TempDir(), cfg: cfg}
	y.cfg.Logs = filepath.Join(y.dir, "logs")
	y.cfg.Local = "here"
	if y.cfg.Backoff == nil {
		y.cfg.Backoff = func(int) time.Duration { return time.Millisecond }
	}
	t.Cleanup(func() { artifact.RemoveTree(filepath.Join(y.dir, "artifacts")) })
	y.open()
	return y
}

// open starts a farm on what the last one left, as after a crash: nothing of the last one is stopped or told.
func (y *yard) open() {
	y.t.Helper()
	var err error
	if y.disk, err = artifact.OpenDisk(filepath.Join(y.dir, "artifacts")); err != nil {
		y.t.Fatal(err)
	}
	scope := store.Scope(y.db, func(tx *store.Tx) farm.Tx { return tx })
	y.Farm, err = farm.New(scope, y.disk, map[string]farm.Owner[farm.Tx]{"test": y, farm.Call: farm.Calls[farm.Tx]{}}, y.cfg)
	if err != nil {
		y.t.Fatal(err)
	}
	if err := y.Start(y.t.Context()); err != nil {
		y.t.Fatal(err)
	}
	f := y.Farm
	y.t.Cleanup(func() {
		if err := f.Stop(context.Background()); err != nil {
			y.t.Error(err)
		}
	})
}

// ask submits an action for an owner, "test/1".
func (y *yard) ask(owner, action string, more ...func(*farm.Submission)) farm.Task {
	y.t.Helper()
	s := farm.Submission{Action: artifact.DigestOf([]byte(action)), Name: action, Owner: "test/" + owner, Header: "# " + action}
	for _, m := range more {
		m(&s)
	}
	var t farm.Task
	err := y.db.Update(y.t.Context(), func(tx *store.Tx) (err error) {
		t, err = y.Submit(y.t.Context(), tx, s)
		return err
	})
	if err != nil {
		y.t.Fatal(err)
	}
	return t
}

func (y *yard) leave(owner, task string) (gone bool) {
	y.t.Helper()
	err := y.db.Update(y.t.Context(), func(tx *store.Tx) (err error) {
		gone, err = y.Leave(y.t.Context(), tx, task, "test/"+owner, "nobody wants it")
		return err
	})
	if err != nil {
		y.t.Fatal(err)
	}
	return gone
}

// claim claims as a worker; wait 0 only looks.
func (y *yard) claim(worker string, wait time.Duration) *farm.Claim {
	y.t.Helper()
	c, err := y.Claim(y.t.Context(), farm.ClaimRequest{Worker: worker, Host: "h", Slots: 1, Wait: wait})
	if err != nil {
		y.t.Fatal(err)
	}
	return c
}

func (y *yard) task(id string) farm.Task {
	y.t.Helper()
	t, err := y.Task(y.t.Context(), id)
	if err != nil {
		y.t.Fatal(err)
	}
	return t
}

// result is that of an action which exited with a code and left one file.
func (y *yard) result(code int32, text string) *farm.Result {
	y.t.Helper()
	d, size, err := y.disk.Put(y.t.Context(), strings.NewReader(text))
	if err != nil {
		y.t.Fatal(err)
	}
	data, err := proto.Marshal(&repb.ActionResult{ExitCode: code, OutputFiles: []*repb.OutputFile{{Path: "f", Digest: artifact.Proto(d, size)}}})
	if err != nil {
		y.t.Fatal(err)
	}
	return &farm.Result{Status: execution.Exited, Action: data, Wall: time.Second}
}

func (y *yard) finish(c *farm.Claim, r farm.Report) error {
	return y.Finish(y.t.Context(), c.Hold, r)
}

func (y *yard) log(id string) string {
	y.t.Helper()
	r, err := y.disk.Open(y.t.Context(), y.task(id).Log)
	if err != nil {
		y.t.Fatal(err)
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		y.t.Fatal(err)
	}
	return string(text)
}

func TestOneTaskForEqualActions(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		y := newYard(t, db, farm.Config{})
		a, b := y.ask("1", "x"), y.ask("2", "x")
		if a.ID != b.ID {
			t.Fatalf("tasks %s and %s of one action", a.ID, b.ID)
		}
		c := y.claim("w", time.Minute)
		if c == nil || c.Task != a.ID || y.claim("w2", 0) != nil {
			t.Fatalf("%+v", c)
		}
		if n, err := y.Append(t.Context(), c.Hold, 0, []byte("working\n")); n != 8 || err != nil {
			t.Fatal(n, err)
		}
		if err := y.finish(c, farm.Report{Result: y.result(0, "out")}); err != nil {
			t.Fatal(err)
		}
		want := []string{"1 started ", "2 started ", "1 ended pass", "2 ended pass"}
		if got := y.heard(); !slices.Equal(got, want) {
			t.Fatalf("%q", got)
		}
		if got := y.log(a.ID); got != "# x\nworking\n# pass: passed in 1s\n" {
			t.Fatalf("%q", got)
		}
		// Asked for again, the cache answers, as long as it is whole.
		again := y.ask("3", "x")
		if y.claim("w", 0) != nil || y.task(again.ID).Outcome != slipway.Pass || !strings.Contains(y.task(again.ID).Reason, "cache") {
			t.Fatalf("%+v", y.task(again.ID))
		}
		hex, _ := artifact.ParseDigest(artifact.DigestOf([]byte("out")))
		if err := os.Remove(filepath.Join(y.dir, "artifacts", "blobs", hex[:2], hex)); err != nil {
			t.Fatal(err)
		}
		y.ask("4", "x")
		if c := y.claim("w", 0); c == nil {
			t.Fatal("the cache answered although a blob is gone")
		}
		// Who wants a run of his own gets one, also while another is in flight.
		own := y.ask("5", "x", func(s *farm.Submission) { s.NoCache = true })
		if c := y.claim("w2", 0); c == nil || c.Task != own.ID {
			t.Fatalf("%+v", c)
		}
	})
}

func TestFailuresAreNotCached(t *testing.T) {
	y := newYard(t, storetest.Open(t), farm.Config{})
	first := y.ask("1", "x")
	c := y.claim("w", time.Minute)
	if _, err := y.Append(t.Context(), c.Hold, 0, []byte("wire.go:12: undefined: x")); err != nil {
		t.Fatal(err)
	}
	if err := y.finish(c, farm.Report{Result: y.result(2, "")}); err != nil {
		t.Fatal(err)
	}
	if got := y.task(first.ID); got.Outcome != slipway.Fail || got.Reason != "exit code 2 after 1s: wire.go:12: undefined: x" {
		t.Fatalf("%+v", got)
	}
	y.ask("2", "x")
	if y.claim("w", 0) == nil {
		t.Fatal("a failure was cached")
	}
}

// A claim that is not renewed goes to another worker, and the late one is refused in everything that it says.
func TestLateWorkerIsFenced(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		y := newYard(t, db, farm.Config{Lease: 200 * time.Millisecond})
		task := y.ask("1", "x")
		late := y.claim("late", time.Minute)
		if _, err := y.Append(t.Context(), late.Hold, 0, []byte("half")); err != nil {
			t.Fatal(err)
		}
		c := y.claim("other", time.Minute) // waits for the expiry
		if c == nil || c.Task != task.ID || c.Epoch != late.Epoch+1 {
			t.Fatalf("%+v after %+v", c, late)
		}
		if _, err := y.Append(t.Context(), late.Hold, 4, []byte("more")); !slipway.Is(err, slipway.Conflict) {
			t.Error(err)
		}
		if _, err := y.Renew(t.Context(), late.Hold); !slipway.Is(err, slipway.Conflict) {
			t.Error(err)
		}
		if err := y.finish(late, farm.Report{Result: y.result(0, "late")}); !slipway.Is(err, slipway.Conflict) {
			t.Error(err)
		}
		if err := y.finish(c, farm.Report{Result: y.result(0, "good")}); err != nil {
			t.Fatal(err)
		}
		if got := y.task(task.ID); got.Outcome != slipway.Pass || got.Worker != "other" || len(got.Failed) != 1 || got.Failed[0].Worker != "late" {
			t.Fatalf("%+v", got)
		}
		if log := y.log(task.ID); strings.Contains(log, "half") {
			t.Errorf("the log has what the late worker said: %q", log)
		}
		if got, want := y.heard(), []string{"1 started ", "1 requeued ", "1 started ", "1 ended pass"}; !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
		// A worker that renews keeps its claim.
		kept := y.ask("2", "y")
		c = y.claim("other", time.Minute)
		for range 12 { // four leases
			if o, err := y.Renew(t.Context(), c.Hold); err != nil || o.Stop != "" {
				t.Fatal(o, err)
			}
		}
		if got := y.task(kept.ID); got.State != farm.Claimed || got.Epoch != 1 {
			t.Fatalf("%+v", got)
		}
	})
}

func TestFaultsGoElsewhereAndEnd(t *testing.T) {
	y := newYard(t, storetest.Open(t), farm.Config{})
	y.claim("a", 0)
	y.claim("b", 0) // both are there
	task := y.ask("1", "x")
	for i, name := range []string{"a", "b", "a"} {
		c := y.claim(name, time.Minute)
		if c == nil {
			t.Fatalf("%s got nothing; %s", name, y.task(task.ID).Reason)
		}
		if err := y.finish(c, farm.Report{Fault: fmt.Sprintf("fault %d", i), Kind: slipway.Unavailable}); err != nil {
			t.Fatal(err)
		}
		if i == 0 && y.claim("a", 0) != nil {
			t.Fatal("offered to the worker that failed it, although another is there")
		}
	}
	got := y.task(task.ID)
	if got.Outcome != slipway.Infra || got.Reason != "fault 0 (on a); fault 1 (on b); fault 2 (on a)" {
		t.Fatalf("%+v", got)
	}
	// What would fail everywhere is not tried everywhere.
	hopeless := y.ask("2", "y")
	if err := y.finish(y.claim("a", time.Minute), farm.Report{Fault: "the input src is not there", Kind: slipway.NotFound}); err != nil {
		t.Fatal(err)
	}
	if got := y.task(hopeless.ID); got.Outcome != slipway.Infra || got.Fault != slipway.NotFound {
		t.Fatalf("%+v", got)
	}
	// What is given back is no fault.
	back := y.ask("3", "z")
	if err := y.finish(y.claim("a", time.Minute), farm.Report{}); err != nil {
		t.Fatal(err)
	}
	if got := y.task(back.ID); got.State != farm.Queued || len(got.Failed) != 0 {
		t.Fatalf("%+v", got)
	}
}

func TestLeave(t *testing.T) {
	y := newYard(t, storetest.Open(t), farm.Config{})
	a := y.ask("1", "x")
	y.ask("2", "x")
	if !y.leave("1", a.ID) || y.task(a.ID).State != farm.Queued {
		t.Fatal("one of two owners ended the task")
	}
	c := y.claim("w", time.Minute)
	if y.leave("2", a.ID) {
		t.Fatal("a running task is gone at once")
	}
	if o, err := y.Renew(t.Context(), c.Hold); err != nil || o.Stop != "nobody wants it" {
		t.Fatal(o, err)
	}
	if other := y.ask("3", "x"); other.ID == a.ID {
		t.Fatal("joined a task that stops")
	}
	if err := y.finish(c, farm.Report{}); err != nil {
		t.Fatal(err)
	}
	if got := y.task(a.ID); got.Outcome != slipway.Cancelled || got.Reason != "nobody wants it" {
		t.Fatalf("%+v", got)
	}
	q := y.ask("4", "q")
	if !y.leave("4", q.ID) || y.task(q.ID).Outcome != slipway.Cancelled {
		t.Fatalf("%+v", y.task(q.ID))
	}
}

// The server goes away while a worker elsewhere and one of its own slots run tasks.
func TestServerRestart(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		y := newYard(t, db, farm.Config{Lease: 5 * time.Second})
		far, own, waits := y.ask("1", "far"), y.ask("2", "own"), y.ask("3", "waits")
		c := y.claim("far", time.Minute)
		if _, err := y.Append(t.Context(), c.Hold, 0, []byte("before\nslw_abc")); err != nil {
			t.Fatal(err)
		}
		if c, err := y.Local().Claim(t.Context(), farm.ClaimRequest{Worker: "here", Host: "h", Slots: 1, Wait: time.Minute}); err != nil || c.Task != own.ID {
			t.Fatal(c, err)
		}
		y.open()
		if got := y.task(own.ID); got.State != farm.Queued || len(got.Failed) != 0 {
			t.Fatalf("%+v", got)
		}
		// The worker learns how far the log has come, and goes on from there. What was held back as a possible secret is sent again.
		n, err := y.Append(t.Context(), c.Hold, 14, []byte("after\n"))
		if err != nil || n != 7 {
			t.Fatal(n, err)
		}
		if n, err = y.Append(t.Context(), c.Hold, 7, []byte("slw_abc after\n")); err != nil || n != 21 {
			t.Fatal(n, err)
		}
		if err := y.finish(c, farm.Report{Result: y.result(0, "x")}); err != nil {
			t.Fatal(err)
		}
		if got := y.log(far.ID); got != "# far\nbefore\nslw_abc after\n# pass: passed in 1s\n" {
			t.Fatalf("%q", got)
		}
		if got := y.task(far.ID); got.Outcome != slipway.Pass || got.Epoch != 1 {
			t.Fatalf("%+v", got)
		}
		for _, want := range []string{own.ID, waits.ID} {
			if c := y.claim("w", 0); c == nil || c.Task != want {
				t.Fatalf("%+v, not %s", c, want)
			}
		}
	})
}

func TestHostsAndLabels(t *testing.T) {
	y := newYard(t, storetest.Open(t), farm.Config{})
	y.ask("1", "x", func(s *farm.Submission) { s.Host = "another" })
	y.ask("2", "y", func(s *farm.Submission) { s.Labels = map[string]string{"gpu": "yes"} })
	if c := y.claim("w", 0); c != nil {
		t.Fatalf("%+v", c)
	}
	tasks, err := y.Tasks(t.Context(), slipway.Query{})
	if err != nil || !strings.Contains(tasks[0].Reason, "the host tools another") || !strings.Contains(tasks[1].Reason, "the label gpu=yes") {
		t.Fatalf("%+v %v", tasks, err)
	}
	c, err := y.Claim(t.Context(), farm.ClaimRequest{Worker: "gpu", Host: "h", Labels: map[string]string{"gpu": "yes"}, Slots: 1})
	if err != nil || c == nil {
		t.Fatal(c, err)
	}
	if _, err := y.Claim(t.Context(), farm.ClaimRequest{Worker: "here"}); !slipway.Is(err, slipway.Invalid) {
		t.Fatal("a worker elsewhere has the name of the server's slots", err)
	}
	workers, err := y.Workers(t.Context())
	if err != nil || len(workers) != 2 || workers[0].Name != "gpu" || len(workers[0].Tasks) != 1 || workers[1].State != "online" {
		t.Fatalf("%+v %v", workers, err)
	}
}

// A result that names what is not there is not taken.
func TestResultsAreWhole(t *testing.T) {
	y := newYard(t, storetest.Open(t), farm.Config{})
	y.ask("1", "x")
	c := y.claim("w", time.Minute)
	data, err := proto.Marshal(&repb.ActionResult{OutputFiles: []*repb.OutputFile{{Path: "f", Digest: artifact.Proto(artifact.DigestOf([]byte("nowhere")), 7)}}})
	if err != nil {
		t.Fatal(err)
	}
	r := farm.Report{Result: &farm.Result{Status: execution.Exited, Action: data}}
	if err := y.finish(c, r); !slipway.Is(err, slipway.Invalid) {
		t.Fatal(err)
	}
	if _, _, err := y.disk.Put(t.Context(), strings.NewReader("nowhere")); err != nil {
		t.Fatal(err)
	}
	if err := y.finish(c, r); err != nil {
		t.Fatal(err)
	}
}

func TestRunWaitsAndFollows(t *testing.T) {
	y := newYard(t, storetest.Open(t), farm.Config{})
	var log bytes.Buffer
	var on []string
	done := make(chan farm.Task, 1)
	go func() {
		task, err := y.Run(t.Context(), farm.Submission{Action: artifact.DigestOf([]byte("x")), Name: "x"}, &log, func(w string) { on = append(on, w) })
		if err != nil {
			t.Error(err)
		}
		done <- task
	}()
	c := y.claim("w", time.Minute)
	if _, err := y.Append(t.Context(), c.Hold, 0, []byte("hello\n")); err != nil {
		t.Fatal(err)
	}
	if err := y.finish(c, farm.Report{Result: y.result(0, "out")}); err != nil {
		t.Fatal(err)
	}
	task := <-done
	if task.Outcome != slipway.Pass || log.String() != "hello\n" || len(on) == 0 || on[0] != "w" {
		t.Fatalf("%+v %q %q", task, log.String(), on)
	}
	// A caller that goes away ends what nobody else wants.
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, err := y.Run(ctx, farm.Submission{Action: artifact.DigestOf([]byte("y")), Name: "y"}, nil, nil)
		if err == nil {
			t.Error("no error")
		}
		done <- farm.Task{}
	}()
	c = y.claim("w", time.Minute)
	cancel()
	<-done
	if o, err := y.Renew(t.Context(), c.Hold); err != nil || o.Stop == "" {
		t.Fatal(o, err)
	}
}

func TestLogsAreMasked(t *testing.T) {
	y := newYard(t, storetest.Open(t), farm.Config{Secrets: func(context.Context) []string { return []string{"hunter2-hunter2"} }})
	task := y.ask("1", "x")
	c := y.claim("w", time.Minute)
	text := "password hunter2-hunter2\n"
	for i := range text { // byte by byte
		if n, err := y.Append(t.Context(), c.Hold, int64(i), []byte(text[i:i+1])); err != nil || n != int64(i+1) {
			t.Fatal(n, err)
		}
	}
	if err := y.finish(c, farm.Report{Result: y.result(1, "")}); err != nil {
		t.Fatal(err)
	}
	if got := y.log(task.ID) + y.task(task.ID).Reason; strings.Contains(got, "hunter2") || !strings.Contains(got, "password ***************\n") {
		t.Fatalf("%q", got)
	}
}

func BenchmarkTask(b *testing.B) {
	y := newYard(b, storetest.Open(b), farm.Config{})
	r := y.result(0, "out")
	n := 0
	for b.Loop() {
		n++
		y.ask("1", fmt.Sprint(n))
		c := y.claim("w", time.Minute)
		if err := y.finish(c, farm.Report{Result: r}); err != nil {
			b.Fatal(err)
		}
	}
}
