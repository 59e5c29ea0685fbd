package httpapi_test

import (
	"encoding/json"
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
	"slipway.dev/slipway/internal/stage/lab"
	"slipway.dev/slipway/internal/store"
	"slipway.dev/slipway/internal/store/storetest"
)

func TestLab(t *testing.T) {
	ctx := t.Context()
	db := storetest.Open(t)
	service := lab.New(store.Scope(db, func(tx *store.Tx) lab.Tx { return tx }), spec.ParseExperiment, nil, lab.Config{})
	var kicked []string
	srv := httpapitest.Serve(t, db, func(s *httpapi.Services) {
		s.Lab, s.Kick = service, func(key string) error { kicked = append(kicked, key); return nil }
	})
	operator, developer, viewer := srv.Client(auth.Operator), srv.Client(auth.Developer), srv.Client(auth.Viewer)

	if _, err := developer.CreateJoinToken(ctx, "edge-1", nil, 0); !slipway.Is(err, slipway.Forbidden) {
		t.Errorf("a developer made a join token: %v", err)
	}
	token, err := operator.CreateJoinToken(ctx, "edge-1", map[string]string{"role": "edge"}, time.Hour)
	if err != nil || token.Token == "" {
		t.Fatal(token, err)
	}
	if _, err := service.Join(ctx, lab.JoinRequest{Token: token.Token, Name: "edge-1", PublicKey: "UKEY"}); err != nil {
		t.Fatal(err)
	}
	if err := service.Heard(ctx, "edge-1", nil, nil); err != nil {
		t.Fatal(err)
	}
	nodes, err := client.All(viewer.Nodes(ctx))
	if err != nil || len(nodes) != 1 || nodes[0].Labels["role"] != "edge" {
		t.Fatalf("%+v, %v", nodes, err)
	}

	ask := client.NewExperiment{ID: "try/1", File: "try.yaml", Text: "experiment: try\nroles: {edge: {labels: {role: edge}}}\nsteps: [{id: hello, role: edge, run: 'true'}]\n"}
	if _, err := viewer.RunExperiment(ctx, ask); !slipway.Is(err, slipway.Forbidden) {
		t.Errorf("a viewer ran an experiment: %v", err)
	}
	bad := ask
	bad.ID, bad.Text = "bad", "experiment: try\nrolls: {}\n"
	if _, err := developer.RunExperiment(ctx, bad); !slipway.Is(err, slipway.Invalid) || !strings.Contains(err.Error(), "try.yaml:") {
		t.Errorf("a broken file: %v", err)
	}
	forged := ask
	forged.ID = "x-0123456789abcdef"
	if _, err := developer.RunExperiment(ctx, forged); !slipway.Is(err, slipway.Forbidden) {
		t.Errorf("an experiment in the queue's name: %v", err)
	}
	status, err := developer.RunExperiment(ctx, ask)
	if err != nil || status.Number != 1 || status.State != lab.Queued {
		t.Fatalf("%+v, %v", status, err)
	}
	jobstest.Drain(t, db, service.Handlers()...)
	e, err := viewer.Experiment(ctx, "1")
	if err != nil || e.Request.ID != "try/1" || len(e.Members) != 1 || e.Creator != "developer" {
		t.Fatalf("%+v, %v", e, err)
	}
	if n, err := viewer.Node(ctx, "edge-1"); err != nil || n.Lease != "experiment/1" {
		t.Errorf("%+v, %v", n, err)
	}
	report, err := json.Marshal(lab.Report{Assignments: []lab.AssignmentReport{{ID: e.Members[0].Assignment, Epoch: e.Members[0].Epoch,
		Logs: []lab.LogReport{{Step: "hello", Data: []byte("one\ntwo\n")}}}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := service.Sync(ctx, "edge-1", report); err != nil {
		t.Fatal(err)
	}
	part, err := viewer.ExperimentLog(ctx, "try/1", "edge-1", "hello", 4)
	if err != nil || part.Text != "two\n" || part.Next != 8 || !part.More {
		t.Errorf("%+v, %v", part, err)
	}
	if _, err := viewer.ExperimentLog(ctx, "1", "edge-9", "hello", 0); !slipway.Is(err, slipway.NotFound) {
		t.Errorf("the log of a node that has no part: %v", err)
	}
	if e, err := developer.CancelExperiment(ctx, "1", "wrong branch"); err != nil || e.Reason != "cancelled by developer: wrong branch" {
		t.Errorf("%+v, %v", e, err)
	}
	all, err := client.All(viewer.Experiments(ctx, "", "cleaning", 0))
	if err != nil || len(all) != 1 {
		t.Errorf("%+v, %v", all, err)
	}

	if n, err := operator.DrainNode(ctx, "edge-1", "new disk"); err != nil || n.Drained != "new disk" {
		t.Errorf("%+v, %v", n, err)
	}
	if err := operator.UndrainNode(ctx, "edge-1"); err != nil {
		t.Error(err)
	}
	if err := developer.RemoveNode(ctx, "edge-1"); !slipway.Is(err, slipway.Forbidden) {
		t.Errorf("a developer removed a node: %v", err)
	}
	if err := operator.RemoveNode(ctx, "edge-1"); err != nil || len(kicked) != 1 || kicked[0] != "UKEY" {
		t.Errorf("%v, kicked %v", err, kicked)
	}
	if _, err := viewer.Node(ctx, "edge-1"); !slipway.Is(err, slipway.NotFound) {
		t.Errorf("%v", err)
	}
}
