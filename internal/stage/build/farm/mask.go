package farm

import (
	"bytes"
	"slices"

	"slipway.dev/slipway/internal/platform/auth"
)

// tokenBytes is the length of an API token after its prefix.
const tokenBytes = 43

// mask replaces each byte of a secret by a star in a stream of writes. What may be the beginning of a secret is held back until
// more comes. Lengths are kept, so that offsets in a log mean the same before and after.
type mask struct {
	secrets [][]byte
	held    []byte
}

// newMask masks API tokens and the given values; values under 6 bytes are not secrets but words.
func newMask(values []string) *mask {
	m := &mask{}
	for _, v := range values {
		if len(v) >= 6 {
			m.secrets = append(m.secrets, []byte(v))
		}
	}
	// The longest first: one secret may be the beginning of another.
	slices.SortFunc(m.secrets, func(a, b []byte) int { return len(b) - len(a) })
	return m
}

// next takes more of the stream and returns what can be told.
func (m *mask) next(p []byte) []byte {
	m.held = append(m.held, p...)
	out := m.held
	i := 0
	for i < len(out) {
		n, maybe := m.at(out[i:])
		if maybe { // it may become a secret, or a longer one
			break
		}
		for j := range n {
			out[i+j] = '*'
		}
		i += max(n, 1)
	}
	told := slices.Clone(out[:i])
	m.held = append(m.held[:0], out[i:]...)
	return told
}

// rest returns what was held back at the end of the stream.
func (m *mask) rest() []byte {
	out := m.held
	m.held = nil
	for i := 0; i < len(out); i++ {
		n, _ := m.at(out[i:])
		for j := range n {
			out[i+j] = '*'
		}
	}
	return out
}

// at returns the length of the secret that s begins with, 0 for none; maybe says that more of s could make one.
func (m *mask) at(s []byte) (n int, maybe bool) {
	for _, secret := range m.secrets {
		if bytes.HasPrefix(s, secret) {
			n = max(n, len(secret))
		} else if len(s) < len(secret) && bytes.HasPrefix(secret, s) {
			maybe = true
		}
	}
	k := min(len(s), len(auth.TokenPrefix))
	if string(s[:k]) != auth.TokenPrefix[:k] {
		return n, maybe
	}
	for k < len(s) && k < len(auth.TokenPrefix)+tokenBytes && tokenByte(s[k]) {
		k++
	}
	switch {
	case k == len(auth.TokenPrefix)+tokenBytes:
		n = max(n, k)
	case k == len(s):
		maybe = true
	}
	return n, maybe
}

func tokenByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}
