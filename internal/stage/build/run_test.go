package build_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"slipway.dev/slipway/internal/platform/execution"
	"slipway.dev/slipway/internal/platform/jobs/jobstest"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build"
	"slipway.dev/slipway/internal/store"
	"slipway.dev/slipway/internal/store/storetest"
)

// long is a build that says "started" and then takes long enough to be met while it runs.
func long(name string, seconds int) map[string]string {
	return map[string]string{"slipway.yaml": recipe(name, "", fmt.Sprintf("echo started; sleep %d; echo made > $OUT/f", seconds))}
}

// followed starts to follow the log of a build, and returns a function that waits for a line.
func (w *world) followed(ctx context.Context, id string) (*bufio.Reader, func(line string)) {
	w.t.Helper()
	r, err := w.s.Log(ctx, id, 0, true)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { r.Close() })
	in := bufio.NewReader(r)
	return in, func(line string) {
		w.t.Helper()
		for {
			got, err := in.ReadString('\n')
			if err != nil {
				w.t.Fatalf("the log ended before %q: %v", line, err)
			}
			if strings.TrimSpace(got) == line {
				return
			}
		}
	}
}

// queued starts a wave of one component and returns its build's id once it is queued.
func (w *world) queued(wave, component string) (id string) {
	w.t.Helper()
	if _, err := w.s.StartWave(w.t.Context(), w.request(wave, component)); err != nil {
		w.t.Fatal(err)
	}
	w.await("a build of "+component, func() bool {
		id = w.status(wave).Components[component].Build
		return id != ""
	})
	return id
}

func TestWavesShareABuild(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, build.Config{})
		w.commit("lib", "components/lib", long("lib", 1))
		w.start()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		one := w.queued("w1", "lib")
		log, line := w.followed(ctx, one)
		line("started")
		two := w.queued("w2", "lib")
		if one != two {
			t.Fatalf("builds %s and %s of the same key", one, two)
		}
		for _, id := range []string{"w1", "w2"} {
			w.await(id, func() bool { return w.status(id).State != slipway.WaveRunning })
			w.passed(w.status(id))
		}
		if w.events(slipway.BuildStarted) != 1 || w.events(slipway.BuildFinished) != 1 || w.events(slipway.WaveFinished) != 2 {
			t.Fatal("it ran twice")
		}
		rest, err := io.ReadAll(log)
		if err != nil || !strings.HasPrefix(string(rest), "# pass: built in ") {
			t.Fatalf("%q %v", rest, err)
		}
		// A reader that comes back goes on where it was.
		whole := w.log(one)
		at := int64(strings.Index(whole, "started"))
		r, err := w.s.Log(ctx, one, at, true)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if got, err := io.ReadAll(r); err != nil || string(got) != whole[at:] {
			t.Fatalf("%q %v", got, err)
		}
	})
}

func TestCancel(t *testing.T) {
	w := newWorld(t, storetest.Open(t), build.Config{})
	w.commit("lib", "components/lib", long("lib", 1000))
	w.commit("app", "components/app", map[string]string{"slipway.yaml": recipe("app", "lib", "true", "true")})
	w.start()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := w.s.StartWave(ctx, w.request("w1", "app")); err != nil {
		t.Fatal(err)
	}
	id := w.queued("w2", "lib")
	log, line := w.followed(ctx, id)
	line("started")
	w.await("both wait for it", func() bool {
		b, err := w.s.Build(ctx, id)
		return err == nil && len(b.Waves) == 2
	})
	if err := w.s.CancelWave(ctx, "w1", "nobody wants it"); err != nil {
		t.Fatal(err)
	}
	st := w.status("w1")
	if st.State != slipway.WaveCancelled || st.Reason != "nobody wants it" || st.Components["app"].State != "skipped" {
		t.Fatalf("%+v", st)
	}
	if b, err := w.s.Build(ctx, id); err != nil || b.State != build.Running || b.Stop != "" {
		t.Fatalf("another wave's build was stopped: %+v %v", b, err)
	}
	if err := w.s.CancelWave(ctx, "w2", "superseded"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(log); err != nil { // ends with the build
		t.Fatal(err)
	}
	b, err := w.s.Build(ctx, id)
	if err != nil || b.State != build.Done || b.Outcome != slipway.Cancelled || b.Reason != "superseded" || b.Output != "" {
		t.Fatalf("%+v %v", b, err)
	}
	if err := w.s.CancelWave(ctx, "w2", ""); !slipway.Is(err, slipway.Conflict) {
		t.Fatal(err)
	}
	if err := w.s.CancelWave(ctx, "none", ""); !slipway.Is(err, slipway.NotFound) {
		t.Fatal(err)
	}
	// Cancelled says nothing about the component: the next wave builds it.
	if again := w.queued("w3", "lib"); again == id {
		t.Fatal("joined a cancelled build")
	}
	if err := w.s.CancelWave(ctx, "w3", "end"); err != nil {
		t.Fatal(err)
	}
}

func TestCancelQueued(t *testing.T) {
	w := newWorld(t, storetest.Open(t), build.Config{})
	w.commit("lib", "components/lib", long("lib", 0))
	if _, err := w.s.StartWave(t.Context(), w.request("w1", "lib")); err != nil {
		t.Fatal(err)
	}
	if err := jobstest.DrainErr(t.Context(), w.db, w.s.Handlers()[0]); err != nil { // plan it, run nothing
		t.Fatal(err)
	}
	id := w.status("w1").Components["lib"].Build
	if err := w.s.CancelWave(t.Context(), "w1", "superseded"); err != nil {
		t.Fatal(err)
	}
	w.ended("w1")
	if b, err := w.s.Build(t.Context(), id); err != nil || b.Outcome != slipway.Cancelled || w.events(slipway.BuildStarted) != 0 || w.events(slipway.BuildFinished) != 1 {
		t.Fatalf("%+v %v", b, err)
	}
	if log := w.log(id); log != "" {
		t.Fatalf("%q", log)
	}
}

// TestShutdown stops the process in order while a build runs: the next process runs it once more.
func TestShutdown(t *testing.T) {
	w := newWorld(t, storetest.Open(t), build.Config{})
	w.commit("lib", "components/lib", long("lib", 2))
	stop := w.start()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	id := w.queued("w1", "lib")
	_, line := w.followed(ctx, id)
	line("started")
	stop()
	if b, err := w.s.Build(t.Context(), id); err != nil || b.State != build.Running || b.Faults != 0 {
		t.Fatalf("%+v %v", b, err)
	}
	w.open(build.Config{})
	w.passed(w.ended("w1"))
	if w.events(slipway.BuildStarted) != 1 || w.events(slipway.BuildFinished) != 1 {
		t.Fatal("told twice")
	}
}

const killDir = "SLIPWAY_BUILD_TEST_DIR"

// TestKill kills a process with SIGKILL in the middle of a build, several times, and then lets one end.
func TestKill(t *testing.T) {
	if dir := os.Getenv(killDir); dir != "" {
		victim(t, dir)
		return
	}
	w := newWorld(t, storetest.Open(t), build.Config{})
	dir := filepath.Join(w.dir, "data")
	url := "sqlite:" + filepath.Join(w.dir, "slipway.db")
	db, err := store.Open(t.Context(), store.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	w.db = db
	w.open(build.Config{})
	w.commit("lib", "components/lib", long("lib", 2))
	w.commit("app", "components/app", map[string]string{"slipway.yaml": recipe("app", "lib", "cat $DEPS/lib/f > $OUT/g", "grep made $OUT/g")})
	if _, err := w.s.StartWave(t.Context(), w.request("w1", "app")); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestKill$")
		cmd.Env = append(os.Environ(), killDir+"="+w.dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(out).ReadString('\n')
		if err != nil || line != "in the middle\n" {
			t.Fatalf("%q %v", line, err)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if st := w.status("w1"); st.Components["lib"].Artifact != "" {
			t.Fatalf("half an output is visible: %+v", st)
		}
		if err := db.Release(t.Context(), "test"); err != nil { // as the next process of this name does
			t.Fatal(err)
		}
	}
	w.open(build.Config{})
	st := w.ended("w1")
	w.passed(st)
	if got := w.file(st.Components["app"].Artifact, "g"); got != "made\n" {
		t.Fatalf("%q", got)
	}
	all, err := w.s.Builds(t.Context(), slipway.Query{})
	if err != nil || len(all) != 3 {
		t.Fatalf("%d builds %v", len(all), err)
	}
	for _, typ := range []slipway.EventType{slipway.BuildQueued, slipway.BuildStarted, slipway.BuildFinished} {
		if n := w.events(typ); n != 3 {
			t.Errorf("%d of %s", n, typ)
		}
	}
	if n := w.events(slipway.WaveFinished, slipway.WaveStarted); n != 2 {
		t.Errorf("%d wave events", n)
	}
	if strings.Count(w.log(st.Components["lib"].Build), "started") != 1 {
		t.Error("the log holds more than the last run")
	}
	for _, sub := range []string{"work", "logs", "artifacts/tmp"} {
		if left, err := os.ReadDir(filepath.Join(dir, sub)); err != nil || len(left) != 0 {
			t.Errorf("%s holds %v %v", sub, left, err)
		}
	}
}

// victim runs the wave until it is killed; it says when the library's build is in the middle.
func victim(t *testing.T, dir string) {
	db, err := store.Open(t.Context(), store.Config{URL: "sqlite:" + filepath.Join(dir, "slipway.db")})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, dir: dir, db: db}
	w.open(build.Config{})
	w.start()
	var id string
	w.await("a running build", func() bool {
		c := w.status("w1").Components["lib"]
		id = c.Build
		return id != ""
	})
	_, line := w.followed(t.Context(), id)
	line("started")
	fmt.Println("in the middle")
	select {}
}

func TestHostFailure(t *testing.T) {
	w := newWorld(t, storetest.Open(t), build.Config{})
	w.commit("lib", "components/lib", long("lib", 0))
	// bubblewrap cannot be found: the host's fault, and no use to try again.
	t.Setenv("PATH", gitOnly(t))
	if _, err := w.s.StartWave(t.Context(), w.request("w1", "lib")); err != nil {
		t.Fatal(err)
	}
	c := w.ended("w1").Components["lib"]
	if c.State != "failed" || c.Outcome != slipway.Infra || !strings.Contains(c.Reason, "apt-get install bubblewrap") {
		t.Fatalf("%+v", c)
	}
	if err := w.s.Check(t.Context()); !slipway.Is(err, slipway.Unavailable) || !strings.Contains(err.Error(), "apt-get install bubblewrap") {
		t.Fatal(err)
	}
}

// flaky is an executor on a host that fails some times before it works.
type flaky struct {
	execution.Executor
	failures atomic.Int64 // left
}

func (f *flaky) Execute(ctx context.Context, r execution.Request) (execution.Result, error) {
	if f.failures.Add(-1) >= 0 {
		return execution.Result{}, slipway.Errorf(slipway.Unavailable, "the disk is full")
	}
	return f.Executor.Execute(ctx, r)
}

func TestFaultsAreTriedAgain(t *testing.T) {
	w := newWorld(t, storetest.Open(t), build.Config{})
	w.commit("lib", "components/lib", map[string]string{"slipway.yaml": recipe("lib", "", "echo x > $OUT/f")})
	f := &flaky{}
	f.failures.Store(5)
	w.wrap = func(e execution.Executor) execution.Executor { f.Executor = e; return f }
	w.open(build.Config{})
	c := w.wave("w1", "lib").Components["lib"]
	if c.Outcome != slipway.Infra || strings.Count(c.Reason, "the disk is full") != 3 {
		t.Fatalf("%+v", c)
	}
	if b, err := w.s.Build(t.Context(), c.Build); err != nil || b.Faults != 3 || w.events(slipway.BuildRetried) != 2 {
		t.Fatalf("%+v %v", b, err)
	}
	st := w.wave("w2", "lib")
	w.passed(st)
	if b, err := w.s.Build(t.Context(), st.Components["lib"].Build); err != nil || b.Faults != 2 {
		t.Fatalf("%+v %v", b, err)
	}
}

// gitOnly is a folder with git alone, to be the PATH.
func gitOnly(t *testing.T) string {
	git, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(git, filepath.Join(dir, "git")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestLostArtifacts takes blobs away: what is missing is made again.
func TestLostArtifacts(t *testing.T) {
	w := newWorld(t, storetest.Open(t), build.Config{})
	w.product()
	first := w.wave("w1", "app")
	w.passed(first)
	data := filepath.Join(w.dir, "data", "artifacts")
	for _, sub := range []string{"blobs", "exec", "trees"} {
		if err := os.RemoveAll(filepath.Join(data, sub)); err != nil {
			t.Fatal(err)
		}
	}
	w.open(build.Config{})
	again := w.wave("w2", "app")
	w.passed(again)
	if got := w.file(again.Components["app"].Artifact, "app"); got != w.file(first.Components["app"].Artifact, "app") || again.Components["app"].Reused {
		t.Fatalf("%q %+v", got, again.Components["app"])
	}
	if _, err := w.s.Log(t.Context(), "12345", 0, false); !slipway.Is(err, slipway.NotFound) {
		t.Fatal(err)
	}
	if _, err := w.s.Log(t.Context(), "1", -1, false); !slipway.Is(err, slipway.Invalid) {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("gone"))
	if _, err := w.s.Wave(ctx, "w1"); err == nil {
		t.Fatal("no error")
	}
}

func BenchmarkAction(b *testing.B) {
	w := newWorld(b, storetest.Open(b), build.Config{})
	n := 0
	for b.Loop() {
		b.StopTimer()
		n++
		w.commit("lib", "components/lib", map[string]string{"slipway.yaml": recipe("lib", "", fmt.Sprintf("echo %d > $OUT/f", n))})
		b.StartTimer()
		w.passed(w.wave(fmt.Sprintf("w%d", n), "lib"))
	}
}

func BenchmarkCacheHit(b *testing.B) {
	w := newWorld(b, storetest.Open(b), build.Config{})
	w.product()
	w.passed(w.wave("w0", "app"))
	n := 0
	for b.Loop() {
		n++
		w.passed(w.wave(fmt.Sprintf("w%d", n), "app"))
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/7, "ns/action")
}
