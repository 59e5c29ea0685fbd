package compose_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"slipway.dev/slipway/internal/platform/jobs/jobstest"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/compose"
	"slipway.dev/slipway/internal/stage/compose/composetest"
	"slipway.dev/slipway/internal/store/storetest"
)

func TestNothingOutsideIsServed(t *testing.T) {
	w := newWorld(t, storetest.Open(t, compose.Routes()...))
	s := w.service()
	rel := w.first()
	jobstest.Drain(t, w.db, s.Handlers()...)
	w.finished(rel.ID)
	secret := filepath.Join(w.config().Dir, "secret")
	if err := os.WriteFile(secret, []byte("top secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(w.config().Dir, rel.ID)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"up": "../secret", "far": secret, "root": "/"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	h := s.Handler()
	for _, path := range []string{
		"/composes/secret", "/composes/.tmp-x/a", "/composes/../secret", "/composes/%2e%2e/secret",
		"/composes/" + rel.ID + "/../secret", "/composes/" + rel.ID + "/%2e%2e/secret", "/composes/" + rel.ID + "/..%2fsecret",
		"/composes/" + rel.ID + "/..%5csecret", "/composes/" + rel.ID + "//../secret", "/composes/" + rel.ID + "/Edge/%2e%2e/%2e%2e/secret",
		"/composes/" + rel.ID + "/up", "/composes/" + rel.ID + "/far", "/composes/" + rel.ID + "/root/etc/passwd",
		"/composes/ferry/latest/../../secret", "/composes/ferry/latest/up", "/composes/..%2f..%2fkeys/latest/compose.key",
		"/composes/" + rel.ID + "/%2e%2e/%2e%2e/keys/compose.key",
	} {
		req := httptest.NewRequest(http.MethodGet, "http://host"+path, nil)
		res := httptest.NewRecorder()
		h.ServeHTTP(res, req)
		body := res.Body.String()
		if res.Code == http.StatusOK || strings.Contains(body, "top secret") || strings.Contains(body, "PRIVATE KEY") || strings.Contains(body, "root:") {
			t.Errorf("%s answers %d:\n%s", path, res.Code, body)
		}
	}
	for path, want := range map[string]int{
		"/composes/": 200, "/composes/" + rel.ID + "/": 200, "/composes/" + rel.ID + "/SHA256SUMS": 200, "/composes/" + rel.ID + "/Edge/": 200,
		"/composes/ferry/latest/": 200, "/composes/nobody/latest/": 404, "/composes/" + rel.ID + "/nothing": 404,
	} {
		res := httptest.NewRecorder()
		h.ServeHTTP(res, httptest.NewRequest(http.MethodGet, "http://host"+path, nil))
		if res.Code != want {
			t.Errorf("%s answers %d, want %d", path, res.Code, want)
		}
	}
	res := httptest.NewRecorder()
	h.ServeHTTP(res, httptest.NewRequest(http.MethodPut, "http://host/composes/"+rel.ID+"/SHA256SUMS", strings.NewReader("x")))
	if res.Code != http.StatusMethodNotAllowed {
		t.Errorf("PUT answers %d", res.Code)
	}
}

func TestUnfinishedIsNotServed(t *testing.T) {
	w := newWorld(t, storetest.Open(t, compose.Routes()...))
	w.answer = slipway.WaveStatus{State: slipway.WaveRunning}
	s := w.service()
	rel := w.release("v2026.11.1", composetest.Day, tool("0.3.0", "sha256:"+strings.Repeat("0", 64)))
	jobstest.Drain(t, w.db, s.Handlers()...)
	for _, path := range []string{"/composes/" + rel.ID + "/", "/composes/ferry/latest/"} {
		res := httptest.NewRecorder()
		s.Handler().ServeHTTP(res, httptest.NewRequest(http.MethodGet, "http://host"+path, nil))
		if res.Code != http.StatusNotFound {
			t.Errorf("%s answers %d", path, res.Code)
		}
	}
}

func TestFinishedIsImmutable(t *testing.T) {
	w := newWorld(t, storetest.Open(t, compose.Routes()...))
	s := w.service()
	rel := w.first()
	jobstest.Drain(t, w.db, s.Handlers()...)
	c := w.finished(rel.ID)
	dir := filepath.Join(w.config().Dir, rel.ID)
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o222 != 0 {
			t.Errorf("%s has mode %v", p, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Retry(t.Context(), rel.ID, "ann"); !slipway.Is(err, slipway.Conflict) {
		t.Errorf("retrying a finished compose: %v", err)
	}
	if _, err := s.Retry(t.Context(), "ferry-v1", "ann"); !slipway.Is(err, slipway.NotFound) {
		t.Errorf("composing a release that is not there: %v", err)
	}
	// The event comes again, as events may: nothing happens.
	w.emit(slipway.Event{Type: slipway.ReleaseCreated, Subject: slipway.Ref("release", rel.ID), Product: "ferry"})
	jobstest.Drain(t, w.db, s.Handlers()...)
	if again := w.finished(rel.ID); again.Digest != c.Digest || !again.FinishedAt.Equal(c.FinishedAt) {
		t.Errorf("a second event changed the compose: %+v", again)
	}

	damage := func(name string, do func(file string) error) {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.Chmod(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := do(file); err != nil {
			t.Fatal(err)
		}
	}
	damage("RELEASE.md", func(f string) error {
		if err := os.Chmod(f, 0o644); err != nil {
			return err
		}
		return os.WriteFile(f, []byte("better notes"), 0o644)
	})
	damage("key.asc", os.Remove)
	damage("added", func(f string) error { return os.WriteFile(f, nil, 0o644) })
	v, err := s.Verify(t.Context(), rel.ID)
	if err != nil || v.OK {
		t.Fatalf("verify: %+v, %v", v, err)
	}
	if got := strings.Join(v.Problems, "; "); got != "RELEASE.md was changed; added was added; key.asc is gone" {
		t.Errorf("verify says: %s", got)
	}
	damage("SHA256SUMS", func(f string) error {
		if err := os.Chmod(f, 0o644); err != nil {
			return err
		}
		return os.WriteFile(f, nil, 0o644)
	})
	if v, err := s.Verify(t.Context(), rel.ID); err != nil || v.OK || !strings.Contains(v.Problems[0], "SHA256SUMS was changed") {
		t.Errorf("verify: %+v, %v", v, err)
	}
}
