//go:build long

package server_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"slipway.dev/slipway/internal/server/servertest"
)

// TestCrash plays the same history twice: undisturbed, and with the server killed with SIGKILL again and again at random points, now
// and then the agent too. Both must end in the same state; nothing may be lost or told twice.
//
// SLIPWAY_CRASH_KILLS says how often at least (default 300), SLIPWAY_CRASH_SEED which random points.
func TestCrash(t *testing.T) {
	kills := int64(number(t, "SLIPWAY_CRASH_KILLS", 300))
	seed := uint64(number(t, "SLIPWAY_CRASH_SEED", 1))
	rounds := number(t, "SLIPWAY_CRASH_ROUNDS", 5)

	calm := &tiny{servertest.New(t), t}
	calm.Up()
	calm.Ready()
	calm.play(rounds)
	want := calm.observe()
	calm.Kill("agent")
	calm.Kill("server")

	p := &tiny{servertest.New(t), t}
	p.Up()
	p.Ready()
	k := &killer{p: p, random: rand.New(rand.NewPCG(seed, 0))}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		k.run(ctx)
	}()
	p.play(rounds)
	// The history may be over early: the rest of the kills hit a server that has nothing to do.
	servertest.Eventually(t, 20*time.Minute, "the server was killed often enough", func() error { return k.reached(kills) })
	cancel()
	<-done
	p.Ready()
	p.settled(rounds*len(work), rounds*4+1)
	got := p.observe()
	t.Logf("%d kills of the server and %d of the agent, seed %d", k.count.Load(), k.agents.Load(), seed)
	if got.String() != want.String() {
		t.Errorf("after the kills:\n%s\nundisturbed:\n%s", got, want)
	}
}

// killer kills and restarts.
type killer struct {
	p             *tiny
	random        *rand.Rand
	count, agents atomic.Int64
}

// run kills the server at random points of its life, from its first instant to a few seconds.
func (k *killer) run(ctx context.Context) {
	for {
		// Mostly soon, so that starting and recovering are hit; sometimes late enough for work to get done.
		life := time.Duration(k.random.ExpFloat64() * float64(700*time.Millisecond))
		timer := time.NewTimer(life)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		k.p.Kill("server")
		k.count.Add(1)
		if k.random.IntN(8) == 0 {
			k.p.Kill("agent")
			k.agents.Add(1)
			k.p.Start("agent", k.p.agentArgs()...)
		}
		k.p.Up()
	}
}

func (k *killer) reached(n int64) error {
	if c := k.count.Load(); c < n {
		return fmt.Errorf("killed %d times", c)
	}
	return nil
}

func number(t *testing.T, variable string, standard int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return standard
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return n
}
