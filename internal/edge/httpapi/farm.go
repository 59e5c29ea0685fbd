package httpapi

import (
	"context"
	"io"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"slipway.dev/slipway/internal/edge/httpapi/wire"
	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build/farm"
	"slipway.dev/slipway/internal/stage/build/retain"
)

// Farm is what the API needs of the farm: what people see, what workers call.
type Farm interface {
	farm.Server
	Workers(ctx context.Context) ([]farm.Worker, error)
	Tasks(ctx context.Context, q slipway.Query) ([]farm.Task, error)
}

// maxReport bounds what a worker says at once, in bytes: a result names each of its output files.
const maxReport = 64 << 20

func (a *API) farm() {
	register(a, op{Method: http.MethodGet, Path: "/api/v1/workers", Role: auth.Viewer, Summary: "List the workers of the farm, with what they run"},
		func(ctx context.Context, _ *struct{}) (*One[[]farm.Worker], error) {
			return one(a.Farm.Workers(ctx))
		})
	register(a, op{Method: http.MethodGet, Path: "/api/v1/tasks", Role: auth.Viewer, Summary: "List the farm's tasks, newest first"},
		func(ctx context.Context, in *struct {
			Page
			Product string `query:"product"`
			State   string `query:"state" enum:"queued,claimed,done"`
		}) (*List[farm.Task], error) {
			q := slipway.Query{Product: in.Product, Newest: true, After: in.After, Limit: in.more()}
			if in.State != "" {
				q.States = []string{in.State}
			}
			tasks, err := a.Farm.Tasks(ctx, q)
			if err != nil {
				return nil, err
			}
			return list(ctx, in.Page, tasks, func(t farm.Task) string { return t.ID }), nil
		})
	register(a, op{Method: http.MethodPost, Path: "/api/v1/artifacts/collect", Role: auth.Admin, Summary: "Remove the artifacts and logs that nothing needs",
		About: "What is kept, and by what, is in the answer. With dry=true nothing is removed. The server does this daily by itself."},
		func(ctx context.Context, in *struct {
			Dry bool `query:"dry"`
		}) (*One[retain.Report], error) {
			return one(a.Collector.Collect(ctx, in.Dry))
		})
	a.claims()
	a.blobs()
}

// claims is what workers call about tasks.
func (a *API) claims() {
	register(a, op{Method: http.MethodPost, Path: "/api/v1/farm/claims", Role: auth.Operator, Summary: "Claim a task for a worker",
		About: "Waits for one as long as the body says. The claim holds for its lease, and is renewed until it is ended."},
		func(ctx context.Context, in *struct{ Body farm.ClaimRequest }) (*One[wire.Claimed], error) {
			ctx, cancel := a.untilClosing(ctx)
			defer cancel()
			c, err := a.Farm.Claim(ctx, in.Body)
			if err == nil && c != nil && ctx.Err() != nil { // nobody hears of it
				err = a.Farm.Finish(context.WithoutCancel(ctx), c.Hold, farm.Report{})
				c = nil
			}
			return one(wire.Claimed{Claim: c}, err)
		})
	register(a, op{Method: http.MethodPost, Path: "/api/v1/farm/renewals", Role: auth.Operator, Summary: "Renew a claim",
		About: "Answers when there is an order, or after a third of the lease."},
		func(ctx context.Context, in *struct{ Body farm.Hold }) (*One[farm.Order], error) {
			ctx, cancel := a.untilClosing(ctx)
			defer cancel()
			o, err := a.Farm.Renew(ctx, in.Body)
			if err != nil && ctx.Err() != nil {
				err = slipway.Errorf(slipway.Unavailable, "the server is stopping").Try("try again")
			}
			return one(o, err)
		})
	register(a, op{Method: http.MethodPost, Path: "/api/v1/farm/logs", Role: auth.Operator, Summary: "Add to the log of a claimed task",
		About: "The body is added at the offset. The answer says how many bytes the farm has: go on from there.", Body: 4 << 20},
		func(ctx context.Context, in *struct {
			Task    string `query:"task" required:"true"`
			Worker  string `query:"worker" required:"true"`
			Epoch   int64  `query:"epoch" required:"true"`
			Offset  int64  `query:"offset" minimum:"0"`
			RawBody []byte `contentType:"application/octet-stream"`
		}) (*One[wire.Appended], error) {
			size, err := a.Farm.Append(ctx, farm.Hold{Task: in.Task, Worker: in.Worker, Epoch: in.Epoch}, in.Offset, in.RawBody)
			return one(wire.Appended{Size: size}, err)
		})
	register(a, op{Method: http.MethodPost, Path: "/api/v1/farm/ends", Role: auth.Operator, Summary: "End a claim with a result or a fault", Body: maxReport},
		func(ctx context.Context, in *struct{ Body wire.EndClaim }) (*None, error) {
			return nil, a.Farm.Finish(ctx, in.Body.Hold, in.Body.Report)
		})
}

// untilClosing ends the context also when the server stops, so that a shutdown does not wait for those who wait.
func (a *API) untilClosing(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-a.closing:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// BlobUpload is the input of an upload; its body is read as it comes.
type BlobUpload struct {
	Digest string `path:"digest"`
	body   io.Reader
}

// Resolve implements [huma.Resolver].
func (u *BlobUpload) Resolve(hc huma.Context) []error {
	u.body = hc.BodyReader()
	return nil
}

// blobs is what workers call about artifacts.
func (a *API) blobs() {
	register(a, op{Method: http.MethodPost, Path: "/api/v1/farm/missing", Role: auth.Operator, Summary: "Tell which blobs the farm does not have"},
		func(ctx context.Context, in *struct{ Body wire.Digests }) (*One[wire.Digests], error) {
			missing := wire.Digests{Digests: []string{}}
			for _, d := range in.Body.Digests {
				_, err := a.Artifacts.Stat(ctx, d)
				switch {
				case slipway.Is(err, slipway.NotFound):
					missing.Digests = append(missing.Digests, d)
				case err != nil:
					return nil, err
				}
			}
			return one(missing, nil)
		})
	register(a, op{Method: http.MethodPut, Path: "/api/v1/farm/blobs/{digest}", Role: auth.Operator, Summary: "Upload a blob",
		About: "Its bytes are compared with the digest."},
		func(ctx context.Context, in *BlobUpload) (*None, error) {
			got, _, err := a.Artifacts.Put(ctx, in.body)
			if err == nil && got != in.Digest {
				err = slipway.Errorf(slipway.Invalid, "the bytes hash to %s, not to %s", got, in.Digest).Try("send the blob again")
			}
			return nil, err
		})
	register(a, op{Method: http.MethodGet, Path: "/api/v1/farm/blobs/{digest}", Role: auth.Operator, Summary: "Download a blob"},
		func(ctx context.Context, in *struct {
			Digest string `path:"digest"`
		}) (*huma.StreamResponse, error) {
			body, err := a.Artifacts.Open(ctx, in.Digest)
			if err != nil {
				return nil, err
			}
			return &huma.StreamResponse{Body: func(hc huma.Context) {
				defer body.Close()
				_, w := humago.Unwrap(hc)
				w.Header().Set("Content-Type", "application/octet-stream")
				w.WriteHeader(http.StatusOK)
				if _, err := io.Copy(w, body); err != nil {
					panic(http.ErrAbortHandler) // a part must not be taken for the whole
				}
			}}, nil
		})
}
