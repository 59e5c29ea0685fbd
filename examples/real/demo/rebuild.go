package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// counts are what the builds of a wave or rebuild came to.
type counts struct{ Built, Reused, CutOff, Failed, Skipped int }

// nothing rebuilds everything while nothing has changed: every key is known, so nothing is built, nor tested. What makes packages has
// them installed, which only rebuilds do and this is the first. The check that fails is waived for rebuilds too.
func (s *story) nothing(ctx context.Context) error {
	seq := s.ledger.last()
	var started struct {
		ID      string
		Targets []string
	}
	if err := s.json(ctx, &started, "rebuild", "start", product, "--all", "--reason", "nothing has changed"); err != nil {
		return err
	}
	e, err := s.ledger.wait(ctx, "the rebuild's end", seq, func(e Event) bool {
		return e.Type == "build.rebuild.finished" || e.Type == "build.rebuild.stuck"
	})
	if err != nil {
		return err
	}
	var r struct {
		State  string
		Counts counts
	}
	if err := s.json(ctx, &r, "rebuild", "show", started.ID); err != nil {
		return err
	}
	n := r.Counts
	fmt.Printf("  rebuild %s of %d components: %s: %d built, %d reused, %d cut off\n", started.ID, len(started.Targets), r.State, n.Built, n.Reused, n.CutOff)
	if r.State != "passed" || n != (counts{Reused: len(components)}) {
		return fmt.Errorf("nothing had changed, so that all %d components were to be reused: %s", len(components), e.Reason)
	}
	var installed []string
	for _, reason := range s.ledger.reasons(seq, "build.action.started") {
		action, _, _ := strings.Cut(reason, ": ")
		component, check, _ := strings.Cut(action, ":")
		if check != "installs" {
			return fmt.Errorf("nothing had changed, and yet %s ran", action)
		}
		installed = append(installed, component)
	}
	fmt.Printf("  packages were installed of %s\n", strings.Join(installed, ", "))
	return nil
}

// unread changes what no build of another component reads: the text beside client-model's source. One build, and what comes out has the same bytes.
func (s *story) unread(ctx context.Context) error {
	n, err := s.edit(ctx, "README.md", "\nTo be read by people.\n", "docs: say who reads this")
	if want := (counts{Built: 1, Reused: 3, CutOff: 5}); err == nil && n != want { // gostd, thirdparty and procfs do not need it
		err = fmt.Errorf("a text was changed that nothing reads: %+v was to be, and is %+v", want, n)
	}
	return err
}

// comment changes a comment in client-model's Go source. What it gives out is its source, so that all that is compiled with it is built; the
// programs come out with the same bytes.
func (s *story) comment(ctx context.Context) error {
	before, err := s.programs(ctx)
	if err != nil {
		return err
	}
	n, err := s.edit(ctx, "go/metrics.pb.go", "\n// A comment changes no program.\n", "docs: a comment")
	if err != nil {
		return err
	}
	if want := (counts{Built: 6, Reused: 3}); n != want { // client-model, common, client-golang, exporter-toolkit and both programs
		return fmt.Errorf("a comment in client-model concerns six components: %+v was to be, and is %+v", want, n)
	}
	after, err := s.programs(ctx)
	if err != nil {
		return err
	}
	for name, was := range before {
		if after[name] != was {
			return fmt.Errorf("%s came out as %s, and was %s before the comment", name, after[name], was)
		}
		fmt.Printf("  %s was built again, to the same bytes: %.19s\n", name, was)
	}
	return nil
}

// edit appends text to a file of client-model, pushes it to main, waits until the queue has landed it, and tells what was built
// for it.
func (s *story) edit(ctx context.Context, file, text, message string) (n counts, err error) {
	const repo = "components/client-model"
	dir := filepath.Join(s.dir, "upstream", repo)
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return n, err
	}
	_, err = f.WriteString(text)
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return n, err
	}
	if err := s.commit(ctx, dir, file, message); err != nil {
		return n, err
	}
	seq := s.ledger.last()
	if err := s.push(ctx, repo, repo, "HEAD:main"); err != nil {
		return n, err
	}
	e, err := s.ledger.wait(ctx, "the entry's end", seq, entryEnded)
	if err != nil {
		return n, err
	}
	if e.Type != "integration.entry.landed" {
		return n, fmt.Errorf("%s has ended with %s: %s", e.Subject, e.Type, e.Reason)
	}
	for i, wave := range s.ledger.since(seq, "build.wave.finished") { // of the candidate; its experiments and its landing ask for all of it again
		id := id(wave)
		var w struct {
			Counts counts
		}
		if err := s.json(ctx, &w, "wave", "show", id); err != nil {
			return n, err
		}
		fmt.Printf("  wave %s: %d components built, %d reused, %d cut off\n", id, w.Counts.Built, w.Counts.Reused, w.Counts.CutOff)
		n.Built, n.Failed, n.Skipped = n.Built+w.Counts.Built, n.Failed+w.Counts.Failed, n.Skipped+w.Counts.Skipped
		if i == 0 {
			n.Reused, n.CutOff = w.Counts.Reused, w.Counts.CutOff
		}
	}
	return n, nil
}

// programs are the artifacts of the two programs that were built last.
func (s *story) programs(ctx context.Context) (map[string]string, error) {
	found := map[string]string{}
	for _, n := range s.nodes {
		var builds []struct{ Check, Output, Outcome string }
		if err := s.json(ctx, &builds, "build", "list", n.component, "--outcome", "pass"); err != nil {
			return nil, err
		}
		for _, b := range builds {
			if b.Check == "" && found[n.component] == "" {
				found[n.component] = b.Output
			}
		}
	}
	return found, nil
}

// reasons tells why there were events of a type after an event, in their order.
func (l *ledger) reasons(after int64, kind string) (all []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.events {
		if e.Seq > after && e.Type == kind {
			all = append(all, e.Reason)
		}
	}
	return all
}

// since names what has had events of a type after an event, in their order.
func (l *ledger) since(after int64, kind string) (subjects []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.events {
		if e.Seq > after && e.Type == kind {
			subjects = append(subjects, e.Subject)
		}
	}
	return subjects
}
