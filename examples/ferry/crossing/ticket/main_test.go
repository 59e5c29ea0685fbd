package main

import (
	"testing"
	"time"
)

func TestText(t *testing.T) {
	got := text("deck", time.Date(2026, 11, 21, 6, 0, 0, 0, time.UTC))
	if want := "one passage from deck, 06:00, with the Ada"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
