package httpapi_test

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/edge/httpapi"
	"slipway.dev/slipway/internal/edge/httpapi/httpapitest"
	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/platform/jobs/jobstest"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/compose"
	"slipway.dev/slipway/internal/store"
	"slipway.dev/slipway/internal/store/storetest"
)

// bare is a product whose one component has nothing to package.
type bare struct{ file string }

func (b *bare) Release(_ context.Context, id string) (slipway.Release, error) {
	if id != "ferry-v2026.11.1" {
		return slipway.Release{}, slipway.Errorf(slipway.NotFound, "no release %q", id)
	}
	return slipway.Release{ID: id, Product: "ferry", Tag: "v2026.11.1", Time: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), Manifests: map[string]slipway.Manifest{
		"edge": {Components: map[string]slipway.Locked{"ferry": {Repo: "components/ferry", Version: "1.0.0"}}}}}, nil
}

func (b *bare) ProductFile(context.Context, string, string, string) ([]byte, error) {
	return []byte(b.file), nil
}

func (b *bare) Recipe(context.Context, slipway.Pin) (spec.Component, time.Time, error) {
	return spec.Component{Name: "ferry"}, time.Time{}, nil
}

func (b *bare) Tree(context.Context, string) (string, error) { return "", nil }
func (b *bare) Put(context.Context, io.Reader) (string, int64, error) {
	return "", 0, nil
}
func (b *bare) Open(context.Context, string) (io.ReadCloser, error) { return nil, nil }
func (b *bare) StartWave(context.Context, slipway.WaveRequest) (slipway.WaveStatus, error) {
	return slipway.WaveStatus{}, nil
}

func TestComposesOverTheAPI(t *testing.T) {
	db := storetest.Open(t, compose.Routes()...)
	world := &bare{file: "not a product file"}
	var composes *compose.Service
	srv := httpapitest.Serve(t, db, func(s *httpapi.Services) {
		composes = compose.New(store.Scope(db, func(tx *store.Tx) compose.Tx { return tx }), world, world, world, world, compose.Config{Dir: t.TempDir()})
		s.Compose = composes
	})
	ctx := t.Context()
	viewer, gatekeeper := srv.Client(auth.Viewer), srv.Client(auth.Gatekeeper)
	if _, err := viewer.RetryCompose(ctx, "ferry-v2026.11.1"); !slipway.Is(err, slipway.Forbidden) {
		t.Errorf("a viewer asks for a compose: %v", err)
	}
	if c, err := gatekeeper.RetryCompose(ctx, "ferry-v2026.11.1"); err != nil || c.State != compose.Waiting || c.Reason != "asked for by gatekeeper" {
		t.Fatalf("asked for a compose: %+v, %v", c, err)
	}
	jobstest.Drain(t, db, composes.Handlers()...)
	c, err := viewer.Compose(ctx, "ferry-v2026.11.1")
	if err != nil || c.State != compose.Failed || !strings.Contains(c.Reason, "product.yaml") {
		t.Fatalf("compose of a broken product file: %+v, %v", c, err)
	}
	if _, err := viewer.VerifyCompose(ctx, c.ID); !slipway.Is(err, slipway.Conflict) {
		t.Errorf("verifying a failed compose: %v", err)
	}
	world.file = "product: ferry\ncomponents:\n  ferry: {repo: components/ferry}\nconfigurations:\n  edge: {}\n"
	if _, err := gatekeeper.RetryCompose(ctx, c.ID); err != nil {
		t.Fatal(err)
	}
	jobstest.Drain(t, db, composes.Handlers()...)
	all, err := client.All(viewer.Composes(ctx, "ferry", 0))
	if err != nil || len(all) != 1 || all[0].State != compose.Finished || all[0].Attempt != 2 {
		t.Fatalf("composes: %+v, %v", all, err)
	}
	if v, err := viewer.VerifyCompose(ctx, c.ID); err != nil || !v.OK {
		t.Errorf("verify: %+v, %v", v, err)
	}
	if _, err := gatekeeper.RetryCompose(ctx, c.ID); !slipway.Is(err, slipway.Conflict) {
		t.Errorf("making a finished compose again: %v", err)
	}
	if _, err := viewer.Compose(ctx, "ferry-v1"); !slipway.Is(err, slipway.NotFound) {
		t.Errorf("a compose that is not there: %v", err)
	}
}
