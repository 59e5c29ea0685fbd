package auth

import (
	"context"

	"slipway.dev/slipway/internal/slipway"
)

// Identity is who is calling, as far as it was proved.
type Identity struct {
	User    string `json:"user"`
	Role    Role   `json:"role"`            // of the user, or the lower one of the token
	Token   string `json:"token,omitempty"` // id of the token that proved it
	Session bool   `json:"session"`         // proved by a dashboard's cookie
}

type identityKey struct{}

// With returns a context that carries the identity.
func With(ctx context.Context, id Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, id)
}

// From returns the identity that the context carries.
func From(ctx context.Context) (Identity, bool) {
	id, ok := ctx.Value(identityKey{}).(Identity)
	return id, ok
}

// Actor names the caller for an event: the user, or "slipway" when nobody called.
func Actor(ctx context.Context) string {
	if id, ok := From(ctx); ok {
		return id.User
	}
	return "slipway"
}

// Require returns nil if the caller has the role, else an error of kind Unauthenticated or Forbidden.
func Require(ctx context.Context, needed Role) error {
	id, ok := From(ctx)
	if !ok {
		return errNobody("no credentials were given")
	}
	if !id.Role.Covers(needed) {
		return slipway.Errorf(slipway.Forbidden, "%s has the role %s, and this needs %s", id.User, id.Role, needed).
			Try("ask an admin for the role, or use another token")
	}
	return nil
}

func errNobody(message string) error {
	return slipway.Errorf(slipway.Unauthenticated, "%s", message).Try("give a valid API token; 'slipway login' keeps one")
}
