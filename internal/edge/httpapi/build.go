package httpapi

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build"
)

func (a *API) builds() {
	register(a, op{Method: http.MethodGet, Path: "/api/v1/builds", Role: auth.Viewer, Summary: "List builds, newest first"},
		func(ctx context.Context, in *struct {
			Page
			Product   string `query:"product"`
			Component string `query:"component"`
			Wave      string `query:"wave" doc:"Builds that the wave has asked for or reused"`
			State     string `query:"state" enum:"queued,running,done"`
			Outcome   string `query:"outcome" enum:"pass,fail,infra,timeout,cancelled"`
			Key       string `query:"key" doc:"The action's key"`
		}) (*List[build.Build], error) {
			builds, err := a.Build.Select(ctx, build.Selection{
				Product: in.Product, Component: in.Component, Wave: in.Wave, State: build.State(in.State), Outcome: slipway.Outcome(in.Outcome), Key: in.Key,
				After: in.After, Limit: in.more(),
			})
			if err != nil {
				return nil, err
			}
			return list(ctx, in.Page, builds, func(b build.Build) string { return b.ID }), nil
		})
	register(a, op{Method: http.MethodGet, Path: "/api/v1/builds/{id}", Role: auth.Viewer, Summary: "Show a build with its inputs"},
		func(ctx context.Context, in *BuildID) (*One[build.Build], error) {
			return one(a.Build.Build(ctx, in.ID))
		})
	register(a, op{Method: http.MethodGet, Path: "/api/v1/builds/{id}/log", Role: auth.Viewer, Summary: "Read a build's log",
		About: "Plain text from the offset on. With follow=true the answer goes on while the build waits and runs. A reader that was cut off asks " +
			"again with offset increased by what it has read."},
		a.buildLog)
	register(a, op{Method: http.MethodPost, Path: "/api/v1/builds/{id}/forget", Role: auth.Developer, Summary: "Let a failed build be tried again",
		About: "The same inputs fail again, so a failure is reused. After this, the next wave that needs it builds it anew."},
		func(ctx context.Context, in *BuildID) (*None, error) {
			return nil, a.Build.Forget(ctx, in.ID, auth.Actor(ctx))
		})
	register(a, op{Method: http.MethodPost, Path: "/api/v1/builds/{id}/cancel", Role: auth.Developer, Summary: "End a build that waits or runs",
		About: "For all waves that wait for it, it was cancelled. That blames nobody: the next wave that needs it builds it."},
		func(ctx context.Context, in *struct {
			BuildID
			Body struct {
				Reason string `json:"reason" minLength:"1" doc:"Why, for the ledger"`
			}
		}) (*None, error) {
			return nil, a.Build.CancelBuild(ctx, in.ID, in.Body.Reason+", says "+auth.Actor(ctx))
		})
	register(a, op{Method: http.MethodGet, Path: "/api/v1/waves", Role: auth.Viewer, Summary: "List waves, newest first"},
		func(ctx context.Context, in *struct {
			Page
			Product string `query:"product"`
			For     string `query:"for" doc:"The subject that it builds for" example:"change/12"`
		}) (*List[build.Wave], error) {
			waves, err := a.Build.Waves(ctx, slipway.Query{Product: in.Product, Key: in.For, Newest: true, After: in.After, Limit: in.more()})
			if err != nil {
				return nil, err
			}
			return list(ctx, in.Page, waves, func(w build.Wave) string { return w.Request.ID }), nil
		})
	register(a, op{Method: http.MethodGet, Path: "/api/v1/waves/{id}", Role: auth.Viewer, Summary: "Show a wave, component by component"},
		func(ctx context.Context, in *WaveID) (*One[build.Wave], error) {
			return one(a.Build.WaveRecord(ctx, in.ID))
		})
	register(a, op{Method: http.MethodPost, Path: "/api/v1/waves/{id}/cancel", Role: auth.Operator, Summary: "End a running wave",
		About: "Its builds end too, unless another wave waits for them."},
		func(ctx context.Context, in *struct {
			WaveID
			Body struct {
				Reason string `json:"reason" minLength:"1" doc:"Why, for the ledger"`
			}
		}) (*None, error) {
			return nil, a.Build.CancelWave(ctx, in.ID, in.Body.Reason)
		})
}

// BuildID is the input that names a build.
type BuildID struct {
	ID string `path:"id" example:"17"`
}

// WaveID is the input that names a wave.
type WaveID struct {
	ID string `path:"id" example:"change-12.1"`
}

func (a *API) buildLog(ctx context.Context, in *struct {
	BuildID
	Offset int64 `query:"offset" minimum:"0" doc:"In bytes"`
	Follow bool  `query:"follow" doc:"Go on until the build has ended"`
}) (*huma.StreamResponse, error) {
	log, err := a.Build.Log(ctx, in.ID, in.Offset, in.Follow)
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		defer log.Close()
		ended := make(chan struct{})
		defer close(ended)
		go func() { // a shutdown does not wait for readers
			select {
			case <-a.closing:
				log.Close()
			case <-ended:
			}
		}()
		_, w := humago.Unwrap(hc)
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("X-Accel-Buffering", "no")
		w.Header().Set("Slipway-Offset", strconv.FormatInt(in.Offset, 10))
		flow := http.NewResponseController(w)
		w.WriteHeader(http.StatusOK)
		if flow.Flush() != nil {
			return
		}
		buf := make([]byte, 32<<10)
		for {
			n, err := log.Read(buf)
			if n > 0 {
				if _, err := w.Write(buf[:n]); err != nil || flow.Flush() != nil {
					return
				}
			}
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				if ctx.Err() == nil {
					a.Services.Log.Warn("serving a build log", "build", in.ID, "err", err)
				}
				panic(http.ErrAbortHandler) // the reader must not take this for the end
			}
		}
	}}, nil
}
