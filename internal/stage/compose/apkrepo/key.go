package apkrepo

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"slipway.dev/slipway/internal/slipway"
)

// Key signs packages and indexes. It may be used by several goroutines.
type Key struct {
	private *rsa.PrivateKey
	name    string
}

const keyFile = "apk.rsa" // the private key, PEM

// OpenKey returns the key in dir, making it first when there is none. Of two processes that start at once, one writes the key and both use that.
func OpenKey(dir string) (*Key, error) {
	path := filepath.Join(dir, keyFile)
	k, err := LoadKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	private, err := rsa.GenerateKey(rand.Reader, 3072)
	if err != nil {
		return nil, fmt.Errorf("make a key for apk: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("write the key for apk: %w", err)
	}
	f, err := os.CreateTemp(dir, ".new-*") // 0600
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	err = pem.Encode(f, &pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, fmt.Errorf("write the key for apk: %w", err)
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("write the key for apk: %w", err)
	}
	return LoadKey(path)
}

// LoadKey reads a private RSA key in PEM (PKCS #1 or PKCS #8), as abuild-keygen writes it.
func LoadKey(path string) (*Key, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	broken := func(cause error) error {
		return slipway.Errorf(slipway.Invalid, "cannot read the key for apk: %w", cause).At(path).Try("give a private RSA key in PEM without a passphrase")
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, broken(errors.New("it is not PEM"))
	}
	private, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		key, err8 := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err8 != nil {
			return nil, broken(err8)
		}
		ok := false
		if private, ok = key.(*rsa.PrivateKey); !ok {
			return nil, broken(errors.New("it is not an RSA key"))
		}
	}
	k := &Key{private: private}
	sum := sha256.Sum256(x509.MarshalPKCS1PublicKey(&private.PublicKey))
	k.name = "slipway-" + hex.EncodeToString(sum[:4]) + ".rsa.pub"
	return k, nil
}

// Name is the file name of the public half, by which apk finds it in /etc/apk/keys.
func (k *Key) Name() string { return k.name }

// Public is the public half in PEM.
func (k *Key) Public() ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(&k.private.PublicKey)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = pem.Encode(&b, &pem.Block{Type: "PUBLIC KEY", Bytes: der})
	return b.Bytes(), err
}

// Sign signs a SHA-1 digest, the one that apk version 2 checks (PKCS #1 v1.5). Equal digests have equal signatures.
func (k *Key) Sign(digest []byte) ([]byte, error) {
	if len(digest) != sha1.Size {
		return nil, slipway.Errorf(slipway.Internal, "a digest of %d bytes is no SHA-1", len(digest))
	}
	return rsa.SignPKCS1v15(nil, k.private, crypto.SHA1, digest)
}
