package web_test

import (
	"fmt"
	"strings"
	"time"

	"github.com/chromedp/chromedp"

	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/server/servertest"
)

// rebuilds watches a rebuild from its plan to its end, on its own page and on those of the farm.
func (h *harbourRig) rebuilds(b *browser) {
	h.t.Helper()
	start := func(c client.RebuildCause) string {
		r, err := h.Client().StartRebuild(h.t.Context(), "harbour", c)
		if err != nil {
			h.t.Fatal(err)
		}
		return "/ui/rebuilds/" + r.ID
	}
	if err := h.Client().Freeze(h.t.Context(), "harbour", "rebuilds alone shall build"); err != nil {
		h.t.Fatal(err)
	}
	b.look("rebuilds-none", "/ui/products/harbour/rebuilds", "Nothing was built again yet")
	passed := start(client.RebuildCause{All: true, Reason: "to see it"})
	b.do("open the rebuild", chromedp.Navigate(h.URL()+passed))
	b.shows(time.Minute, "passed", "reused", "to see it")
	b.look("rebuild", passed, "Rebuild 1", "everything", "Tier 0", "Tier 1", "tide", "pier", "2 reused", "Attempt 1")
	b.look("rebuild-wave", "/ui/waves/rebuild-1.1", "installs", "inspect", "What it looked at")

	// Something slow, and then something that fails; the open page tells of both.
	h.head("slipway.yaml", strings.Replace(harbour["components/tide"]["slipway.yaml"], "echo the water comes", "echo slack water; while ! grep -q never words.txt; do sleep 0.2; done", 1))
	slow := start(client.RebuildCause{Components: []string{"tide"}})
	b.do("open the slow rebuild", chromedp.Navigate(h.URL()+slow))
	b.shows(time.Minute, "running", "1 under way", "1 waiting", "Pause", "To look at")
	b.look("rebuild-running", slow, "running", "1 under way")
	b.look("workers", "/ui/workers", "online", "slots busy", "tide", "rebuild", "seen")
	b.look("tasks", "/ui/tasks", "Under way and waiting", "harbour", "1 running", "interactive", "Ended lately", "pass")
	b.do("cancel it on its page", chromedp.Navigate(h.URL()+slow), chromedp.SetValue(chromedp.ID("reason"), "the tide turned"), chromedp.Click(chromedp.CSS("form.act button.quiet")))
	b.shows(time.Minute, "cancelled", "the tide turned", "2 skipped")

	h.head("words.txt", "FLOOD, never\n")
	broken := start(client.RebuildCause{Components: []string{"tide"}})
	b.do("open the broken rebuild", chromedp.Navigate(h.URL()+broken))
	b.shows(time.Minute, "stuck", "1 failed", "1 skipped", "Try again")
	b.look("rebuild-stuck", broken, "stuck", "unit", "fail", "Cancel the rebuild")
	b.do("try again", chromedp.Click(chromedp.CSS("form.act button.good")))
	b.shows(time.Minute, "Attempt 2", "asked for by")
	h.head("words.txt", "flood, never\n")
	b.shows(time.Minute, "passed", "tide moved to", "2 built") // by itself, on the page that was open
	b.look("rebuilds", "/ui/products/harbour/rebuilds", "Rebuild 3", "a change of tide", "cancelled", "passed")
	b.look("builds-again", "/ui/products/harbour/builds", "pier:installs", "Rebuilds")
	b.quiet()
}

// head pushes a file of the tide straight to the head of its repository, and waits until the catalog has seen it.
func (h *harbourRig) head(file, text string) {
	repo := "components/tide"
	h.t.Helper()
	h.Must(h.dir(repo), "git", "fetch", "-q", "origin")
	h.Must(h.dir(repo), "git", "reset", "-q", "--hard", "origin/main")
	h.Write(h.dir(repo), map[string]string{file: text})
	h.commit(repo, "fix: "+file)
	h.Must(h.dir(repo), "git", "push", "-q", "origin", "HEAD:refs/heads/main")
	commit := strings.TrimSpace(h.Must(h.dir(repo), "git", "rev-parse", "HEAD"))
	servertest.Eventually(h.t, time.Minute, "the catalog has seen the push", func() error {
		c, err := h.Client().Component(h.t.Context(), "harbour", "tide")
		if err == nil && c.Head != commit {
			err = fmt.Errorf("it is at %s", c.Head)
		}
		return err
	})
}
