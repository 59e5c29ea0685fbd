package web

import (
	"net/http"
	"net/url"
	"path"
	"strings"

	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/slipway"
)

// guarded lets a request pass that has a session, and puts the user into its context. Others are led to the log-in.
func (s *Server) guarded(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id, err := s.Auth.Request(r)
		switch {
		case err == nil:
			r = r.WithContext(auth.With(r.Context(), id))
			if err := auth.Require(r.Context(), auth.Viewer); err != nil {
				s.refuse(w, r, err)
				return
			}
			next(w, r)
		case !slipway.Is(err, slipway.Unauthenticated):
			s.refuse(w, r, err)
		case r.Method != http.MethodGet || r.Header.Get("HX-Request") != "" || r.URL.Path == "/ui/stream":
			w.Header().Set("HX-Redirect", "/ui/login")
			http.Error(w, "log in again", http.StatusUnauthorized)
		default:
			http.Redirect(w, r, "/ui/login?next="+url.QueryEscape(r.URL.RequestURI()), http.StatusSeeOther)
		}
	}
}

func (s *Server) loginPage(w http.ResponseWriter, r *http.Request) {
	s.render(w, r, http.StatusOK, view{Title: "Log in", Body: loginForm(local(r.URL.Query().Get("next")), "")}, 0)
}

func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	if err := http.NewCrossOriginProtection().Check(r); err != nil {
		s.refuse(w, r, slipway.Errorf(slipway.Forbidden, "the form came from another site: %w", err))
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 16<<10)
	if err := parseForm(r); err != nil {
		s.refuse(w, r, err)
		return
	}
	next := local(r.FormValue("next"))
	cookie, _, err := s.Auth.Login(r.Context(), strings.TrimSpace(r.FormValue("token")), r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https")
	if slipway.Is(err, slipway.Unauthenticated) {
		s.render(w, r, http.StatusUnauthorized, view{Title: "Log in", Body: loginForm(next, "This is not a token that is known and valid.")}, 0)
		return
	}
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	http.SetCookie(w, cookie)
	http.Redirect(w, r, next, http.StatusSeeOther)
}

func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	if err := http.NewCrossOriginProtection().Check(r); err != nil {
		s.refuse(w, r, slipway.Errorf(slipway.Forbidden, "the form came from another site: %w", err))
		return
	}
	if c, err := r.Cookie(auth.CookieName); err == nil {
		if err := s.Auth.Logout(r.Context(), c.Value); err != nil {
			s.refuse(w, r, err)
			return
		}
	}
	http.SetCookie(w, &http.Cookie{Name: auth.CookieName, Path: "/", MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteLaxMode})
	http.Redirect(w, r, "/ui/login", http.StatusSeeOther)
}

// local returns where to go after the log-in: a page of the dashboard, whatever was asked for.
func local(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(path.Clean(u.Path)+"/", "/ui/") || strings.Contains(next, "\\") || strings.HasPrefix(u.Path, "/ui/login") {
		return "/ui/"
	}
	return u.RequestURI()
}
