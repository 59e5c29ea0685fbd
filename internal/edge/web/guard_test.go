package web_test

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"

	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/server/servertest"
)

// visitor is a browser's HTTP side: it keeps cookies and follows no redirect.
type visitor struct {
	t    *testing.T
	base string
	http *http.Client
}

func newVisitor(t *testing.T, base string) *visitor {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &visitor{t, base, &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// send sends a request; a form makes it a post. It returns status, where it leads, and the body.
func (v *visitor) send(path string, form url.Values, header ...string) (int, string, string) {
	v.t.Helper()
	method, body := http.MethodGet, io.Reader(nil)
	if form != nil {
		method, body = http.MethodPost, strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(v.t.Context(), method, v.base+path, body)
	if err != nil {
		v.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := v.http.Do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	if csp := res.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'self'") {
		v.t.Errorf("%s has the policy %q", path, csp)
	}
	return res.StatusCode, res.Header.Get("Location"), string(text)
}

func (v *visitor) expect(what string, want int, path string, form url.Values, header ...string) string {
	v.t.Helper()
	got, to, text := v.send(path, form, header...)
	if got != want {
		v.t.Errorf("%s: %s answers %d (%s), want %d:\n%s", what, path, got, to, want, text)
	}
	return to
}

func TestGuards(t *testing.T) {
	rig := servertest.New(t)
	rig.Up()
	rig.Ready()
	ctx := t.Context()
	token := func(role string) string {
		if _, err := rig.Client().PutUser(ctx, client.User{Name: role, Role: client.Role(role)}); err != nil {
			t.Fatal(err)
		}
		issued, err := rig.Client().IssueToken(ctx, client.NewToken{User: role, Name: "dashboard"})
		if err != nil {
			t.Fatal(err)
		}
		return issued.Secret
	}

	v := newVisitor(t, rig.URL())
	if to := v.expect("without a session", 303, "/ui/nodes?x=1", nil); to != "/ui/login?next=%2Fui%2Fnodes%3Fx%3D1" {
		t.Errorf("led to %s", to)
	}
	v.expect("the stream without a session", 401, "/ui/stream?topic=a.&after=0", nil)
	v.expect("a vote without a session", 401, "/ui/changes/1/vote", url.Values{"value": {"2"}})
	v.expect("an unknown token", 401, "/ui/login", url.Values{"token": {"nobody"}})

	viewer := token("viewer")
	for next, want := range map[string]string{
		"/ui/ledger?type=a.": "/ui/ledger?type=a.", "": "/ui/", "https://evil.example/ui/": "/ui/", "//evil.example/ui/": "/ui/",
		"/\\evil.example/ui/": "/ui/", "/ui/../composes/": "/ui/", "javascript:alert(1)": "/ui/", "/ui/login": "/ui/",
	} {
		if to := v.expect("log in", 303, "/ui/login", url.Values{"token": {viewer}, "next": {next}}); to != want {
			t.Errorf("the log-in with next=%q leads to %q, want %q", next, to, want)
		}
	}
	v.expect("with a session", 200, "/ui/nodes", nil)
	v.expect("a viewer freezes", 403, "/ui/products/ferry/queue/freeze", url.Values{"reason": {"because"}})
	v.expect("a viewer votes", 403, "/ui/changes/1/vote", url.Values{"value": {"2"}, "patchset": {"1"}})
	v.expect("no such page", 404, "/ui/nothing", nil)
	v.expect("no such product", 404, "/ui/products/nobody", nil)
	v.expect("no such change", 404, "/ui/changes/1", nil)
	v.expect("not a number", 404, "/ui/changes/one", nil)
	v.expect("a stream of nothing", 422, "/ui/stream?after=0", nil)
	v.expect("a stream from nowhere", 422, "/ui/stream?topic=a.&after=-1", nil)

	g := newVisitor(t, rig.URL())
	g.expect("log in from another site", 403, "/ui/login", url.Values{"token": {viewer}}, "Sec-Fetch-Site", "cross-site")
	g.expect("log in", 303, "/ui/login", url.Values{"token": {token("gatekeeper")}})
	g.expect("a post from another site", 403, "/ui/products/ferry/queue/freeze", url.Values{"reason": {"x"}}, "Sec-Fetch-Site", "cross-site")
	g.expect("a post from another origin", 403, "/ui/products/ferry/queue/freeze", url.Values{"reason": {"x"}}, "Origin", "https://evil.example")
	g.expect("log out from another site", 403, "/ui/logout", url.Values{}, "Sec-Fetch-Site", "cross-site")
	g.expect("too large a form", 413, "/ui/changes/1/vote", url.Values{"value": {"2"}, "message": {strings.Repeat("x", 100_000)}})
	g.expect("not a vote", 422, "/ui/changes/1/vote", url.Values{"value": {"much"}})
	if _, _, text := g.send("/ui/ledger?subject=%3Cscript%3Ealert(1)%3C/script%3E", nil); strings.Contains(text, "<script>alert") {
		t.Errorf("what was asked for is in the page as it is:\n%s", text)
	}
	g.expect("log out", 303, "/ui/logout", url.Values{})
	g.expect("after logging out", 303, "/ui/nodes", nil)
}
