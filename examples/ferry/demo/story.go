package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"charm.land/lipgloss/v2"

	"slipway.dev/slipway/client"
)

// node is a machine of the demo.
type node struct {
	name, site string
	port       string // of the daemon in service
	lab        string // HOST:PORT where what is under test listens
}

// story is what happens, in order.
type story struct {
	*world
	*watch
	start time.Time
	nodes []node

	first, second   client.Release
	good, bad       client.Entry
	goodRef, badRef string // changes
	initial         client.Entry
	versions        [2]string // deployed: of the first and the second release
}

// repositories are the folders that become repositories, in the order in which they are pushed.
var repositories = []string{"gostd", "libtide", "timetable", "board", "gauge", "crossing", "station"}

func (s *story) tell(ctx context.Context) error {
	s.watch = newWatch(s.start)
	s.title("slipway up, and four nodes")
	if err := s.up(); err != nil {
		return err
	}
	following, stop := context.WithCancel(ctx)
	defer stop()
	go s.follow(following, s.client)
	for _, act := range []func(context.Context) error{s.join, s.create, s.release, s.change, s.verify} {
		if err := act(ctx); err != nil {
			return err
		}
	}
	stop()
	return s.report(ctx)
}

func (s *story) title(text string) {
	fmt.Fprintf(s.out, "\n%s\n", lipgloss.NewStyle().Bold(true).Render("── "+text+" "+strings.Repeat("─", max(3, 90-len(text)))))
}

// join starts two nodes for each configuration.
func (s *story) join(ctx context.Context) error {
	addresses, err := freeAddresses(8)
	if err != nil {
		return err
	}
	for i, site := range []string{"deck", "deck", "shore", "shore"} {
		_, port, _ := strings.Cut(addresses[2*i], ":")
		n := node{name: fmt.Sprintf("%s-%d", site, i%2+1), site: site, port: port, lab: addresses[2*i+1]}
		s.nodes = append(s.nodes, n)
		if err := s.agent(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// create makes the repositories and pushes what is in the folders.
func (s *story) create(ctx context.Context) error {
	s.title("eight repositories: a product and its components, in Go, C and shell")
	names := []string{"products/ferry"}
	for _, r := range repositories {
		names = append(names, "components/"+r)
	}
	for _, name := range names {
		if _, err := s.slipway(ctx, "repo", "create", name); err != nil {
			return err
		}
	}
	if err := s.importFolder(ctx, "product", "products/ferry"); err != nil {
		return err
	}
	// At once, as from several desks.
	errs := make([]error, len(repositories))
	var wg sync.WaitGroup
	for i, r := range repositories {
		wg.Go(func() { errs[i] = s.importFolder(ctx, r, "components/"+r) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// importFolder makes a repository of a folder, tags its components v1.0.0 and pushes it.
func (s *story) importFolder(ctx context.Context, folder, repo string) error {
	desk := s.path("desk", folder)
	if err := os.CopyFS(desk, os.DirFS(filepath.Join(s.from, folder))); err != nil {
		return err
	}
	steps := [][]string{
		{"init", "--quiet", "--initial-branch=main"}, {"remote", "add", "origin", s.url + "/git/" + repo + ".git"},
		{"add", "."}, {"commit", "--quiet", "--message", "Import " + folder},
	}
	tags := []string{"v1.0.0"}
	switch folder {
	case "product":
		tags = nil
	case "crossing":
		tags = []string{"harbour/v1.0.0", "ticket/v1.0.0"}
	}
	for _, tag := range tags {
		steps = append(steps, []string{"tag", "--annotate", "--message", tag, tag})
	}
	for _, args := range append(steps, []string{"push", "--quiet", "--atomic", "--follow-tags", "origin", "main"}) {
		if err := s.git(ctx, folder, args...); err != nil {
			return err
		}
	}
	return nil
}

// release waits for the first release to be in service.
func (s *story) release(ctx context.Context) error {
	s.title("the first release: everything is built, tried on the nodes, composed and deployed")
	var err error
	if s.first, s.initial, err = s.landed(ctx, func(e client.Entry) bool { return true }); err != nil {
		return err
	}
	s.versions[0], err = s.deployed(ctx, s.first)
	return err
}

// landed waits for an entry that fits to land, and returns its release.
func (s *story) landed(ctx context.Context, fits func(client.Entry) bool) (client.Release, client.Entry, error) {
	var entry client.Entry
	var failure error
	event, err := s.wait(ctx, "a landed entry", func(e client.Event) bool {
		if e.Type != "integration.entry.landed" && e.Type != "integration.entry.rejected" {
			return false
		}
		view, err := s.entry(ctx, e.Subject)
		if err != nil || !fits(view) {
			failure = err
			return err != nil
		}
		entry = view
		return true
	})
	if err = errors.Join(err, failure); err != nil {
		return client.Release{}, entry, err
	}
	if event.Type != "integration.entry.landed" {
		return client.Release{}, entry, fmt.Errorf("%s was rejected: %s", event.Subject, event.Reason)
	}
	rel, err := s.client.Release(ctx, entry.Release)
	return rel, entry, err
}

func (s *story) entry(ctx context.Context, subject string) (client.Entry, error) {
	var n int64
	if _, err := fmt.Sscanf(subject, "entry/%d", &n); err != nil {
		return client.Entry{}, fmt.Errorf("%s: %w", subject, err)
	}
	view, err := s.client.Entry(ctx, n)
	return view.Entry, err
}

// deployed waits until a release runs on all its nodes, and returns the version.
func (s *story) deployed(ctx context.Context, r client.Release) (string, error) {
	e, err := s.wait(ctx, r.ID+" to be deployed", func(e client.Event) bool {
		return e.Type == "deploy.model.broken" || e.Type == "compose.failed" ||
			is(e, "deploy.version.deployed", "release/"+r.ID)
	})
	if err == nil && e.Type != "deploy.version.deployed" {
		err = fmt.Errorf("%s: %s", e.Subject, e.Reason)
	}
	_, version, _ := strings.Cut(e.Subject, "/")
	return version, err
}

// change proposes two changes to the library that everything stands on: a good one, and one that only shows on a node.
func (s *story) change(ctx context.Context) error {
	s.title("a change to the shared library: an hour more in the evening")
	err := s.edit(ctx, "timetable", "timetable.go", "last  = 22 * time.Hour", "last  = 23 * time.Hour",
		"timetable_test.go", "23, 0, 0, 0, time.UTC), 1)", "23, 30, 0, 0, time.UTC), 1)")
	if err != nil {
		return err
	}
	if s.goodRef, err = s.propose(ctx, "timetable", "feat: sail until eleven in the evening"); err != nil {
		return err
	}
	landed, err := s.wait(ctx, s.goodRef+" to land", func(e client.Event) bool {
		return e.Subject == s.goodRef && (e.Type == "change.landed" || e.Type == "change.rejected")
	})
	if err != nil {
		return err
	}
	if landed.Type != "change.landed" {
		return fmt.Errorf("%s: %s", landed.Subject, landed.Reason)
	}
	s.title("meanwhile a bad one: it compiles, its tests pass and those of all dependents, but signs read the old name")
	if err := s.git(ctx, "timetable", "fetch", "--quiet", "origin"); err != nil {
		return err
	}
	if err := s.git(ctx, "timetable", "reset", "--quiet", "--hard", "origin/main"); err != nil {
		return err
	}
	if err := s.edit(ctx, "timetable", "timetable.go", "`json:\"leaves\"`", "`json:\"departs\"`"); err != nil {
		return err
	}
	if s.badRef, err = s.propose(ctx, "timetable", "feat: call a departure a departure"); err != nil {
		return err
	}
	brings := func(change string) func(client.Entry) bool {
		return func(e client.Entry) bool {
			for _, c := range e.Changes {
				if c == change {
					return true
				}
			}
			return false
		}
	}
	if s.second, s.good, err = s.landed(ctx, brings(s.goodRef)); err != nil {
		return err
	}
	if s.versions[1], err = s.deployed(ctx, s.second); err != nil {
		return err
	}
	rejected, err := s.wait(ctx, "the bad change to be rejected", func(e client.Event) bool {
		if e.Type != "integration.entry.rejected" && e.Type != "integration.entry.landed" && e.Type != "change.rejected" {
			return false
		}
		if e.Type == "change.rejected" {
			return e.Subject == s.badRef
		}
		entry, err := s.entry(ctx, e.Subject)
		s.bad = entry
		return err == nil && brings(s.badRef)(entry)
	})
	if err == nil && rejected.Type != "integration.entry.rejected" {
		err = fmt.Errorf("the bad change was to be rejected by the queue, but: %s %s: %s", rejected.Subject, rejected.Type, rejected.Reason)
	}
	return err
}

// edit replaces texts in files of a desk: FILE OLD NEW, three at a time.
func (s *story) edit(ctx context.Context, repo string, edits ...string) error {
	for i := 0; i+2 < len(edits); i += 3 {
		name := s.path("desk", repo, edits[i])
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		if !strings.Contains(string(text), edits[i+1]) {
			return fmt.Errorf("%s has no %q", name, edits[i+1])
		}
		if err := os.WriteFile(name, []byte(strings.Replace(string(text), edits[i+1], edits[i+2], 1)), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// propose commits what was edited and pushes it for review. It returns the change's subject.
func (s *story) propose(ctx context.Context, repo, message string) (string, error) {
	fmt.Fprintf(s.out, "        $ git commit -a -m %q && git push origin HEAD:refs/for/main\n", message)
	if err := s.git(ctx, repo, "commit", "--quiet", "--all", "--message", message); err != nil {
		return "", err
	}
	if err := s.git(ctx, repo, "push", "--quiet", "origin", "HEAD:refs/for/main"); err != nil {
		return "", err
	}
	changes, err := client.All(s.client.Changes(ctx, client.ChangeFilter{Repo: "components/" + repo}))
	if err != nil {
		return "", err
	}
	for _, c := range changes {
		if c.Title == message {
			return fmt.Sprintf("change/%d", c.Number), nil
		}
	}
	return "", fmt.Errorf("the push made no change called %q", message)
}

// answer is what a node's daemon says of itself.
type answer struct {
	Release    string            `json:"release"`
	Place      string            `json:"place"`
	Components map[string]string `json:"components"`
}

// verify asks every node over HTTP.
func (s *story) verify(ctx context.Context) error {
	s.title("what the nodes answer")
	want := s.second.Manifests["deck"].Components["timetable"].Version
	for _, n := range s.nodes {
		var a answer
		url := "http://127.0.0.1:" + n.port + "/version"
		if err := get(ctx, url, &a); err != nil {
			return fmt.Errorf("%s: %w", n.name, err)
		}
		if a.Release != s.second.Tag || a.Place != n.site || a.Components["timetable"] != want {
			return fmt.Errorf("%s answers %+v, want release %s at %s with timetable %s", n.name, a, s.second.Tag, n.site, want)
		}
		fmt.Fprintf(s.out, "%8s  %s  release %s  timetable %s  board %s  harbour %s  libtide %s\n", n.name, url, a.Release,
			a.Components["timetable"], a.Components["board"], a.Components["harbour"], a.Components["libtide"])
	}
	return nil
}
