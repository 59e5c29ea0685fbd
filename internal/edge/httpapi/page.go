package httpapi

import (
	"context"
	"net/url"
	"strconv"
)

// Page is embedded in the input of every list.
type Page struct {
	Limit int    `query:"limit" default:"50" minimum:"1" maximum:"1000" doc:"How many items at most"`
	After string `query:"after" doc:"The next of the page before"`
}

// more is how many items to ask the service for: one more than the page holds tells whether there is a next page.
func (p Page) more() int { return p.Limit + 1 }

// List is the output of every list.
type List[T any] struct {
	Link string `header:"Link" doc:"The next page (RFC 8288), if there is one"`
	Body Items[T]
}

// Items is one page of a list.
type Items[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty" doc:"Give this as after to get the next page; absent on the last one"`
}

// list makes a page of the items that the service returned for p.more(); id names an item to go on after.
func list[T any](ctx context.Context, p Page, items []T, id func(T) string) *List[T] {
	out := &List[T]{}
	if len(items) > p.Limit {
		items = items[:p.Limit]
		out.Body.Next = id(items[p.Limit-1])
		if u, ok := ctx.Value(urlKey{}).(*url.URL); ok {
			q := u.Query()
			q.Set("after", out.Body.Next)
			q.Set("limit", strconv.Itoa(p.Limit))
			out.Link = "<" + u.Path + "?" + q.Encode() + `>; rel="next"`
		}
	}
	if items == nil {
		items = []T{} // [] rather than null
	}
	out.Body.Items = items
	return out
}

func (l *List[T]) empty() bool { return len(l.Body.Items) == 0 }

// One is the output of an operation that answers with one thing.
type One[T any] struct{ Body T }

// one wraps what a service returned.
func one[T any](v T, err error) (*One[T], error) {
	if err != nil {
		return nil, err
	}
	return &One[T]{Body: v}, nil
}

// None is the output of an operation that answers with nothing: status 204.
type None struct{}

// urlKey is the context key of the request's URL.
type urlKey struct{}
