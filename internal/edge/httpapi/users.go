package httpapi

import (
	"context"
	"net/http"
	"time"

	"slipway.dev/slipway/internal/edge/httpapi/wire"
	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/slipway"
)

func (a *API) users() {
	register(a, op{Method: http.MethodGet, Path: "/api/v1/whoami", Role: auth.Viewer, Summary: "Tell who is calling"},
		func(ctx context.Context, _ *struct{}) (*One[auth.Identity], error) {
			id, _ := auth.From(ctx)
			return one(id, nil)
		})
	register(a, op{Method: http.MethodGet, Path: "/api/v1/users", Role: auth.Viewer, Summary: "List the users"},
		func(ctx context.Context, in *Page) (*List[auth.User], error) {
			users, err := a.Auth.Users(ctx, in.After, in.more())
			if err != nil {
				return nil, err
			}
			return list(ctx, *in, users, func(u auth.User) string { return u.Name }), nil
		})
	register(a, op{Method: http.MethodGet, Path: "/api/v1/users/{name}", Role: auth.Viewer, Summary: "Show a user"},
		func(ctx context.Context, in *struct {
			Name string `path:"name"`
		}) (*One[auth.User], error) {
			return one(a.Auth.User(ctx, in.Name))
		})
	register(a, op{Method: http.MethodPut, Path: "/api/v1/users/{name}", Role: auth.Admin, Summary: "Create or change a user",
		About: "The last enabled admin can neither be disabled nor lose the role."},
		func(ctx context.Context, in *struct {
			Name string `path:"name"`
			Body wire.PutUser
		}) (*One[auth.User], error) {
			return one(a.Auth.PutUser(ctx, auth.User{Name: in.Name, FullName: in.Body.FullName, Email: in.Body.Email,
				Role: in.Body.Role, Disabled: in.Body.Disabled}))
		})
	a.tokens()
}

func (a *API) tokens() {
	register(a, op{Method: http.MethodGet, Path: "/api/v1/tokens", Role: auth.Viewer, Summary: "List API tokens",
		About: "One's own; an admin sees those of another user, or with user=* of all."},
		func(ctx context.Context, in *struct {
			Page
			User string `query:"user" doc:"Whose; default the caller's"`
		}) (*List[auth.Token], error) {
			user, err := tokenOwner(ctx, in.User)
			if err != nil {
				return nil, err
			}
			if user == "*" {
				user = ""
			}
			tokens, err := a.Auth.Tokens(ctx, user, in.After, in.more())
			if err != nil {
				return nil, err
			}
			return list(ctx, in.Page, tokens, func(t auth.Token) string { return t.ID }), nil
		})
	register(a, op{Method: http.MethodPost, Path: "/api/v1/tokens", Role: auth.Viewer, Summary: "Issue an API token",
		About: "The secret is in this answer and nowhere else.", Status: http.StatusCreated},
		func(ctx context.Context, in *struct{ Body wire.NewToken }) (*One[wire.IssuedToken], error) {
			user, err := tokenOwner(ctx, in.Body.User)
			if err != nil {
				return nil, err
			}
			caller, _ := auth.From(ctx)
			role := in.Body.Role
			if user == caller.User && role == auth.Worker && !caller.Role.Covers(role) { // not a part of what it may
				return nil, slipway.Errorf(slipway.Forbidden, "%s has the role %s, which has no part in the farm's work", user, caller.Role).Try("ask an operator for the token")
			}
			if user == caller.User && (role == "" || !caller.Role.Covers(role)) {
				role = caller.Role // a token cannot make one that may do more than itself
			}
			secret, t, err := a.Auth.IssueToken(ctx, auth.TokenSpec{User: user, Name: in.Body.Name, Role: role,
				Expires: time.Duration(in.Body.Expires) * time.Second})
			return one(wire.IssuedToken{Secret: secret, Token: t}, err)
		})
	register(a, op{Method: http.MethodDelete, Path: "/api/v1/tokens/{id}", Role: auth.Viewer, Summary: "Revoke an API token",
		About: "One's own; another's needs the role admin. Sessions that were opened with it end too."},
		func(ctx context.Context, in *struct {
			ID string `path:"id"`
		}) (*None, error) {
			t, err := a.Auth.Token(ctx, in.ID)
			if err == nil {
				_, err = tokenOwner(ctx, t.User)
			}
			if err != nil {
				return nil, err
			}
			return nil, a.Auth.RevokeToken(ctx, in.ID)
		})
}

// tokenOwner is whose tokens a call is about: the caller's, or for an admin anybody's.
func tokenOwner(ctx context.Context, asked string) (string, error) {
	caller, _ := auth.From(ctx)
	if asked == "" || asked == caller.User {
		return caller.User, nil
	}
	if err := auth.Require(ctx, auth.Admin); err != nil {
		return "", slipway.Errorf(slipway.Forbidden, "these are not your tokens: %w", err)
	}
	return asked, nil
}
