package store

import (
	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/slipway"
)

// Users keeps who may call.
func (tx *Tx) Users() slipway.Table[auth.User] { return table[auth.User](tx, "users") }

// Tokens keeps the API tokens, by the hash of their secret.
func (tx *Tx) Tokens() slipway.Table[auth.StoredToken] { return table[auth.StoredToken](tx, "tokens") }

// Sessions keeps the dashboard's log-ins, by the hash of their cookie.
func (tx *Tx) Sessions() slipway.Table[auth.Session] { return table[auth.Session](tx, "sessions") }
