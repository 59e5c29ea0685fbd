package agentapi_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"slipway.dev/slipway/internal/edge/agentapi"
	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/platform/bus"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/lab"
	"slipway.dev/slipway/internal/store"
	"slipway.dev/slipway/internal/store/storetest"
)

// gate is a server whose nodes the test plays, with a module that says back what it was told.
type gate struct {
	t    *testing.T
	lab  *lab.Service
	disk *artifact.Disk
	bus  *bus.Embedded
	url  string
}

func newGate(t *testing.T) *gate {
	t.Helper()
	db := storetest.Open(t)
	g := &gate{t: t, lab: lab.New(store.Scope(db, func(tx *store.Tx) lab.Tx { return tx }), spec.ParseExperiment, nil, lab.Config{})}
	quiet := slog.New(slog.DiscardHandler)
	var err error
	if g.disk, err = artifact.OpenDisk(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	if g.bus, err = bus.StartEmbedded(bus.EmbeddedConfig{Dir: t.TempDir(), Lookup: g.lab.NodeByKey, Log: quiet}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.bus.Close)
	modules := map[string]agentapi.SyncHandler{
		"echo": func(_ context.Context, node string, r json.RawMessage) (json.RawMessage, error) {
			return json.Marshal(node + " said " + string(r))
		},
		"flood": func(context.Context, string, json.RawMessage) (json.RawMessage, error) {
			return json.Marshal(strings.Repeat("x", 5<<20))
		},
		"broken": func(context.Context, string, json.RawMessage) (json.RawMessage, error) {
			return nil, slipway.Errorf(slipway.Conflict, "not now").Try("later")
		},
	}
	api := agentapi.New(g.lab, g.disk, modules, agentapi.Config{BusURL: g.bus.URL(), Log: quiet})
	srv := httptest.NewServer(api.Handler())
	t.Cleanup(srv.Close)
	g.url = srv.URL
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- api.Serve(ctx, g.bus.Conn) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return g
}

func (g *gate) node(name string) nkeys.KeyPair {
	g.t.Helper()
	key, err := nkeys.CreateUser()
	if err != nil {
		g.t.Fatal(err)
	}
	pub, err := key.PublicKey()
	if err != nil {
		g.t.Fatal(err)
	}
	token, _, err := g.lab.CreateJoinToken(g.t.Context(), "admin", "", nil, 0)
	if err != nil {
		g.t.Fatal(err)
	}
	body, _ := json.Marshal(lab.JoinRequest{Token: token, Name: name, PublicKey: pub})
	resp, err := http.Post(g.url+"/agent/v1/join", "application/json", strings.NewReader(string(body))) //nolint:noctx // a test
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		g.t.Fatalf("join: %s", resp.Status)
	}
	return key
}

// ask sends a sync over the server's own connection, which may use any subject: as on a bus that does not limit agents.
func (g *gate) ask(node string, key nkeys.KeyPair, signedSubject, reply, body string) (bus.SyncReply, bool) {
	g.t.Helper()
	sub, err := g.bus.Conn.SubscribeSync(reply)
	if err != nil {
		g.t.Fatal(err)
	}
	defer sub.Unsubscribe() //nolint:errcheck // the connection ends with the test
	pub, err := key.PublicKey()
	if err != nil {
		g.t.Fatal(err)
	}
	m := nats.NewMsg(bus.SyncSubject(node))
	m.Reply, m.Data = reply, []byte(body)
	sig, err := bus.SignMessage(key, signedSubject, m.Data)
	if err != nil {
		g.t.Fatal(err)
	}
	m.Header.Set(bus.KeyHeader, pub)
	m.Header.Set(bus.SignatureHeader, sig)
	if err := g.bus.Conn.PublishMsg(m); err != nil {
		g.t.Fatal(err)
	}
	// A refusal without an answer shows only by time passing.
	answer, err := sub.NextMsg(500 * time.Millisecond)
	if err != nil {
		return bus.SyncReply{}, false
	}
	var r bus.SyncReply
	if err := json.Unmarshal(answer.Data, &r); err != nil {
		g.t.Fatal(err)
	}
	return r, true
}

func TestSync(t *testing.T) {
	g := newGate(t)
	key := g.node("front")
	r, ok := g.ask("front", key, bus.SyncSubject("front"), bus.InboxPrefix("front")+".1", `{"facts":{"os":"linux"},"modules":{"echo":"hi","broken":{},"other":{}}}`)
	if !ok || r.Fault != nil || string(r.Modules["echo"]) != `"front said \"hi\""` || r.Time.IsZero() {
		t.Fatalf("%+v %v", r, ok)
	}
	if f := r.Faults["broken"]; f.Kind != slipway.Conflict || f.Detail != "not now" || f.Remedy != "later" {
		t.Errorf("%+v", f)
	}
	if f := r.Faults["other"]; f.Kind != slipway.NotFound {
		t.Errorf("%+v", f)
	}
	if n, err := g.lab.Node(t.Context(), "front"); err != nil || n.State != lab.NodeOnline || n.Facts["os"] != "linux" {
		t.Errorf("%+v %v", n, err)
	}
}

// A module whose orders fit into no message says so instead of leaving the node without an answer.
func TestOrdersThatAreTooLarge(t *testing.T) {
	g := newGate(t)
	key := g.node("front")
	r, ok := g.ask("front", key, bus.SyncSubject("front"), bus.InboxPrefix("front")+".1", `{"modules":{"echo":"hi","flood":{}}}`)
	if f := r.Faults["flood"]; !ok || f.Kind != slipway.TooLarge || f.Remedy == "" || string(r.Modules["echo"]) != `"front said \"hi\""` {
		t.Fatalf("%v %+v", ok, r)
	}
}

func TestForgedSyncs(t *testing.T) {
	g := newGate(t)
	front, rear := g.node("front"), g.node("rear")
	stranger, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	subject, inbox := bus.SyncSubject("front"), bus.InboxPrefix("front")+".1"
	for name, c := range map[string]struct {
		key            nkeys.KeyPair
		subject, reply string
		body           string
		answered       bool
		kind           slipway.Kind
	}{
		"another node's key":               {rear, subject, inbox, "{}", true, slipway.Forbidden},
		"a key of nobody":                  {stranger, subject, inbox, "{}", true, slipway.Forbidden},
		"a signature of another subject":   {front, bus.SyncSubject("rear"), inbox, "{}", false, ""},
		"an answer to another node":        {front, subject, bus.InboxPrefix("rear") + ".1", "{}", false, ""},
		"an answer to the world as server": {front, subject, "slipway.events.release.created", "{}", false, ""},
		"not JSON":                         {front, subject, inbox, "{", true, slipway.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			r, answered := g.ask("front", c.key, c.subject, c.reply, c.body)
			if answered != c.answered || answered && (r.Fault == nil || r.Fault.Kind != c.kind || r.Modules != nil) {
				t.Fatalf("answered %v: %+v", answered, r)
			}
		})
	}
	if n, err := g.lab.Node(t.Context(), "front"); err != nil || n.State != lab.NodeOffline {
		t.Errorf("a forged sync made it %s, %v", n.State, err)
	}
}

func (g *gate) get(path string, prepare func(r *http.Request)) (int, string) {
	g.t.Helper()
	req, err := http.NewRequestWithContext(g.t.Context(), http.MethodGet, g.url+path, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	prepare(req)
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestBlobsNeedAFreshSignature(t *testing.T) {
	g := newGate(t)
	front := g.node("front")
	stranger, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	digest, _, err := g.disk.Put(t.Context(), strings.NewReader("bytes"))
	if err != nil {
		t.Fatal(err)
	}
	sign := func(key nkeys.KeyPair, off time.Duration) func(r *http.Request) {
		return func(r *http.Request) {
			if err := bus.SignRequest(key, r, time.Now().Add(off)); err != nil {
				t.Fatal(err)
			}
		}
	}
	path := "/agent/v1/blobs/" + digest
	for name, c := range map[string]struct {
		path    string
		prepare func(r *http.Request)
		status  int
		body    string
	}{
		"signed":             {path, sign(front, 0), 200, "bytes"},
		"a minute ago":       {path, sign(front, -time.Minute), 200, "bytes"},
		"not signed":         {path, func(*http.Request) {}, 401, "not signed"},
		"an API token":       {path, func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") }, 401, "not signed"},
		"too old":            {path, sign(front, -3*time.Minute), 401, "set the node's clock"},
		"from the future":    {path, sign(front, 3*time.Minute), 401, "set the node's clock"},
		"nobody's key":       {path, sign(stranger, 0), 403, "no node has the key"},
		"signed for another": {path, func(r *http.Request) { r.URL.Path = "/agent/v1/session"; sign(front, 0)(r); r.URL.Path = path }, 401, "does not fit"},
		"no such blob":       {"/agent/v1/blobs/" + artifact.DigestOf([]byte("x")), sign(front, 0), 404, "not-found"},
		"an escape":          {"/agent/v1/blobs/sha256:..%2f..%2fetc%2fpasswd", sign(front, 0), 422, "invalid"},
		"nothing there":      {"/agent/v1/other", sign(front, 0), 404, "nothing is at"},
	} {
		t.Run(name, func(t *testing.T) {
			if status, body := g.get(c.path, c.prepare); status != c.status || !strings.Contains(body, c.body) {
				t.Fatalf("%d %s", status, body)
			}
		})
	}
}

func TestJoinBodies(t *testing.T) {
	g := newGate(t)
	for name, c := range map[string]struct {
		body   string
		status int
	}{
		"not JSON":      {"{", 422},
		"too large":     {`{"name":"` + strings.Repeat("x", 1<<17) + `"}`, 413},
		"not a key":     {`{"token":"t","name":"front","publicKey":"UX"}`, 422},
		"no such token": {`{"token":"t","name":"front","publicKey":"` + public(t) + `"}`, 401},
	} {
		t.Run(name, func(t *testing.T) {
			resp, err := http.Post(g.url+"/agent/v1/join", "application/json", strings.NewReader(c.body)) //nolint:noctx // a test
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != c.status || resp.Header.Get("Content-Type") != "application/problem+json" {
				t.Fatalf("%s, %s", resp.Status, resp.Header.Get("Content-Type"))
			}
		})
	}
}

func public(t *testing.T) string {
	t.Helper()
	key, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	pub, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return pub
}
