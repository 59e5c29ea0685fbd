package auth

import (
	"context"
	"crypto/subtle"
	"log/slog"
	"regexp"
	"strings"
	"time"

	"slipway.dev/slipway/internal/slipway"
)

// Config tunes a [Service].
type Config struct {
	SessionAge time.Duration // how long a dashboard log-in holds; default 7 days
	Log        *slog.Logger  // default slog.Default()
}

// Service answers who is calling, and administers users and tokens.
type Service struct {
	st  slipway.Store[Tx]
	cfg Config
}

// New makes a Service over the store.
func New(st slipway.Store[Tx], cfg Config) *Service {
	if cfg.SessionAge <= 0 {
		cfg.SessionAge = 7 * 24 * time.Hour
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return &Service{st: st, cfg: cfg}
}

// Authenticate finds whose API token this is. The error is of kind Unauthenticated if it is unknown, expired or revoked, or
// if its user is disabled.
func (s *Service) Authenticate(ctx context.Context, secret string) (Identity, error) {
	var id Identity
	var stale bool
	err := s.st.View(ctx, func(tx Tx) error {
		t, err := find(ctx, tx, secret)
		if err != nil {
			return err
		}
		stale = tx.Now().Sub(t.Used) >= time.Minute
		id, err = identify(ctx, tx, t)
		return err
	})
	if err == nil && stale {
		s.touch(ctx, id.Token)
	}
	return id, err
}

// find looks a secret up by its hash. The lookup tells an attacker nothing: what it compares is a hash that they
// cannot steer. The last comparison takes constant time all the same.
func find(ctx context.Context, tx Tx, secret string) (StoredToken, error) {
	if !strings.HasPrefix(secret, TokenPrefix) {
		return StoredToken{}, errNobody("this is not an API token of Slipway")
	}
	want := hash(secret)
	found, err := tx.Tokens().Find(ctx, slipway.Query{Key: want, Limit: 1})
	if err != nil {
		return StoredToken{}, err
	}
	if len(found) == 0 || subtle.ConstantTimeCompare([]byte(found[0].Hash), []byte(want)) != 1 {
		return StoredToken{}, errNobody("unknown API token")
	}
	return found[0], nil
}

// identify checks that the token and its user are good now.
func identify(ctx context.Context, tx Tx, t StoredToken) (Identity, error) {
	switch {
	case !t.Revoked.IsZero():
		return Identity{}, errNobody("the API token " + t.ID + " was revoked")
	case !t.Expires.IsZero() && !tx.Now().Before(t.Expires):
		return Identity{}, errNobody("the API token " + t.ID + " expired on " + t.Expires.Format(time.DateOnly))
	}
	u, err := tx.Users().Get(ctx, t.User)
	if slipway.Is(err, slipway.NotFound) || (err == nil && u.Disabled) {
		return Identity{}, errNobody("the user " + t.User + " is disabled")
	}
	if err != nil {
		return Identity{}, err
	}
	return Identity{User: u.Name, Role: both(u.Role, t.Role), Token: t.ID}, nil
}

// touch notes when the token was last used. A failure must not turn the caller away, so it is only logged.
func (s *Service) touch(ctx context.Context, id string) {
	err := s.st.Update(ctx, func(tx Tx) error {
		t, err := tx.Tokens().Get(ctx, id)
		if err != nil {
			return err
		}
		t.Used = tx.Now()
		return tx.Tokens().Put(ctx, t)
	})
	if err != nil && ctx.Err() == nil {
		s.cfg.Log.Warn("noting a token's use", "token", id, "err", err)
	}
}

// Users lists the users by age, after the given name, at most limit (0: all).
func (s *Service) Users(ctx context.Context, after string, limit int) (users []User, err error) {
	err = s.st.View(ctx, func(tx Tx) error {
		users, err = tx.Users().Find(ctx, slipway.Query{After: after, Limit: limit})
		return err
	})
	return users, err
}

// User returns one user.
func (s *Service) User(ctx context.Context, name string) (u User, err error) {
	err = s.st.View(ctx, func(tx Tx) error {
		u, err = tx.Users().Get(ctx, name)
		return err
	})
	return u, err
}

var goodName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// PutUser creates the user or replaces all but the time of creation. It refuses to leave no enabled admin.
func (s *Service) PutUser(ctx context.Context, u User) (User, error) {
	if !goodName.MatchString(u.Name) {
		return u, slipway.Errorf(slipway.Invalid, "%q cannot be a user's name", u.Name).
			Try("use up to 63 lower-case letters, digits, dots, dashes and underscores")
	}
	role, err := ParseRole(string(u.Role))
	if err != nil {
		return u, err
	}
	u.Role = role
	err = s.st.Update(ctx, func(tx Tx) error {
		old, err := tx.Users().Get(ctx, u.Name)
		reason := "created as " + string(u.Role)
		switch {
		case slipway.Is(err, slipway.NotFound):
			u.Created = tx.Now()
		case err != nil:
			return err
		default:
			u.Created = old.Created
			reason = changed(old, u)
			if reason == "" {
				return nil
			}
		}
		if err := tx.Users().Put(ctx, u); err != nil {
			return err
		}
		if old.Role == Admin && !old.Disabled {
			if err := someAdmin(ctx, tx); err != nil {
				return err
			}
		}
		return tx.Emit(ctx, slipway.Event{Type: slipway.UserChanged, Subject: slipway.Ref("user", u.Name),
			Actor: Actor(ctx), Reason: reason})
	})
	return u, err
}

// changed says in words what differs; "" if nothing does.
func changed(old, u User) string {
	var what []string
	if old.Role != u.Role {
		what = append(what, "role "+string(old.Role)+" to "+string(u.Role))
	}
	if old.Disabled != u.Disabled {
		what = append(what, map[bool]string{true: "disabled", false: "enabled"}[u.Disabled])
	}
	if old.FullName != u.FullName || old.Email != u.Email {
		what = append(what, "name or address changed")
	}
	return strings.Join(what, ", ")
}

func someAdmin(ctx context.Context, tx Tx) error {
	admins, err := tx.Users().Find(ctx, slipway.Query{States: []string{string(Admin)}})
	if err != nil {
		return err
	}
	for _, a := range admins {
		if !a.Disabled {
			return nil
		}
	}
	return slipway.Errorf(slipway.Conflict, "this is the last admin who is enabled").Try("make another user admin first")
}
