package client

import (
	"context"
	"iter"
	"net/http"
	"strconv"

	"slipway.dev/slipway/internal/edge/httpapi/wire"
	"slipway.dev/slipway/internal/stage/change"
)

// Change is a proposal for one branch of one repository.
type Change = change.Change

// ChangeFilter selects changes by what is set.
type ChangeFilter struct {
	Product string
	Repo    string
	State   string
	Limit   int // 0: all
}

// Changes lists changes, newest first.
func (c *Client) Changes(ctx context.Context, f ChangeFilter) iter.Seq2[Change, error] {
	return list[Change](ctx, c, "/api/v1/changes", values("product", f.Product, "repo", f.Repo, "state", f.State), f.Limit)
}

// Change shows one change.
func (c *Client) Change(ctx context.Context, number int64) (Change, error) {
	return get[Change](ctx, c, changePath(number, ""), nil)
}

// Vote votes on a change, -2 to +2; patchset is the one that was looked at, 0 for the current one.
func (c *Client) Vote(ctx context.Context, number int64, value, patchset int, message string) (Change, error) {
	return do[Change](ctx, c, http.MethodPost, changePath(number, "/votes"), nil, wire.NewVote{Value: value, Patchset: patchset, Message: message})
}

// Abandon gives a change up.
func (c *Client) Abandon(ctx context.Context, number int64, reason string) (Change, error) {
	return do[Change](ctx, c, http.MethodPost, changePath(number, "/abandon"), nil, map[string]string{"reason": reason})
}

// Retest runs the tests of a change again.
func (c *Client) Retest(ctx context.Context, number int64) (Change, error) {
	return do[Change](ctx, c, http.MethodPost, changePath(number, "/retest"), nil, nil)
}

func changePath(number int64, what string) string {
	return "/api/v1/changes/" + strconv.FormatInt(number, 10) + what
}
