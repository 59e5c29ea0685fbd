package auth

import (
	"context"
	"time"

	"slipway.dev/slipway/internal/slipway"
)

// TokenSpec says what token to issue.
type TokenSpec struct {
	User    string
	Name    string        // what it is for; required
	Role    Role          // at most this; empty: the user's own
	Expires time.Duration // from now; 0: never
}

// IssueToken makes a token. The secret is returned this once and kept nowhere.
func (s *Service) IssueToken(ctx context.Context, spec TokenSpec) (secret string, t Token, err error) {
	if spec.Name == "" {
		return "", t, slipway.Errorf(slipway.Invalid, "a token needs a name").Try("say what it is for, such as \"ci\"")
	}
	if spec.Expires < 0 {
		return "", t, slipway.Errorf(slipway.Invalid, "the token would have expired already").Try("give a positive duration")
	}
	if spec.Role != "" {
		if spec.Role, err = ParseRole(string(spec.Role)); err != nil {
			return "", t, err
		}
	}
	secret = newSecret(TokenPrefix)
	err = s.st.Update(ctx, func(tx Tx) error {
		t, err = issue(ctx, tx, spec, secret)
		return err
	})
	if err != nil {
		return "", Token{}, err
	}
	return secret, t, nil
}

func issue(ctx context.Context, tx Tx, spec TokenSpec, secret string) (Token, error) {
	u, err := tx.Users().Get(ctx, spec.User)
	if err != nil {
		return Token{}, err
	}
	if u.Disabled {
		return Token{}, slipway.Errorf(slipway.Conflict, "the user %s is disabled", u.Name).Try("enable the user first")
	}
	h := hash(secret)
	t := Token{ID: tokenID(h), User: u.Name, Name: spec.Name, Role: spec.Role, Created: tx.Now(), By: Actor(ctx),
		Prefix: secret[:len(TokenPrefix)+4]}
	if spec.Expires > 0 {
		t.Expires = tx.Now().Add(spec.Expires)
	}
	if err := tx.Tokens().Put(ctx, StoredToken{Token: t, Hash: h}); err != nil {
		return Token{}, err
	}
	return t, tx.Emit(ctx, slipway.Event{Type: slipway.TokenIssued, Subject: slipway.Ref("user", u.Name), Actor: Actor(ctx),
		Reason: "token " + t.ID + " (" + t.Name + ")", Links: []string{slipway.Ref("token", t.ID)}})
}

// Tokens lists the tokens of a user, or of all users if user is empty, by age.
func (s *Service) Tokens(ctx context.Context, user, after string, limit int) (tokens []Token, err error) {
	q := slipway.Query{After: after, Limit: limit}
	if user != "" {
		q.States = []string{user}
	}
	err = s.st.View(ctx, func(tx Tx) error {
		stored, err := tx.Tokens().Find(ctx, q)
		tokens = nil
		for _, t := range stored {
			tokens = append(tokens, t.Token)
		}
		return err
	})
	return tokens, err
}

// Token returns one token by its id.
func (s *Service) Token(ctx context.Context, id string) (t Token, err error) {
	err = s.st.View(ctx, func(tx Tx) error {
		stored, err := tx.Tokens().Get(ctx, id)
		t = stored.Token
		return err
	})
	return t, err
}

// RevokeToken ends a token and the sessions that were opened with it. Doing it twice is harmless.
func (s *Service) RevokeToken(ctx context.Context, id string) error {
	return s.st.Update(ctx, func(tx Tx) error {
		t, err := tx.Tokens().Get(ctx, id)
		if err != nil {
			return err
		}
		return revoke(ctx, tx, t)
	})
}

func revoke(ctx context.Context, tx Tx, t StoredToken) error {
	if !t.Revoked.IsZero() {
		return nil
	}
	t.Revoked = tx.Now()
	if err := tx.Tokens().Put(ctx, t); err != nil {
		return err
	}
	sessions, err := tx.Sessions().Find(ctx, slipway.Query{Key: t.ID})
	if err != nil {
		return err
	}
	for _, ses := range sessions {
		if err := tx.Sessions().Delete(ctx, ses.ID); err != nil {
			return err
		}
	}
	return tx.Emit(ctx, slipway.Event{Type: slipway.TokenRevoked, Subject: slipway.Ref("user", t.User), Actor: Actor(ctx),
		Reason: "token " + t.ID + " (" + t.Name + ")", Links: []string{slipway.Ref("token", t.ID)}})
}
