// Package pgp holds the OpenPGP key by which an instance signs what it publishes.
//
// The key is made on first use and kept, readable by its owner alone, in a folder; the public half lies beside it.
// Making it is atomic: of two processes that start at once, one writes the key and both use that. RSA is used because
// every rpm and every apt in service can check it.
//
// A signature is a function of key, data and the given time: salts and clocks are left out, so equal content is signed
// with equal bytes.
package pgp

import (
	"bytes"
	"crypto"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"slipway.dev/slipway/internal/slipway"
)

// Key signs. It may be used by several goroutines.
type Key struct{ entity *openpgp.Entity }

const file = "compose.key" // the private key, armored; its public half is compose.asc

// Open returns the key in dir, making it first when there is none. The name is put into a new key's user id.
func Open(dir, name string) (*Key, error) {
	path := filepath.Join(dir, file)
	k, err := load(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	// An hour back, so that a client whose clock is a little behind accepts the first signature.
	at := time.Now().Add(-time.Hour).Truncate(time.Second)
	off := false
	e, err := openpgp.NewEntity(name, "signs composes", "slipway@localhost", &packet.Config{
		Algorithm: packet.PubKeyAlgoRSA, RSABits: 3072, DefaultHash: crypto.SHA256, Time: func() time.Time { return at },
		NonDeterministicSignaturesViaNotation: &off,
	})
	if err != nil {
		return nil, fmt.Errorf("make a signing key: %w", err)
	}
	var private bytes.Buffer
	w, err := armor.Encode(&private, openpgp.PrivateKeyType, nil)
	if err != nil {
		return nil, err
	}
	if err := e.SerializePrivate(w, nil); err != nil {
		return nil, fmt.Errorf("write the signing key: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if err := writeOnce(path, append(private.Bytes(), '\n')); err != nil {
		return nil, fmt.Errorf("write the signing key: %w", err)
	}
	return load(path)
}

// writeOnce creates the file with the data, whole or not at all; a file that is there already is left as it is.
func writeOnce(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// Load reads a private key, armored, that somebody else made; a passphrase opens one that is locked. The error is of kind Invalid.
func Load(path, passphrase string) (*Key, error) {
	bad := func(cause error) error {
		return slipway.Errorf(slipway.Invalid, "cannot use the signing key: %w", cause).At(path).Try("give one private key, as gpg --armor --export-secret-keys writes it, and its passphrase")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, bad(err)
	}
	defer f.Close()
	list, err := openpgp.ReadArmoredKeyRing(f)
	if err != nil {
		return nil, bad(err)
	}
	if len(list) != 1 || list[0].PrivateKey == nil {
		return nil, bad(errors.New("it is not one private key"))
	}
	if list[0].PrivateKey.Encrypted {
		if passphrase == "" {
			return nil, bad(errors.New("it is locked, and no passphrase was given"))
		}
		if err := list[0].DecryptPrivateKeys([]byte(passphrase)); err != nil {
			return nil, bad(errors.New("the passphrase does not open it"))
		}
	}
	return &Key{list[0]}, nil
}

func load(path string) (*Key, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	broken := func(cause error) error {
		return slipway.Errorf(slipway.Internal, "cannot read the signing key: %w", cause).At(path).
			Try("restore the file from a backup; without it, clients must be given a new key")
	}
	list, err := openpgp.ReadArmoredKeyRing(f)
	if err != nil {
		return nil, broken(err)
	}
	if len(list) != 1 || list[0].PrivateKey == nil || list[0].PrivateKey.Encrypted {
		return nil, broken(errors.New("it is not one private key without a passphrase"))
	}
	return &Key{list[0]}, nil
}

// Fingerprint is the key's name: 40 hexadecimal digits in upper case.
func (k *Key) Fingerprint() string {
	return strings.ToUpper(hex.EncodeToString(k.entity.PrimaryKey.Fingerprint))
}

// ID is the last eight bytes of the fingerprint in lower case, as productmd and rpm write a key.
func (k *Key) ID() string { return fmt.Sprintf("%016x", k.entity.PrimaryKey.KeyId) }

// Public is the armored public key.
func (k *Key) Public() ([]byte, error) {
	var b bytes.Buffer
	w, err := armor.Encode(&b, openpgp.PublicKeyType, nil)
	if err != nil {
		return nil, err
	}
	if err := k.entity.Serialize(w); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// Sign makes a binary detached signature, as of the given time.
func (k *Key) Sign(data io.Reader, at time.Time) ([]byte, error) {
	var b bytes.Buffer
	if err := openpgp.DetachSign(&b, k.entity, data, k.config(at)); err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return b.Bytes(), nil
}

// Armored makes an armored detached signature, as of the given time.
func (k *Key) Armored(data io.Reader, at time.Time) ([]byte, error) {
	var b bytes.Buffer
	if err := openpgp.ArmoredDetachSign(&b, k.entity, data, k.config(at)); err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// Clear signs text inline (RFC 9580 section 7), as of the given time.
func (k *Key) Clear(text []byte, at time.Time) ([]byte, error) {
	var b bytes.Buffer
	w, err := clearsign.Encode(&b, k.entity.PrivateKey, k.config(at))
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	if _, err := w.Write(text); err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return withChecksum(b.Bytes())
}

// withChecksum writes the signature of a signed text again with the checksum of RFC 4880 section 6.1, which the library
// leaves out and GnuPG up to 2.2 misses.
func withChecksum(signed []byte) ([]byte, error) {
	block, rest := clearsign.Decode(signed)
	begin := bytes.LastIndex(signed, []byte("-----BEGIN PGP SIGNATURE-----"))
	if block == nil || len(bytes.TrimSpace(rest)) > 0 || begin < 0 {
		return nil, errors.New("sign: the signed text cannot be read back")
	}
	var b bytes.Buffer
	b.Write(signed[:begin])
	w, err := armor.Encode(&b, openpgp.SignatureType, nil)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	if _, err := io.Copy(w, block.ArmoredSignature.Body); err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// config fixes everything that a signature could vary by. A signature cannot be older than its key, so a time before
// the key was made counts as the moment it was made.
func (k *Key) config(at time.Time) *packet.Config {
	if made := k.entity.PrimaryKey.CreationTime; at.Before(made) {
		at = made
	}
	off := false
	return &packet.Config{
		DefaultHash: crypto.SHA256, Time: func() time.Time { return at },
		NonDeterministicSignaturesViaNotation: &off,
	}
}
