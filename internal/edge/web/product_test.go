package web_test

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/server/servertest"
	"slipway.dev/slipway/internal/slipway"
)

func TestMain(m *testing.M) { servertest.Main(m) }

// harbour is a small product whose changes wait for a gatekeeper.
var harbour = map[string]map[string]string{
	"components/tide": {
		"slipway.yaml": "component: tide\nsummary: When the water comes\nbuild: |\n  echo the water comes\n  cp words.txt \"$OUT/words\"\ntests: {unit: '! grep -q [A-Z] words.txt'}\noutputs: [words]\n",
		"words.txt":    "flood\n",
	},
	"components/pier": {
		"slipway.yaml": `component: pier
summary: Where ships lie
needs: [tide]
build: |
  cp "$DEPS/tide/words" "$OUT/words"
  cp say.sh "$OUT/say"
  chmod 755 "$OUT/say"
tests: {unit: sh -n say.sh}
outputs: [words, say]
packages:
  - name: harbour-pier
    summary: Says when the water comes
    section: net
    files: {/usr/share/harbour/words: words}
`,
		"say.sh": "#!/bin/sh\ncat \"${0%/*}/words\"\n",
	},
	"products/harbour": {
		"product.yaml": `product: harbour
summary: A harbour that knows its tides
components:
  tide:
  pier:
configurations:
  quay:
    nodes: {role: quay}
    experiments: [smoke.yaml]
review: {approve: gatekeeper}
compose:
  variants:
    Quay: {summary: What lies at the quay, configuration: quay}
deploy: {model: quay.star}
`,
		"smoke.yaml": `experiment: smoke
summary: The pier says what the tide does
roles:
  berth: {labels: {role: quay}, artifacts: [pier]}
steps:
  - {id: say, role: berth, run: '"$ARTIFACTS/pier/say" | tee said; grep -q flood said'}
cleanup:
  - {id: tidy, role: berth, run: rm -f said}
`,
		"quay.star": `for n in nodes("quay"):
    pier = n.artifact("/opt/harbour/pier", component = "pier")
    n.file("/etc/harbour", content = release.tag + "\n", requires = [pier])
`,
	},
}

// harbourRig is a real server with the product, and a real agent on a node.
type harbourRig struct {
	*servertest.Rig
	t *testing.T
}

func startHarbour(t *testing.T) *harbourRig {
	h := &harbourRig{servertest.New(t), t}
	h.Up()
	h.Ready()
	ctx := t.Context()
	token, err := h.Client().CreateJoinToken(ctx, "berth-1", map[string]string{"role": "quay"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	h.Start("agent", "agent", "run", "--server", h.URL(), "--token", token.Token, "--name", "berth-1",
		"--root", filepath.Join(h.Dir, "berth-1", "agent"), "--target", filepath.Join(h.Dir, "berth-1"))
	for _, repo := range slices.Sorted(maps.Keys(harbour)) {
		if _, err := h.Client().CreateRepo(ctx, repo, "", ""); err != nil {
			t.Fatal(err)
		}
		h.Write(h.dir(repo), harbour[repo])
		h.Must(h.dir(repo), "git", "init", "-q", "-b", "main")
		h.Must(h.dir(repo), "git", "remote", "add", "origin", h.GitURL(repo))
		h.commit(repo, "feat: begin")
		h.Must(h.dir(repo), "git", "push", "-q", "origin", "HEAD:refs/heads/main")
	}
	h.deployed(1)
	return h
}

func (h *harbourRig) dir(repo string) string { return filepath.Join(h.Dir, "work", repo) }

func (h *harbourRig) commit(repo, message string) {
	h.t.Helper()
	h.Must(h.dir(repo), "git", "add", "-A")
	h.Must(h.dir(repo), "git", "commit", "-q", "-m", message)
}

// propose pushes an edit for review and waits until its change stands at state; empty: it does not wait.
func (h *harbourRig) propose(number int64, state, repo, title, file, text string) {
	h.t.Helper()
	h.Must(h.dir(repo), "git", "reset", "-q", "--hard", "origin/main")
	h.Write(h.dir(repo), map[string]string{file: text})
	h.commit(repo, fmt.Sprintf("%s\n\nChange-Id: I%040d", title, number))
	h.Must(h.dir(repo), "git", "push", "-q", "origin", "HEAD:refs/for/main")
	if state == "" {
		return
	}
	servertest.Eventually(h.t, 2*time.Minute, fmt.Sprintf("change %d is %s", number, state), func() error {
		c, err := h.Client().Change(h.t.Context(), number)
		if err == nil && string(c.State) != state {
			err = fmt.Errorf("it is %s: %s", c.State, c.Reason)
		}
		return err
	})
}

// releases waits until there are as many releases, newest first.
func (h *harbourRig) releases(n int) (list []client.Release) {
	h.t.Helper()
	servertest.Eventually(h.t, 2*time.Minute, fmt.Sprintf("%d releases", n), func() (err error) {
		if list, err = client.All(h.Client().Releases(h.t.Context(), "harbour", 0)); err == nil && len(list) < n {
			err = errors.New(h.queue())
		}
		return err
	})
	return list
}

func (h *harbourRig) queue() string {
	entries, err := client.All(h.Client().Entries(h.t.Context(), "harbour", "", 0))
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	for _, e := range entries {
		fmt.Fprintf(&b, "entry %d is %s: %s\n", e.Number, e.Phase, e.Reason)
	}
	return b.String()
}

// deployed waits until at least n releases were made, the queue is empty, and the newest is composed and on the node.
func (h *harbourRig) deployed(n int) slipway.Release {
	h.t.Helper()
	var newest slipway.Release
	servertest.Eventually(h.t, 3*time.Minute, "the newest release is deployed", func() error {
		list := h.releases(n)
		newest = list[0]
		q, err := h.Client().Queue(h.t.Context(), "harbour")
		if err != nil {
			return err
		}
		if len(q.Entries) > 0 {
			return errors.New(h.queue())
		}
		c, err := h.Client().Compose(h.t.Context(), newest.ID)
		if err != nil {
			return err
		}
		if c.State != "finished" {
			return fmt.Errorf("the compose is %s: %s", c.State, c.Reason)
		}
		d, err := h.Client().Deployment(h.t.Context(), "harbour")
		if err != nil {
			return err
		}
		if d.Version == nil || d.Version.Release != newest.ID || d.Version.State != "deployed" {
			return fmt.Errorf("deployment: %+v", d.Deployment)
		}
		return nil
	})
	return newest
}
