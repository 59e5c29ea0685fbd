package spool_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"slipway.dev/slipway/internal/agent/spool"
)

func TestLinesSurviveEveryCut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records")
	log, lines, err := spool.Open(path)
	if err != nil || len(lines) != 0 {
		t.Fatal(lines, err)
	}
	var ends []int // where each line ends in the file
	for i := range 5 {
		if err := log.Append(fmt.Appendf(nil, `{"seq":%d}`, i)); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, int(info.Size()))
	}
	if err := log.Append([]byte("two\nlines")); err == nil {
		t.Fatal("a record of two lines was taken")
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := 0; cut <= len(whole); cut++ {
		if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		log, lines, err := spool.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		want := 0
		for _, e := range ends {
			if e <= cut {
				want++
			}
		}
		if len(lines) != want {
			t.Fatalf("cut at %d: %d lines, want %d", cut, len(lines), want)
		}
		if err := log.Append([]byte("next")); err != nil {
			t.Fatal(err)
		}
		log.Close()
		log, lines, err = spool.Open(path)
		if err != nil || len(lines) != want+1 || string(lines[want]) != "next" {
			t.Fatalf("cut at %d: then %q, %v", cut, lines, err)
		}
		log.Close()
	}
}
