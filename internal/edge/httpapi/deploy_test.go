package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"slipway.dev/slipway/client"
	"slipway.dev/slipway/internal/edge/httpapi"
	"slipway.dev/slipway/internal/edge/httpapi/httpapitest"
	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/platform/jobs/jobstest"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/deploy"
	"slipway.dev/slipway/internal/stage/deploy/plan"
	"slipway.dev/slipway/internal/store"
	"slipway.dev/slipway/internal/store/storetest"
)

// ferryRoad is what deployment needs of the stages before it: releases number 1 to n of a product with one node.
type ferryRoad struct{ n int }

func (f *ferryRoad) Latest(ctx context.Context, _ string) (slipway.Release, error) {
	return f.Release(ctx, fmt.Sprintf("ferry-v%d", f.n))
}

func (f *ferryRoad) Release(_ context.Context, id string) (slipway.Release, error) {
	tag := strings.TrimPrefix(id, "ferry-")
	return slipway.Release{ID: id, Product: "ferry", Tag: tag, Commit: tag}, nil
}

func (f *ferryRoad) ComposeOf(_ context.Context, release string) (deploy.ComposeStatus, error) {
	return deploy.ComposeStatus{ID: release, State: "finished", URL: "http://localhost/composes/" + release}, nil
}

func (f *ferryRoad) File(_ context.Context, _, _, path string) ([]byte, error) {
	switch path {
	case "product.yaml":
		return []byte("product: ferry\ncomponents:\n  edged: {repo: components/edged}\nconfigurations:\n  edge: {nodes: {role: edge}}\ndeploy: {model: m.star, automatic: false}\n"), nil
	case "m.star":
		return []byte("for n in nodes('edge'):\n    n.file('/etc/tag', content=release.tag)\n"), nil
	}
	return nil, slipway.Errorf(slipway.NotFound, "no file %s", path)
}

func (f *ferryRoad) Nodes(context.Context) ([]slipway.Node, error) {
	return []slipway.Node{{Name: "edge-1", Labels: map[string]string{"role": "edge"}, Online: true}}, nil
}

func (f *ferryRoad) Poke(string) {}

// TestDeployments releases, dry-runs, reports and rolls back over the API.
func TestDeployments(t *testing.T) {
	db := storetest.Open(t, deploy.Routes()...)
	road := &ferryRoad{n: 1}
	svc := deploy.New(store.Scope(db, func(tx *store.Tx) deploy.Tx { return tx }),
		deploy.Deps{Releases: road, Composes: road, Files: road, Nodes: road, Agents: road})
	srv := httpapitest.Serve(t, db, func(s *httpapi.Services) { s.Deploy = svc })
	viewer, operator := srv.Client(auth.Viewer), srv.Client(auth.Operator)
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	// deployed plays the node's agent: it says that everything is as desired.
	deployed := func(version string) {
		t.Helper()
		slices, err := viewer.DeployResources(t.Context(), version, "edge-1")
		ok(err)
		r := slices[0].Resources[0]
		statuses := []plan.Status{{ID: r.ID, Hash: r.Hash, State: plan.Deployed, Reason: "written", Actual: map[string]string{"digest": "sha256:1"}}}
		v, err := viewer.DeployVersion(t.Context(), version)
		ok(err)
		doc, err := json.Marshal(plan.Report{Products: map[string]plan.ProductReport{"ferry": {Version: version, Epoch: v.Number,
			Digest: slices[0].Digest, Statuses: statuses, StatusDigest: plan.StatusDigest(statuses)}}})
		ok(err)
		_, err = svc.Sync(t.Context(), "edge-1", doc)
		ok(err)
		jobstest.Drain(t, db, svc.Handlers()...)
		if v, err = viewer.DeployVersion(t.Context(), version); err != nil || v.State != deploy.Deployed {
			t.Fatalf("version %+v, %v", v, err)
		}
	}
	compile := func() {
		t.Helper()
		ok(operator.Recompile(t.Context(), "ferry"))
		jobstest.Drain(t, db, svc.Handlers()...)
	}

	if _, err := viewer.Deployment(t.Context(), "ferry"); !slipway.Is(err, slipway.NotFound) {
		t.Fatalf("before anything: %v", err)
	}
	compile()
	compile() // the same again makes no new version
	all, err := client.All(viewer.DeployVersions(t.Context(), "ferry", 0))
	ok(err)
	if len(all) != 1 || all[0].ID != "ferry-1" || all[0].State != deploy.Compiled || all[0].Reason == "" {
		t.Fatalf("versions %+v", all)
	}
	for what, err := range map[string]error{
		"release":  second(viewer.ReleaseVersion(t.Context(), "ferry-1")),
		"dry-run":  second(viewer.StartDryRun(t.Context(), "ferry-1")),
		"rollback": second(viewer.Rollback(t.Context(), "ferry", "", "")),
		"compile":  viewer.Recompile(t.Context(), "ferry"),
	} {
		if !slipway.Is(err, slipway.Forbidden) {
			t.Errorf("a viewer may %s: %v", what, err)
		}
	}
	run, err := operator.StartDryRun(t.Context(), "ferry-1")
	ok(err)
	if run.State != "waiting" || !strings.Contains(run.Reason, "edge-1") {
		t.Errorf("dry run %+v", run)
	}
	answer, err := svc.Sync(t.Context(), "edge-1", json.RawMessage(`{"dry_runs":[{"id":"`+run.ID+`","diffs":[{"id":"edge-1/file[/etc/tag]","action":"create"}]}]}`))
	ok(err)
	if strings.Contains(string(answer), "dry_runs") {
		t.Errorf("an answered dry run is asked for again: %s", answer)
	}
	if run, err = viewer.DryRun(t.Context(), run.ID); err != nil || run.State != "done" || run.Nodes["edge-1"].Diffs[0].Action != plan.ActionCreate {
		t.Errorf("dry run %+v, %v", run, err)
	}
	v, err := operator.ReleaseVersion(t.Context(), "ferry-1")
	ok(err)
	if v.By != "operator" || v.State != deploy.Released {
		t.Errorf("released %+v", v)
	}
	deployed("ferry-1")
	if _, err := operator.Rollback(t.Context(), "ferry", "", ""); !slipway.Is(err, slipway.Conflict) {
		t.Errorf("there is nothing to go back to: %v", err)
	}
	road.n = 2
	compile()
	_, err = operator.ReleaseVersion(t.Context(), "ferry-2")
	ok(err)
	deployed("ferry-2")
	if _, err := operator.ReleaseVersion(t.Context(), "ferry-1"); !slipway.Is(err, slipway.Conflict) || !strings.Contains(err.Error(), "rollback") {
		t.Errorf("an older version was released: %v", err)
	}
	back, err := operator.Rollback(t.Context(), "ferry", "ferry-1", "too loud")
	ok(err)
	if back.ID != "ferry-3" || back.Copy != "ferry-1" || back.Tag != "v1" {
		t.Errorf("rollback %+v", back)
	}
	deployed("ferry-3")
	s, err := viewer.Deployment(t.Context(), "ferry")
	ok(err)
	if s.Version.ID != "ferry-3" || s.Deployment.Held != "ferry-v1" || s.Nodes[0].Standing.State != plan.Deployed {
		t.Errorf("status %+v", s)
	}
	on, err := viewer.NodeDeployments(t.Context(), "edge-1")
	ok(err)
	if len(on) != 1 || on[0].Version.Release != "ferry-v1" || on[0].Resources[0].Position != "m.star:2:11" || on[0].Resources[0].Status.Actual["digest"] != "sha256:1" {
		t.Errorf("on the node: %+v", on)
	}
	if _, err := viewer.DeployVersion(t.Context(), "ferry-99"); !slipway.Is(err, slipway.NotFound) {
		t.Errorf("an unknown version: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }
