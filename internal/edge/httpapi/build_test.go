package httpapi_test

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/edge/httpapi"
	"slipway.dev/slipway/internal/edge/httpapi/httpapitest"
	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/platform/execution/local"
	"slipway.dev/slipway/internal/platform/git"
	"slipway.dev/slipway/internal/platform/jobs"
	"slipway.dev/slipway/internal/platform/sandbox"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build"
	"slipway.dev/slipway/internal/store"
	"slipway.dev/slipway/internal/store/storetest"
)

type oneRepo struct{ dir string }

func (r oneRepo) Git(string) (git.Repo, error) { return git.Open(filepath.Join(r.dir, ".git")), nil }

// TestBuilds follows a real build over the API, and lists, forgets and cancels.
func TestBuilds(t *testing.T) {
	dir := t.TempDir()
	file := "component: lib\nbuild: |\n  echo started; sleep 1; echo 'no rule' >&2; exit 3\n"
	if err := os.WriteFile(filepath.Join(dir, "slipway.yaml"), []byte(file), 0o644); err != nil {
		t.Fatal(err)
	}
	commit := ""
	for _, args := range [][]string{{"init", "-q"}, {"add", "-A"}, {"-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x"}, {"rev-parse", "HEAD"}} {
		cmd := exec.Command("git", args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		commit = strings.TrimSpace(string(out))
	}
	db := storetest.Open(t)
	data := t.TempDir()
	disk, err := artifact.OpenDisk(filepath.Join(data, "artifacts"))
	if err != nil {
		t.Fatal(err)
	}
	runner, err := sandbox.New(filepath.Join(data, "sandbox"))
	if err != nil {
		t.Fatal(err)
	}
	box, err := local.New(disk, runner, local.Config{Dir: filepath.Join(data, "work"), Host: build.Fingerprint()})
	if err != nil {
		t.Fatal(err)
	}
	s, err := build.New(store.Scope(db, func(tx *store.Tx) build.Tx { return tx }), oneRepo{dir}, disk, box, build.Config{Dir: data})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	work, err := jobs.NewRunner(db, s.Handlers(), jobs.Config{Owner: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if err := work.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(work.Stop(context.Background()), s.Stop(context.Background())); err != nil {
			t.Error(err)
		}
	})
	srv := httpapitest.Serve(t, db, func(sv *httpapi.Services) { sv.Build = s })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	viewer, developer, operator := srv.Client(auth.Viewer), srv.Client(auth.Developer), srv.Client(auth.Operator)

	start := func(id string) {
		t.Helper()
		if _, err := s.StartWave(ctx, slipway.WaveRequest{ID: id, Product: "ferry", For: "change/1", Targets: []string{"lib"},
			Pins: []slipway.Pin{{Component: "lib", Repo: "components/lib", Version: "1.0.0", Commit: commit}}}); err != nil {
			t.Fatal(err)
		}
	}
	// finished waits for the wave's end, seen over the API after each event.
	finished := func(id string) client.Wave {
		t.Helper()
		for {
			appended := db.Appended()
			w, err := viewer.Wave(ctx, id)
			if err != nil {
				t.Fatal(err)
			}
			if w.State != slipway.WaveRunning {
				return w
			}
			select {
			case <-appended:
			case <-ctx.Done():
				t.Fatal("the wave did not end")
			}
		}
	}
	start("change-1.1")
	var id string
	for id == "" {
		appended := db.Appended()
		builds, err := client.All(viewer.Builds(ctx, client.BuildFilter{Component: "lib"}, 0))
		if err != nil {
			t.Fatal(err)
		}
		if len(builds) == 1 {
			id = builds[0].ID
			break
		}
		select {
		case <-appended:
		case <-ctx.Done():
			t.Fatal("nothing was queued")
		}
	}
	log, err := viewer.BuildLog(ctx, id, 0, true) // while it waits or runs
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	text, err := io.ReadAll(log)
	if err != nil || !strings.Contains(string(text), "started\nno rule\n# fail: exit code 3") {
		t.Fatalf("%q %v", text, err)
	}
	tail, err := viewer.BuildLog(ctx, id, int64(strings.Index(string(text), "no rule")), false)
	if err != nil {
		t.Fatal(err)
	}
	defer tail.Close()
	if rest, err := io.ReadAll(tail); err != nil || !strings.HasPrefix(string(rest), "no rule\n") {
		t.Fatalf("%q %v", rest, err)
	}
	w := finished("change-1.1")
	if c := w.Components["lib"]; w.State != slipway.WaveFailed || c.Build != id || !strings.Contains(c.Reason, "no rule") {
		t.Fatalf("%+v", w)
	}
	b, err := viewer.Build(ctx, id)
	if err != nil || b.Outcome != slipway.Fail || b.Commit != commit || b.Run.Timeout == 0 {
		t.Fatalf("%+v %v", b, err)
	}

	// The failure is reused until somebody who may says otherwise.
	start("change-1.2")
	if c := finished("change-1.2").Components["lib"]; !c.Reused {
		t.Fatalf("%+v", c)
	}
	if err := viewer.ForgetBuild(ctx, id); !slipway.Is(err, slipway.Forbidden) {
		t.Fatal(err)
	}
	if err := developer.ForgetBuild(ctx, id); err != nil {
		t.Fatal(err)
	}
	start("change-1.3")
	if err := developer.CancelWave(ctx, "change-1.3", "x"); !slipway.Is(err, slipway.Forbidden) {
		t.Fatal(err)
	}
	if err := operator.CancelWave(ctx, "change-1.3", "superseded"); err != nil {
		t.Fatal(err)
	}
	if w := finished("change-1.3"); w.State != slipway.WaveCancelled || w.Reason != "superseded" {
		t.Fatalf("%+v", w)
	}
	waves, err := client.All(viewer.Waves(ctx, "ferry", "change/1", 0))
	if err != nil || len(waves) != 3 || waves[0].Request.ID != "change-1.3" {
		t.Fatalf("%d %v", len(waves), err)
	}
	if reused, err := client.All(viewer.Builds(ctx, client.BuildFilter{Wave: "change-1.2"}, 0)); err != nil || len(reused) != 1 || reused[0].ID != id {
		t.Fatalf("%+v %v", reused, err)
	}
	if failed, err := client.All(viewer.Builds(ctx, client.BuildFilter{Outcome: "pass"}, 0)); err != nil || len(failed) != 0 {
		t.Fatalf("%+v %v", failed, err)
	}
	for _, err := range []error{
		func() error { _, err := viewer.Build(ctx, "999"); return err }(),
		func() error { _, err := viewer.Wave(ctx, "none"); return err }(),
		func() error { _, err := viewer.BuildLog(ctx, "../../etc/passwd", 0, false); return err }(),
		func() error {
			_, err := client.All(viewer.Builds(ctx, client.BuildFilter{Wave: "none"}, 0))
			return err
		}(),
	} {
		if !slipway.Is(err, slipway.NotFound) {
			t.Error(err)
		}
	}
}
