package httpapi

import (
	"context"
	"net/http"
	"slices"

	"slipway.dev/slipway/internal/edge/httpapi/wire"
	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/integration"
	"slipway.dev/slipway/internal/stage/integration/speculate"
)

// EntryPath names a queue entry. It is exported because huma does not look into embedded structs that are not.
type EntryPath struct {
	Number int64 `path:"number" minimum:"1"`
}

// ProductPath names a product. It is exported because huma does not look into embedded structs that are not.
type ProductPath struct {
	Product string `path:"product"`
}

func (a *API) queue() {
	register(a, op{Method: http.MethodGet, Path: "/api/v1/queues/{product}", Role: auth.Viewer, Summary: "Show a product's integration queue"},
		func(ctx context.Context, in *ProductPath) (*One[wire.QueueView], error) {
			if _, err := a.Catalog.Get(ctx, in.Product); err != nil {
				return nil, err
			}
			q, err := a.Integration.Queue(ctx, in.Product)
			if err != nil {
				return nil, err
			}
			entries, err := a.Integration.Entries(ctx, slipway.Query{Product: in.Product, States: integration.OpenPhases()})
			slices.SortStableFunc(entries, integration.Compare)
			if err != nil {
				return nil, err
			}
			trials, err := a.Integration.Trials(ctx, in.Product, "")
			if err != nil {
				return nil, err
			}
			predictions, err := a.Integration.Predictions(ctx, in.Product)
			if slipway.Is(err, slipway.NotFound) { // no valid product file yet
				err = nil
			}
			q.States, q.Memory, q.Forecast = nil, speculate.Memory{}, integration.Forecast{} // for the planner alone
			return one(wire.QueueView{Queue: q, Entries: entries, Trials: trials, Predictions: predictions}, err)
		})
	register(a, op{Method: http.MethodGet, Path: "/api/v1/entries", Role: auth.Viewer, Summary: "List queue entries, newest first"},
		func(ctx context.Context, in *struct {
			Page
			Product string `query:"product"`
			Phase   string `query:"phase" enum:"queued,building,testing,landing,landed,rejected,dequeued" doc:"Only these"`
		}) (*List[integration.Entry], error) {
			q := slipway.Query{Product: in.Product, Newest: true, After: in.After, Limit: in.more()}
			if in.Phase != "" {
				q.States = []string{in.Phase}
			}
			entries, err := a.Integration.Entries(ctx, q)
			if err != nil {
				return nil, err
			}
			return list(ctx, in.Page, entries, integration.Entry.ID), nil
		})
	register(a, op{Method: http.MethodGet, Path: "/api/v1/entries/{number}", Role: auth.Viewer, Summary: "Show an entry with its candidate and decision"},
		func(ctx context.Context, in *EntryPath) (*One[wire.EntryView], error) {
			return one(a.entryView(ctx, in.Number))
		})
	register(a, op{Method: http.MethodPost, Path: "/api/v1/queues/{product}/entries", Role: auth.Developer, Status: http.StatusCreated,
		Summary: "Ask for pins to be moved, all or nothing"},
		func(ctx context.Context, in *struct {
			ProductPath
			Body struct {
				Title string             `json:"title,omitempty" maxLength:"200"`
				Moves []integration.Move `json:"moves" minItems:"1"`
			}
		}) (*One[integration.Entry], error) {
			return one(a.Integration.Add(ctx, in.Product, in.Body.Title, auth.Actor(ctx), in.Body.Moves))
		})
	register(a, op{Method: http.MethodPost, Path: "/api/v1/entries/{number}/dequeue", Role: auth.Developer, Summary: "Take an entry out of the queue"},
		func(ctx context.Context, in *struct {
			EntryPath
			Body struct {
				Reason string `json:"reason" minLength:"1" maxLength:"1000"`
			}
		}) (*None, error) {
			return nil, a.Integration.Dequeue(ctx, in.Number, auth.Actor(ctx), in.Body.Reason)
		})
	register(a, op{Method: http.MethodPost, Path: "/api/v1/entries/{number}/requeue", Role: auth.Developer, Status: http.StatusCreated,
		Summary: "Put a rejected or dequeued entry back", About: "It becomes a new entry, behind those that wait."},
		func(ctx context.Context, in *EntryPath) (*One[integration.Entry], error) {
			return one(a.Integration.Requeue(ctx, in.Number, auth.Actor(ctx)))
		})
	register(a, op{Method: http.MethodPost, Path: "/api/v1/entries/{number}/priority", Role: auth.Gatekeeper, Summary: "Give an entry another priority",
		About: "Higher goes first. What runs already is not disturbed."},
		func(ctx context.Context, in *struct {
			EntryPath
			Body struct {
				Priority int  `json:"priority" minimum:"-100" maximum:"100"`
				Urgent   bool `json:"urgent,omitempty" doc:"The incident lane: goes before what has begun, too"`
			}
		}) (*None, error) {
			return nil, a.Integration.Promote(ctx, in.Number, auth.Actor(ctx), in.Body.Priority, in.Body.Urgent)
		})
	register(a, op{Method: http.MethodGet, Path: "/api/v1/entries/{number}/verification", Role: auth.Viewer, Summary: "Check the certificate of an entry's landing again",
		About: "Whether what landed is exactly the tuple that its verdicts were earned on."},
		func(ctx context.Context, in *EntryPath) (*One[integration.Verification], error) {
			return one(a.Integration.Verify(ctx, in.Number))
		})
	register(a, op{Method: http.MethodPost, Path: "/api/v1/queues/{product}/freeze", Role: auth.Gatekeeper, Summary: "Start no further entry"},
		func(ctx context.Context, in *struct {
			ProductPath
			Body struct {
				Reason string `json:"reason" minLength:"1" maxLength:"1000"`
			}
		}) (*None, error) {
			return nil, a.Integration.Freeze(ctx, in.Product, auth.Actor(ctx), in.Body.Reason)
		})
	register(a, op{Method: http.MethodPost, Path: "/api/v1/queues/{product}/resume", Role: auth.Gatekeeper, Summary: "End a freeze"},
		func(ctx context.Context, in *ProductPath) (*None, error) {
			return nil, a.Integration.Resume(ctx, in.Product, auth.Actor(ctx))
		})
}

func (a *API) entryView(ctx context.Context, number int64) (wire.EntryView, error) {
	e, err := a.Integration.Entry(ctx, number)
	v := wire.EntryView{Entry: e}
	if err != nil || e.Candidate == "" {
		return v, err
	}
	c, err := a.Integration.Candidate(ctx, e.Candidate)
	if err != nil {
		return v, err
	}
	d, err := a.Integration.Decision(ctx, number)
	v.Tuple, v.Decision = &c, &d
	if err != nil {
		return v, err
	}
	v.Trials, err = a.Integration.Trials(ctx, e.Product, e.Candidate)
	return v, err
}
