package httpapi_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"slipway.dev/slipway/internal/edge/httpapi/httpapitest"
	"slipway.dev/slipway/internal/store/storetest"
)

// A browser that reaches nothing but this server shows the API's page.
func TestTheDocsInABrowser(t *testing.T) {
	s := httpapitest.Serve(t, storetest.Open(t), nil)
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"))
	alloc, stop := chromedp.NewExecAllocator(t.Context(), opts...)
	defer stop()
	ctx, cancel := chromedp.NewContext(alloc)
	defer cancel()
	ctx, cancel = context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.Navigate(s.URL+"/api/docs")); err != nil {
		t.Fatal(err)
	}
	// RapiDoc renders into a shadow tree, after it has fetched the description.
	const shown = `new Promise(done => {
		const look = () => {
			const text = document.querySelector("rapi-doc")?.shadowRoot?.textContent ?? "";
			text.includes("Issue an API token") ? done(text) : requestAnimationFrame(look);
		};
		look();
	})`
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](shown, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text, "/api/v1/tokens") || !strings.Contains(text, "Run a job again now") {
		t.Error(text)
	}
}
