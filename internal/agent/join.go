package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nkeys"

	"slipway.dev/slipway/internal/agent/spool"
	"slipway.dev/slipway/internal/platform/bus"
	"slipway.dev/slipway/internal/slipway"
)

// identity is what the agent remembers of its join, in ROOT/agent/identity.json.
type identity struct {
	Name   string    `json:"name"`
	Key    string    `json:"key"` // public
	Joined time.Time `json:"joined"`
}

// loadKey reads the agent's private key, and makes it when there is none. It is on disk before anybody hears of it.
func loadKey(file string) (nkeys.KeyPair, error) {
	seed, err := os.ReadFile(file)
	if err == nil {
		key, err := nkeys.FromSeed(bytes.TrimSpace(seed))
		if err != nil {
			return nil, slipway.Errorf(slipway.Invalid, "the agent's key is damaged: %w", err).At(file).Try("remove the file and join again with a new token")
		}
		return key, nil
	}
	if !os.IsNotExist(err) {
		return nil, slipway.Errorf(slipway.Unavailable, "read the agent's key: %w", err)
	}
	key, err := nkeys.CreateUser()
	if err != nil {
		return nil, slipway.Errorf(slipway.Internal, "make the agent's key: %w", err)
	}
	if seed, err = key.Seed(); err != nil {
		return nil, slipway.Errorf(slipway.Internal, "make the agent's key: %w", err)
	}
	if err := replaceFile(file, append(seed, '\n'), 0o600); err != nil {
		return nil, slipway.Errorf(slipway.Unavailable, "keep the agent's key: %w", err)
	}
	return key, nil
}

// join makes the node known to the server, unless that was done before. It waits for a server that does not answer.
func (a *Agent) join(ctx context.Context) error {
	file := filepath.Join(a.cfg.Root, "agent", "identity.json")
	if b, err := os.ReadFile(file); err == nil {
		var id identity
		if err := json.Unmarshal(b, &id); err != nil {
			return slipway.Errorf(slipway.Invalid, "the agent's identity is damaged: %w", err).At(file)
		}
		if id.Name != a.cfg.Name {
			return slipway.Errorf(slipway.Conflict, "the folder belongs to node %s, not %s", id.Name, a.cfg.Name).At(a.cfg.Root).Try("give each agent a root folder of its own")
		}
		if id.Key == a.public {
			return nil
		}
	} else if !os.IsNotExist(err) {
		return slipway.Errorf(slipway.Unavailable, "read the agent's identity: %w", err)
	}
	if a.cfg.Token == "" {
		return slipway.Errorf(slipway.Unauthenticated, "node %s has not joined", a.cfg.Name).Try("give --token; make one with: slipway node join-token")
	}
	body, err := json.Marshal(map[string]any{
		"token": a.cfg.Token, "name": a.cfg.Name, "publicKey": a.public, "labels": a.cfg.Labels, "facts": a.facts,
	})
	if err != nil {
		return slipway.Errorf(slipway.Internal, "write the join request: %w", err)
	}
	wait := newBackoff(a.cfg.Backoff)
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.cfg.Server+"/agent/v1/join", bytes.NewReader(body))
		if err != nil {
			return slipway.Errorf(slipway.Invalid, "server URL: %w", err)
		}
		req.Header.Set("Content-Type", "application/json")
		var reply struct {
			Name string `json:"name"`
		}
		err = a.call(req, &reply)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if kind := slipway.KindOf(err); kind != slipway.Unavailable && kind != slipway.Internal {
			return err
		}
		d := wait.next()
		a.cfg.Log.Warn("cannot join yet; trying again", "in", d.Round(time.Millisecond), "error", err)
		a.sleep(ctx, d)
	}
	b, err := json.Marshal(identity{Name: a.cfg.Name, Key: a.public, Joined: a.now().UTC()})
	if err == nil {
		err = replaceFile(file, b, 0o600)
	}
	if err != nil {
		return slipway.Errorf(slipway.Unavailable, "keep the agent's identity: %w", err)
	}
	return nil
}

const maxReply = 1 << 20

// call sends a request and reads its JSON answer. What the network does wrong is Unavailable. It learns the server's clock
// on the way.
func (a *Agent) call(req *http.Request, into any) error {
	resp, err := a.cfg.Client.Do(req)
	if err != nil {
		return slipway.Errorf(slipway.Unavailable, "the server does not answer: %w", err)
	}
	defer resp.Body.Close()
	if err := a.check(resp); err != nil {
		return err
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxReply)).Decode(into); err != nil {
		return slipway.Errorf(slipway.Unavailable, "the server's answer cannot be read: %w", err)
	}
	return nil
}

// check turns a refusal into an error, and sets the agent's idea of the server's clock.
func (a *Agent) check(resp *http.Response) error {
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		// Date has whole seconds; a difference of that size is none.
		if off := time.Until(date); off.Abs() > 2*time.Second {
			a.offset.Store(int64(off))
		} else {
			a.offset.Store(0)
		}
	}
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	var f bus.Fault
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	if json.Unmarshal(body, &f) != nil || f.Kind == "" {
		f = bus.Fault{Kind: slipway.Unavailable, Detail: "the server answers " + resp.Status}
		if resp.StatusCode < 500 {
			f.Remedy = "is " + a.cfg.Server + " a Slipway server?"
		}
	}
	f.Where = strings.TrimPrefix(f.Where+" "+a.cfg.Server, " ")
	return f.Err()
}

// signed makes a request with the agent's signature.
func (a *Agent) signed(ctx context.Context, path string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.cfg.Server+path, nil)
	if err != nil {
		return nil, slipway.Errorf(slipway.Invalid, "server URL: %w", err)
	}
	return req, bus.SignRequest(a.key, req, a.now())
}

// replaceFile writes a file so that after a crash it is the old or the new one.
func replaceFile(file string, data []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(file), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already when all went well
	err = f.Chmod(mode)
	if err == nil {
		_, err = f.Write(data)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err == nil {
		err = spool.SyncDir(filepath.Dir(file))
	}
	return err
}
