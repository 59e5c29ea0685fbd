package githttp_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/internal/platform/jobs/jobstest"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/source"
)

// TestMirrorOverHTTPAndWebhook mirrors one server's repository on another, over real HTTP, and lets a webhook hurry it.
func TestMirrorOverHTTPAndWebhook(t *testing.T) {
	far, near := start(t, 0), start(t, 0)
	ctx := t.Context()
	w := desk(t, far.url, "dev")
	w.commit("file", "a", "a")
	w.must("push", "-q", "origin", "main")
	const copied = "components/copy"
	m, err := near.src.SetMirror(ctx, "root", copied, strings.Replace(far.url, "http://", "http://vic:token-vic@", 1)+"/git/"+repo+".git", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	jobstest.Drain(t, near.db, near.src.Handlers()...)
	if at, err := near.src.Resolve(ctx, copied, "main"); err != nil || at != w.must("rev-parse", "HEAD") {
		t.Fatalf("main is at %s, %v", at, err)
	}
	w.point(far.url, "gail")
	next := w.commit("file", "b", "b")
	w.must("push", "-q", "origin", "main")

	hooks := near.git.Webhook()
	body := `{"ref":"refs/heads/main"}`
	mac := hmac.New(sha256.New, []byte(m.Secret))
	mac.Write([]byte(body))
	sum := hex.EncodeToString(mac.Sum(nil))
	post := func(repo, header, value, body string) int {
		req := httptest.NewRequestWithContext(ctx, http.MethodPost, "/hooks/mirror/"+repo, strings.NewReader(body))
		if header != "" {
			req.Header.Set(header, value)
		}
		rec := httptest.NewRecorder()
		hooks.ServeHTTP(rec, req)
		return rec.Code
	}
	for _, c := range []struct {
		repo, header, value, body string
		status                    int
	}{
		{copied, "", "", body, 403},
		{copied, "X-Hub-Signature-256", "sha256=" + strings.Repeat("0", 64), body, 403},
		{copied, "X-Hub-Signature-256", "sha256=" + sum, body + " ", 403},
		{copied, "X-Gitlab-Token", "", body, 403},
		{"components/nosuch", "X-Gitlab-Token", "", body, 403},
		{"../etc", "X-Gitlab-Token", m.Secret, body, 403},
		{copied, "X-Gitlab-Token", m.Secret, strings.Repeat("x", 2<<20), 413},
	} {
		if got := post(c.repo, c.header, c.value, c.body); got != c.status {
			t.Errorf("%s with %s %q: %d, want %d", c.repo, c.header, c.value, got, c.status)
		}
	}
	jobstest.Drain(t, near.db, near.src.Handlers()...)
	if at, _ := near.src.Resolve(ctx, copied, "main"); at == next {
		t.Fatal("it was polled though nobody might ask for it")
	}
	for _, c := range [][2]string{{"X-Hub-Signature-256", "sha256=" + sum}, {"X-Gitea-Signature", sum}, {"X-Gitlab-Token", m.Secret}} {
		if got := post(copied, c[0], c[1], body); got != http.StatusAccepted {
			t.Errorf("%s: %d", c[0], got)
		}
	}
	jobstest.Drain(t, near.db, near.src.Handlers()...)
	if at, _ := near.src.Resolve(ctx, copied, "main"); at != next {
		t.Errorf("main is at %s, want %s", at, next)
	}
	// A mirror takes no pushes.
	w.must("remote", "set-url", "origin", strings.Replace(near.url, "http://", "http://root:token-root@", 1)+"/git/"+copied+".git")
	w.commit("file", "c", "c")
	w.refused([]string{"is a mirror and takes no pushes"}, "push", "origin", "HEAD:refs/heads/main")
	w.refused([]string{"is a mirror and takes no pushes"}, "push", "origin", "HEAD:refs/for/main")
	// A remote that refuses us is a state with a reason, which does not tell the password.
	if _, err := near.src.SetMirror(ctx, "root", copied, strings.Replace(far.url, "http://", "http://x:token-wrong@", 1)+"/git/"+repo+".git", time.Hour); err != nil {
		t.Fatal(err)
	}
	jobstest.Drain(t, near.db, near.src.Handlers()...)
	if m, err = near.src.Mirror(ctx, copied); err != nil || m.State != source.MirrorFailing || strings.Contains(m.Reason, "token-wrong") {
		t.Errorf("mirror is %s: %s (%v)", m.State, m.Reason, err)
	}
	if _, err := near.src.Mirror(ctx, repo); !slipway.Is(err, slipway.NotFound) {
		t.Errorf("got %v", err)
	}
}
