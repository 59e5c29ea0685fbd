// Package signing signs statements about artifacts and checks them, with keys of its own.
//
// A statement is an in-toto Statement (https://in-toto.io/Statement/v1); its signed form is a DSSE envelope
// (https://github.com/secure-systems-lab/dsse, version 1) of media type [MediaType]. Keys are Ed25519: a signature is a function of key and
// statement alone, so that signing the same again gives the same bytes.
//
// A [Ring] is a folder:
//
//	signing.pem     the private key in use, PKCS #8, readable by its owner alone
//	public/ID.pem   every public key that this ring ever signed with, PKIX; ID is the SHA-256 of its DER form
//
// It is made on first use. [Ring.Rotate] makes another key; what the old one signed goes on to verify by its public key, while its private
// half is gone. A crash in between leaves a public key that never signed anything, which is harmless.
package signing

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"slipway.dev/slipway/internal/slipway"
)

// Media types of a statement and of its envelope.
const (
	PayloadType = "application/vnd.in-toto+json"
	MediaType   = "application/vnd.dsse.envelope.v1+json"
)

// Public is a key that checks.
type Public struct{ key ed25519.PublicKey }

// ID names the key: the SHA-256 of its PKIX form, in hexadecimal digits.
func (p Public) ID() string {
	sum := sha256.Sum256(p.der())
	return hex.EncodeToString(sum[:])
}

func (p Public) der() []byte {
	der, err := x509.MarshalPKIXPublicKey(p.key)
	if err != nil {
		panic(err) // an Ed25519 key can always be written
	}
	return der
}

// PEM is the key as others read it.
func (p Public) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: p.der()})
}

// ParsePublic reads a public key in PEM; the error is of kind Invalid.
func ParsePublic(data []byte) (Public, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "PUBLIC KEY" {
		return Public{}, slipway.Errorf(slipway.Invalid, "this is no public key in PEM").Try("slipway provenance keys --pem")
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return Public{}, slipway.Errorf(slipway.Invalid, "the public key cannot be read: %w", err)
	}
	ed, ok := key.(ed25519.PublicKey)
	if !ok {
		return Public{}, slipway.Errorf(slipway.Invalid, "the public key is not an Ed25519 key")
	}
	return Public{ed}, nil
}

// ParsePublics reads every public key in PEM, one after the other; the error is of kind Invalid.
func ParsePublics(data []byte) ([]Public, error) {
	var all []Public
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		p, err := ParsePublic(pem.EncodeToMemory(block))
		if err != nil {
			return nil, err
		}
		all, data = append(all, p), rest
	}
	if len(all) == 0 {
		_, err := ParsePublic(data)
		return nil, err
	}
	return all, nil
}

// Verify checks an envelope with the keys, of which one must have signed it, and returns the statement in it and the key's ID. The error
// is of kind Invalid when the envelope is malformed or none of the keys signed it, and says which.
func Verify(ctx context.Context, envelope []byte, keys ...Public) (statement []byte, keyID string, err error) {
	var e dsse.Envelope
	if err := json.Unmarshal(envelope, &e); err != nil {
		return nil, "", slipway.Errorf(slipway.Invalid, "the envelope cannot be read: %w", err)
	}
	if e.PayloadType != PayloadType {
		return nil, "", slipway.Errorf(slipway.Invalid, "the envelope holds %q, not %s", e.PayloadType, PayloadType)
	}
	if len(keys) == 0 {
		return nil, "", slipway.Errorf(slipway.Invalid, "there is no key to check the envelope with")
	}
	verifiers := make([]dsse.Verifier, len(keys))
	for i, k := range keys {
		verifiers[i] = verifier{k}
	}
	v, err := dsse.NewEnvelopeVerifier(verifiers...)
	if err != nil {
		return nil, "", slipway.Errorf(slipway.Internal, "prepare the check of an envelope: %w", err)
	}
	accepted, payload, err := v.VerifyAndDecode(ctx, &e)
	if err != nil || len(accepted) == 0 {
		return nil, "", slipway.Errorf(slipway.Invalid, "the signature is not of any of the %d keys that are trusted, or what was signed has been changed", len(keys))
	}
	return payload, accepted[0].KeyID, nil
}

// Payload returns the statement in an envelope, unchecked.
func Payload(envelope []byte) ([]byte, error) {
	var e dsse.Envelope
	if err := json.Unmarshal(envelope, &e); err != nil {
		return nil, slipway.Errorf(slipway.Invalid, "the envelope cannot be read: %w", err)
	}
	data, err := e.DecodeB64Payload()
	if err != nil {
		return nil, slipway.Errorf(slipway.Invalid, "the envelope's payload cannot be read: %w", err)
	}
	return data, nil
}

// verifier implements dsse.Verifier.
type verifier struct{ by Public }

func (v verifier) Verify(_ context.Context, data, sig []byte) error {
	if !ed25519.Verify(v.by.key, data, sig) {
		return slipway.Errorf(slipway.Invalid, "the signature does not fit")
	}
	return nil
}

func (v verifier) KeyID() (string, error)   { return v.by.ID(), nil }
func (v verifier) Public() crypto.PublicKey { return v.by.key }

// signer implements dsse.Signer.
type signer struct{ key ed25519.PrivateKey }

func (s signer) public() Public { return Public{s.key.Public().(ed25519.PublicKey)} }

func (s signer) Sign(_ context.Context, data []byte) ([]byte, error) {
	return ed25519.Sign(s.key, data), nil
}

func (s signer) KeyID() (string, error) { return s.public().ID(), nil }
