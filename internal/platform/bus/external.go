package bus

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"slipway.dev/slipway/internal/slipway"
)

// External is the server's connection to a NATS server that somebody else runs.
type External struct {
	Conn *nats.Conn

	url string
}

// ServerKey reads the server's own nkey from DIR/server.nk, and makes it when there is none. The external server must
// know the public half ([Authorization]).
func ServerKey(dir string) (nkeys.KeyPair, error) {
	file := filepath.Join(dir, "server.nk")
	seed, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		kp, err := nkeys.CreateUser()
		if err != nil {
			return nil, slipway.Errorf(slipway.Internal, "make the server's bus key: %w", err)
		}
		if seed, err = kp.Seed(); err != nil {
			return nil, slipway.Errorf(slipway.Internal, "make the server's bus key: %w", err)
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, slipway.Errorf(slipway.Unavailable, "make the bus folder: %w", err)
		}
		if err := os.WriteFile(file, append(seed, '\n'), 0o600); err != nil {
			return nil, slipway.Errorf(slipway.Unavailable, "keep the server's bus key: %w", err)
		}
		return kp, nil
	}
	if err != nil {
		return nil, slipway.Errorf(slipway.Unavailable, "read the server's bus key: %w", err)
	}
	kp, err := nkeys.FromSeed([]byte(strings.TrimSpace(string(seed))))
	if err != nil {
		return nil, slipway.Errorf(slipway.Invalid, "the server's bus key is damaged: %w", err).At(file).Try("remove the file to make a new one, and tell the NATS server its public key")
	}
	return kp, nil
}

// DialExternal connects to the NATS server at url, with key; it goes on trying to reconnect for ever once it was connected.
func DialExternal(url string, key nkeys.KeyPair) (*External, error) {
	pub, err := key.PublicKey()
	if err != nil {
		return nil, slipway.Errorf(slipway.Invalid, "the server's bus key: %w", err)
	}
	conn, err := nats.Connect(url, nats.Nkey(pub, key.Sign), nats.Name("slipway server"),
		nats.MaxReconnects(-1), nats.CustomInboxPrefix("_INBOX.server"))
	if err != nil {
		return nil, slipway.Errorf(slipway.Unavailable, "connect to the bus: %w", err).At(url).Try("is it running, and does it know the key " + pub + "? See docs/guides/bus.md")
	}
	return &External{Conn: conn, url: url}, nil
}

// URL is where agents connect.
func (b *External) URL() string { return b.url }

// NATS returns the server's connection.
func (b *External) NATS() *nats.Conn { return b.Conn }

// Ready reports whether messages can pass; it is a readiness check.
func (b *External) Ready(context.Context) error {
	if !b.Conn.IsConnected() {
		return slipway.Errorf(slipway.Unavailable, "the bus is %s", b.Conn.Status()).At(b.url)
	}
	return nil
}

// Kick does nothing: an external server drops a key's connections when its configuration is reloaded without it. Until
// then the agent is connected but every request of it is refused, because the server checks the key of each.
func (b *External) Kick(string) error { return nil }

// Close ends the connection.
func (b *External) Close() { b.Conn.Close() }
