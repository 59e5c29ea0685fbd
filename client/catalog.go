package client

import (
	"context"
	"iter"
	"time"

	"slipway.dev/slipway/internal/catalog"
	"slipway.dev/slipway/internal/slipway"
)

// Nouns of the catalog.
type (
	Product   = catalog.Product   // a product and its file in force
	Component = catalog.Component // a component of a product at the head of its branch
	Dependent = catalog.Dependent // a component that needs another
	Edge      = catalog.Edge      // that a component needed another during some time
	Problem   = catalog.Problem   // an unknown or circular need
	Pin       = slipway.Pin       // one component of a product fixed to one commit
)

// items is the answer of a list that has no pages.
type items[T any] struct {
	Items []T `json:"items"`
}

func all[T any](ctx context.Context, c *Client, path string, pairs ...string) ([]T, error) {
	out, err := get[items[T]](ctx, c, path, values(pairs...))
	return out.Items, err
}

func instant(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return at.UTC().Format(time.RFC3339Nano)
}

// Products lists products, oldest first.
func (c *Client) Products(ctx context.Context, limit int) iter.Seq2[Product, error] {
	return list[Product](ctx, c, "/api/v1/products", nil, limit)
}

// Product shows one product.
func (c *Client) Product(ctx context.Context, name string) (Product, error) {
	return get[Product](ctx, c, "/api/v1/products/"+segment(name), nil)
}

// Components lists the components of a product by name.
func (c *Client) Components(ctx context.Context, product string) ([]Component, error) {
	return all[Component](ctx, c, "/api/v1/products/"+segment(product)+"/components")
}

// Component shows one component of a product.
func (c *Client) Component(ctx context.Context, product, name string) (Component, error) {
	return get[Component](ctx, c, "/api/v1/products/"+segment(product)+"/components/"+segment(name), nil)
}

// Dependents lists what needs a component, nearest first, at a time (zero: now).
func (c *Client) Dependents(ctx context.Context, product, component string, at time.Time) ([]Dependent, error) {
	return all[Dependent](ctx, c, "/api/v1/products/"+segment(product)+"/components/"+segment(component)+"/dependents", "at", instant(at))
}

// Needs lists who needs whom in a product at a time (zero: now).
func (c *Client) Needs(ctx context.Context, product string, at time.Time) ([]Edge, error) {
	return all[Edge](ctx, c, "/api/v1/products/"+segment(product)+"/needs", "at", instant(at))
}

// Problems lists unknown and circular needs.
func (c *Client) Problems(ctx context.Context, product string) ([]Problem, error) {
	return all[Problem](ctx, c, "/api/v1/products/"+segment(product)+"/problems")
}

// Heads lists the pins at the heads of the components' branches.
func (c *Client) Heads(ctx context.Context, product string) ([]Pin, error) {
	return all[Pin](ctx, c, "/api/v1/products/"+segment(product)+"/heads")
}
