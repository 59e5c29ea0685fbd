package web

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"slipway.dev/slipway/internal/slipway"
)

// tone groups the states of all stages by what they mean to a reader: good, busy, bad, odd or idle.
func tone(state string) string {
	switch state {
	case "pass", "passed", "landed", "built", "ready", "online", "deployed", "finished", "applied", "released", "ok", "loaded", "approved", "tested", "clean", "compiled", "waived":
		return "good"
	case "fail", "failed", "rejected", "dead", "offline", "broken", "conflict", "lost", "missing", "blocked", "errored", "stuck", "gone":
		return "bad"
	case "infra", "timeout", "cancelled", "skipped", "abandoned", "dequeued", "drifted", "superseded", "frozen", "drained", "paused", "draining":
		return "odd"
	case "running", "testing", "building", "landing", "reserved", "cleaning", "deploying", "preparing", "open", "done":
		return "busy"
	}
	return "idle"
}

// href is the page of a subject; empty when it has none.
func href(subject string) string {
	kind, id, ok := slipway.SplitRef(subject)
	if !ok || id == "" {
		return ""
	}
	switch kind {
	case "change":
		number, _, _ := strings.Cut(id, ".")
		return "/ui/changes/" + number
	case "entry":
		return "/ui/entries/" + id
	case "candidate":
		return "/ui/candidates/" + id
	case "wave":
		return "/ui/waves/" + id
	case "build":
		return "/ui/builds/" + id
	case "rebuild":
		return "/ui/rebuilds/" + id
	case "experiment":
		return "/ui/experiments/" + id
	case "release":
		return "/ui/releases/" + id
	case "compose":
		return "/ui/composes/" + id
	case "node":
		return "/ui/nodes/" + id
	case "product":
		return "/ui/products/" + id
	case "version":
		if i := strings.LastIndexByte(id, '-'); i > 0 {
			return "/ui/deployments/" + id[:i]
		}
	}
	return ""
}

func short(id string) string {
	id = strings.TrimPrefix(id, "sha256:")
	return id[:min(10, len(id))]
}

// said is how a subject without a page is written: long ids of commits are cut.
func said(subject string) string {
	if id, ok := strings.CutPrefix(subject, "commit/"); ok {
		return "commit/" + short(id)
	}
	return subject
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	if strings.HasSuffix(one, "y") {
		return fmt.Sprintf("%d %sies", n, strings.TrimSuffix(one, "y"))
	}
	return fmt.Sprintf("%d %ss", n, one)
}

func sizeOf(bytes int64) string {
	switch {
	case bytes < 1<<10:
		return fmt.Sprintf("%d B", bytes)
	case bytes < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(bytes)/(1<<10))
	case bytes < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30))
}

// took tells how long something lasted; "" while that is not known.
func took(from, to time.Time) string {
	if from.IsZero() || to.IsZero() || to.Before(from) {
		return ""
	}
	d := to.Sub(from)
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}

// spans tells how long something waited and ran, as far as that is known: ", waited 11 ms, ran 2.0 s".
func spans(asked, began, ended time.Time) string {
	text := ""
	if d := took(asked, began); d != "" {
		text += ", waited " + d
	}
	if d := took(began, ended); d != "" {
		text += ", took " + d
	}
	return text
}

// sortedKeys returns the keys of a map in order.
func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func pairs(m map[string]string) string {
	var b []string
	for _, k := range sortedKeys(m) {
		b = append(b, k+"="+m[k])
	}
	return strings.Join(b, " ")
}
