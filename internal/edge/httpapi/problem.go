package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"

	"slipway.dev/slipway/internal/slipway"
)

// Problem is an error as RFC 9457 writes it, with Slipway's members beside.
type Problem struct {
	Type     string `json:"type" doc:"Always urn:slipway:error: and the kind"`
	Title    string `json:"title" doc:"The HTTP status in words"`
	Status   int    `json:"status" doc:"The HTTP status"`
	Detail   string `json:"detail" doc:"What is wrong, for a person"`
	Kind     string `json:"kind" enum:"invalid,not-found,conflict,unauthenticated,forbidden,too-large,unavailable,internal"`
	Where    string `json:"where,omitempty" doc:"Where it is, such as slipway.yaml:7:3"`
	Remedy   string `json:"remedy,omitempty" doc:"What to do about it"`
	Instance string `json:"instance,omitempty" doc:"Id of the request, as the server's log has it"`
}

// Error implements error.
func (p *Problem) Error() string { return p.Detail }

// GetStatus implements [huma.StatusError].
func (p *Problem) GetStatus() int { return p.Status }

// ContentType implements [huma.ContentTypeFilter].
func (p *Problem) ContentType(string) string { return "application/problem+json" }

var kindStatus = map[slipway.Kind]int{
	slipway.Invalid:         http.StatusUnprocessableEntity,
	slipway.NotFound:        http.StatusNotFound,
	slipway.Conflict:        http.StatusConflict,
	slipway.Unauthenticated: http.StatusUnauthorized,
	slipway.Forbidden:       http.StatusForbidden,
	slipway.TooLarge:        http.StatusRequestEntityTooLarge,
	slipway.Unavailable:     http.StatusServiceUnavailable,
	slipway.Internal:        http.StatusInternalServerError,
}

// Status is the HTTP status for an error's kind.
func Status(kind slipway.Kind) int {
	if status, ok := kindStatus[kind]; ok {
		return status
	}
	return http.StatusInternalServerError
}

// kindOf is the kind for an HTTP status that huma chose.
func kindOf(status int) slipway.Kind {
	for kind, s := range kindStatus {
		if s == status {
			return kind
		}
	}
	if status >= 500 {
		return slipway.Internal
	}
	return slipway.Invalid
}

// problem turns any error into a problem; what is a defect of Slipway is logged, since the caller cannot mend it.
func (a *API) problem(ctx context.Context, err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		err = slipway.Errorf(slipway.Unavailable, "the request was cancelled")
	}
	p = problemOf(err)
	p.Instance = RequestID(ctx)
	if p.Kind == string(slipway.Internal) {
		a.Log.ErrorContext(ctx, "request failed", "request", p.Instance, "err", err)
	}
	return p
}

func problemOf(err error) *Problem {
	kind := slipway.KindOf(err)
	p := &Problem{Type: "urn:slipway:error:" + string(kind), Status: Status(kind), Kind: string(kind), Detail: err.Error()}
	p.Title = http.StatusText(p.Status)
	var e *slipway.Error
	if errors.As(err, &e) {
		p.Where, p.Remedy = e.Where, e.Remedy
		bare := *e
		bare.Where, bare.Remedy = "", ""
		p.Detail = strings.Replace(p.Detail, e.Error(), bare.Error(), 1) // they are members of their own
	}
	return p
}

var adopt sync.Once

// adoptErrors makes huma write its own errors as a [Problem] too. It has one hook for the process.
func adoptErrors() {
	adopt.Do(func() {
		huma.NewError = func(status int, message string, errs ...error) huma.StatusError {
			kind := kindOf(status)
			p := &Problem{Type: "urn:slipway:error:" + string(kind), Status: status, Title: http.StatusText(status), Kind: string(kind),
				Detail: message}
			var details []string
			for _, err := range errs {
				var d huma.ErrorDetailer
				if !errors.As(err, &d) {
					if err != nil {
						details = append(details, err.Error())
					}
					continue
				}
				detail := d.ErrorDetail()
				if p.Where == "" {
					p.Where = detail.Location
				}
				text := detail.Message
				if len(errs) > 1 && detail.Location != "" {
					text = detail.Location + ": " + text
				}
				details = append(details, text)
			}
			if len(details) > 0 {
				p.Detail += ": " + strings.Join(details, "; ")
			}
			if kind == slipway.Invalid {
				p.Remedy = "see /api/docs for what the operation takes"
			}
			return p
		}
	})
}
