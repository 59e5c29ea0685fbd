package httpapi_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/edge/httpapi"
	"slipway.dev/slipway/internal/edge/httpapi/httpapitest"
	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/store"
	"slipway.dev/slipway/internal/store/storetest"
)

func TestErrorsReachTheClientWhole(t *testing.T) {
	s := httpapitest.Serve(t, storetest.Open(t), nil)
	admin, viewer := s.Client(auth.Admin), s.Client(auth.Viewer)
	ctx := t.Context()
	for name, c := range map[string]struct {
		call   func() error
		kind   slipway.Kind
		says   string
		remedy string
	}{
		"not found":       {func() error { _, err := admin.User(ctx, "nobody"); return err }, slipway.NotFound, `no user "nobody"`, ""},
		"validated by us": {func() error { _, err := admin.PutUser(ctx, client.User{Name: "No", Role: auth.Viewer}); return err }, slipway.Invalid, "cannot be a user's name", "lower-case"},
		"validated by the schema": {func() error { _, err := admin.PutUser(ctx, client.User{Name: "x", Role: "king"}); return err },
			slipway.Invalid, "expected value to be one of", "/api/docs"},
		"conflict": {func() error {
			_, err := admin.PutUser(ctx, client.User{Name: "admin", Role: auth.Viewer})
			return err
		}, slipway.Conflict, "last admin", "another user"},
		"forbidden": {func() error { return viewer.RetryJob(ctx, "a", "b") }, slipway.Forbidden, "viewer has the role viewer, and this needs operator", "ask an admin"},
		"unknown token": {func() error { _, err := client.New(s.URL, "slw_x").WhoAmI(ctx); return err },
			slipway.Unauthenticated, "unknown API token", "slipway login"},
		"no server": {func() error { _, err := client.New("http://127.0.0.1:1", "").WhoAmI(ctx); return err },
			slipway.Unavailable, "does not answer", "slipway up"},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.call()
			e, ok := err.(*slipway.Error) //nolint:errorlint // the client promises this very type
			if !ok {
				t.Fatalf("got %T: %v", err, err)
			}
			if e.Kind != c.kind || !strings.Contains(e.Message, c.says) || !strings.Contains(e.Remedy, c.remedy) {
				t.Errorf("got kind %s, message %q, remedy %q", e.Kind, e.Message, e.Remedy)
			}
		})
	}
}

func TestAProblemOnTheWire(t *testing.T) {
	s := httpapitest.Serve(t, storetest.Open(t), nil)
	resp, body := send(t, http.MethodPut, s.URL+"/api/v1/users/x", s.Token(auth.Admin), `{"role": 7}`)
	if resp.StatusCode != 422 || resp.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("status %d, type %s", resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	if !strings.Contains(body, `"where":"body.role"`) || !strings.Contains(body, `"kind":"invalid"`) {
		t.Error(body)
	}
	resp, body = send(t, http.MethodGet, s.URL+"/api/v1/nothing", s.Token(auth.Admin), "")
	if resp.StatusCode != 404 || !strings.Contains(body, `"urn:slipway:error:not-found"`) {
		t.Error(resp.StatusCode, body)
	}
	resp, body = send(t, http.MethodPut, s.URL+"/api/v1/users/x", s.Token(auth.Admin), `{"role": "viewer", "email": "`+strings.Repeat("x", 2<<20)+`"}`)
	if resp.StatusCode != 413 || !strings.Contains(body, `"kind":"too-large"`) {
		t.Error(resp.StatusCode, body)
	}
	resp, body = send(t, http.MethodPut, s.URL+"/api/v1/users/x", s.Token(auth.Admin), `{"role": `)
	if resp.StatusCode/100 != 4 || !strings.Contains(body, `"kind":"invalid"`) {
		t.Error(resp.StatusCode, body)
	}
}

func send(t *testing.T, method, url, token, body string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}

func emit(t *testing.T, db *store.DB, n int) {
	t.Helper()
	err := db.Update(t.Context(), func(tx *store.Tx) error {
		return tx.Emit(t.Context(), slipway.Event{ID: fmt.Sprint("test-", n), Type: "test.happened", Subject: fmt.Sprint("thing/", n)})
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestPagesJoinToTheWholeList(t *testing.T) {
	db := storetest.Open(t)
	s := httpapitest.Serve(t, db, nil)
	for n := range 7 {
		emit(t, db, n)
	}
	token := s.Token(auth.Viewer)
	next := "/api/v1/events?type=test.&limit=3"
	var sizes []int
	link := regexp.MustCompile(`^<(.+)>; rel="next"$`)
	for next != "" {
		resp, body := send(t, http.MethodGet, s.URL+next, token, "")
		sizes = append(sizes, strings.Count(body, `"test.happened"`))
		next = ""
		if m := link.FindStringSubmatch(resp.Header.Get("Link")); m != nil {
			next = m[1]
		}
	}
	if fmt.Sprint(sizes) != "[3 3 1]" {
		t.Errorf("pages of %v", sizes)
	}
	for _, newest := range []bool{false, true} {
		events, err := client.All(s.Client(auth.Viewer).Events(t.Context(), client.EventFilter{Type: "test.", Newest: newest, Limit: 5}))
		if err != nil || len(events) != 5 {
			t.Fatal(len(events), err)
		}
		if want := map[bool]string{false: "thing/4", true: "thing/2"}[newest]; events[4].Subject != want {
			t.Errorf("newest=%v: the fifth is %s, not %s", newest, events[4].Subject, want)
		}
	}
}

// A follower sees every event once and in order, across a server that goes away and comes back at the same address.
func TestFollowingSurvivesTheServer(t *testing.T) {
	db := storetest.Open(t)
	first := httpapitest.Serve(t, db, nil)
	token := first.Token(auth.Viewer)
	var target = make(chan string, 1)
	target <- first.URL
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		url := <-target
		target <- url
		req, err := http.NewRequestWithContext(r.Context(), r.Method, url+r.URL.RequestURI(), nil)
		if err != nil {
			panic(err)
		}
		req.Header = r.Header
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		w.WriteHeader(resp.StatusCode)
		rc, buf := http.NewResponseController(w), make([]byte, 4096)
		for {
			n, err := resp.Body.Read(buf)
			if n > 0 {
				w.Write(buf[:n]) //nolint:errcheck // the reader comes back
				rc.Flush()       //nolint:errcheck // as above
			}
			if err != nil {
				return
			}
		}
	}))
	defer proxy.Close()

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	got := make(chan slipway.Event)
	failed := make(chan error, 1)
	go func() {
		defer close(got)
		for e, err := range client.New(proxy.URL, token).Follow(ctx, client.EventFilter{Type: "test."}, 0) {
			if err != nil {
				failed <- err
				return
			}
			got <- e
		}
	}()
	expect := func(n int) {
		t.Helper()
		select {
		case e := <-got:
			if e.Subject != fmt.Sprint("thing/", n) {
				t.Fatalf("got %s, not thing/%d", e.Subject, n)
			}
		case err := <-failed:
			t.Fatal(err)
		case <-ctx.Done():
			t.Fatalf("thing/%d did not arrive", n)
		}
	}
	emit(t, db, 0)
	expect(0)
	emit(t, db, 1)
	expect(1)
	<-target
	first.API.Close() // ends the streams
	emit(t, db, 2)    // while nobody listens
	second := httpapitest.Serve(t, db, nil)
	target <- second.URL
	expect(2)
	emit(t, db, 3)
	expect(3)
	cancel()
	for range got {
		t.Error("more than what happened")
	}
}

func TestACookieOfAnotherSiteIsRefused(t *testing.T) {
	s := httpapitest.Serve(t, storetest.Open(t), nil)
	cookie, _, err := s.Auth.Login(t.Context(), s.Token(auth.Admin), false)
	if err != nil {
		t.Fatal(err)
	}
	put := func(site string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, s.URL+"/api/v1/users/eve", strings.NewReader(`{"role":"admin"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.AddCookie(cookie)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Sec-Fetch-Site", site)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if got := put("cross-site"); got != http.StatusForbidden {
		t.Errorf("from another site: %d", got)
	}
	if got := put("same-origin"); got != http.StatusOK {
		t.Errorf("from the dashboard: %d", got)
	}
}

func TestATokenCannotMakeAStrongerOne(t *testing.T) {
	s := httpapitest.Serve(t, storetest.Open(t), nil)
	weak, err := s.Client(auth.Admin).IssueToken(t.Context(), client.NewToken{Name: "weak", Role: auth.Viewer})
	if err != nil {
		t.Fatal(err)
	}
	c := client.New(s.URL, weak.Secret)
	for _, want := range []client.Role{"", auth.Admin, auth.Viewer} {
		made, err := c.IssueToken(t.Context(), client.NewToken{Name: "child", Role: want})
		if err != nil {
			t.Fatal(err)
		}
		id, err := client.New(s.URL, made.Secret).WhoAmI(t.Context())
		if err != nil || id.Role != auth.Viewer || id.User != "admin" {
			t.Errorf("asked for %q: %+v %v", want, id, err)
		}
	}
	if _, err := c.IssueToken(t.Context(), client.NewToken{Name: "other", User: "operator"}); !slipway.Is(err, slipway.Forbidden) {
		t.Errorf("another's token: %v", err)
	}
	if _, err := client.All(s.Client(auth.Developer).Tokens(t.Context(), "*")); !slipway.Is(err, slipway.Forbidden) {
		t.Errorf("everybody's tokens: %v", err)
	}
	if err := s.Client(auth.Developer).RevokeToken(t.Context(), weak.ID); !slipway.Is(err, slipway.Forbidden) {
		t.Errorf("revoking another's: %v", err)
	}
	if err := c.RevokeToken(t.Context(), weak.ID); err != nil {
		t.Errorf("revoking its own: %v", err)
	}
	if _, err := c.WhoAmI(t.Context()); !slipway.Is(err, slipway.Unauthenticated) {
		t.Errorf("after it was revoked: %v", err)
	}
}

func TestTheDocsNeedNoNetwork(t *testing.T) {
	s := httpapitest.Serve(t, storetest.Open(t), nil)
	_, page := send(t, http.MethodGet, s.URL+"/api/docs", "", "")
	if !strings.Contains(page, "<rapi-doc") || regexp.MustCompile(`(src|href|url)="(https?:)?//`).MatchString(page) {
		t.Error(page)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/api/docs/rapidoc.js", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept-Encoding", "gzip") // so that it is not unpacked for us
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	unzipped, err := gzip.NewReader(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	script, err := io.ReadAll(unzipped)
	if err != nil || !bytes.Contains(script, []byte("rapi-doc")) {
		t.Errorf("%d bytes, %v", len(script), err)
	}
	_, text := send(t, http.MethodGet, s.URL+"/api/openapi.yaml", "", "")
	if !strings.Contains(text, "x-slipway-role: admin") {
		t.Error("the description in YAML names no role")
	}
}

func TestObserve(t *testing.T) {
	reg := prometheus.NewRegistry()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /things/{id}", func(http.ResponseWriter, *http.Request) { panic("a defect") })
	mux.HandleFunc("GET /fine/{id}", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "fine") })
	srv := httptest.NewServer(httpapi.Observe(mux, reg, nil))
	defer srv.Close()
	resp, body := send(t, http.MethodGet, srv.URL+"/things/7", "", "")
	if resp.StatusCode != 500 || !strings.Contains(body, resp.Header.Get("X-Request-Id")) || strings.Contains(body, "a defect") {
		t.Error(resp.StatusCode, body)
	}
	if resp, _ := send(t, http.MethodGet, srv.URL+"/fine/1", "", ""); len(resp.Header.Get("X-Request-Id")) != 16 {
		t.Error(resp.Header)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	seen := fmt.Sprint(families)
	for _, want := range []string{`value:"/things/{id}"`, `value:"500"`, `value:"/fine/{id}"`, `value:"200"`} {
		if !strings.Contains(strings.ReplaceAll(seen, `\"`, `"`), want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
	if strings.Contains(seen, "/things/7") {
		t.Error("a path became a label")
	}
}
