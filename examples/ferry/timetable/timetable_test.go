package timetable

import (
	"testing"
	"time"
)

func TestNext(t *testing.T) {
	at := time.Date(2026, 11, 21, 7, 40, 0, 0, time.UTC)
	for _, c := range []struct{ from, want string }{{"deck", "08:00"}, {"shore", "07:45"}} {
		list := Next(c.from, at, 3)
		if len(list) != 3 || list[0].Leaves.Format("15:04") != c.want {
			t.Errorf("from %s: %v, want the first at %s", c.from, list, c.want)
		}
		for i := 1; i < len(list); i++ {
			if !list[i].Leaves.After(list[i-1].Leaves) || list[i].Ferry == list[i-1].Ferry {
				t.Errorf("from %s: %v follows %v", c.from, list[i], list[i-1])
			}
		}
	}
}

func TestNextGoesOnTomorrow(t *testing.T) {
	list := Next("deck", time.Date(2026, 11, 21, 23, 0, 0, 0, time.UTC), 1)
	if got := list[0].Leaves.Format("02 15:04"); got != "22 06:00" {
		t.Errorf("the first after midnight is at %s", got)
	}
}
