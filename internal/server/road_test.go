package server_test

import (
	"os"
	"path/filepath"
	"testing"

	"slipway.dev/slipway/internal/server/servertest"
	"slipway.dev/slipway/internal/store/storetest"
)

// TestRoad takes a small product down the whole road on each database.
func TestRoad(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { road(t) })
	t.Run("postgres", func(t *testing.T) {
		t.Setenv("SLIPWAY_DATABASE", storetest.Postgres(t))
		s := road(t, "server")
		if _, err := os.Stat(filepath.Join(s.Data(), "slipway.db")); err == nil {
			t.Error("the state is in SQLite")
		}
	})
}

func road(t *testing.T, args ...string) *servertest.Rig {
	p := &tiny{servertest.New(t, args...), t}
	p.Up()
	p.Ready()
	p.play(1)
	s := p.observe()
	if got := len(s.Releases); got != 4 {
		t.Errorf("%d releases, want 4:\n%s", got, s)
	}
	t.Logf("the road ended at:\n%s", s)
	return p.Rig
}
