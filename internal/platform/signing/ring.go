package signing

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"slipway.dev/slipway/internal/slipway"
)

const (
	privateFile  = "signing.pem"
	publicFolder = "public"
)

// Ring is the keys of one instance. It may be used by several goroutines.
type Ring struct {
	dir string
	mu  sync.Mutex
	now signer
	all []Public // the one in use first, the others by ID
}

// Open returns the ring in dir, which is made with a first key when it is not there.
func Open(dir string) (*Ring, error) {
	r := &Ring{dir: dir}
	if err := os.MkdirAll(filepath.Join(dir, publicFolder), 0o700); err != nil {
		return nil, fmt.Errorf("open the keys of statements: %w", err)
	}
	_, err := os.Stat(filepath.Join(dir, privateFile))
	if errors.Is(err, fs.ErrNotExist) {
		err = r.make()
	}
	if err != nil {
		return nil, fmt.Errorf("open the keys of statements: %w", err)
	}
	return r, r.load()
}

// make writes a new key pair: the public half first, so that nothing is ever signed that cannot be checked.
func (r *Ring) make() error {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	p := Public{public}
	if err := replace(filepath.Join(r.dir, publicFolder, p.ID()+".pem"), p.PEM(), 0o644); err != nil {
		return err
	}
	return replace(filepath.Join(r.dir, privateFile), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

// replace writes a file whole or not at all.
func replace(path string, data []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// load reads the folder.
func (r *Ring) load() error {
	broken := func(name string, cause error) error {
		return slipway.Errorf(slipway.Internal, "a key of statements cannot be read: %w", cause).At(filepath.Join(r.dir, name)).
			Try("restore the file from a backup, or remove signing.pem for a new key")
	}
	text, err := os.ReadFile(filepath.Join(r.dir, privateFile))
	if err != nil {
		return broken(privateFile, err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return broken(privateFile, errors.New("it is not PEM"))
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return broken(privateFile, err)
	}
	private, ok := key.(ed25519.PrivateKey)
	if !ok {
		return broken(privateFile, errors.New("it is not an Ed25519 key"))
	}
	now := signer{private}
	all := []Public{now.public()}
	entries, err := os.ReadDir(filepath.Join(r.dir, publicFolder)) // sorted
	if err != nil {
		return broken(publicFolder, err)
	}
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".pem" {
			continue // left by a crash
		}
		name := filepath.Join(publicFolder, e.Name())
		text, err := os.ReadFile(filepath.Join(r.dir, name))
		if err != nil {
			return broken(name, err)
		}
		p, err := ParsePublic(text)
		if err != nil {
			return broken(name, err)
		}
		if p.ID() != all[0].ID() {
			all = append(all, p)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now, r.all = now, all
	return nil
}

// Keys returns the public keys; the first is the one in use.
func (r *Ring) Keys() []Public {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Public(nil), r.all...)
}

// Rotate makes a new key and signs with that from now on. What was signed before goes on to verify.
func (r *Ring) Rotate() (Public, error) {
	if err := r.make(); err != nil {
		return Public{}, fmt.Errorf("make a new key of statements: %w", err)
	}
	if err := r.load(); err != nil {
		return Public{}, err
	}
	return r.Keys()[0], nil
}

// Sign puts a statement into a signed envelope and returns it with the ID of the key.
func (r *Ring) Sign(ctx context.Context, statement []byte) (envelope []byte, keyID string, err error) {
	r.mu.Lock()
	now := r.now
	r.mu.Unlock()
	s, err := dsse.NewEnvelopeSigner(now)
	if err != nil {
		return nil, "", slipway.Errorf(slipway.Internal, "prepare a signature: %w", err)
	}
	e, err := s.SignPayload(ctx, PayloadType, statement)
	if err != nil {
		return nil, "", slipway.Errorf(slipway.Internal, "sign a statement: %w", err)
	}
	envelope, err = json.Marshal(e)
	return append(envelope, '\n'), now.public().ID(), err
}

// Verify checks an envelope with the ring's keys; see [Verify].
func (r *Ring) Verify(ctx context.Context, envelope []byte) (statement []byte, keyID string, err error) {
	return Verify(ctx, envelope, r.Keys()...)
}
