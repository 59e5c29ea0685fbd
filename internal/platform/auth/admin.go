package auth

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"slipway.dev/slipway/internal/slipway"
)

// AdminTokenFile is the name of the file that [Service.EnsureAdmin] writes.
const AdminTokenFile = "admin-token"

// EnsureAdmin makes sure that dir/admin-token holds a working token of an admin, readable by its owner only, and returns the
// file's path. A token that works is left alone; otherwise the user "admin" gets a new one, and those whose file was
// lost are revoked.
func (s *Service) EnsureAdmin(ctx context.Context, dir string) (path string, err error) {
	path = filepath.Join(dir, AdminTokenFile)
	old, err := os.ReadFile(path)
	if err == nil {
		id, err := s.Authenticate(ctx, strings.TrimSpace(string(old)))
		if err == nil && id.Role == Admin {
			return path, nil
		}
		if err != nil && !slipway.Is(err, slipway.Unauthenticated) {
			return "", err
		}
	} else if !os.IsNotExist(err) {
		return "", slipway.Errorf(slipway.Unavailable, "read the admin token: %w", err)
	}
	secret := newSecret(TokenPrefix)
	err = s.st.Update(ctx, func(tx Tx) error {
		if err := ensureAdminUser(ctx, tx); err != nil {
			return err
		}
		stale, err := tx.Tokens().Find(ctx, slipway.Query{States: []string{"admin"}})
		if err != nil {
			return err
		}
		for _, t := range stale {
			if t.Name == AdminTokenFile {
				if err := revoke(ctx, tx, t); err != nil {
					return err
				}
			}
		}
		_, err = issue(ctx, tx, TokenSpec{User: "admin", Name: AdminTokenFile}, secret)
		return err
	})
	if err != nil {
		return "", err
	}
	return path, writeSecret(path, secret)
}

func ensureAdminUser(ctx context.Context, tx Tx) error {
	u, err := tx.Users().Get(ctx, "admin")
	if err == nil && u.Role == Admin && !u.Disabled {
		return nil
	}
	if err != nil && !slipway.Is(err, slipway.NotFound) {
		return err
	}
	if err != nil {
		u = User{Name: "admin", FullName: "Administrator", Created: tx.Now()}
	}
	u.Role, u.Disabled = Admin, false
	if err := tx.Users().Put(ctx, u); err != nil {
		return err
	}
	return tx.Emit(ctx, slipway.Event{Type: slipway.UserChanged, Subject: "user/admin", Actor: Actor(ctx),
		Reason: "admin of this folder"})
}

// writeSecret replaces the file at once; a crash leaves the old one or the new one.
func writeSecret(path, secret string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".admin-token-*") // mode 0600
	if err != nil {
		return slipway.Errorf(slipway.Unavailable, "write the admin token: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(secret + "\n")
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return slipway.Errorf(slipway.Unavailable, "write the admin token: %w", err)
	}
	return nil
}
