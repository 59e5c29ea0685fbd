package auth

import (
	"context"
	"net/http"
	"time"

	"slipway.dev/slipway/internal/slipway"
)

// CookieName is the name of the dashboard's session cookie.
const CookieName = "slipway_session"

// Login opens a session for whoever holds the token and returns the cookie to set. Set secure when the browser reached
// us over TLS.
func (s *Service) Login(ctx context.Context, token string, secure bool) (*http.Cookie, Identity, error) {
	secret := newSecret("")
	var id Identity
	var ses Session
	err := s.st.Update(ctx, func(tx Tx) error {
		t, err := find(ctx, tx, token)
		if err != nil {
			return err
		}
		if id, err = identify(ctx, tx, t); err != nil {
			return err
		}
		if err := dropExpired(ctx, tx, id.User); err != nil {
			return err
		}
		ses = Session{ID: hash(secret), User: id.User, Token: t.ID, Created: tx.Now(), Expires: tx.Now().Add(s.cfg.SessionAge)}
		if !t.Expires.IsZero() && t.Expires.Before(ses.Expires) {
			ses.Expires = t.Expires
		}
		return tx.Sessions().Put(ctx, ses)
	})
	if err != nil {
		return nil, Identity{}, err
	}
	id.Session = true
	return &http.Cookie{Name: CookieName, Value: secret, Path: "/", Expires: ses.Expires, MaxAge: int(ses.Expires.Sub(ses.Created) / time.Second),
		HttpOnly: true, Secure: secure, SameSite: http.SameSiteLaxMode}, id, nil
}

func dropExpired(ctx context.Context, tx Tx, user string) error {
	sessions, err := tx.Sessions().Find(ctx, slipway.Query{States: []string{user}})
	if err != nil {
		return err
	}
	for _, ses := range sessions {
		if !tx.Now().Before(ses.Expires) {
			if err := tx.Sessions().Delete(ctx, ses.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

// AuthenticateSession finds whose session cookie this is. The error is of kind Unauthenticated if it is unknown or
// over.
func (s *Service) AuthenticateSession(ctx context.Context, cookie string) (id Identity, err error) {
	err = s.st.View(ctx, func(tx Tx) error {
		ses, err := tx.Sessions().Get(ctx, hash(cookie))
		if slipway.Is(err, slipway.NotFound) {
			return errNobody("unknown session")
		}
		if err != nil {
			return err
		}
		if !tx.Now().Before(ses.Expires) {
			return errNobody("the session is over")
		}
		t, err := tx.Tokens().Get(ctx, ses.Token)
		if err != nil {
			return err
		}
		id, err = identify(ctx, tx, t)
		id.Session = true
		return err
	})
	return id, err
}

// Logout ends a session; an unknown one is not an error.
func (s *Service) Logout(ctx context.Context, cookie string) error {
	return s.st.Update(ctx, func(tx Tx) error { return tx.Sessions().Delete(ctx, hash(cookie)) })
}

// Request finds who sent an HTTP request: by its Authorization header if there is one, else by the session cookie. A
// request that a browser sent from another site with our cookie is refused.
func (s *Service) Request(r *http.Request) (Identity, error) {
	if token, ok := FromHeader(r.Header); ok {
		return s.Authenticate(r.Context(), token)
	}
	c, err := r.Cookie(CookieName)
	if err != nil {
		return Identity{}, errNobody("no credentials were given")
	}
	if err := http.NewCrossOriginProtection().Check(r); err != nil {
		return Identity{}, slipway.Errorf(slipway.Forbidden, "the request came from another site: %w", err).
			Try("use an API token")
	}
	return s.AuthenticateSession(r.Context(), c.Value)
}
