package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/server/servertest"
	"slipway.dev/slipway/internal/slipway"
)

// tiny is a product whose road takes a second: three components of shell, one configuration with an experiment, a node.
type tiny struct {
	*servertest.Rig
	t testing.TB
}

// tinyFiles are the repositories of the product at their first commits.
var tinyFiles = map[string]map[string]string{
	"components/base": {
		"slipway.yaml": "component: base\nbuild: cp word.txt \"$OUT/word\"\ntests: {unit: '! grep -q [A-Z] word.txt'}\noutputs: [word]\n",
		"word.txt":     "hello\n",
	},
	"components/middle": {
		"slipway.yaml": "component: middle\nneeds: [base]\nbuild: cat \"$DEPS/base/word\" tail.txt > \"$OUT/words\"\ntests: {unit: test -s tail.txt}\noutputs: [words]\n",
		"tail.txt":     "world\n",
	},
	"components/top": {
		"slipway.yaml": `component: top
needs: [middle]
build: |
  cp "$DEPS/middle/words" "$OUT/words"
  cp say.sh "$OUT/say"
  chmod 755 "$OUT/say"
tests: {unit: sh -n say.sh}
outputs: [words, say]
packages:
  - name: tiny-top
    formats: [rpm, deb, tar]
    files: {/usr/share/tiny/words: words}
`,
		"say.sh": "#!/bin/sh\ncat \"${0%/*}/words\"\n",
	},
	"products/tiny": {
		"product.yaml": `product: tiny
components:
  base:
  middle:
  top:
configurations:
  main:
    nodes: {role: main}
    experiments: [smoke.yaml]
review: {approve: automatic}
compose:
  variants:
    Main: {configuration: main}
deploy: {model: main.star}
`,
		"smoke.yaml": `experiment: smoke
roles:
  one: {labels: {role: main}, artifacts: [top]}
steps:
  - {id: say, role: one, run: '"$ARTIFACTS/top/say" > said; grep -q world said'}
cleanup:
  - {role: one, run: rm -f said}
`,
		"main.star": `for n in nodes("main"):
    top = n.artifact("/opt/tiny/top", component = "top")
    n.file("/etc/tiny", content = release.tag + "\n", requires = [top])
`,
	},
}

// begin creates the repositories, starts a node and pushes everything.
func (p *tiny) begin() {
	p.t.Helper()
	work := filepath.Join(p.Dir, "work")
	for _, repo := range []string{"products/tiny", "components/base", "components/middle", "components/top"} {
		p.ensureRepo(repo)
		dir := filepath.Join(work, repo)
		p.Write(dir, tinyFiles[repo])
		p.Must(dir, "git", "init", "-q", "-b", "main")
		p.Must(dir, "git", "remote", "add", "origin", p.GitURL(repo))
	}
	p.startAgent()
	for _, repo := range slices.Sorted(maps.Keys(tinyFiles)) {
		p.commit(repo, "chore: begin")
		p.push(repo, "HEAD:refs/heads/main")
	}
}

func (p *tiny) ensureRepo(repo string) {
	p.t.Helper()
	servertest.Eventually(p.t, 2*time.Minute, "repository "+repo+" exists", func() error {
		_, err := p.Client().CreateRepo(p.t.Context(), repo, "", "")
		if slipway.Is(err, slipway.Conflict) {
			return nil // a try that was cut short
		}
		return err
	})
}

func (p *tiny) startAgent() {
	p.t.Helper()
	p.Start("agent", append(p.agentArgs(), "--token", p.joinToken())...)
}

// agentArgs are those of the agent once it has joined.
func (p *tiny) agentArgs() []string {
	return []string{"agent", "run", "--server", p.URL(), "--name", "n1", "--root", filepath.Join(p.Dir, "n1", "agent"), "--target", filepath.Join(p.Dir, "n1")}
}

func (p *tiny) joinToken() (token string) {
	p.t.Helper()
	servertest.Eventually(p.t, 2*time.Minute, "a join token is issued", func() error {
		issued, err := p.Client().CreateJoinToken(p.t.Context(), "n1", map[string]string{"role": "main"}, time.Hour)
		token = issued.Token
		return err
	})
	return token
}

func (p *tiny) dir(repo string) string { return filepath.Join(p.Dir, "work", repo) }

func (p *tiny) commit(repo, message string) {
	p.t.Helper()
	p.Must(p.dir(repo), "git", "add", "-A")
	p.Must(p.dir(repo), "git", "commit", "-q", "--allow-empty", "-m", message)
}

// push pushes until the server has taken it. A try that was cut short after it was taken says that there is nothing new.
func (p *tiny) push(repo, refspec string) {
	p.t.Helper()
	servertest.Eventually(p.t, 2*time.Minute, "push "+repo+" "+refspec, func() error {
		out, err := p.Run(p.dir(repo), "git", "push", "-q", "origin", refspec)
		if err != nil && strings.Contains(out, "no new changes") {
			return nil
		}
		return err
	})
}

// propose pushes an edit of one file for review, on top of the branch as it is on the server.
func (p *tiny) propose(repo, title, id, file, text string) {
	p.t.Helper()
	p.Must(p.dir(repo), "git", "fetch", "-q", "origin", "main")
	p.Must(p.dir(repo), "git", "reset", "-q", "--hard", "FETCH_HEAD")
	p.Write(p.dir(repo), map[string]string{file: text})
	p.commit(repo, title+"\n\nChange-Id: I"+id)
	p.push(repo, "HEAD:refs/for/main")
}

// state is everything that must come out the same however often the server was killed.
type state struct {
	Changes  []string            `json:"changes"`
	Entries  []string            `json:"entries"`
	Releases []map[string]string `json:"releases"` // component -> version and artifact
	Composes []string            `json:"composes"`
	Results  []string            `json:"results"`
	Node     string              `json:"node"`   // what is deployed on it
	Events   map[string]int      `json:"events"` // by type, of those that happen once
}

// once are the events that happen exactly once for their subject.
var once = []slipway.EventType{
	slipway.RepoCreated, slipway.RefUpdated, slipway.ChangeCreated, slipway.PatchsetAdded, slipway.ChangeLanded, slipway.ChangeRejected,
	slipway.EntryQueued, slipway.EntryLanded, slipway.EntryRejected, slipway.ReleaseCreated, slipway.ComposeFinished, slipway.NodeJoined,
}

// settled waits until nothing is under way any more, with the given number of changes and entries.
func (p *tiny) settled(changes, entries int) {
	p.t.Helper()
	ctx := p.t.Context()
	servertest.Eventually(p.t, 10*time.Minute, fmt.Sprintf("%d changes and %d entries have settled", changes, entries), func() error {
		c := p.Client()
		cs, err := client.All(c.Changes(ctx, client.ChangeFilter{}))
		if err != nil {
			return err
		}
		es, err := client.All(c.Entries(ctx, "", "", 0))
		if err != nil {
			return err
		}
		if len(cs) != changes || len(es) != entries {
			return fmt.Errorf("%d changes, %d entries", len(cs), len(es))
		}
		for _, x := range cs {
			if s := string(x.State); s != "landed" && s != "failed" {
				return fmt.Errorf("change %d is %s: %s", x.Number, s, x.Reason)
			}
		}
		for _, e := range es {
			if e.Phase.Open() {
				return fmt.Errorf("entry %d is %s: %s", e.Number, e.Phase, e.Reason)
			}
		}
		return p.delivered(ctx)
	})
}

// delivered reports whether the newest release is on the node.
func (p *tiny) delivered(ctx context.Context) error {
	releases, err := client.All(p.Client().Releases(ctx, "tiny", 1))
	if err != nil || len(releases) == 0 {
		return err
	}
	tag, err := os.ReadFile(filepath.Join(p.Dir, "n1", "etc", "tiny"))
	if err != nil {
		return err
	}
	if got := strings.TrimSpace(string(tag)); got != releases[0].Tag {
		return fmt.Errorf("the node has %s, the newest release is %s", got, releases[0].Tag)
	}
	return nil
}

// observe reads the state.
func (p *tiny) observe() state {
	p.t.Helper()
	ctx := p.t.Context()
	c := p.Client()
	s := state{Events: map[string]int{}}
	check := func(err error) {
		p.t.Helper()
		if err != nil {
			p.t.Fatal(err)
		}
	}
	changes, err := client.All(c.Changes(ctx, client.ChangeFilter{}))
	check(err)
	for _, x := range changes {
		s.Changes = append(s.Changes, fmt.Sprintf("%d %s %s %d", x.Number, x.Title, x.State, len(x.Patchsets)))
	}
	entries, err := client.All(c.Entries(ctx, "", "", 0))
	check(err)
	for _, e := range entries {
		s.Entries = append(s.Entries, fmt.Sprintf("%d %s %s", e.Number, e.Title, e.Phase))
		if e.Candidate == "" {
			continue
		}
		results, err := c.Results(ctx, slipway.Ref("candidate", e.Candidate))
		check(err)
		for _, r := range results {
			s.Results = append(s.Results, fmt.Sprintf("entry %d %s %s %s %s", e.Number, r.Configuration, r.Check, r.Item, r.Outcome))
		}
	}
	slices.Sort(s.Results)
	releases, err := client.All(c.Releases(ctx, "tiny", 0))
	check(err)
	for _, r := range releases {
		m := map[string]string{}
		for name, l := range r.Manifests["main"].Components {
			version, _, _ := strings.Cut(l.Version, "+") // without the commit, whose id holds the time
			m[name] = version + " " + l.Artifact
		}
		s.Releases = append(s.Releases, m)
	}
	composes, err := client.All(c.Composes(ctx, "tiny", 0))
	check(err)
	for _, x := range composes {
		s.Composes = append(s.Composes, x.ID[len("tiny-v2026.11"):]+" "+string(x.State))
	}
	said, err := p.Run(p.Dir, filepath.Join(p.Dir, "n1", "opt", "tiny", "top", "say"))
	check(err)
	s.Node = said
	p.observeEvents(&s)
	return s
}

// observeEvents counts the events that happen once, and fails the test when the ledger has a gap or tells something twice.
func (p *tiny) observeEvents(s *state) {
	p.t.Helper()
	events, err := client.All(p.Client().Events(p.t.Context(), client.EventFilter{}))
	if err != nil {
		p.t.Fatal(err)
	}
	seen := map[string]bool{}
	told := map[string]int{}
	for i, e := range events {
		if e.Seq != int64(i+1) {
			p.t.Errorf("event %d of the ledger has number %d", i+1, e.Seq)
			break
		}
		if seen[e.ID] {
			p.t.Errorf("event %s is in the ledger twice", e.ID)
		}
		seen[e.ID] = true
		if !slices.Contains(once, e.Type) {
			continue
		}
		s.Events[string(e.Type)]++
		if e.Type == slipway.RefUpdated || e.Type == slipway.PatchsetAdded {
			continue // a subject has several
		}
		if told[string(e.Type)+e.Subject]++; told[string(e.Type)+e.Subject] > 1 {
			p.t.Errorf("%s is told twice for %s", e.Type, e.Subject)
		}
	}
}

func (s state) String() string {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// work is a history of the product: what is proposed, one after the other, and how many entries the queue has had after it.
var work = []struct {
	repo, title, file, text string
	entries                 int
}{
	{"components/base", "feat: another word", "word.txt", "good morning\n", 2},
	{"components/base", "fix: shout", "word.txt", "HELLO\n", 2},             // fails its unit test: no entry
	{"components/middle", "fix: forget the world", "tail.txt", "moon\n", 3}, // passes its unit test, fails the experiment
	{"components/middle", "fix: remember the world", "tail.txt", "wide world\n", 4},
	{"components/top", "feat: say it slowly", "say.sh", "#!/bin/sh\ncat \"${0%/*}/words\"\n# slowly\n", 5},
}

// play plays the history, round after round while more says so.
func (p *tiny) play(rounds int) {
	p.t.Helper()
	p.begin()
	p.settled(0, 1)
	for round := range rounds {
		for i, w := range work {
			text := w.text
			if round > 0 {
				text = strings.Repeat("\n", round) + text // so that every round has something new
				if w.file == "word.txt" || w.file == "say.sh" {
					text = w.text + strings.Repeat("\n", round)
				}
			}
			p.propose(w.repo, w.title, fmt.Sprintf("%039d%d", round, i), w.file, text)
			p.settled(round*len(work)+i+1, round*4+w.entries)
		}
	}
}
