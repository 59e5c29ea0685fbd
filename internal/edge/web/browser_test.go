package web_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/server/servertest"
	"slipway.dev/slipway/internal/slipway"
)

// browser is one tab of a real Chromium.
type browser struct {
	t    *testing.T
	ctx  context.Context
	base string
	shot string // folder for screenshots; empty: none are taken

	mu      sync.Mutex
	console []string
}

func newBrowser(t *testing.T, base string) *browser {
	t.Helper()
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.DisableGPU, chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true), chromedp.UserDataDir(t.TempDir()))
	alloc, stop := chromedp.NewExecAllocator(t.Context(), opts...)
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(alloc)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 5*time.Minute)
	t.Cleanup(cancel)
	b := &browser{t: t, ctx: ctx, base: base, shot: os.Getenv("SLIPWAY_SCREENSHOTS")}
	messages := chromedp.Console(ctx)
	go func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			if m.IsException() || m.Type == "error" || m.Type == "warning" {
				b.mu.Lock()
				b.console = append(b.console, m.String()+" "+m.URL)
				b.mu.Unlock()
			}
		}
	}()
	return b
}

func (b *browser) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatalf("%s: %v", what, err)
	}
}

// text is what a reader sees now; an error while one page makes way for the next.
func (b *browser) text() (string, error) {
	return chromedp.Run(b.ctx, chromedp.Evaluate[string]("document.body.innerText"))
}

// shows waits until the page shows all of the texts, without being loaded again.
func (b *browser) shows(within time.Duration, texts ...string) {
	b.t.Helper()
	servertest.Eventually(b.t, within, fmt.Sprintf("the page shows %q", texts), func() error {
		got, err := b.text()
		if err != nil {
			return err
		}
		for _, want := range texts {
			if !strings.Contains(got, want) {
				return fmt.Errorf("no %q in:\n%s", want, got)
			}
		}
		return nil
	})
}

// quiet fails the test if the console has told an error.
func (b *browser) quiet() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.console) > 0 {
		b.t.Errorf("the console tells:\n%s", strings.Join(b.console, "\n"))
		b.console = nil
	}
}

// look opens a page at both widths, in light and in dark, and checks that it shows the texts, fits, and wears the colours.
func (b *browser) look(name, path string, texts ...string) {
	b.t.Helper()
	for _, width := range []int64{390, 1280} {
		b.do("set the width", chromedp.EmulateViewport(width, 844))
		b.do("open "+path, chromedp.Navigate(b.base+path))
		b.shows(10*time.Second, texts...)
		wide, err := chromedp.Run(b.ctx, chromedp.Evaluate[int64]("document.documentElement.scrollWidth"))
		if err != nil {
			b.t.Fatal(err)
		}
		if wide > width {
			b.t.Errorf("%s is %d pixels wide in a window of %d", path, wide, width)
		}
		colours := map[string]string{}
		for _, scheme := range []string{"light", "dark"} {
			b.do("choose "+scheme, chromedp.Func(func(ctx context.Context, tab *chromedp.Target) error {
				_, err := cdp.Call(ctx, tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
					Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
				return err
			}))
			colour, err := chromedp.Run(b.ctx, chromedp.Evaluate[string]("getComputedStyle(document.body).backgroundColor"))
			if err != nil {
				b.t.Fatal(err)
			}
			colours[colour] = scheme
			b.picture(fmt.Sprintf("%s-%d-%s.png", name, width, scheme))
		}
		if len(colours) != 2 {
			b.t.Errorf("%s looks the same in light and in dark: %v", path, colours)
		}
		b.quiet()
	}
}

// picture writes the whole page as an image, if somebody wants to see it.
func (b *browser) picture(name string) {
	b.t.Helper()
	if b.shot == "" {
		return
	}
	image, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join(b.shot, name), image, 0o644)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *browser) login(token string) {
	b.t.Helper()
	b.do("log in",
		chromedp.SetValue(chromedp.ID("token"), token),
		chromedp.Click(chromedp.CSS("main form button")),
	)
}

// TestDashboard opens every page of a real server in a real browser, approves a change there, and watches it travel.
func TestDashboard(t *testing.T) {
	h := startHarbour(t)
	h.propose(1, "tested", "components/tide", "feat: the water goes too", "words.txt", "flood and ebb\n")
	h.propose(2, "failed", "components/tide", "fix: shout", "words.txt", "FLOOD\n")
	b := newBrowser(t, h.URL())

	b.do("open", chromedp.EmulateViewport(390, 844), chromedp.Navigate(h.URL()+"/"))
	b.shows(10*time.Second, "API token")
	b.look("login", "/ui/login", "API token")
	b.login("slw_not-a-token")
	b.shows(10*time.Second, "not a token that is known")
	b.mu.Lock()
	b.console = nil // the browser tells that the log-in was refused
	b.mu.Unlock()
	b.do("open a page without a session", chromedp.Navigate(h.URL()+"/ui/products/harbour/changes"))
	b.login(h.Token())
	b.shows(10*time.Second, "the water goes too", "shout", "tested", "failed") // led on to the page that was asked for

	b.look("products", "/ui/", "harbour", "A harbour that knows its tides")
	b.look("product", "/ui/products/harbour", "source", "change", "build", "integration", "lab", "gating", "release", "compose", "deploy", "1 of 1 node as desired")
	b.look("changes", "/ui/products/harbour/changes", "1: feat: the water goes too", "2: fix: shout")
	b.look("change", "/ui/changes/1", "the water goes too", "tested", "Approve +2", "Nobody has voted")
	b.look("change-failed", "/ui/changes/2", "failed", "unit")

	// Approve the change, and watch the product's page tell its way without loading it again.
	b.do("approve", chromedp.Navigate(h.URL()+"/ui/changes/1"),
		chromedp.SetValue(chromedp.ID("message"), "good water"), chromedp.Click(chromedp.CSS("button.good")))
	b.shows(10*time.Second, "+2", "good water")
	before := h.releases(1)
	b.do("watch", chromedp.Navigate(h.URL()+"/ui/products/harbour"))
	b.do("mark the document", chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool]("window.marked = true"))
		return err
	}))
	newest := h.deployed(len(before) + 1)
	b.shows(time.Minute, newest.Tag, "of "+newest.Tag, "1 of 1 node as desired")
	if marked, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool]("window.marked === true")); err != nil || !marked {
		t.Errorf("the page was loaded again: %t, %v", marked, err)
	}
	b.quiet()

	entry := "/ui/entries/" + strings.TrimPrefix(newest.Entry, "entry/")
	e, err := h.Client().Entry(t.Context(), mustNumber(t, newest.Entry))
	if err != nil {
		t.Fatal(err)
	}
	builds := h.Client().Builds(t.Context(), client.BuildFilter{Product: "harbour"}, 20)
	build := ""
	for x, err := range builds {
		if err != nil {
			t.Fatal(err)
		}
		if x.Component == "tide" && x.Check == "" && build == "" {
			build = x.ID
		}
	}
	b.look("change-landed", "/ui/changes/1", "landed", "fast-forward")
	b.look("queue", "/ui/products/harbour/queue", "Freeze", "landed", "the water goes too")
	b.look("entry", entry, "landed", "Gate", "smoke", "Candidate")
	b.look("candidate", "/ui/candidates/"+e.Candidate, "landed", "Gate", "the water goes too") // leads to the entry
	b.look("wave", "/ui/waves/"+e.Wave, "Tier 0", "Tier 1", "pier", "tide")
	b.look("builds", "/ui/products/harbour/builds", "tide:unit", "pier")
	b.look("build", "/ui/builds/"+build, "the water comes", "Log", "tide") // the log arrives by its stream
	b.look("experiments", "/ui/products/harbour/experiments", "smoke", "pass")
	b.look("experiment", "/ui/experiments/"+experimentOf(t, h), "berth-1", "say", "tidy", "pass")
	b.look("releases", "/ui/products/harbour/releases", newest.Tag)
	b.look("release", "/ui/releases/"+newest.ID, "moved", "rebuilt", "the same commit, built against what moved below it", "finished")
	b.look("composes", "/ui/products/harbour/composes", newest.ID)
	b.look("compose", "/ui/composes/"+newest.ID, "harbour-pier", "Signed by", "Quay", "yum.repos.d")
	b.look("compose-index", "/composes/"+newest.ID+"/", "With dnf", "With apt", "harbour-pier")
	b.look("nodes", "/ui/nodes", "berth-1", "online", "role=quay")
	b.look("node", "/ui/nodes/berth-1", "Why it runs this", "/etc/harbour", "quay.star", newest.ID, "change/1")
	b.look("deployment", "/ui/deployments/harbour", "deployed", "berth-1", newest.Tag)
	b.look("ledger", "/ui/ledger?product=harbour", "release.created", "deploy.version.deployed", "compose.finished")
	b.look("ledger-filtered", "/ui/ledger?subject=change/1", "change.landed")

	// The ledger page is live too.
	b.do("watch the ledger", chromedp.Navigate(h.URL()+"/ui/ledger?type=integration.queue.frozen"))
	b.shows(10*time.Second, "No event matches")
	if err := h.Client().Freeze(t.Context(), "harbour", "spring tide"); err != nil {
		t.Fatal(err)
	}
	b.shows(10*time.Second, "integration.queue.frozen", "spring tide")
	b.look("queue-frozen", "/ui/products/harbour/queue", "frozen", "spring tide", "Resume")
	b.do("resume", chromedp.Click(chromedp.CSS("form.act button")))
	b.shows(10*time.Second, "Freeze the queue")

	h.liveLog(b)
	h.rebuilds(b)

	b.do("open what is not there", chromedp.Navigate(h.URL()+"/ui/changes/99"))
	b.shows(10*time.Second, "404", "change")
	b.do("log out", chromedp.Navigate(h.URL()+"/ui/"), chromedp.Click(chromedp.CSS(".who button")))
	b.shows(10*time.Second, "API token")
	b.do("come back", chromedp.Navigate(h.URL()+"/ui/nodes"))
	b.shows(10*time.Second, "API token")
}

// liveLog watches the page of a build that takes a while: its log grows and its state changes on the open page.
func (h *harbourRig) liveLog(b *browser) {
	h.t.Helper()
	slow := strings.Replace(harbour["components/tide"]["slipway.yaml"], "echo the water comes", "echo low water; sleep 3; echo high water", 1)
	h.propose(3, "", "components/tide", "fix: take more time", "slipway.yaml", slow)
	id := ""
	servertest.Eventually(h.t, time.Minute, "the slow build has begun", func() error {
		c, err := h.Client().Change(h.t.Context(), 3)
		if err != nil {
			return err
		}
		for x, err := range h.Client().Builds(h.t.Context(), client.BuildFilter{Product: "harbour", Component: "tide"}, 5) {
			if err != nil {
				return err
			}
			if x.Check == "" && x.Commit == c.Current().Commit && x.State != "queued" {
				id = x.ID
				return nil
			}
		}
		return fmt.Errorf("change 3 is %s: %s", c.State, c.Reason)
	})
	b.do("open the build", chromedp.Navigate(h.URL()+"/ui/builds/"+id))
	b.shows(30*time.Second, "low water")
	b.shows(time.Minute, "high water", "# pass: built in", "pass built in") // in the log, and beside the state
	got, err := b.text()
	if err != nil || strings.Count(got, "low water") != 1 {
		h.t.Errorf("when the build has ended its page shows (%v):\n%s", err, got)
	}
	b.quiet()
}

func mustNumber(t *testing.T, subject string) (n int64) {
	t.Helper()
	_, id, _ := slipway.SplitRef(subject)
	if _, err := fmt.Sscan(id, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func experimentOf(t *testing.T, h *harbourRig) string {
	t.Helper()
	for e, err := range h.Client().Experiments(t.Context(), "harbour", "", 1) {
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(e.Number)
	}
	t.Fatal(errors.New("no experiment was run"))
	return ""
}
