package bus

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"slipway.dev/slipway/internal/slipway"
)

// Lookup finds the node whose agent holds a public key; ok is false for a key that is unknown or revoked.
type Lookup func(ctx context.Context, publicKey string) (node string, ok bool, err error)

// EmbeddedConfig sets up a bus in this process.
type EmbeddedConfig struct {
	Dir    string       // where JetStream and the remembered port live
	Listen string       // host:port for agents; default 127.0.0.1:0. A free port is chosen once and kept, so that agents find it again
	TLS    *tls.Config  // what agents are spoken to in; nil: in clear
	Lookup Lookup       // who may connect; required
	Log    *slog.Logger // default slog.Default()
}

// Embedded is a NATS server in this process and the server's own connection to it.
type Embedded struct {
	Conn *nats.Conn

	ns     *server.Server
	listen string
	log    *slog.Logger
}

const (
	internalUser  = "slipway-server"
	lookupTimeout = 5 * time.Second
	startTimeout  = 20 * time.Second
)

// StartEmbedded starts the server and connects to it.
func StartEmbedded(cfg EmbeddedConfig) (*Embedded, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	host, portText, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return nil, slipway.Errorf(slipway.Invalid, "bus address %q: %w", cfg.Listen, err).Try("write it as HOST:PORT, port 0 for a free one")
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return nil, slipway.Errorf(slipway.Invalid, "bus address %q: %w", cfg.Listen, err)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, slipway.Errorf(slipway.Unavailable, "make the bus folder: %w", err)
	}
	remembered := filepath.Join(cfg.Dir, "port")
	candidates := []int{port}
	if port == 0 {
		candidates = []int{server.RANDOM_PORT}
		if b, err := os.ReadFile(remembered); err == nil {
			if old, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && old > 0 {
				candidates = []int{old, server.RANDOM_PORT}
			}
		}
	}

	var secret [24]byte
	if _, err := rand.Read(secret[:]); err != nil {
		return nil, fmt.Errorf("make the internal credential: %w", err)
	}
	password := hex.EncodeToString(secret[:])
	var ns *server.Server
	for _, p := range candidates {
		if p > 0 && !free(host, p) {
			err = slipway.Errorf(slipway.Conflict, "bus port %s is taken", net.JoinHostPort(host, strconv.Itoa(p))).Try("choose another with --bus-listen")
			continue
		}
		auth := &authenticator{lookup: cfg.Lookup, password: password, log: cfg.Log}
		ns, err = startServer(&server.Options{
			ServerName: "slipway", Host: host, Port: p,
			JetStream: true, StoreDir: cfg.Dir, JetStreamMaxMemory: 64 << 20, JetStreamMaxStore: 4 << 30,
			TLS: cfg.TLS != nil, TLSConfig: cfg.TLS, NoSigs: true, NoLog: true, AlwaysEnableNonce: true, CustomClientAuthentication: auth,
			MaxPayload: maxPayload, PingInterval: 5 * time.Second, MaxPingsOut: 2, WriteDeadline: 5 * time.Second,
		})
		if err == nil {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	b := &Embedded{ns: ns, listen: ns.ClientURL(), log: cfg.Log}
	if port == 0 {
		if u, err := url.Parse(b.listen); err == nil {
			if err := os.WriteFile(remembered, []byte(u.Port()+"\n"), 0o600); err != nil {
				b.Close()
				return nil, slipway.Errorf(slipway.Unavailable, "remember the bus port: %w", err)
			}
		}
	}
	b.Conn, err = nats.Connect("", nats.InProcessServer(ns), nats.UserInfo(internalUser, password),
		nats.Name("slipway server"), nats.MaxReconnects(-1), nats.CustomInboxPrefix("_INBOX.server"))
	if err != nil {
		b.Close()
		return nil, slipway.Errorf(slipway.Unavailable, "connect to the embedded bus: %w", err)
	}
	return b, nil
}

// maxPayload bounds one message. A sync carries log pieces, whose sum the agent keeps below half of it.
const maxPayload = 4 << 20

func startServer(opts *server.Options) (*server.Server, error) {
	ns, err := server.NewServer(opts)
	if err != nil {
		return nil, slipway.Errorf(slipway.Unavailable, "start the embedded bus: %w", err)
	}
	ns.Start()
	if !ns.ReadyForConnections(startTimeout) {
		ns.Shutdown()
		ns.WaitForShutdown()
		return nil, slipway.Errorf(slipway.Unavailable, "the embedded bus was not ready in %s", startTimeout)
	}
	return ns, nil
}

func free(host string, port int) bool {
	l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// URL is where agents connect.
func (b *Embedded) URL() string { return b.listen }

// NATS returns the server's connection.
func (b *Embedded) NATS() *nats.Conn { return b.Conn }

// Ready reports whether messages can pass; it is a readiness check.
func (b *Embedded) Ready(context.Context) error {
	if !b.Conn.IsConnected() {
		return slipway.Errorf(slipway.Unavailable, "the bus is %s", b.Conn.Status())
	}
	return nil
}

// Kick ends every connection that was made with the public key. It is called after the key was revoked, so that
// none of them comes back.
func (b *Embedded) Kick(publicKey string) error {
	const page = 1024
	for offset := 0; ; offset += page {
		conns, err := b.ns.Connz(&server.ConnzOptions{Username: true, Offset: offset, Limit: page})
		if err != nil {
			return fmt.Errorf("list the bus's connections: %w", err)
		}
		for _, c := range conns.Conns {
			if c.AuthorizedUser == publicKey {
				// The connection may be gone by now, which is what is wanted.
				_ = b.ns.DisconnectClientByID(c.Cid)
			}
		}
		if len(conns.Conns) < page {
			return nil
		}
	}
}

// Close ends the server's connection and the NATS server, and waits until its files are closed.
func (b *Embedded) Close() {
	if b.Conn != nil {
		b.Conn.Close()
	}
	b.ns.Shutdown()
	b.ns.WaitForShutdown()
}

// authenticator decides who may connect, and what they may do then.
type authenticator struct {
	lookup   Lookup
	password string
	log      *slog.Logger
}

// Check implements [server.Authentication].
func (a *authenticator) Check(c server.ClientAuthentication) bool {
	opts := c.GetOpts()
	if opts.Nkey == "" {
		ok := opts.Username == internalUser && subtle.ConstantTimeCompare([]byte(opts.Password), []byte(a.password)) == 1
		if ok {
			c.RegisterUser(&server.User{Username: internalUser})
		}
		return ok
	}
	if !signed(opts.Nkey, opts.Sig, c.GetNonce()) {
		a.log.Warn("agent refused: its signature does not fit its key", "remote", c.RemoteAddress())
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookupTimeout)
	defer cancel()
	node, ok, err := a.lookup(ctx, opts.Nkey)
	switch {
	case err != nil:
		a.log.Error("agent refused: its key could not be looked up", "remote", c.RemoteAddress(), "error", err)
		return false
	case !ok || !ValidNode(node):
		a.log.Warn("agent refused: unknown or revoked key", "remote", c.RemoteAddress(), "key", opts.Nkey)
		return false
	}
	r := AgentPermissions(node)
	c.RegisterUser(&server.User{Username: node, Permissions: &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: r.Publish},
		Subscribe: &server.SubjectPermission{Allow: r.Subscribe},
	}})
	return true
}

// signed verifies a client's answer to the nonce, in either of the encodings that clients use.
func signed(key, sig string, nonce []byte) bool {
	if len(nonce) == 0 || !ValidKey(key) {
		return false
	}
	raw, err := base64.RawURLEncoding.DecodeString(sig)
	if err != nil {
		if raw, err = base64.StdEncoding.DecodeString(sig); err != nil {
			return false
		}
	}
	pub, err := nkeys.FromPublicKey(key)
	return err == nil && pub.Verify(nonce, raw) == nil
}
