package signing_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"slipway.dev/slipway/internal/platform/signing"
	"slipway.dev/slipway/internal/slipway"
)

func open(t *testing.T, dir string) *signing.Ring {
	t.Helper()
	r, err := signing.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func sign(t *testing.T, r *signing.Ring, text string) []byte {
	t.Helper()
	e, _, err := r.Sign(t.Context(), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestSignaturesAreKeptByTheFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	first := open(t, dir)
	envelope := sign(t, first, `{"a":1}`)
	fi, err := os.Stat(filepath.Join(dir, "signing.pem"))
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Fatalf("the private key has mode %v, %v", fi.Mode(), err)
	}
	again := open(t, dir)
	if !bytes.Equal(envelope, sign(t, again, `{"a":1}`)) {
		t.Error("the same statement was signed with other bytes by the same key")
	}
	text, id, err := again.Verify(t.Context(), envelope)
	if err != nil || string(text) != `{"a":1}` || id != first.Keys()[0].ID() {
		t.Fatalf("%s, %s, %v", text, id, err)
	}
}

func TestRotationLeavesOldKeysVerifying(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir)
	old, oldKey := sign(t, r, "{}"), r.Keys()[0]
	fresh, err := r.Rotate()
	if err != nil || fresh.ID() == oldKey.ID() {
		t.Fatal(fresh.ID(), err)
	}
	envelope := sign(t, r, "{}")
	for name, ring := range map[string]*signing.Ring{"same": r, "opened anew": open(t, dir)} {
		if _, id, err := ring.Verify(t.Context(), old); err != nil || id != oldKey.ID() {
			t.Errorf("%s: the old signature: %s, %v", name, id, err)
		}
		if _, id, err := ring.Verify(t.Context(), envelope); err != nil || id != fresh.ID() {
			t.Errorf("%s: the new signature: %s, %v", name, id, err)
		}
		if keys := ring.Keys(); len(keys) != 2 || keys[0].ID() != fresh.ID() {
			t.Errorf("%s: %d keys, the first %s", name, len(keys), keys[0].ID())
		}
	}
	if _, _, err := signing.Verify(t.Context(), envelope, oldKey); !slipway.Is(err, slipway.Invalid) {
		t.Errorf("the new signature by the old key: %v", err)
	}
}

func TestWhatWasChangedIsRefused(t *testing.T) {
	r := open(t, t.TempDir())
	envelope := sign(t, r, `{"subject":"good"}`)
	change := func(f func(e map[string]any)) []byte {
		var e map[string]any
		if err := json.Unmarshal(envelope, &e); err != nil {
			t.Fatal(err)
		}
		f(e)
		data, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	for name, bad := range map[string][]byte{
		"another payload": change(func(e map[string]any) {
			e["payload"] = base64.StdEncoding.EncodeToString([]byte(`{"subject":"evil"}`))
		}),
		"another type": change(func(e map[string]any) { e["payloadType"] = "text/plain" }),
		"no signature": change(func(e map[string]any) { e["signatures"] = []any{} }),
		"cut":          envelope[:len(envelope)/2],
		"of another":   sign(t, open(t, t.TempDir()), `{"subject":"good"}`),
	} {
		if _, _, err := r.Verify(t.Context(), bad); !slipway.Is(err, slipway.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestKeysInPEM(t *testing.T) {
	r := open(t, t.TempDir())
	if _, err := r.Rotate(); err != nil {
		t.Fatal(err)
	}
	var text []byte
	for _, k := range r.Keys() {
		text = append(text, k.PEM()...)
	}
	keys, err := signing.ParsePublics(text)
	if err != nil || len(keys) != 2 || keys[1].ID() != r.Keys()[1].ID() {
		t.Fatal(keys, err)
	}
	if _, err := signing.ParsePublics([]byte("nonsense")); !slipway.Is(err, slipway.Invalid) {
		t.Error(err)
	}
}
