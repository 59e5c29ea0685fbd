package build_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build"
	"slipway.dev/slipway/internal/stage/build/retain"
	"slipway.dev/slipway/internal/store"
	"slipway.dev/slipway/internal/store/storetest"
)

// TestWavesAfterCollection asks again for what was built so long ago that its outputs are gone: under another name, as a candidate that
// is queued again does, and under the same.
func TestWavesAfterCollection(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		w := newWorld(t, db, build.Config{})
		w.product()
		w.start()
		first := w.wave("w1", "app")
		w.passed(first)
		long, later := time.Now().Add(-100*24*time.Hour), time.Now().Add(100*24*time.Hour)
		err := filepath.WalkDir(filepath.Join(w.dir, "data", "artifacts", "blobs"), func(p string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			return os.Chtimes(p, long, long) // nobody used it since
		})
		if err != nil {
			t.Fatal(err)
		}
		report, err := retain.New(db, w.disk, retain.Keep{}, func() time.Time { return later }).Collect(t.Context(), false)
		if err != nil || report.Waves != 1 {
			t.Fatalf("%+v %v", report, err)
		}
		there := func(st slipway.WaveStatus) (n int) {
			for _, c := range st.Components {
				if w.disk.Has(c.Artifact) {
					n++
				}
			}
			return n
		}
		if n := there(first); n != 0 {
			t.Fatalf("%d of the outputs are there still", n)
		}
		if st := w.status("w1"); st.State != slipway.WavePassed || len(st.Components) != 0 {
			t.Fatalf("%+v", st)
		}
		for _, id := range []string{"w2", "w1"} {
			again := w.wave(id, "app")
			w.passed(again)
			if n := there(again); n != len(first.Components) || len(again.Components) != n {
				t.Fatalf("%s: %d of %d outputs are there", id, n, len(again.Components))
			}
			for name, c := range again.Components {
				if c.Artifact != first.Components[name].Artifact {
					t.Errorf("%s: %s came out otherwise", id, name)
				}
			}
		}
		if n := w.events(slipway.WaveFinished); n != 3 {
			t.Fatalf("%d waves were told to have ended", n)
		}
	})
}
