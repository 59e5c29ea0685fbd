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

	if err := s.why(ctx); err != nil {
		return err
	}
	s.title("where to look, while it runs (make demo KEEP=1)")
	compose := s.url + "/composes/" + s.second.ID
	for _, line := range [][2]string{
		{"dashboard", s.url + "/  (the token is in " + s.path("data", "admin-token") + ")"},
		{"release", "slipway release show " + s.second.ID},
		{"compose", compose + "/"},
		{"dnf", "curl -fsSLo /etc/yum.repos.d/ferry.repo " + compose + "/ferry.repo && dnf install ferry-station"},
		{"apt", "curl -fsSLo /etc/apt/sources.list.d/ferry.sources " + compose + "/ferry.sources && apt update && apt install ferry-station"},
		{"why", fmt.Sprintf("slipway why node/%s; slipway why entry/%d", s.nodes[0].name, s.bad.Number)},
		{"where", "slipway where timetable; slipway where ferry-station"},
		{"with", "export SLIPWAY_DATA=" + s.path("data")},
	} {
		fmt.Fprintf(s.out, "  %-10s  %s\n", line[0], line[1])
	}
	return nil
}

// why shows the way from a node's running bytes back to the good change, out of the whole answer.
func (s *story) why(ctx context.Context) error {
	subject := "node/" + s.nodes[0].name
	s.title("slipway why " + subject + ", the way back to the change")
	why, err := s.client.Why(ctx, subject)
	if err != nil {
		return err
	}
	way := wayTo(why, s.goodRef)
	if way == nil {
		return fmt.Errorf("nothing leads from %s back to %s", subject, s.goodRef)
	}
	for depth, r := range way {
		fmt.Fprintf(s.out, "  %s%s\n", strings.Repeat("  ", depth), clip(fmt.Sprintf("%s  %s: %s", r.Subject(), orDash(r.Title), r.Reason), 120-2*depth))
	}
	return nil
}

// wayTo finds the shortest way from a thing to one that it follows from, and on to the first thing below that.
func wayTo(from client.Reason, subject string) []client.Reason {
	if from.Subject() == subject && !from.Above {
		way := []client.Reason{from}
		if len(from.Causes) > 0 {
			way = append(way, from.Causes[0])
		}
		return way
	}
	var best []client.Reason
	for _, cause := range from.Causes {
		if way := wayTo(cause, subject); way != nil && (best == nil || len(way)+1 < len(best)) {
			best = append([]client.Reason{from}, way...)
		}
	}
	return best
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
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
