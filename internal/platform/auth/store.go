package auth

import (
	"time"

	"slipway.dev/slipway/internal/slipway"
)

// Tx is what auth needs inside one transaction.
type Tx interface {
	slipway.Ledger
	Users() slipway.Table[User]
	Tokens() slipway.Table[StoredToken]
	Sessions() slipway.Table[Session]
}

// User is somebody, or something, that calls.
type User struct {
	Name     string    `json:"name"` // unique; lower-case letters, digits, dot, dash and underscore
	FullName string    `json:"full_name,omitempty"`
	Email    string    `json:"email,omitempty"`
	Role     Role      `json:"role"`
	Disabled bool      `json:"disabled,omitempty"` // may not do anything; tokens and sessions are refused
	Created  time.Time `json:"created"`
}

// Row implements [slipway.Record]; the state is the role.
func (u User) Row() slipway.Row { return slipway.Row{ID: u.Name, State: string(u.Role)} }

// Token is an API token without its secret.
type Token struct {
	ID      string    `json:"id"` // derived from the hash; not secret
	User    string    `json:"user"`
	Name    string    `json:"name"`             // what it is for
	Role    Role      `json:"role,omitempty"`   // at most this; empty: the user's
	Created time.Time `json:"created"`          //
	Expires time.Time `json:"expires,omitzero"` // zero: never
	Used    time.Time `json:"used,omitzero"`    // last use, to the minute
	Revoked time.Time `json:"revoked,omitzero"` // when it was revoked
	By      string    `json:"by,omitempty"`     // who issued it
	Prefix  string    `json:"prefix,omitempty"` // the first characters of the secret, to recognize it by
}

// StoredToken is a token with the hash of its secret.
type StoredToken struct {
	Token
	Hash string `json:"hash"` // SHA-256 of the secret, hexadecimal
}

// Row implements [slipway.Record]; the key is the hash, the state the user.
func (t StoredToken) Row() slipway.Row { return slipway.Row{ID: t.ID, State: t.User, Key: t.Hash} }

// Session is one log-in to the dashboard.
type Session struct {
	ID      string    `json:"id"` // SHA-256 of the cookie, hexadecimal
	User    string    `json:"user"`
	Token   string    `json:"token"` // id of the token that it was opened with; the session ends with it
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
}

// Row implements [slipway.Record]; the key is the token, the state the user.
func (s Session) Row() slipway.Row { return slipway.Row{ID: s.ID, State: s.User, Key: s.Token} }
