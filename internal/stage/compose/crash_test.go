package compose_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"slipway.dev/slipway/internal/platform/jobs/jobstest"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/compose"
	"slipway.dev/slipway/internal/store"
	"slipway.dev/slipway/internal/store/storetest"
)

var errCrash = errors.New("the process was killed")

// crashing is a store whose process dies around its nth commit: just before it, or just after it was made.
type crashing struct {
	slipway.Store[compose.Tx]
	left  *int
	after bool
}

func (c crashing) Update(ctx context.Context, f func(compose.Tx) error) error {
	*c.left--
	if *c.left == 0 && !c.after {
		return errCrash
	}
	err := c.Store.Update(ctx, f)
	if *c.left == 0 && err == nil {
		return errCrash
	}
	if *c.left < 0 {
		return errCrash // the dead do nothing more
	}
	return err
}

// TestCrashAnywhereEndsTheSame kills the first run before and after each of its commits and runs again on what is left.
func TestCrashAnywhereEndsTheSame(t *testing.T) {
	want := ""
	crashes := 0
	for _, after := range []bool{false, true} {
		for n := 1; ; n++ {
			w := newWorld(t, storetest.Open(t, compose.Routes()...))
			rel := w.first()
			left := n
			st := crashing{store.Scope(w.db, func(tx *store.Tx) compose.Tx { return tx }), &left, after}
			dying := compose.New(st, w, w, w.disk, w, w.config())
			err := jobstest.DrainErr(t.Context(), w.db, dying.Handlers()...)
			if err != nil && !errors.Is(err, errCrash) {
				t.Fatal(err)
			}
			survived := err == nil
			if !survived {
				crashes++
			}
			jobstest.Drain(t, w.db, w.service().Handlers()...)
			c := w.finished(rel.ID)
			if want == "" {
				want = c.Digest
			}
			if c.Digest != want {
				t.Errorf("killed at commit %d (after: %t), the compose has digest %s, not %s", n, after, c.Digest, want)
			}
			events, err := w.db.Events(t.Context(), store.EventQuery{Type: string(slipway.ComposeFinished)})
			if err != nil || len(events) != 1 {
				t.Errorf("killed at commit %d (after: %t), %d events say that it is finished (%v)", n, after, len(events), err)
			}
			entries, err := os.ReadDir(w.config().Dir)
			if err != nil || len(entries) != 1 {
				t.Errorf("killed at commit %d (after: %t), the folder holds %v (%v)", n, after, entries, err)
			}
			if survived {
				break
			}
		}
	}
	if crashes < 16 {
		t.Errorf("only %d crashes: the run has fewer commits than it must have", crashes)
	}
}

// TestHalfWrittenFolderIsThrownAway leaves what a kill in the middle of writing leaves.
func TestHalfWrittenFolderIsThrownAway(t *testing.T) {
	w := newWorld(t, storetest.Open(t, compose.Routes()...))
	rel := w.first()
	for _, half := range []string{".tmp-" + rel.ID, rel.ID} {
		dir := filepath.Join(w.config().Dir, half, "Edge")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "stale"), []byte("x"), 0o444); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, 0o555); err != nil {
			t.Fatal(err)
		}
	}
	s := w.service()
	jobstest.Drain(t, w.db, s.Handlers()...)
	w.finished(rel.ID)
	if v, err := s.Verify(t.Context(), rel.ID); err != nil || !v.OK {
		t.Errorf("verify: %+v, %v", v, err)
	}
}
