package pgp_test

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/compose/pgp"
)

func TestTheKeyIsMadeOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	prints := make([]string, 3)
	var wg sync.WaitGroup
	for i := range prints {
		wg.Go(func() {
			k, err := pgp.Open(dir, "test")
			if err != nil {
				t.Error(err)
				return
			}
			prints[i] = k.Fingerprint()
		})
	}
	wg.Wait()
	if prints[0] != prints[1] || prints[1] != prints[2] || len(prints[0]) != 40 {
		t.Errorf("three that start at once have the keys %v", prints)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Fatalf("the folder holds %v, %v", files, err)
	}
	info, err := files[0].Info()
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key has mode %v, %v", info.Mode(), err)
	}
}

func TestBrokenKey(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "compose.key"), []byte("half a k"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := pgp.Open(dir, "test")
	if !slipway.Is(err, slipway.Internal) || !strings.Contains(err.Error(), "compose.key") || !strings.Contains(err.Error(), "backup") {
		t.Errorf("got %v", err)
	}
}

// TestGnuPGChecks has the real gpgv check every kind of signature.
func TestGnuPGChecks(t *testing.T) {
	dir := t.TempDir()
	k, err := pgp.Open(dir, "test")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC) // after the key was made: gpgv refuses a signature from before
	data := []byte("Origin: ferry\n- dashes\n")
	write := func(name string, text []byte) string {
		t.Helper()
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	must := func(b []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	block, err := armor.Decode(bytes.NewReader(must(k.Public())))
	if err != nil {
		t.Fatal(err)
	}
	ring := write("key.gpg", must(io.ReadAll(block.Body))) // gpgv reads no armored keys
	file := write("data", data)
	for name, args := range map[string][]string{
		"binary":  {write("data.sig", must(k.Sign(bytes.NewReader(data), at))), file},
		"armored": {write("data.asc", must(k.Armored(bytes.NewReader(data), at))), file},
		"clear":   {write("data.clear", must(k.Clear(data, at)))},
	} {
		gpgv := func() ([]byte, error) {
			return exec.Command("gpgv", append([]string{"--homedir", dir, "--ignore-time-conflict", "--keyring", ring}, args...)...).CombinedOutput()
		}
		if out, err := gpgv(); err != nil || !strings.Contains(string(out), "Good signature") || !strings.Contains(string(out), k.Fingerprint()) {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
	if a, b := must(k.Sign(bytes.NewReader(data), at)), must(k.Sign(bytes.NewReader(data), at)); !bytes.Equal(a, b) {
		t.Error("signed twice, the same text has two signatures")
	}
	write("data", []byte("Origin: thief\n"))
	if out, err := exec.Command("gpgv", "--homedir", dir, "--ignore-time-conflict", "--keyring", ring, filepath.Join(dir, "data.sig"), file).CombinedOutput(); err == nil {
		t.Errorf("gpgv took another text:\n%s", out)
	}
}
