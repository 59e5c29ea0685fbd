package client

import (
	"context"
	"iter"
	"net/http"
	"time"

	"slipway.dev/slipway/internal/edge/httpapi/wire"
	"slipway.dev/slipway/internal/platform/auth"
)

// Identity is who calls.
type Identity = auth.Identity

// User is somebody who may call.
type User = auth.User

// Token is an API token without its secret.
type Token = auth.Token

// Role is what a user may do.
type Role = auth.Role

// WhoAmI tells as whom the server sees the client.
func (c *Client) WhoAmI(ctx context.Context) (Identity, error) {
	return get[Identity](ctx, c, "/api/v1/whoami", nil)
}

// Users lists the users.
func (c *Client) Users(ctx context.Context) iter.Seq2[User, error] {
	return list[User](ctx, c, "/api/v1/users", nil, 0)
}

// User returns one user.
func (c *Client) User(ctx context.Context, name string) (User, error) {
	return get[User](ctx, c, "/api/v1/users/"+segment(name), nil)
}

// PutUser creates or changes a user.
func (c *Client) PutUser(ctx context.Context, u User) (User, error) {
	return do[User](ctx, c, http.MethodPut, "/api/v1/users/"+segment(u.Name), nil,
		wire.PutUser{FullName: u.FullName, Email: u.Email, Role: u.Role, Disabled: u.Disabled})
}

// Tokens lists the API tokens of a user: "" is oneself, "*" everybody.
func (c *Client) Tokens(ctx context.Context, user string) iter.Seq2[Token, error] {
	return list[Token](ctx, c, "/api/v1/tokens", values("user", user), 0)
}

// NewToken asks for an API token.
type NewToken struct {
	User    string        // "" is oneself
	Name    string        // what it is for
	Role    Role          // at most this role; "" is the user's own
	Expires time.Duration // from now; 0 is never
}

// IssuedToken is a token with its secret.
type IssuedToken = wire.IssuedToken

// IssueToken makes an API token. Its secret is told this once.
func (c *Client) IssueToken(ctx context.Context, t NewToken) (IssuedToken, error) {
	return do[IssuedToken](ctx, c, http.MethodPost, "/api/v1/tokens", nil,
		wire.NewToken{User: t.User, Name: t.Name, Role: t.Role, Expires: int64(t.Expires / time.Second)})
}

// RevokeToken ends an API token at once.
func (c *Client) RevokeToken(ctx context.Context, id string) error {
	_, err := do[none](ctx, c, http.MethodDelete, "/api/v1/tokens/"+segment(id), nil, nil)
	return err
}
