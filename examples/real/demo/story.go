package main

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"
)

const product = "vista"

// node is one of the two machines.
type node struct {
	name, role, component, buildInfo string
	port, statsd                     string
}

// story is the demo: acts, each on what the one before left.
type story struct {
	*road
	nodes []*node
	times []timing
	begun int64 // the newest event when the story of ten changes began
}

type timing struct {
	what string
	took time.Duration
}

// act runs one act and keeps its time.
func (s *story) act(what string, f func() error) error {
	fmt.Printf("\n== %s\n", what)
	start := time.Now()
	err := f()
	s.times = append(s.times, timing{what, time.Since(start)})
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// act is one step of a story.
type act struct {
	what string
	do   func(context.Context) error
}

// acts does one act after the other.
func (s *story) acts(ctx context.Context, all []act) error {
	for _, a := range all {
		if err := s.act(a.what, func() error { return a.do(ctx) }); err != nil {
			return err
		}
	}
	return nil
}

// tell is the whole story of the road.
func (s *story) tell(ctx context.Context) error {
	return s.acts(ctx, []act{
		{"two nodes join", s.join},
		{"nine repositories are pushed; the first candidate fails a check", s.begin},
		{"the known failure is waived with a reason; the first release reaches the nodes", s.waive},
		{"everything is rebuilt while nothing has changed: no build, no test", s.nothing},
		{"a text beside client-model's source changes: one build, the rest is cut off", s.unread},
		{"a comment in client-model's source changes: what is compiled with it is built, to the same programs", s.comment},
		{"common 0.67.5 -> 0.70.1 travels to the nodes", s.upgrade},
		{"procfs 0.19.2 -> 0.23.0 passes its own tests and is rejected by the queue", s.reject},
		{"dnf and apt install what was released", s.install},
		{"where to look", s.look},
	})
}

func (s *story) join(ctx context.Context) error {
	ports, err := freePorts(4)
	if err != nil {
		return err
	}
	s.nodes = []*node{
		{name: "machine-1", role: "machine", component: "node-exporter", buildInfo: "node_exporter_build_info", port: ports[0]},
		{name: "relay-1", role: "relay", component: "statsd-exporter", buildInfo: "statsd_exporter_build_info", port: ports[1]},
	}
	for i, n := range s.nodes {
		lab, err := freePorts(2)
		if err != nil {
			return err
		}
		n.statsd = ports[2+i]
		facts := map[string]string{"port": n.port, "statsd": n.statsd, "lab_port": lab[0], "lab_statsd": lab[1]}
		if err := s.agent(ctx, n.name, map[string]string{"role": n.role}, facts); err != nil {
			return err
		}
	}
	_, err = s.show(ctx, "node", "list")
	return err
}

// components are the product's, in the order in which they need each other.
var components = []string{
	"gostd", "thirdparty", "client-model", "procfs", "common", "client-golang", "exporter-toolkit", "statsd-exporter", "node-exporter",
}

func (s *story) begin(ctx context.Context) error {
	for _, name := range components {
		repo := "components/" + name
		if _, err := s.cli(ctx, "repo", "create", repo); err != nil {
			return err
		}
		if err := s.push(ctx, repo, repo, "main", "--tags"); err != nil {
			return err
		}
	}
	if _, err := s.cli(ctx, "repo", "create", "products/"+product); err != nil {
		return err
	}
	if err := s.push(ctx, "product", "products/"+product, "main"); err != nil {
		return err
	}
	e, err := s.ledger.wait(ctx, "the first entry's end", 0, entryEnded)
	if err != nil {
		return err
	}
	if e.Type != "integration.entry.rejected" {
		return fmt.Errorf("%s has ended with %s; it was to be rejected, as client-golang knows nothing of this Go's runtime metrics", e.Subject, e.Type)
	}
	why, err := s.show(ctx, "queue", "why", id(e.Subject))
	if err != nil {
		return err
	}
	if err := contains(why, "go-runtime", "client-golang"); err != nil {
		return err
	}
	failed, err := s.failedBuild(ctx, "client-golang")
	if err != nil {
		return err
	}
	return s.excerpt(ctx, failed, `undefined: |found (new|unexpected)`)
}

func (s *story) waive(ctx context.Context) error {
	_, err := s.show(ctx, "waiver", "add", product, "go-runtime", "client-golang",
		"--reason", "client_golang 1.23.2 knows the runtime metrics of Go up to 1.25; they are not part of what the product promises")
	if err != nil {
		return err
	}
	seq := s.ledger.last()
	if _, err := s.show(ctx, "queue", "requeue", "1"); err != nil {
		return err
	}
	return s.arrive(ctx, seq, map[string]string{"common": "0.67.5"})
}

func (s *story) upgrade(ctx context.Context) error {
	seq := s.ledger.last()
	if err := s.push(ctx, "components/common", "components/common", "next:refs/for/main"); err != nil {
		return err
	}
	if err := s.arrive(ctx, seq, map[string]string{"common": "0.70.1"}); err != nil {
		return err
	}
	_, err := s.show(ctx, "release", "list", product)
	return err
}

func (s *story) reject(ctx context.Context) error {
	before, err := s.releases(ctx)
	if err != nil {
		return err
	}
	seq := s.ledger.last()
	if err := s.push(ctx, "components/procfs", "components/procfs", "next:refs/for/main"); err != nil {
		return err
	}
	e, err := s.ledger.wait(ctx, "the entry's end", seq, entryEnded)
	if err != nil {
		return err
	}
	why, err := s.show(ctx, "queue", "why", id(e.Subject))
	if err != nil {
		return err
	}
	if e.Type != "integration.entry.rejected" {
		return fmt.Errorf("%s has ended with %s, but node_exporter 1.10.1 does not compile with procfs 0.23.0", e.Subject, e.Type)
	}
	if err := contains(why, "node-exporter"); err != nil {
		return err
	}
	failed, err := s.failedBuild(ctx, "node-exporter")
	if err != nil {
		return err
	}
	if err := s.excerpt(ctx, failed, `mdraid\.Disks`); err != nil {
		return err
	}
	after, err := s.releases(ctx)
	if err != nil {
		return err
	}
	if len(after) != len(before) {
		return fmt.Errorf("there were %d releases, now there are %d", len(before), len(after))
	}
	return s.serving(ctx, after[0].Tag, map[string]string{"common": "0.70.1"})
}

func (s *story) look(ctx context.Context) error {
	for _, look := range []struct{ command, says []string }{
		{[]string{"waiver", "list", product}, []string{"go-runtime", "client-golang"}},
		{[]string{"deploy", "status", product}, []string{"machine-1", "relay-1"}},
		{[]string{"why", "node/machine-1"}, []string{"deploy/main.star", "change/1", "common 0.70.1"}},
	} {
		out, err := s.show(ctx, look.command...)
		if err != nil {
			return err
		}
		if err := contains(out, look.says...); err != nil {
			return err
		}
	}
	releases, err := s.releases(ctx)
	if err != nil {
		return err
	}
	_, err = s.show(ctx, "compose", "show", releases[0].ID)
	return err
}

// arrive waits until what was asked for after seq is a release that runs on the nodes, and asks them.
func (s *story) arrive(ctx context.Context, seq int64, versions map[string]string) error {
	e, err := s.ledger.wait(ctx, "the change or entry to end", seq, func(e Event) bool {
		return entryEnded(e) || e.Type == "change.rejected"
	})
	if err != nil {
		return err
	}
	if e.Type != "integration.entry.landed" {
		return fmt.Errorf("%s: %s: %s", e.Type, e.Subject, e.Reason)
	}
	releases, err := s.releases(ctx)
	if err != nil {
		return err
	}
	tag := releases[0].Tag
	_, err = s.ledger.wait(ctx, tag+" to be deployed", seq, func(e Event) bool {
		return e.Type == "deploy.version.deployed" && e.about("release/"+releases[0].ID)
	})
	if err != nil {
		return err
	}
	return s.serving(ctx, tag, versions)
}

// serving asks the nodes what they run.
func (s *story) serving(ctx context.Context, tag string, versions map[string]string) error {
	for _, n := range s.nodes {
		url := "http://127.0.0.1:" + n.port + "/metrics"
		metrics, err := get(ctx, url)
		if err != nil {
			return err
		}
		want := []string{fmt.Sprintf(`(?m)^%s\{.*revision="[^"]*common-%s[,"].*version="%s"\} 1$`,
			n.buildInfo, regexp.QuoteMeta(versions["common"]), regexp.QuoteMeta(begunWith[n.component]))}
		if n.role == "machine" {
			want = append(want, fmt.Sprintf(`(?m)^vista_release\{common="%s",tag="%s"\} 1$`, regexp.QuoteMeta(versions["common"]), regexp.QuoteMeta(tag)))
		} else {
			if err := s.count(ctx, n, tag); err != nil {
				return err
			}
		}
		fmt.Printf("\n  %s\n", url)
		for _, pattern := range want {
			line := regexp.MustCompile(pattern).FindString(metrics)
			if line == "" {
				return fmt.Errorf("%s does not say %s", url, pattern)
			}
			fmt.Println("   ", line)
		}
	}
	return nil
}

// begunWith are the versions of the programs; the demo upgrades libraries only.
var begunWith = map[string]string{"node-exporter": "1.10.1", "statsd-exporter": "0.30.0"}

func (s *story) releases(ctx context.Context) (found []struct{ ID, Tag string }, err error) {
	err = s.json(ctx, &found, "release", "list", product)
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("%s has no release", product)
	}
	return found, err
}

// failedBuild returns the id of the newest failed build or test of a component.
func (s *story) failedBuild(ctx context.Context, component string) (string, error) {
	var builds []struct{ ID string }
	if err := s.json(ctx, &builds, "build", "list", component, "--outcome", "fail"); err != nil {
		return "", err
	}
	if len(builds) == 0 {
		return "", fmt.Errorf("no build of %s has failed", component)
	}
	return builds[0].ID, nil
}

// excerpt shows the lines of a build's log that match; there must be some.
func (s *story) excerpt(ctx context.Context, build, pattern string) error {
	log, err := s.cli(ctx, "build", "log", build)
	if err != nil {
		return err
	}
	re := regexp.MustCompile(pattern)
	fmt.Printf("\n  $ slipway build log %s\n", build)
	n := 0
	for line := range strings.Lines(log) {
		if re.MatchString(line) {
			if n++; n <= 4 {
				fmt.Print("    ", line)
			}
		}
	}
	if n == 0 {
		return fmt.Errorf("the log of build %s does not say %s:\n%s", build, pattern, log)
	}
	return nil
}

func entryEnded(e Event) bool {
	return e.Type == "integration.entry.landed" || e.Type == "integration.entry.rejected"
}

func id(subject string) string {
	_, id, _ := strings.Cut(subject, "/")
	return id
}

func contains(text string, words ...string) error {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return fmt.Errorf("%q is not said in:\n%s", w, text)
		}
	}
	return nil
}
