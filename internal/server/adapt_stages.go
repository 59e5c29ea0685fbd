package server

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"slipway.dev/slipway/internal/edge/githttp"
	"slipway.dev/slipway/internal/edge/httpapi"
	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/change"
	"slipway.dev/slipway/internal/stage/change/plan"
	"slipway.dev/slipway/internal/stage/gating"
	"slipway.dev/slipway/internal/stage/integration"
	"slipway.dev/slipway/internal/store"
)

// landedChanges tells the queue which change a commit came from.
type landedChanges struct{ s *services }

func (l landedChanges) Landed(ctx context.Context, repo, commit string) (integration.Change, bool, error) {
	c, ok, err := l.s.change.LandedAs(ctx, repo, commit)
	if err != nil || !ok {
		return integration.Change{}, false, err
	}
	return integration.Change{Ref: slipway.Ref("change", c.ID()), Title: c.Title, Author: c.Author}, true, nil
}

// Named finds the change that a trailer names: by its number, alone, as change/N or at the end of a URL; or by its Change-Id.
func (l landedChanges) Named(ctx context.Context, name string) (integration.Change, bool, error) {
	last := name[strings.LastIndexByte(strings.TrimSuffix(name, "/"), '/')+1:]
	var c change.Change
	n, err := strconv.ParseInt(strings.TrimSuffix(last, "/"), 10, 64)
	if err == nil {
		c, err = l.s.change.Change(ctx, n)
	} else {
		c, err = l.s.change.Identified(ctx, name)
	}
	if slipway.Is(err, slipway.NotFound) {
		return integration.Change{}, false, nil
	}
	if err != nil {
		return integration.Change{}, false, err
	}
	named := integration.Change{Ref: slipway.Ref("change", c.ID()), Title: c.Title, Author: c.Author}
	if c.State == plan.Abandoned {
		named.Gone = "is " + string(c.State) + ": " + c.Reason
	}
	v, lost, err := l.s.change.Unapproved(ctx, c)
	if err != nil {
		return integration.Change{}, false, err
	}
	if lost {
		named.Vetoed, named.Since = fmt.Sprintf("%s votes %+d", v.By, v.Value), v.Time
		if v.Message != "" {
			named.Vetoed += ": " + v.Message
		}
	}
	return named, true, nil
}

// changeCatalog is what changes need to know of products.
type changeCatalog struct{ s *services }

func (c changeCatalog) UsesOf(ctx context.Context, repo string) ([]change.Use, error) {
	uses, err := c.s.catalog.ProductsOf(ctx, repo)
	if err != nil {
		return nil, err
	}
	var of []change.Use
	for _, u := range uses {
		of = append(of, change.Use{Product: u.Product, Component: u.Component, Path: u.Path, Branch: u.Branch, Paths: u.Paths})
	}
	return of, nil
}

func (c changeCatalog) Review(ctx context.Context, product string) (spec.Review, error) {
	p, _, err := c.s.catalog.Product(ctx, product)
	return p.Review, err
}

func (c changeCatalog) Pins(ctx context.Context, product string) ([]slipway.Pin, error) {
	return c.s.integration.Pins(ctx, product)
}

// changeGate decides on changes by their product's gate.
type changeGate struct{ s *services }

func (g changeGate) Record(ctx context.Context, r slipway.Result) error {
	return g.s.gating.Record(ctx, r)
}

func (g changeGate) Decide(ctx context.Context, product, subject string, ran []slipway.Requirement) (bool, []string, error) {
	p, _, err := g.s.catalog.Product(ctx, product)
	if err != nil {
		return false, nil, err
	}
	d, err := g.s.gating.Decide(ctx, product, subject, gating.Required(p.Gates.Change, ran))
	if err != nil || d.OK {
		return d.OK, nil, err
	}
	var missing []string
	for _, v := range d.Of(slipway.CheckFailed, slipway.CheckErrored, slipway.CheckMissing) {
		missing = append(missing, v.Requirement.String()+" "+string(v.State)+": "+v.Reason)
	}
	return false, missing, nil
}

// gitUsers authenticates git by API tokens.
type gitUsers struct{ auth *auth.Service }

func (g gitUsers) Authenticate(ctx context.Context, _, token string) (githttp.User, error) {
	id, err := g.auth.Authenticate(ctx, token)
	if err != nil {
		return githttp.User{}, err
	}
	return githttp.User{Name: id.User, May: func(role string) bool { return id.Role.Covers(auth.Role(role)) }}, nil
}

// ledger is the store's ledger for the API.
type ledger struct{ *store.DB }

func (l ledger) Events(ctx context.Context, q httpapi.EventQuery) ([]slipway.Event, error) {
	return l.DB.Events(ctx, store.EventQuery(q))
}

// outbox is the store's ledger for the publisher, behind a cursor.
type outbox struct{ db *store.DB }

const busCursor = "bus"

func (o outbox) After(ctx context.Context, seq int64, limit int) ([]slipway.Event, error) {
	return o.db.Events(ctx, store.EventQuery{After: seq, Limit: limit})
}

func (o outbox) Cursor(ctx context.Context) (seq int64, err error) {
	err = o.db.View(ctx, func(tx *store.Tx) error { seq, err = tx.Cursor(ctx, busCursor); return err })
	return seq, err
}

func (o outbox) SetCursor(ctx context.Context, seq int64) error {
	return o.db.Update(ctx, func(tx *store.Tx) error { return tx.SetCursor(ctx, busCursor, seq) })
}
