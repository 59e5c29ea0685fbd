package board

import (
	"testing"
	"time"

	"ferry.example/timetable"
)

func TestText(t *testing.T) {
	at := time.Date(2026, 11, 21, 7, 40, 0, 0, time.UTC)
	got := Text([]timetable.Departure{
		{Leaves: at.Add(5 * time.Minute), Ferry: "Ada"},
		{Leaves: at.Add(35 * time.Minute), Ferry: "Grace"},
	}, at)
	if want := "07:45  in 5 min   Ada\n08:15  in 35 min  Grace\n"; got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}
