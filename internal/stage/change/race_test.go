package change_test

import (
	"context"
	"testing"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/change"
	"slipway.dev/slipway/internal/stage/change/plan"
	"slipway.dev/slipway/internal/store"
	"slipway.dev/slipway/internal/store/storetest"
)

// slow is a catalog that lets something happen between a look at a change and the decision about it.
type slow struct {
	*shelf
	meanwhile func()
}

func (c *slow) Review(ctx context.Context, product string) (spec.Review, error) {
	if f := c.meanwhile; f != nil {
		c.meanwhile = nil
		f()
	}
	return c.shelf.Review(ctx, product)
}

// A veto that comes while the change is being approved counts.
func TestAVetoAtTheLastMomentHoldsItBack(t *testing.T) {
	db := storetest.Open(t, change.Routes()...)
	y := open(t, db, t.TempDir())
	catalog := &slow{shelf: y.catalog}
	y.changes = change.New(store.Scope(db, func(tx *store.Tx) change.Tx { return tx }), y.src, catalog, y.bench, gate{y.gating}, nil)
	base := y.found(map[string]string{"a": "1\n"})
	y.catalog.review["ferry"] = spec.Review{Approve: "automatic"}
	y.propose(y.commit(base, "fix: one", map[string]string{"a": "2\n"}))
	y.drain()
	states := []plan.State{}
	catalog.meanwhile = func() { // the first look after the tests; the next one approves
		states = append(states, y.get(1).State)
		catalog.meanwhile = func() {
			states = append(states, y.get(1).State)
			if _, err := y.changes.Vote(t.Context(), 1, change.Voter{Name: "greg", Gatekeeper: true}, -2, 0, "wait"); err != nil {
				t.Error(err)
			}
		}
	}
	y.finish("change-1.1", nil)
	if len(states) != 2 || states[0] != plan.Testing || states[1] != plan.Tested {
		t.Fatalf("the veto did not come where it was meant to: %v", states)
	}
	y.want(1, plan.Tested, "greg holds it back")
	if _, err := y.changes.Vote(t.Context(), 1, change.Voter{Name: "greg", Gatekeeper: true}, 0, 0, "go on"); err != nil {
		t.Fatal(err)
	}
	y.drain()
	y.want(1, plan.Landed)
}

// The host's failures and other components' are not held against the change; a broken recipe is.
func TestWhoIsToBlame(t *testing.T) {
	for name, c := range map[string]struct {
		component slipway.ComponentBuild
		reason    string // of the wave
		want      string // in the change's reason
	}{
		"the build":        {slipway.ComponentBuild{State: "failed", Outcome: slipway.Fail, Reason: "exit code 2"}, "libwire: exit code 2", "build of libwire failed: exit code 2"},
		"the host":         {slipway.ComponentBuild{State: "failed", Outcome: slipway.Infra, Reason: "no space left"}, "libwire: no space left", "build of libwire errored: no space left"},
		"what it needs":    {slipway.ComponentBuild{State: "skipped", Reason: "skipped because libnet failed"}, "libnet: exit code 1", "build of libwire errored: skipped because libnet failed"},
		"its broken files": {slipway.ComponentBuild{State: "skipped", Reason: "skipped because the wave could not be planned"}, "a needs b needs a", "build of libwire failed: a needs b needs a"},
	} {
		t.Run(name, func(t *testing.T) {
			y := open(t, storetest.Open(t, change.Routes()...), t.TempDir())
			base := y.found(map[string]string{"a": "1\n"})
			y.propose(y.commit(base, "fix: one", map[string]string{"a": "2\n"}))
			y.drain()
			st := slipway.WaveStatus{ID: "change-1.1", For: "change/1", State: slipway.WaveFailed, Reason: c.reason,
				Components: map[string]slipway.ComponentBuild{"libwire": c.component}}
			if name == "what it needs" {
				st.Components["libnet"] = slipway.ComponentBuild{State: "failed", Outcome: slipway.Fail, Reason: "exit code 1"}
			}
			y.bench.mu.Lock()
			y.bench.waves["change-1.1"] = st
			y.bench.mu.Unlock()
			err := y.db.Update(t.Context(), func(tx *store.Tx) error {
				return tx.Emit(t.Context(), slipway.Event{Type: slipway.WaveFinished, Subject: "wave/change-1.1", Links: []string{"change/1"}})
			})
			if err != nil {
				t.Fatal(err)
			}
			y.drain()
			y.want(1, plan.Failed, c.want)
		})
	}
}
