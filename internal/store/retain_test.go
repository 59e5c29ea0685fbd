package store_test

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	repb "github.com/bazelbuild/remote-apis/build/bazel/remote/execution/v2"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build"
	"slipway.dev/slipway/internal/stage/build/farm"
	"slipway.dev/slipway/internal/stage/build/retain"
	"slipway.dev/slipway/internal/stage/compose"
	"slipway.dev/slipway/internal/stage/deploy"
	"slipway.dev/slipway/internal/stage/integration"
	"slipway.dev/slipway/internal/store"
	"slipway.dev/slipway/internal/store/storetest"
)

// For random databases: what a release, a compose, a deployment, a running wave, a task in flight or a young build refers to is kept with
// all that it names, whoever else refers to it; the rest goes.
func TestCollectKeepsWhatIsNeeded(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		for seed := range uint64(3) {
			collectOnce(t, db, seed)
		}
	})
}

func collectOnce(t *testing.T, db *store.DB, seed uint64) {
	t.Helper()
	ctx := t.Context()
	random := rand.New(rand.NewPCG(seed, 3))
	dir := t.TempDir()
	t.Cleanup(func() { artifact.RemoveTree(dir) })
	disk, err := artifact.OpenDisk(dir)
	if err != nil {
		t.Fatal(err)
	}
	below := map[string][]string{} // of each tree: itself, and what it names
	var trees []string
	all := map[string]bool{}
	put := func(st artifact.Store, text string) (string, int64) {
		d, n, err := st.Put(ctx, strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		all[d] = true
		return d, n
	}
	err = disk.Together(ctx, func(_ context.Context, st artifact.Store) error {
		for i := range 60 {
			file, n := put(st, fmt.Sprintf("seed %d file %d", seed, random.IntN(50)))
			m := &repb.Directory{Files: []*repb.FileNode{{Name: fmt.Sprint("f", i), Digest: artifact.Proto(file, n)}}}
			needs := []string{file}
			if len(trees) > 0 {
				sub := trees[random.IntN(len(trees))]
				m.Directories = []*repb.DirectoryNode{{Name: "d", Digest: artifact.Proto(sub, 1)}}
				needs = append(needs, below[sub]...)
			}
			d, _, err := artifact.PutMessage(ctx, st, m)
			if err != nil {
				return err
			}
			all[d] = true
			trees = append(trees, d)
			below[d] = append(needs, d)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	long := now.Add(-60 * 24 * time.Hour)
	kept := map[string]bool{}
	any := func(needed bool) string {
		d := trees[random.IntN(len(trees))]
		if needed {
			for _, b := range below[d] {
				kept[b] = true
			}
		}
		return d
	}
	id := func(what string) string { return fmt.Sprintf("%s-%d", what, seed) }
	command, n := put(disk, id("command"))
	input := any(true)
	action, _, err := artifact.PutMessage(ctx, disk, &repb.Action{CommandDigest: artifact.Proto(command, n), InputRootDigest: artifact.Proto(input, 1)})
	if err != nil {
		t.Fatal(err)
	}
	all[action], kept[action], kept[command] = true, true, true
	finishedAt := func(at time.Time, needed bool, name string) build.Build {
		log, _ := put(disk, id("log of "+name))
		if needed {
			kept[log] = true
		}
		return build.Build{ID: id(name), State: build.Done, Outcome: slipway.Pass, Finished: at, Output: any(needed), Source: any(needed), Log: log}
	}
	err = db.Update(ctx, func(tx *store.Tx) error {
		steps := []error{
			tx.Releases().Put(ctx, slipway.Release{ID: id("r"), Manifests: map[string]slipway.Manifest{"main": {Components: map[string]slipway.Locked{"a": {Artifact: any(true)}, "b": {Artifact: any(true)}}}}}),
			tx.Composes().Put(ctx, compose.Compose{ID: id("c"), Digest: any(true)}),
			tx.Slices().Put(ctx, deploy.Slice{ID: id("s"), Digest: any(true)}),
			tx.Builds().Put(ctx, finishedAt(now.Add(-time.Hour), true, "young")),
			tx.Builds().Put(ctx, finishedAt(long, false, "old")),
			tx.Builds().Put(ctx, build.Build{ID: id("waits"), State: build.Queued, Source: any(true), Inputs: map[string]string{"x": any(true)}}),
			tx.Waves().Put(ctx, build.Wave{Request: slipway.WaveRequest{ID: id("running")}, State: slipway.WaveRunning}),
			tx.Items().Put(ctx, build.Item{Wave: id("running"), Action: "a", Artifact: any(true)}),
			tx.Waves().Put(ctx, build.Wave{Request: slipway.WaveRequest{ID: id("over")}, State: slipway.WavePassed, Finished: long}),
			tx.Items().Put(ctx, build.Item{Wave: id("over"), Action: "a", Artifact: any(false)}),
			tx.Orders().Put(ctx, build.Order{Request: slipway.WaveRequest{ID: id("over")}}),
			tx.News().Put(ctx, build.News{Wave: id("over"), Build: "1", State: build.Done}),
			tx.Waves().Put(ctx, build.Wave{Request: slipway.WaveRequest{ID: id("queued")}, State: slipway.WavePassed, Finished: long}),
			tx.Orders().Put(ctx, build.Order{Request: slipway.WaveRequest{ID: id("queued")}}),
			tx.Items().Put(ctx, build.Item{Wave: id("queued"), Action: "a", Artifact: any(true)}),
			tx.Entries().Put(ctx, integration.Entry{Number: int64(seed)*10 + 1, Phase: integration.Testing, Wave: id("queued")}),
			tx.Waves().Put(ctx, build.Wave{Request: slipway.WaveRequest{ID: id("landed")}, State: slipway.WavePassed, Finished: long}),
			tx.Orders().Put(ctx, build.Order{Request: slipway.WaveRequest{ID: id("landed")}}),
			tx.Items().Put(ctx, build.Item{Wave: id("landed"), Action: "a", Artifact: any(false)}),
			tx.Entries().Put(ctx, integration.Entry{Number: int64(seed)*10 + 2, Phase: integration.Landed, Wave: id("landed")}),
			tx.Waves().Put(ctx, build.Wave{Request: slipway.WaveRequest{ID: id("stuck")}, State: slipway.WaveFailed, Finished: long}),
			tx.Orders().Put(ctx, build.Order{Request: slipway.WaveRequest{ID: id("stuck")}}),
			tx.Items().Put(ctx, build.Item{Wave: id("stuck"), Action: "a", Artifact: any(false)}),
			tx.Rebuilds().Put(ctx, build.Rebuild{ID: id("stuck"), State: build.RebuildStuck, Attempts: []build.RebuildAttempt{{Wave: id("stuck")}}}),
			tx.Tasks().Put(ctx, farm.Task{ID: id("flies"), Action: action, State: farm.Queued}),
			tx.Tasks().Put(ctx, farm.Task{ID: id("done"), Action: any(false), State: farm.Done, Finished: long}),
			tx.ActionResults().Put(ctx, farm.CachedResult{Key: id("stale"), Result: farm.Result{Output: artifact.DigestOf([]byte("gone"))}}),
		}
		for _, err := range steps {
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(filepath.Join(dir, "blobs"), func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		return os.Chtimes(p, long, long)
	})
	if err != nil {
		t.Fatal(err)
	}
	s := retain.New(db, disk, retain.Keep{}, time.Now)
	told, err := s.Collect(ctx, true)
	if err != nil {
		t.Fatal(err)
	}
	did, err := s.Collect(ctx, false)
	if err != nil {
		t.Fatal(err)
	}
	for d := range all {
		if kept[d] && !disk.Has(d) {
			t.Errorf("seed %d: %s is needed, and gone", seed, d)
		}
		if !kept[d] && disk.Has(d) {
			t.Errorf("seed %d: nothing needs %s, and it is there", seed, d)
		}
	}
	if told.Waves != 2 || did.Waves != 2 {
		t.Errorf("seed %d: %d and %d waves were cleared", seed, told.Waves, did.Waves)
	}
	if told.Removed.Blobs < len(all)-len(kept) || did.Removed.Blobs == 0 || did.Rows < 2 {
		t.Errorf("seed %d: told %+v, did %+v; %d of %d are needed", seed, told, did, len(kept), len(all))
	}
	err = db.View(ctx, func(tx *store.Tx) error {
		if _, err := tx.Tasks().Get(ctx, id("flies")); err != nil {
			return err
		}
		if _, err := tx.Tasks().Get(ctx, id("done")); !slipway.Is(err, slipway.NotFound) {
			t.Errorf("the old task is there: %v", err)
		}
		for wave, want := range map[string]int{"running": 1, "queued": 1, "stuck": 1, "over": 0, "landed": 0} {
			items, err := tx.Items().Find(ctx, slipway.Query{Key: id(wave)})
			if err != nil || len(items) != want {
				t.Errorf("the %s wave has %d items, not %d: %v", wave, len(items), want, err)
			}
			news, err := tx.News().Find(ctx, slipway.Query{Key: id(wave)})
			if err != nil || len(news) != 0 {
				t.Errorf("the %s wave has %d news: %v", wave, len(news), err)
			}
			if _, err := tx.Waves().Get(ctx, id(wave)); err != nil {
				t.Error(err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
