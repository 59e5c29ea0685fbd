package githttp

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strings"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/source"
)

// WebhookPrefix is the path below which a forge announces pushes to a mirrored repository: POST /hooks/mirror/components/libwire.
const WebhookPrefix = "/hooks/mirror/"

// maxWebhook bounds an announcement, in bytes.
const maxWebhook = 1 << 20

// Webhook is the handler of the paths below [WebhookPrefix]. A request must be signed with the mirror's secret, as GitHub,
// Gitea, Forgejo (HMAC-SHA256 of the body) or GitLab (the secret itself) do. What it says does not matter: it has the mirror polled now.
func (s *Server) Webhook() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, "announce a push by POST", http.StatusMethodNotAllowed)
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxWebhook))
		if err != nil {
			var large *http.MaxBytesError
			if errors.As(err, &large) {
				fail(w, slipway.Errorf(slipway.TooLarge, "the announcement has more than %d bytes", maxWebhook))
			}
			return
		}
		repo := strings.TrimPrefix(r.URL.Path, WebhookPrefix)
		m, err := s.mirror(r, repo)
		if err == nil && !signed(r.Header, m.Secret, body) {
			err = slipway.Errorf(slipway.Forbidden, "no mirror %q with this secret", repo).
				Try("use the mirror's secret; setting the mirror again with slipway repo mirror shows it")
		}
		if err == nil {
			err = s.src.Poke(r.Context(), repo)
		}
		if err != nil {
			fail(w, err)
			return
		}
		w.WriteHeader(http.StatusAccepted)
	})
}

// mirror finds the mirror; one that does not exist has a secret that nobody knows, so that the answer does not tell.
func (s *Server) mirror(r *http.Request, repo string) (source.Mirror, error) {
	if source.CheckName(repo) != nil {
		return source.Mirror{}, nil
	}
	m, err := s.src.Mirror(r.Context(), repo)
	if slipway.Is(err, slipway.NotFound) {
		return source.Mirror{}, nil
	}
	return m, err
}

// signed reports whether the request knows the secret. An empty secret is nobody's.
func signed(h http.Header, secret string, body []byte) bool {
	if secret == "" {
		return false
	}
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	want := hex.EncodeToString(mac.Sum(nil))
	for _, got := range []string{strings.TrimPrefix(h.Get("X-Hub-Signature-256"), "sha256="), h.Get("X-Gitea-Signature"), h.Get("X-Forgejo-Signature")} {
		if subtle.ConstantTimeCompare([]byte(got), []byte(want)) == 1 {
			return true
		}
	}
	return subtle.ConstantTimeCompare([]byte(h.Get("X-Gitlab-Token")), []byte(secret)) == 1
}
