package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strings"
)

// TokenPrefix starts every API token, so that scanners for leaked secrets find them.
const TokenPrefix = "slw_"

// newSecret returns 256 random bits, printable, after the prefix.
func newSecret(prefix string) string {
	var b [32]byte
	rand.Read(b[:]) // never fails
	return prefix + base64.RawURLEncoding.EncodeToString(b[:])
}

func hash(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// tokenID is the public name of the token with this hash. 64 of 256 bits tell nothing of use about the secret.
func tokenID(hash string) string { return hash[:16] }

// FromHeader takes the API token out of a request's Authorization header: "Bearer TOKEN", or for git and other
// clients that know only passwords, "Basic" with the token as the password and any user name.
func FromHeader(h http.Header) (token string, ok bool) {
	scheme, value, _ := strings.Cut(h.Get("Authorization"), " ")
	switch strings.ToLower(scheme) {
	case "bearer":
		token = strings.TrimSpace(value)
	case "basic":
		_, token, _ = (&http.Request{Header: h}).BasicAuth()
	}
	return token, token != ""
}
