package web

import (
	"strings"
	"testing"

	"slipway.dev/slipway/internal/slipway"
)

func TestTopic(t *testing.T) {
	e := slipway.Event{Type: slipway.ChangeLanded, Subject: "change/12", Product: "ferry", Links: []string{"entry/3"}}
	for topic, want := range map[string]bool{
		"change/12": true, "change/1": false, "entry/3": true, "change.": true, "change.landed": true, "build.": false, "": true,
		"ferry:": true, "ferry:change.": true, "ferry:build.": false, "other:": false, "other:change/12": false, "ferry:change/12": true,
	} {
		if got := Topic(topic, e); got != want {
			t.Errorf("topic %q: %t", topic, got)
		}
	}
}

func TestDiff(t *testing.T) {
	lock := func(version, commit, artifact string) slipway.Locked {
		return slipway.Locked{Version: version, Commit: commit, Artifact: artifact}
	}
	before := slipway.Release{Manifests: map[string]slipway.Manifest{
		"edge": {Components: map[string]slipway.Locked{"same": lock("1", "a", "x"), "moved": lock("1", "a", "x"), "rebuilt": lock("1", "a", "x"), "gone": lock("1", "a", "x")}},
		"old":  {Components: map[string]slipway.Locked{"gone": lock("1", "a", "x")}},
	}}
	after := slipway.Release{Manifests: map[string]slipway.Manifest{
		"edge": {Components: map[string]slipway.Locked{"same": lock("1", "a", "x"), "moved": lock("2", "b", "y"), "rebuilt": lock("1", "a", "z"), "new": lock("1", "a", "x")}},
	}}
	var got []string
	for _, d := range diff(before, after) {
		for _, l := range d.Lines {
			got = append(got, d.Configuration+" "+l.Component+" "+l.How)
		}
	}
	want := "edge moved moved, edge new new, edge rebuilt rebuilt, edge gone gone, edge same same, old gone gone"
	if s := strings.Join(got, ", "); s != want {
		t.Errorf("got  %s\nwant %s", s, want)
	}
	if first := diff(slipway.Release{}, after); len(first) != 1 || first[0].Same != 0 || first[0].Lines[0].How != "new" {
		t.Errorf("the first release: %+v", first)
	}
}

func TestWholeRunes(t *testing.T) {
	text := "a€b😀"
	for n := range len(text) + 1 {
		whole := wholeRunes([]byte(text[:n]))
		if got := text[:whole]; strings.Contains(got, "\uFFFD") || !strings.HasPrefix(text, got) || n-whole > 3 {
			t.Errorf("of %d bytes %d are whole", n, whole)
		}
		if n == len(text) && whole != n {
			t.Errorf("of all %d bytes %d are whole", n, whole)
		}
	}
	if got := wholeRunes([]byte("\xff\xff\xff\xff\xff")); got != 5 {
		t.Errorf("of bytes that are no text %d are let through, want all", got)
	}
}
