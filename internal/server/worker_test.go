package server_test

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/server/servertest"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build"
)

// outpost is a server without slots of its own, and a product of one component whose build takes a while.
type outpost struct {
	*servertest.Rig
	t testing.TB
}

func (r *outpost) up(lease string) {
	r.Start("server", "up", "--data", r.Data(), "--listen", r.Addr, "--slots", "-1", "--lease", lease)
	r.Ready()
}

func (r *outpost) worker(name string) {
	r.Start(name, "worker", "--name", name, "--slots", "1", "--root", filepath.Join(r.Dir, name), "--server", r.URL(), "--token", r.Token())
}

func (r *outpost) begin() {
	for repo, files := range map[string]map[string]string{
		"components/slow": {"slipway.yaml": "component: slow\nbuild: |\n  echo started\n  sleep 2\n  cp word.txt $OUT/word\noutputs: [word]\n", "word.txt": "one\n"},
		"products/p":      {"product.yaml": "product: p\ncomponents: {slow: }\nconfigurations: {main: {}}\n"},
	} {
		if _, err := r.Client().CreateRepo(r.t.Context(), repo, "", ""); err != nil {
			r.t.Fatal(err)
		}
		dir := r.dir(repo)
		r.Write(dir, files)
		r.Must(dir, "git", "init", "-q", "-b", "main")
		r.Must(dir, "git", "remote", "add", "origin", r.GitURL(repo))
	}
	r.push("components/slow")
	r.push("products/p")
}

func (r *outpost) dir(repo string) string { return filepath.Join(r.Dir, "work", repo) }

func (r *outpost) push(repo string) {
	r.Must(r.dir(repo), "git", "add", "-A")
	r.Must(r.dir(repo), "git", "commit", "-q", "-m", "feat: go on")
	r.Must(r.dir(repo), "git", "push", "-q", "origin", "HEAD:refs/heads/main")
}

// running waits until the nth build runs and has said something, and returns its id.
func (r *outpost) running(n int) (id string) {
	r.t.Helper()
	servertest.Eventually(r.t, 2*time.Minute, fmt.Sprintf("build %d runs", n), func() error {
		builds, err := client.All(r.Client().Builds(r.t.Context(), client.BuildFilter{}, 0))
		if err != nil {
			return err
		}
		if len(builds) != n {
			return fmt.Errorf("%d builds", len(builds))
		}
		id = builds[0].ID
		if !strings.Contains(r.log(id), "\nstarted\n") {
			return errors.New("it has not begun: " + builds[0].Reason)
		}
		return nil
	})
	return id
}

func (r *outpost) log(id string) string {
	in, err := r.Client().BuildLog(r.t.Context(), id, 0, false)
	if err != nil {
		return err.Error()
	}
	defer in.Close()
	text, err := io.ReadAll(in)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// passed waits until a build has passed.
func (r *outpost) passed(id string) (b client.Build) {
	r.t.Helper()
	servertest.Eventually(r.t, 2*time.Minute, "build "+id+" has ended", func() (err error) {
		if b, err = r.Client().Build(r.t.Context(), id); err == nil && b.State != build.Done {
			err = errors.New(b.Reason)
		}
		return err
	})
	if b.Outcome != slipway.Pass {
		r.t.Fatalf("build %s: %s: %s", id, b.Outcome, b.Reason)
	}
	return b
}

// TestWorkers kills a worker in the middle of a build, then the server while a worker is in the middle of one, then drains the worker.
func TestWorkers(t *testing.T) {
	r := &outpost{servertest.New(t), t}
	r.up("2s")
	r.begin()
	r.worker("w1")
	id := r.running(1)
	r.Kill("w1")
	r.worker("w2")
	if b := r.passed(id); b.Worker != "w2" || b.Faults != 1 {
		t.Fatalf("%+v", b)
	}
	if log := r.log(id); strings.Count(log, "started") != 1 {
		t.Errorf("the log holds more than the last run: %q", log)
	}

	// The server dies; the worker goes on, and its result counts.
	r.Kill("server")
	r.up("1m")
	r.Write(r.dir("components/slow"), map[string]string{"word.txt": "two\n"})
	r.push("components/slow")
	id = r.running(2)
	r.Kill("server")
	r.up("1m")
	b := r.passed(id)
	if b.Worker != "w2" || b.Faults != 0 {
		t.Fatalf("%+v", b)
	}
	tasks, err := client.All(r.Client().Tasks(t.Context(), "", "", 1))
	if err != nil || len(tasks) != 1 || tasks[0].ID != b.Task || tasks[0].Epoch != 1 {
		t.Fatalf("it was claimed again: %+v %v", tasks, err)
	}
	if log := r.log(id); strings.Count(log, "started") != 1 || !strings.Contains(log, "# pass: built in") {
		t.Errorf("%q", log)
	}

	// A drained worker ends what it runs.
	r.Write(r.dir("components/slow"), map[string]string{"word.txt": "three\n"})
	r.push("components/slow")
	id = r.running(3)
	workers := r.Must(r.Dir, "slipway", "worker", "list", "--token", r.Token())
	if !strings.Contains(workers, "w2") || !strings.Contains(workers, "1 of 1 slots busy") {
		t.Errorf("%s", workers)
	}
	r.Signal("w2", syscall.SIGTERM)
	select {
	case <-r.Exited("w2"):
	case <-time.After(2 * time.Minute):
		t.Fatal("the drained worker does not end")
	}
	if b := r.passed(id); b.Worker != "w2" || b.Faults != 0 {
		t.Fatalf("%+v", b)
	}
}
