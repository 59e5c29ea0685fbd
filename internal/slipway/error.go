package slipway

import (
	"errors"
	"fmt"
	"strings"
)

// Kind says what sort of failure an [Error] is. It decides the HTTP status, the exit code of the CLI, and
// whether a job that met it is tried again.
type Kind string

// The kinds of errors. Every error that is not an [Error] counts as [Internal].
const (
	Invalid         Kind = "invalid"         // the input is wrong; the same call will fail again (HTTP 422)
	NotFound        Kind = "not-found"       // no such thing (HTTP 404)
	Conflict        Kind = "conflict"        // the state does not allow it now, or somebody was faster (HTTP 409)
	Unauthenticated Kind = "unauthenticated" // nobody we know (HTTP 401)
	Forbidden       Kind = "forbidden"       // somebody we know who may not (HTTP 403)
	TooLarge        Kind = "too-large"       // more bytes than are accepted (HTTP 413)
	Unavailable     Kind = "unavailable"     // something we need does not answer; try again later (HTTP 503)
	Internal        Kind = "internal"        // a defect of Slipway (HTTP 500)
)

// Error is the one error type that crosses package borders.
type Error struct {
	Kind    Kind
	Message string // what is wrong, for a person; lower case, no full stop
	Where   string // where it is: "slipway.yaml:7:3", "input deps/libwire", "node edge-1"; may be empty
	Remedy  string // what to do about it; may be empty
	Cause   error  // the error below, if any
}

// Error joins place, message, cause and remedy in that order.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Where != "" {
		b.WriteString(e.Where + ": ")
	}
	b.WriteString(e.Message)
	if e.Cause != nil {
		b.WriteString(": " + e.Cause.Error())
	}
	if e.Remedy != "" {
		b.WriteString(" (" + e.Remedy + ")")
	}
	return b.String()
}

// Unwrap gives the cause to [errors.Is] and [errors.As].
func (e *Error) Unwrap() error { return e.Cause }

// At returns a copy of e that says where.
func (e *Error) At(where string) *Error { c := *e; c.Where = where; return &c }

// Try returns a copy of e that says what to do.
func (e *Error) Try(remedy string) *Error { c := *e; c.Remedy = remedy; return &c }

// Errorf makes an Error. A %w verb becomes its cause and is not repeated in the message.
func Errorf(kind Kind, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	e := &Error{Kind: kind, Message: err.Error()}
	if cause := errors.Unwrap(err); cause != nil {
		e.Cause = cause
		e.Message = strings.TrimSuffix(strings.TrimSuffix(e.Message, cause.Error()), ": ")
	}
	return e
}

// KindOf returns the kind of err: that of the outermost [Error] in its chain, else [Internal]; "" for nil.
func KindOf(err error) Kind {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Internal
}

// Is reports whether err is of the given kind.
func Is(err error, kind Kind) bool { return KindOf(err) == kind }
