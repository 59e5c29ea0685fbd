// Package client is the Go client of Slipway's REST API. The command line is its first user.
//
// Methods are grouped by stage, one file each. They return the nouns of the API, whose types are aliased here where they
// come from Slipway's inside, and errors as *[Error] with kind, place and remedy, as the server told them. Lists that can
// be long are iterators that fetch page after page.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"slipway.dev/slipway/internal/slipway"
)

// Error is what every method returns on failure.
type Error = slipway.Error

// Event is one line of the ledger.
type Event = slipway.Event

// Client calls one server as one user. It is safe for concurrent use.
type Client struct {
	base  string
	token string
	http  *http.Client
}

// New makes a client of the server at the given URL ("http://127.0.0.1:8470"), authenticated by an API token.
func New(server, token string, options ...Option) *Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = 2 * time.Minute // operations that take longer are jobs
	for _, o := range options {
		o(t)
	}
	return &Client{base: strings.TrimRight(server, "/"), token: token, http: &http.Client{Transport: t}}
}

// Option changes how a client connects.
type Option func(*http.Transport)

// WithTLS has the client speak TLS so, for instance trusting an authority of one's own. Nil is Go's default.
func WithTLS(c *tls.Config) Option { return func(t *http.Transport) { t.TLSClientConfig = c.Clone() } }

// Server is the URL that the client calls.
func (c *Client) Server() string { return c.base }

// Token is the API token that the client uses; git takes it as a password.
func (c *Client) Token() string { return c.token }

// do calls an operation and decodes its answer. A nil body sends none. Use [none] for an operation without an answer.
func do[T any](ctx context.Context, c *Client, method, path string, query url.Values, body any) (T, error) {
	var out T
	resp, err := c.send(ctx, method, path, query, body, "application/json")
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNoContent {
		return out, nil
	}
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		return out, slipway.Errorf(slipway.Unavailable, "read the answer to %s %s: %w", method, path, err).At(c.base)
	}
	return out, nil
}

// none is the answer of an operation that answers with nothing.
type none = struct{}

// get calls a GET operation.
func get[T any](ctx context.Context, c *Client, path string, query url.Values) (T, error) {
	return do[T](ctx, c, http.MethodGet, path, query, nil)
}

// raw calls a GET operation whose answer is not JSON; the caller closes it.
func (c *Client) raw(ctx context.Context, path string, query url.Values, accept string) (io.ReadCloser, error) {
	resp, err := c.send(ctx, http.MethodGet, path, query, nil, accept)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// page is one page of a list.
type page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next"`
}

// list calls a GET operation that answers in pages and yields the items of all of them, or at most limit if that is
// not 0. It ends after the first error.
func list[T any](ctx context.Context, c *Client, path string, query url.Values, limit int) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		q := url.Values{}
		for k, v := range query {
			q[k] = v
		}
		for left := limit; ; {
			if n := 200; limit == 0 || left > n {
				q.Set("limit", strconv.Itoa(n))
			} else {
				q.Set("limit", strconv.Itoa(left))
			}
			p, err := get[page[T]](ctx, c, path, q)
			if err != nil {
				var zero T
				yield(zero, err)
				return
			}
			for _, item := range p.Items {
				if !yield(item, nil) {
					return
				}
			}
			left -= len(p.Items)
			if p.Next == "" || (limit > 0 && left <= 0) {
				return
			}
			q.Set("after", p.Next)
		}
	}
}

// All reads an iterator of the client to its end.
func All[T any](seq iter.Seq2[T, error]) ([]T, error) {
	all := []T{}
	for item, err := range seq {
		if err != nil {
			return all, err
		}
		all = append(all, item)
	}
	return all, nil
}

// send calls an operation and returns its answer if that is a success.
func (c *Client) send(ctx context.Context, method, path string, query url.Values, body any, accept string) (*http.Response, error) {
	var content io.Reader
	contentType := ""
	switch b := body.(type) {
	case nil:
	case io.Reader:
		content, contentType = b, "application/octet-stream"
	default:
		text, err := json.Marshal(body)
		if err != nil {
			return nil, slipway.Errorf(slipway.Invalid, "encode the request: %w", err)
		}
		content, contentType = bytes.NewReader(text), "application/json"
	}
	target := c.base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, content)
	if err != nil {
		return nil, slipway.Errorf(slipway.Invalid, "the server's address is not a URL: %w", err).At(c.base)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	req.Header.Set("Accept", accept)
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // the URL is told already
		}
		var untrusted *tls.CertificateVerificationError
		if errors.As(err, &untrusted) {
			return nil, slipway.Errorf(slipway.Unavailable, "the server's certificate is not trusted: %w", untrusted.Err).At(c.base).
				Try("name the authority that signed it with --ca or SLIPWAY_CA")
		}
		return nil, slipway.Errorf(slipway.Unavailable, "the server does not answer: %w", err).At(c.base).
			Try("is it running? 'slipway up' starts one; --server or SLIPWAY_SERVER say where it is")
	}
	if resp.StatusCode >= 300 {
		defer resp.Body.Close()
		return nil, failure(resp)
	}
	return resp, nil
}

// failure turns the answer of a failed call back into the error that the server had.
func failure(resp *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return slipway.Errorf(slipway.Unavailable, "read the answer: %w", err)
	}
	var p struct{ Kind, Detail, Where, Remedy, Instance string }
	if ct, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); ct == "application/problem+json" && json.Unmarshal(text, &p) == nil && p.Kind != "" {
		e := &Error{Kind: slipway.Kind(p.Kind), Message: p.Detail, Where: p.Where, Remedy: p.Remedy}
		if e.Kind == slipway.Internal && e.Remedy == "" && p.Instance != "" {
			e.Remedy = "the server's log says more about request " + p.Instance
		}
		return e
	}
	kind := slipway.Unavailable
	switch {
	case resp.StatusCode == http.StatusUnauthorized:
		kind = slipway.Unauthenticated
	case resp.StatusCode == http.StatusForbidden:
		kind = slipway.Forbidden
	case resp.StatusCode == http.StatusNotFound:
		kind = slipway.NotFound
	case resp.StatusCode == http.StatusRequestEntityTooLarge:
		kind = slipway.TooLarge
	case resp.StatusCode < 500:
		kind = slipway.Invalid
	}
	return &Error{Kind: kind, Message: fmt.Sprintf("the server answered %s", resp.Status), Where: resp.Request.URL.String(),
		Remedy: "is this a Slipway server?"}
}

// segment escapes one segment of a path.
func segment(s string) string { return url.PathEscape(s) }

// values makes a query of pairs; empty values are left out.
func values(pairs ...string) url.Values {
	v := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			v.Set(pairs[i], pairs[i+1])
		}
	}
	return v
}
