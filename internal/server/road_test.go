package server_test

import (
	"testing"

	"slipway.dev/slipway/internal/server/servertest"
	"slipway.dev/slipway/internal/store/storetest"
)

// TestRoad takes a small product down the whole road on each database.
func TestRoad(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) { road(t) })
	t.Run("postgres", func(t *testing.T) { road(t, "server", "--database", storetest.Postgres(t)) })
}

func road(t *testing.T, args ...string) {
	p := &tiny{servertest.New(t, args...), t}
	p.Up()
	p.Ready()
	p.play(1)
	s := p.observe()
	if got := len(s.Releases); got != 4 {
		t.Errorf("%d releases, want 4:\n%s", got, s)
	}
	t.Logf("the road ended at:\n%s", s)
}
