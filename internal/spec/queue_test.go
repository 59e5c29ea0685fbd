package spec_test

import (
	"testing"
	"time"

	"slipway.dev/slipway/internal/spec"
)

func TestHours(t *testing.T) {
	q := spec.Queue{Zone: "Europe/Berlin"}
	for _, text := range []string{"mon-fri 08:00-18:00", "sat 10:00-24:00"} {
		h, err := spec.ParseHours(text)
		if err != nil {
			t.Fatal(err)
		}
		q.Hours = append(q.Hours, h)
	}
	for _, c := range []struct{ at, next string }{ // next is empty when it is open
		{"2026-11-20T08:00:00+01:00", ""},
		{"2026-11-20T07:59:00+01:00", "2026-11-20T08:00:00+01:00"},
		{"2026-11-20T18:00:00+01:00", "2026-11-21T10:00:00+01:00"},
		{"2026-11-21T22:59:59Z", ""},
		{"2026-11-22T12:00:00+01:00", "2026-11-23T08:00:00+01:00"},
		{"2026-10-24T23:30:00Z", "2026-10-26T08:00:00+01:00"}, // clocks go back that night
	} {
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		open, next := q.Open(at)
		if got := next.Format(time.RFC3339); open != (c.next == "") || !open && got != c.next {
			t.Errorf("at %s: open %v, next %s; want %q", c.at, open, got, c.next)
		}
	}
	for _, text := range []string{"", "mon", "mon 8-18", "mon 18:00-08:00", "noday 08:00-09:00", "mon-xyz 08:00-09:00"} {
		if _, err := spec.ParseHours(text); err == nil {
			t.Errorf("%q is no span", text)
		}
	}
	if open, _ := (spec.Queue{}).Open(time.Now()); !open {
		t.Error("a queue without hours is closed")
	}
}
