//go:build long

package build_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build"
	"slipway.dev/slipway/internal/store"
	"slipway.dev/slipway/internal/store/storetest"
)

const rebuildKillDir = "SLIPWAY_REBUILD_TEST_DIR"

// TestKillRebuild kills a process with SIGKILL at random moments of a rebuild, again and again, until one comes to the end. Each next
// process goes on; nothing is built twice, and nothing is told twice.
func TestKillRebuild(t *testing.T) {
	if dir := os.Getenv(rebuildKillDir); dir != "" {
		db, err := store.Open(t.Context(), store.Config{URL: "sqlite:" + filepath.Join(dir, "slipway.db")})
		if err != nil {
			t.Fatal(err)
		}
		p := &shelf{}
		w := &world{t: t, dir: dir, db: db}
		p.w = w
		w.open(build.Config{Products: p, Results: p})
		w.start()
		fmt.Println("goes on")
		w.settled("1", 1)
		fmt.Println("settled")
		return
	}
	w, shelf := newShelf(t, storetest.Open(t))
	db, err := store.Open(t.Context(), store.Config{URL: "sqlite:" + filepath.Join(w.dir, "slipway.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	w.db = db
	w.open(build.Config{Products: shelf, Results: shelf})
	const width, depth = 3, 4
	for tier := range depth {
		for i := range width {
			name, needs := fmt.Sprintf("c%d-%d", tier, i), ""
			if tier > 0 {
				needs = fmt.Sprintf("c%d-%d, c%d-%d", tier-1, i, tier-1, (i+1)%width)
			}
			w.commit(name, "components/"+name, map[string]string{"slipway.yaml": recipe(name, needs, "echo "+name+" > $OUT/f; cat $DEPS/*/f >> $OUT/f 2>/dev/null || true", "test -s $OUT/f")})
		}
	}
	r, err := w.s.StartRebuild(t.Context(), "ferry", build.RebuildCause{All: true}, "ann")
	if err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	kills := 0
	for try := range 40 {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestKillRebuild$")
		cmd.Env = append(os.Environ(), rebuildKillDir+"="+w.dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() { cmd.Wait(); close(ended) }() //nolint:errcheck // it is killed
		select {
		case <-ended:
		case <-time.After(time.Duration(100+random.IntN(150)+40*try) * time.Millisecond): // soon at first, so that a quick machine is hit too
			switch err := cmd.Process.Kill(); {
			case err == nil:
				kills++
			case !errors.Is(err, os.ErrProcessDone): // it came to its end in this very moment
				t.Fatal(err)
			}
			<-ended
		}
		if err := db.Release(t.Context(), "test"); err != nil { // as the next process of this name does
			t.Fatal(err)
		}
		if r, err = w.s.Rebuild(t.Context(), r.ID); err != nil {
			t.Fatal(err)
		}
		if r.State != build.RebuildRunning {
			break
		}
	}
	if kills == 0 {
		t.Fatal("nothing was killed")
	}
	w.open(build.Config{Products: shelf, Results: shelf})
	w.start()
	r = w.settled(r.ID, 1)
	if r.State != build.RebuildPassed || r.Counts.Built != width*depth || len(r.Attempts) != 1 {
		t.Fatalf("after %d kills: %+v", kills, r)
	}
	all, err := w.s.Builds(t.Context(), slipway.Query{})
	if err != nil || len(all) != 2*width*depth {
		t.Fatalf("%d builds, %v", len(all), err)
	}
	for _, typ := range []slipway.EventType{slipway.BuildQueued, slipway.BuildFinished} {
		if n := w.events(typ); n != 2*width*depth {
			t.Errorf("%d of %s", n, typ)
		}
	}
	if n := w.events(slipway.WaveFinished, slipway.RebuildFinished, slipway.RebuildStarted); n != 3 {
		t.Errorf("%d events of ends and starts", n)
	}
	t.Logf("%d kills", kills)
}
