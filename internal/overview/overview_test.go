package overview_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/internal/overview"
	"slipway.dev/slipway/internal/slipway"
)

type ledger map[string]slipway.Event

func (l ledger) Last(_ context.Context, subject string) (slipway.Event, bool, error) {
	e, ok := l[subject]
	return e, ok, nil
}

// things makes lookups over a fixed set of items.
func things(items ...overview.Item) map[string]overview.Lookup {
	lookups := map[string]overview.Lookup{}
	for _, item := range items {
		lookups[item.Kind] = func(_ context.Context, id string) (overview.Item, error) {
			for _, i := range items {
				if i.Kind == item.Kind && i.Name == id {
					return i, nil
				}
			}
			return overview.Item{}, slipway.Errorf(slipway.NotFound, "no %s %q", item.Kind, id)
		}
	}
	return lookups
}

var road = things(
	overview.Item{Kind: "node", Name: "deck-1", State: "online", Reason: "heard now", Because: []string{"version/ferry-2"}},
	overview.Item{Kind: "version", Name: "ferry-2", State: "deployed", Because: []string{"release/r", "release/gone"}},
	overview.Item{Kind: "release", Name: "r", Title: "v2026.11.2", State: "released", Facts: []overview.Fact{{Name: "tag", Value: "v2026.11.2"}}, Because: []string{"entry/3", "build/b"}},
	overview.Item{Kind: "entry", Name: "3", State: "landed", Because: []string{"build/b", "node/deck-1"}},
	overview.Item{Kind: "build", Name: "b", State: "finished", Reason: "the key\n was new", Because: []string{"commit/abc"}},
	overview.Item{Kind: "component", Name: "tide", State: "ok"},
	overview.Item{Kind: "package", Name: "tide", State: "composed"},
)

func TestWhy(t *testing.T) {
	at := time.Date(2026, 11, 21, 4, 0, 0, 0, time.UTC)
	s := overview.New(road, ledger{"commit/abc": {Type: "source.ref.updated", Reason: "pushed by ann", Time: at}})
	why, err := s.Why(t.Context(), "node/deck-1")
	if err != nil {
		t.Fatal(err)
	}
	want := `node/deck-1  [online]
│  heard now
└─ version/ferry-2  [deployed]
   ├─ release/r  v2026.11.2  [released]
   │  │  tag: v2026.11.2
   │  ├─ entry/3  [landed]
   │  │  ├─ build/b  [finished]
   │  │  │  │  the key was new
   │  │  │  └─ commit/abc  [ref.updated]  2026-11-21 04:00:00
   │  │  │        pushed by ann
   │  │  └─ node/deck-1  (above)
   │  └─ build/b  (above)
   └─ release/gone  not known any more: no release "gone"
`
	if got := why.Text(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestWhere(t *testing.T) {
	s := overview.New(road, ledger{})
	for _, c := range []struct {
		thing, want string
		kind        slipway.Kind
	}{
		{"deck-1", "node/deck-1", ""},
		{"component/tide", "component/tide", ""},
		{"tide", "component/tide or package/tide", slipway.Conflict},
		{"moon", "build, component, entry, node, package, release, version", slipway.NotFound},
		{"commit/abc", "nothing is called", slipway.NotFound},
		{"node/moon", `no node "moon"`, slipway.NotFound},
	} {
		item, err := s.Where(t.Context(), c.thing)
		switch {
		case c.kind == "" && (err != nil || item.Subject() != c.want):
			t.Errorf("%s: %s, %v", c.thing, item.Subject(), err)
		case c.kind != "" && (!slipway.Is(err, c.kind) || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %s with %q", c.thing, err, c.kind, c.want)
		}
	}
	broken := overview.New(map[string]overview.Lookup{"x": func(context.Context, string) (overview.Item, error) {
		return overview.Item{}, errors.New("database is gone")
	}}, ledger{})
	if _, err := broken.Where(t.Context(), "y"); err == nil || slipway.Is(err, slipway.NotFound) {
		t.Errorf("a failure is not an absence: %v", err)
	}
}
