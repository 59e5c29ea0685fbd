package main

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"ferry.example/timetable"
)

func get(t *testing.T, h harbour, path string, want int) string {
	t.Helper()
	w := httptest.NewRecorder()
	h.handler().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	if w.Code != want {
		t.Fatalf("GET %s: %d, want %d: %s", path, w.Code, want, w.Body)
	}
	return w.Body.String()
}

func TestNext(t *testing.T) {
	var list []timetable.Departure
	if err := json.Unmarshal([]byte(get(t, harbour{place: "shore"}, "/next", 200)), &list); err != nil {
		t.Fatal(err)
	}
	if len(list) != 3 || list[0].From != "shore" || list[0].Leaves.Before(time.Now().Add(-time.Minute)) {
		t.Errorf("next: %+v", list)
	}
}

func TestVersion(t *testing.T) {
	got := get(t, harbour{place: "deck", release: "v2026.11.1", gauge: "/bin/echo"}, "/version", 200)
	for _, want := range []string{`"release": "v2026.11.1"`, `"place": "deck"`, `"timetable": "`} {
		if !strings.Contains(got, want) {
			t.Errorf("version has no %s:\n%s", want, got)
		}
	}
}

func TestTide(t *testing.T) {
	if got := get(t, harbour{gauge: "/bin/echo"}, "/tide", 200); got == "" {
		t.Error("no height")
	}
	get(t, harbour{gauge: "/nowhere/gauge"}, "/tide", 503)
}
