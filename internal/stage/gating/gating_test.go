package gating_test

import (
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/gating"
	"slipway.dev/slipway/internal/store"
	"slipway.dev/slipway/internal/store/storetest"
)

func TestDecide(t *testing.T) {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	const subject = "candidate/c1"
	unit := slipway.Requirement{Check: "unit", Item: "libwire"}
	smoke := slipway.Requirement{Check: "experiment", Item: "smoke", Configuration: "shore"}
	result := func(r slipway.Requirement, o slipway.Outcome, at time.Time) slipway.Result {
		return slipway.Result{Subject: subject, Check: r.Check, Item: r.Item, Configuration: r.Configuration, Outcome: o, Reason: "exit 1", Time: at}
	}
	for _, tc := range []struct {
		name    string
		results []slipway.Result
		waivers []gating.Waiver
		want    []slipway.CheckState
	}{
		{"nothing known", nil, nil, []slipway.CheckState{slipway.CheckMissing, slipway.CheckMissing}},
		{"all passed", []slipway.Result{result(unit, slipway.Pass, now), result(smoke, slipway.Pass, now)}, nil,
			[]slipway.CheckState{slipway.CheckPassed, slipway.CheckPassed}},
		{"the newest counts", []slipway.Result{result(unit, slipway.Fail, now), result(unit, slipway.Pass, now.Add(-time.Hour)), result(smoke, slipway.Infra, now)}, nil,
			[]slipway.CheckState{slipway.CheckFailed, slipway.CheckErrored}},
		{"waived for one component", []slipway.Result{result(unit, slipway.Fail, now), result(smoke, slipway.Timeout, now)},
			[]gating.Waiver{{ID: "1", Check: "unit", Item: "libwire", Author: "ann", Reason: "known"}},
			[]slipway.CheckState{slipway.CheckWaived, slipway.CheckErrored}},
		{"waivers that do not cover it", []slipway.Result{result(unit, slipway.Fail, now), result(smoke, slipway.Pass, now)},
			[]gating.Waiver{
				{ID: "1", Check: "unit", Item: "other"}, {ID: "2", Check: "build"}, {ID: "3", Check: "unit", Subject: "candidate/c2"},
				{ID: "4", Check: "unit", Until: now}, {ID: "5", Check: "unit", Revoked: "ann"}, {ID: "6", Check: "unit", Configuration: "deck"},
			},
			[]slipway.CheckState{slipway.CheckFailed, slipway.CheckPassed}},
		{"another configuration's result", []slipway.Result{result(unit, slipway.Pass, now),
			result(slipway.Requirement{Check: "experiment", Item: "smoke", Configuration: "deck"}, slipway.Pass, now)}, nil,
			[]slipway.CheckState{slipway.CheckPassed, slipway.CheckMissing}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := gating.Decide(subject, []slipway.Requirement{unit, smoke}, tc.results, tc.waivers, now)
			ok := true
			for i, v := range d.Verdicts {
				if v.State != tc.want[i] {
					t.Errorf("%s is %s, want %s", v.Requirement, v.State, tc.want[i])
				}
				ok = ok && (v.State == slipway.CheckPassed || v.State == slipway.CheckWaived)
			}
			if d.OK != ok {
				t.Errorf("decided %v: %s", d.OK, d.Reason)
			}
		})
	}
}

func TestResultsAndWaivers(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		s := gating.New(store.Scope(db, func(tx *store.Tx) gating.Tx { return tx }))
		r := slipway.Result{Product: "p", Subject: "change/1.1", Check: "unit", Item: "libwire", Outcome: slipway.Fail, Reason: "exit 1", Link: "build/b1"}
		for range 2 { // a redelivery changes nothing
			if err := s.Record(ctx, r); err != nil {
				t.Fatal(err)
			}
		}
		required := []slipway.Requirement{{Check: "unit", Item: "libwire"}}
		d, err := s.Decide(ctx, "p", "change/1.1", required)
		if err != nil || d.OK || !strings.Contains(d.Reason, "unit of libwire failed: exit 1") {
			t.Fatalf("decided %+v, %v", d, err)
		}
		for _, w := range []gating.Waiver{{Product: "p", Check: "unit", Author: "ann"}, {Product: "p", Check: "unit", Reason: "x"}, {Check: "unit", Reason: "x", Author: "ann"}} {
			if _, err := s.Waive(ctx, w); !slipway.Is(err, slipway.Invalid) {
				t.Errorf("waived by %+v: %v", w, err)
			}
		}
		w, err := s.Waive(ctx, gating.Waiver{Product: "p", Check: "unit", Item: "libwire", Author: "ann", Reason: "fails upstream too"})
		if err != nil {
			t.Fatal(err)
		}
		if d, err = s.Decide(ctx, "p", "change/1.1", required); err != nil || !d.OK {
			t.Errorf("with a waiver: %+v, %v", d, err)
		}
		if d, err = s.Decide(ctx, "other", "change/1.1", required); err != nil || d.OK {
			t.Errorf("another product's waiver counted: %+v, %v", d, err)
		}
		if err := s.Revoke(ctx, w.ID, "bob", "fixed"); err != nil {
			t.Fatal(err)
		}
		if d, err = s.Decide(ctx, "p", "change/1.1", required); err != nil || d.OK {
			t.Errorf("with a revoked waiver: %+v, %v", d, err)
		}
		events, err := db.Events(ctx, store.EventQuery{})
		if err != nil {
			t.Fatal(err)
		}
		var types []string
		for _, e := range events {
			types = append(types, string(e.Type))
		}
		if got, want := strings.Join(types, " "), "gating.result.recorded gating.waiver.granted gating.waiver.revoked"; got != want {
			t.Errorf("events %s, want %s", got, want)
		}
	})
}
