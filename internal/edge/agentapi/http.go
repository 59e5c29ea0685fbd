package agentapi

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/bus"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/lab"
)

// JoinReply answers a join.
type JoinReply struct {
	Name string `json:"name"`
}

// SessionReply tells an agent where the bus is.
type SessionReply struct {
	Node string    `json:"node"`
	Bus  string    `json:"bus"`
	Time time.Time `json:"time"`
}

const maxJoinBody = 64 << 10

// Handler serves /agent/v1/.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /agent/v1/join", s.join)
	mux.HandleFunc("GET /agent/v1/session", s.signed(s.session))
	mux.HandleFunc("GET /agent/v1/blobs/{digest}", s.signed(s.blob))
	mux.HandleFunc("/agent/", func(w http.ResponseWriter, r *http.Request) {
		refuse(w, slipway.Errorf(slipway.NotFound, "nothing is at %s %s", r.Method, r.URL.Path))
	})
	return mux
}

func (s *Server) join(w http.ResponseWriter, r *http.Request) {
	var req lab.JoinRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxJoinBody)).Decode(&req); err != nil {
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
			refuse(w, slipway.Errorf(slipway.TooLarge, "a join request has at most %d bytes", maxJoinBody))
			return
		}
		refuse(w, slipway.Errorf(slipway.Invalid, "the join request cannot be read: %w", err))
		return
	}
	if !bus.ValidKey(req.PublicKey) {
		refuse(w, slipway.Errorf(slipway.Invalid, "the public key is not the nkey of a user"))
		return
	}
	n, err := s.nodes.Join(r.Context(), req)
	if err != nil {
		refuse(w, err)
		return
	}
	s.cfg.Log.Info("node joined", "node", n.Name, "remote", r.RemoteAddr)
	answer(w, JoinReply{Name: n.Name})
}

// signed lets only requests pass that a node's agent has signed.
func (s *Server) signed(next func(w http.ResponseWriter, r *http.Request, node string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		key, err := bus.VerifyRequest(r, s.cfg.Clock.Now())
		if err != nil {
			refuse(w, err)
			return
		}
		node, ok, err := s.nodes.NodeByKey(r.Context(), key)
		if err == nil && !ok {
			err = slipway.Errorf(slipway.Forbidden, "no node has the key %s", key).Try("was the node removed? Join again with a new token")
		}
		if err != nil {
			refuse(w, err)
			return
		}
		next(w, r, node)
	}
}

func (s *Server) session(w http.ResponseWriter, r *http.Request, node string) {
	answer(w, SessionReply{Node: node, Bus: reachable(s.cfg.BusURL, r.Host), Time: s.cfg.Clock.Now()})
}

// reachable replaces a wildcard host in the bus's URL by the one at which the agent found this server.
func reachable(busURL, requestHost string) string {
	u, err := url.Parse(busURL)
	if err != nil {
		return busURL
	}
	if ip := net.ParseIP(u.Hostname()); ip == nil || !ip.IsUnspecified() {
		return busURL
	}
	host := requestHost
	if h, _, err := net.SplitHostPort(requestHost); err == nil {
		host = h
	}
	u.Host = net.JoinHostPort(host, u.Port())
	return u.String()
}

func (s *Server) blob(w http.ResponseWriter, r *http.Request, _ string) {
	digest := r.PathValue("digest")
	if _, err := artifact.ParseDigest(digest); err != nil {
		refuse(w, err)
		return
	}
	body, err := s.blobs.Open(r.Context(), digest)
	if err != nil {
		refuse(w, err)
		return
	}
	defer body.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Cache-Control", "private, immutable, max-age=31536000")
	if _, err := io.Copy(w, body); err != nil {
		// The status has gone out; break the connection, so that the agent does not take a part for the whole.
		panic(http.ErrAbortHandler)
	}
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the agent is gone, and will ask again
}

var statuses = map[slipway.Kind]int{
	slipway.Invalid: http.StatusUnprocessableEntity, slipway.NotFound: http.StatusNotFound, slipway.Conflict: http.StatusConflict,
	slipway.Unauthenticated: http.StatusUnauthorized, slipway.Forbidden: http.StatusForbidden,
	slipway.TooLarge: http.StatusRequestEntityTooLarge, slipway.Unavailable: http.StatusServiceUnavailable,
}

// refuse writes err as RFC 9457 has it.
func refuse(w http.ResponseWriter, err error) {
	f := bus.FaultOf(err)
	status, ok := statuses[f.Kind]
	if !ok {
		status = http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(struct { // the agent is gone, and will ask again
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		bus.Fault
	}{"urn:slipway:error:" + string(f.Kind), http.StatusText(status), status, f})
}
