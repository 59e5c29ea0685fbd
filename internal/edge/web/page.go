package web

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/a-h/templ"

	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/slipway"
)

// view is a page: its main part and what the frame around it needs.
type view struct {
	Title   string
	Product string   // whose part of the navigation is shown; may be empty
	Topics  []string // see [Topic]; none: the page is not live
	Poll    bool     // what it shows changes without events: look again every two seconds
	Body    templ.Component
}

// frame is what the layout shows beside the view.
type frame struct {
	view
	User    auth.Identity
	Seq     int64 // the ledger's number at which the view was read
	Version string
	Live    string // URL of the stream; empty: none
}

// page registers a page that a viewer may see.
func (s *Server) page(pattern string, f func(r *http.Request) (view, error)) {
	s.mux.HandleFunc(pattern, s.guarded(func(w http.ResponseWriter, r *http.Request) {
		seq, err := s.position(r.Context()) // before the page is read: what comes later is followed
		if err != nil {
			s.refuse(w, r, err)
			return
		}
		v, err := f(r)
		if err != nil {
			s.refuse(w, r, err)
			return
		}
		s.render(w, r, http.StatusOK, v, seq)
	}))
}

// action registers a form's target. It needs the role, and leads back to where f says.
func (s *Server) action(pattern string, role auth.Role, f func(r *http.Request) (back string, err error)) {
	s.mux.HandleFunc("POST "+pattern, s.guarded(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
		err := auth.Require(r.Context(), role)
		back := ""
		if err == nil {
			err = parseForm(r)
		}
		if err == nil {
			back, err = f(r)
		}
		if err != nil {
			s.refuse(w, r, err)
			return
		}
		http.Redirect(w, r, back, http.StatusSeeOther)
	}))
}

// parseForm reads the form whole, so that one which is too large or broken is told as that and not as an empty one.
func parseForm(r *http.Request) error {
	err := r.ParseForm()
	var tooLarge *http.MaxBytesError
	if err == nil || errors.As(err, &tooLarge) {
		return err
	}
	return slipway.Errorf(slipway.Invalid, "the form cannot be read: %w", err)
}

func (s *Server) position(ctx context.Context) (int64, error) {
	last, err := s.Ledger.Events(ctx, EventQuery{Newest: true, Limit: 1})
	if err != nil || len(last) == 0 {
		return 0, err
	}
	return last[0].Seq, nil
}

func (s *Server) render(w http.ResponseWriter, r *http.Request, status int, v view, seq int64) {
	f := frame{view: v, Seq: seq, Version: s.Version}
	f.User, _ = auth.From(r.Context())
	if len(v.Topics) > 0 {
		q := url.Values{"topic": v.Topics, "after": {strconv.FormatInt(seq, 10)}}
		f.Live = "/ui/stream?" + q.Encode()
	}
	var b bytes.Buffer
	if err := layout(f).Render(r.Context(), &b); err != nil {
		s.Log.ErrorContext(r.Context(), "rendering a page", "path", r.URL.Path, "err", err)
		http.Error(w, "the page cannot be shown; the server's log says why", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(b.Bytes()) //nolint:errcheck // the reader is gone
}

// refuse shows an error as a page.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	status := map[slipway.Kind]int{
		slipway.Invalid: http.StatusUnprocessableEntity, slipway.NotFound: http.StatusNotFound, slipway.Conflict: http.StatusConflict,
		slipway.Unauthenticated: http.StatusUnauthorized, slipway.Forbidden: http.StatusForbidden,
		slipway.TooLarge: http.StatusRequestEntityTooLarge, slipway.Unavailable: http.StatusServiceUnavailable,
	}[slipway.KindOf(err)]
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		status, err = http.StatusRequestEntityTooLarge, slipway.Errorf(slipway.TooLarge, "the form is larger than %d bytes", tooLarge.Limit)
	}
	shown := &slipway.Error{Message: "something went wrong inside of Slipway", Remedy: "the server's log says more"}
	var e *slipway.Error
	if status == 0 {
		status = http.StatusInternalServerError
		if r.Context().Err() == nil {
			s.Log.ErrorContext(r.Context(), "serving a page", "path", r.URL.Path, "err", err)
		}
	} else if errors.As(err, &e) {
		shown = &slipway.Error{Message: strings.TrimSuffix(err.Error(), " ("+e.Remedy+")"), Remedy: e.Remedy}
	}
	s.render(w, r, status, view{Title: http.StatusText(status), Body: errorPage(status, shown)}, 0)
}

// number reads a path value that is a number.
func number(r *http.Request, name string) (int64, error) {
	n, err := strconv.ParseInt(r.PathValue(name), 10, 64)
	if err != nil || n < 1 {
		return 0, slipway.Errorf(slipway.NotFound, "there is no %s %q", name, r.PathValue(name))
	}
	return n, nil
}
