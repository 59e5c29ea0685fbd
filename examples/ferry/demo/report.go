package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"slipway.dev/slipway/client"
)

// report says where the time went and where to look.
func (s *story) report(ctx context.Context) error {
	s.title("the bad change")
	fmt.Fprintf(s.out, "  %s %q landed in its repository and was rejected by the queue as entry/%d:\n", s.badRef, s.bad.Title, s.bad.Number)
	for line := range strings.SplitSeq(strings.TrimSpace(s.bad.Reason), "\n") {
		fmt.Fprintf(s.out, "    %s\n", line)
	}

	s.title("where the time went, in seconds")
	fmt.Fprintf(s.out, "  %-34s %14s %14s %14s\n", "", "first release", "good change", "bad change")
	rows := []struct {
		name string
		of   [3]string
	}{
		{"change: tested and landed", [3]string{"", s.span("change.created", s.goodRef, "change.landed", s.goodRef), s.span("change.created", s.badRef, "change.landed", s.badRef)}},
		{"queue: waiting", s.phase("queued")},
		{"queue: building and unit tests", s.phase("building")},
		{"queue: experiments on nodes", s.phase("testing")},
		{"queue: landing", s.phase("landing")},
		{"compose: packages and repositories", [3]string{s.span("release.created", s.ref(s.first), "compose.finished", s.ref(s.first)), s.span("release.created", s.ref(s.second), "compose.finished", s.ref(s.second)), ""}},
		{"deploy: until every node is well", [3]string{s.span("compose.finished", s.ref(s.first), "deploy.version.deployed", "version/"+s.versions[0]), s.span("compose.finished", s.ref(s.second), "deploy.version.deployed", "version/"+s.versions[1]), ""}},
	}
	for _, r := range rows {
		fmt.Fprintf(s.out, "  %-34s %14s %14s %14s\n", r.name, r.of[0], r.of[1], r.of[2])
	}
	fmt.Fprintf(s.out, "  %-34s %14.1f\n", "everything", time.Since(s.start).Seconds())

	s.title("where to look")
	why, err := s.slipway(ctx, "why", "node/"+s.nodes[0].name)
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(why), "\n")
	fmt.Fprintf(s.out, "  $ slipway why node/%s\n", s.nodes[0].name)
	const enough = 24
	for _, line := range lines[:min(enough, len(lines))] {
		fmt.Fprintln(s.out, "    "+clip(line, 130))
	}
	if len(lines) > enough {
		fmt.Fprintf(s.out, "    … and %d lines more, down to the commits\n", len(lines)-enough)
	}
	compose := s.url + "/composes/" + s.second.ID
	fmt.Fprintf(s.out, "\n  dashboard   %s/  (token in %s)\n", s.url, s.path("data", "admin-token"))
	fmt.Fprintf(s.out, "  release     slipway release show %s\n", s.second.ID)
	fmt.Fprintf(s.out, "  compose     %s/\n", compose)
	if c, err := s.client.Compose(ctx, s.second.ID); err == nil {
		for _, v := range c.Variants {
			fmt.Fprintf(s.out, "  %-11s dnf install --repofrompath ferry,%s/%s/x86_64/os/ ferry-station\n", strings.ToLower(v.ID), compose, v.ID)
		}
	}
	fmt.Fprintf(s.out, "  also        slipway why entry/%d; slipway where timetable; slipway events --follow\n", s.bad.Number)
	fmt.Fprintf(s.out, "  with        export SLIPWAY_DATA=%s\n", s.path("data"))
	return nil
}

func (s *story) ref(r client.Release) string { return "release/" + r.ID }

// span is the time between two events.
func (s *story) span(from, fromSubject, to, toSubject string) string {
	a, ok := s.watch.first(from, fromSubject)
	b, also := s.watch.first(to, toSubject)
	if !ok || !also {
		return "-"
	}
	return seconds(b.Sub(a))
}

// phase is how long each of the three entries was in a phase of the queue.
func (s *story) phase(name string) (out [3]string) {
	for i, e := range []client.Entry{s.initial, s.good, s.bad} {
		var total time.Duration
		for j, stamp := range e.History {
			if string(stamp.Phase) == name && j+1 < len(e.History) {
				total += e.History[j+1].Time.Sub(stamp.Time)
			}
		}
		out[i] = seconds(total)
	}
	return out
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f", d.Seconds()) }
