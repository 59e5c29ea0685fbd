package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// serial is the second product of the story of the queue: the same components, worked on one entry at a time.
const serial = product + "-serial"

// queue is the story of ten changes at once.
func (s *story) queue(ctx context.Context) error {
	return s.acts(ctx, []act{
		{"two nodes join", s.join},
		{"nine repositories are pushed; the first candidate fails a check", s.begin},
		{"the known failure is waived with a reason; the first release reaches the nodes", s.waive},
		{"a second product of the same components has a serial queue", s.second},
		{"ten changes to five components are pushed at once, two of them bad", s.ten},
		{"the queue that speculates: eight land, two are rejected", func(ctx context.Context) error { return s.settle(ctx, product) }},
		{"the serial queue: the same", func(ctx context.Context) error { return s.settle(ctx, serial) }},
		{"what it took", s.compare},
	})
}

// pushed is one of the ten changes: an edit of a file, or the upgrade that upstream has released.
type pushed struct {
	component, message string
	file, old, now     string // old empty: now is appended; file empty: branch next is pushed
	refused            string // by which check, of the two that are bad
}

var ten = []pushed{
	{component: "client-model", message: "docs: say who reads this", file: "README.md", now: "\nTo be read by people.\n"},
	{component: "node-exporter", message: "feat: name what is watched", file: "node_exporter.go", old: `"Node Exporter"`, now: `"A machine of Vista"`},
	{component: "statsd-exporter", message: "feat: say what counters become", file: "main.go", old: `"Prometheus Exporter for converting StatsD to Prometheus metrics"`, now: `"Counters that programs send, as metrics"`},
	{component: "node-exporter", message: "feat: describe what is watched", file: "node_exporter.go", old: `"Prometheus Node Exporter"`, now: `"What a machine tells of itself"`},
	{component: "exporter-toolkit", message: "docs: say who reads this", file: "README.md", now: "\nTo be read by people.\n"},
	{component: "node-exporter", message: "feat: a clearer link", file: "node_exporter.go", old: `"Metrics"`, now: `"What it measures"`},
	{component: "procfs", message: "0.23.0, as upstream released it", refused: "build of node-exporter failed"},
	{component: "client-model", message: "docs: say when", file: "README.md", now: "\nAt any time.\n"},
	// Its own tests know nothing of the default; what the experiment sends would come out in twenty minutes.
	{component: "statsd-exporter", message: "perf: flush less often", file: "main.go", old: `Default("200ms")`, now: `Default("20m")`, refused: "experiment of statsd-exporter (relay) failed"},
	{component: "node-exporter", message: "feat: greet in the log", file: "node_exporter.go", old: `"Starting node_exporter"`, now: `"A machine of Vista is watched"`},
}

// second makes the product with the serial queue. It has the same configurations and experiments, and is composed and deployed nowhere.
func (s *story) second(ctx context.Context) error {
	dir := filepath.Join(s.dir, "upstream", serial)
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(s.dir, "upstream", "product"))); err != nil {
		return err
	}
	file := filepath.Join(dir, "product.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	rules, _, _ := strings.Cut(string(text), "compose:")
	rules = strings.ReplaceAll(rules, "product: "+product+"\n", "product: "+serial+"\n")
	rules = strings.ReplaceAll(rules, ", go-runtime", "") // no check that is known to fail: nothing to waive
	if err := os.WriteFile(file, []byte(rules+"queue: {policy: serial, flakes: {reruns: 2}}\n"), 0o644); err != nil {
		return err
	}
	if err := s.commit(ctx, dir, "product.yaml", "feat: a serial queue"); err != nil {
		return err
	}
	seq := s.ledger.last()
	if _, err := s.cli(ctx, "repo", "create", "products/"+serial); err != nil {
		return err
	}
	if err := s.push(ctx, serial, "products/"+serial, "main"); err != nil {
		return err
	}
	e, err := s.ledger.wait(ctx, "the first release of "+serial, seq, entryEnded)
	if err == nil && e.Type != "integration.entry.landed" {
		err = fmt.Errorf("%s has ended with %s: %s", e.Subject, e.Type, e.Reason)
	}
	return err
}

func (s *story) commit(ctx context.Context, dir, file, message string) error {
	for _, args := range [][]string{{"add", file}, {"commit", "-q", "-m", message}} {
		if _, err := s.run(ctx, dir, "git", append([]string{"-c", "user.name=vista", "-c", "user.email=vista@example.org"}, args...)...); err != nil {
			return err
		}
	}
	return nil
}

// ten freezes both queues, pushes, and waits until all is in line.
func (s *story) ten(ctx context.Context) error {
	for _, p := range []string{product, serial} {
		if _, err := s.show(ctx, "queue", "freeze", p, "--reason", "ten changes line up"); err != nil {
			return err
		}
	}
	s.begun = s.ledger.last()
	for _, c := range ten {
		repo, ref := "components/"+c.component, "HEAD:main"
		if c.file == "" {
			ref = "next:main"
		} else if err := s.apply(ctx, c); err != nil {
			return err
		}
		if err := s.push(ctx, repo, repo, ref); err != nil {
			return err
		}
	}
	if err := s.each(ctx, "20 entries", s.begun, 2*len(ten), func(e Event) bool { return e.Type == "integration.entry.queued" }); err != nil {
		return err
	}
	_, err := s.show(ctx, "queue", "list", product)
	return err
}

// each waits until so many subjects have had an event.
func (s *story) each(ctx context.Context, what string, seq int64, n int, is func(Event) bool) error {
	seen := map[string]bool{}
	_, err := s.ledger.wait(ctx, what, seq, func(e Event) bool {
		if is(e) {
			seen[e.Subject] = true
		}
		return len(seen) == n
	})
	return err
}

// apply makes the commit of a change.
func (s *story) apply(ctx context.Context, c pushed) error {
	dir := filepath.Join(s.dir, "upstream", "components", c.component)
	name := filepath.Join(dir, c.file)
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	next := string(text) + c.now
	if c.old != "" {
		if next = strings.Replace(string(text), c.old, c.now, 1); next == string(text) {
			return fmt.Errorf("%s does not say %s", name, c.old)
		}
	}
	if err := os.WriteFile(name, []byte(next), 0o644); err != nil {
		return err
	}
	return s.commit(ctx, dir, c.file, c.message)
}

// entry is one of the queue's, as 'slipway queue list -o json' prints it.
type entry struct {
	Number int64
	Phase  string
	Reason string
	Pins   []struct{ Component string }
}

// entries are those of the ten changes, in the order in which they came.
func (s *story) entries(ctx context.Context, of string) ([]entry, error) {
	var all []entry
	if err := s.json(ctx, &all, "queue", "list", of, "--all"); err != nil { // newest first
		return nil, err
	}
	if len(all) < len(ten) {
		return nil, fmt.Errorf("%s has %d entries", of, len(all))
	}
	all = all[:len(ten)]
	slices.Reverse(all)
	return all, nil
}

// settle lets a queue go on until all ten have ended, and checks how. The machines are away while the builds run, as rigs are in use by others in
// daily life: what needs them lines up, and shares them.
func (s *story) settle(ctx context.Context, of string) error {
	for _, n := range s.nodes {
		if _, err := s.show(ctx, "node", "drain", n.name, "--reason", "in use by others"); err != nil {
			return err
		}
	}
	seq := s.ledger.last()
	if _, err := s.show(ctx, "queue", "resume", of); err != nil {
		return err
	}
	if err := s.built(ctx, of, seq); err != nil {
		return err
	}
	if _, err := s.show(ctx, "queue", "list", of); err != nil {
		return err
	}
	for _, n := range s.nodes {
		if _, err := s.show(ctx, "node", "undrain", n.name); err != nil {
			return err
		}
	}
	err := s.each(ctx, "the end of ten entries", seq, len(ten), func(e Event) bool { return entryEnded(e) && e.Product == of })
	if err != nil {
		return err
	}
	if _, err := s.show(ctx, "queue", "list", of, "--all"); err != nil {
		return err
	}
	return s.check(ctx, of, seq)
}

// built waits until an experiment waits for its machine and no wave of a product runs.
func (s *story) built(ctx context.Context, of string, seq int64) error {
	if _, err := s.ledger.wait(ctx, "an experiment that waits", seq, func(e Event) bool {
		return e.Type == "lab.experiment.queued" && e.Product == of
	}); err != nil {
		return err
	}
	for {
		seq := s.ledger.last()
		var waves []struct{ State string }
		if err := s.json(ctx, &waves, "wave", "list", "--product", of, "--limit", "0"); err != nil {
			return err
		}
		if !slices.ContainsFunc(waves, func(w struct{ State string }) bool { return w.State == "running" }) {
			return nil
		}
		if _, err := s.ledger.wait(ctx, "the builds of "+of, seq, func(e Event) bool { return e.Type == "build.wave.finished" && e.Product == of }); err != nil {
			return err
		}
	}
}

// check holds what came of the ten against what was to come, in which order it landed, and that each landing was sound.
func (s *story) check(ctx context.Context, of string, seq int64) error {
	entries, err := s.entries(ctx, of)
	if err != nil {
		return err
	}
	last := map[string]int{}
	for i, e := range entries {
		c := ten[i]
		if len(e.Pins) != 1 || e.Pins[0].Component != c.component {
			return fmt.Errorf("entry %d was to bring %q", e.Number, c.message)
		}
		if c.refused != "" {
			if e.Phase != "rejected" || !strings.Contains(e.Reason, c.refused) {
				return fmt.Errorf("entry %d of %s is %s: %s; it was to be rejected, as its %s", e.Number, c.component, e.Phase, e.Reason, c.refused)
			}
			continue
		}
		if e.Phase != "landed" {
			return fmt.Errorf("entry %d of %s is %s: %s", e.Number, c.component, e.Phase, e.Reason)
		}
		place := s.ledger.index(seq, "integration.entry.landed", fmt.Sprintf("entry/%d", e.Number))
		if place <= last[c.component] {
			return fmt.Errorf("entry %d landed before an earlier one of %s", e.Number, c.component)
		}
		last[c.component] = place
		if _, err := s.cli(ctx, "queue", "verify", fmt.Sprint(e.Number)); err != nil {
			return err
		}
	}
	fmt.Printf("\n  eight have landed, each component's in their order, and each landing is verified; two were rejected for what is wrong with them\n")
	return nil
}

// index is the place of an event among those after another; 0 when it is not there.
func (l *ledger) index(after int64, kind, subject string) int {
	return slices.Index(l.since(after, kind), subject) + 1
}

// compare counts what ran on the machines for the ten changes.
func (s *story) compare(context.Context) error {
	runs := map[string]int{}
	s.ledger.mu.Lock()
	for _, e := range s.ledger.events {
		if e.Seq > s.begun && e.Type == "lab.experiment.started" {
			runs[e.Product]++
		}
	}
	s.ledger.mu.Unlock()
	fmt.Printf("  experiments for ten changes: serial %d, slipway %d\n", runs[serial], runs[product])
	if runs[product] >= runs[serial] {
		return fmt.Errorf("the queue that speculates ran no fewer experiments than the serial one")
	}
	return nil
}
