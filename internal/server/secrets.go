package server

import (
	"context"
	"net/url"
)

// secrets returns the values that no log of a build may show: the passwords in the server's own URLs and in those of mirrors. API tokens
// are known by their form.
func (s *services) secrets(cfg Config) func(ctx context.Context) []string {
	own := append(passwords(cfg.Database), append(passwords(cfg.Bus), passwords(cfg.SMTP)...)...)
	return func(ctx context.Context) []string {
		all := own
		mirrors, err := s.source.Mirrors(ctx)
		if err != nil {
			return all
		}
		for _, m := range mirrors {
			all = append(all[:len(all):len(all)], passwords(m.URL)...)
			if m.Secret != "" {
				all = append(all, m.Secret)
			}
		}
		return all
	}
}

// passwords returns the password in a URL, as it is and as it is written there.
func passwords(raw string) []string {
	u, err := url.Parse(raw)
	if err != nil || u.User == nil {
		return nil
	}
	p, ok := u.User.Password()
	if !ok {
		return nil
	}
	return []string{p, url.QueryEscape(p)}
}
