package client

import (
	"context"
	"iter"
	"net/http"
	"strconv"

	"slipway.dev/slipway/internal/edge/httpapi/wire"
	"slipway.dev/slipway/internal/stage/integration"
)

// Entry is a request to move pins of a product, all or nothing.
type Entry = integration.Entry

// EntryView is an entry with its candidate and how that stands at its gate.
type EntryView = wire.EntryView

// Queue is a product's queue with its open entries.
type Queue = wire.QueueView

// Move names a component and the commit, tag or branch to move it to.
type Move = integration.Move

// Queue shows a product's integration queue.
func (c *Client) Queue(ctx context.Context, product string) (Queue, error) {
	return get[Queue](ctx, c, "/api/v1/queues/"+segment(product), nil)
}

// Entries lists queue entries, newest first; empty arguments select all, limit 0 too.
func (c *Client) Entries(ctx context.Context, product, phase string, limit int) iter.Seq2[Entry, error] {
	return list[Entry](ctx, c, "/api/v1/entries", values("product", product, "phase", phase), limit)
}

// Entry shows one entry.
func (c *Client) Entry(ctx context.Context, number int64) (EntryView, error) {
	return get[EntryView](ctx, c, entryPath(number, ""), nil)
}

// AddEntry asks for pins to be moved.
func (c *Client) AddEntry(ctx context.Context, product, title string, moves []Move) (Entry, error) {
	return do[Entry](ctx, c, http.MethodPost, "/api/v1/queues/"+segment(product)+"/entries", nil, map[string]any{"title": title, "moves": moves})
}

// Dequeue takes an entry out of the queue.
func (c *Client) Dequeue(ctx context.Context, number int64, reason string) error {
	_, err := do[none](ctx, c, http.MethodPost, entryPath(number, "/dequeue"), nil, map[string]string{"reason": reason})
	return err
}

// Requeue puts an entry that was rejected or dequeued back, as a new one.
func (c *Client) Requeue(ctx context.Context, number int64) (Entry, error) {
	return do[Entry](ctx, c, http.MethodPost, entryPath(number, "/requeue"), nil, nil)
}

// Promote gives an entry another priority, higher first; an urgent one goes before what has begun, too.
func (c *Client) Promote(ctx context.Context, number int64, priority int, urgent bool) error {
	_, err := do[none](ctx, c, http.MethodPost, entryPath(number, "/priority"), nil, map[string]any{"priority": priority, "urgent": urgent})
	return err
}

// Verification is what came of checking the certificate of a landing again.
type Verification = integration.Verification

// Verify checks the certificate of an entry's landing again.
func (c *Client) Verify(ctx context.Context, number int64) (Verification, error) {
	return get[Verification](ctx, c, entryPath(number, "/verification"), nil)
}

// Freeze keeps new entries of a product from starting.
func (c *Client) Freeze(ctx context.Context, product, reason string) error {
	_, err := do[none](ctx, c, http.MethodPost, "/api/v1/queues/"+segment(product)+"/freeze", nil, map[string]string{"reason": reason})
	return err
}

// Resume ends a freeze.
func (c *Client) Resume(ctx context.Context, product string) error {
	_, err := do[none](ctx, c, http.MethodPost, "/api/v1/queues/"+segment(product)+"/resume", nil, nil)
	return err
}

func entryPath(number int64, what string) string {
	return "/api/v1/entries/" + strconv.FormatInt(number, 10) + what
}
