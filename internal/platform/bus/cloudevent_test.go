package bus_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"slipway.dev/slipway/internal/platform/bus"
	"slipway.dev/slipway/internal/slipway"
)

type plain = slipway.Event

// TestCloudEventsAreValid reads what Encode writes with the CloudEvents project's own library.
func TestCloudEventsAreValid(t *testing.T) {
	for typ, want := range map[slipway.EventType]string{
		slipway.ChangeLanded:       "dev.cdevents.change.merged.0.2.0",
		slipway.RepoCreated:        "dev.cdevents.repository.created.0.2.0",
		slipway.ExperimentFinished: "dev.cdevents.testsuiterun.finished.0.2.0",
		slipway.ResultRecorded:     "dev.cdevents.testcaserun.finished.0.2.0",
		slipway.ComposeFinished:    "dev.cdevents.artifact.published.0.2.0",
		slipway.VersionDeployed:    "dev.cdevents.service.deployed.0.2.0",
		slipway.EntryLanded:        "dev.slipway.integration.entry.landed",
	} {
		in := slipway.Event{Seq: 7, ID: "e7", Type: typ, Subject: "thing/components/libwire", Product: "ferry", Time: time.Unix(1, 0),
			Reason: "because", Links: []string{"repo/components/libwire"}, Data: json.RawMessage(`{"outcome":"fail"}`)}
		ce, err := bus.Encode(in, "/slipway")
		if err != nil {
			t.Fatal(err)
		}
		raw, err := json.Marshal(ce)
		if err != nil {
			t.Fatal(err)
		}
		var out event.Event
		if err := json.Unmarshal(raw, &out); err != nil {
			t.Fatalf("%s: %v", typ, err)
		}
		if err := out.Validate(); err != nil {
			t.Errorf("%s: %v", typ, err)
		}
		if out.Type() != want || out.ID() != "e7" || out.Subject() != in.Subject {
			t.Errorf("%s became %s %s %s", typ, out.Type(), out.ID(), out.Subject())
		}
		// The ledger's event is inside, whatever the type.
		if strings.HasPrefix(want, "dev.slipway.") {
			var whole plain
			if err := json.Unmarshal(out.Data(), &whole); err != nil || whole.Seq != 7 {
				t.Errorf("%s: data is not the event: %v", typ, err)
			}
			continue
		}
		var cd struct {
			CustomData plain             `json:"customData"`
			Context    map[string]string `json:"context"`
		}
		if err := json.Unmarshal(out.Data(), &cd); err != nil || cd.CustomData.Seq != 7 || cd.Context["type"] != want || cd.Context["version"] != "0.4.1" {
			t.Errorf("%s: not a CDEvents document: %v %+v", typ, err, cd)
		}
	}
}

func TestOutcomeWords(t *testing.T) {
	for outcome, want := range map[slipway.Outcome]string{slipway.Pass: "pass", slipway.Fail: "fail", slipway.Cancelled: "cancel", slipway.Infra: "error", slipway.Timeout: "error"} {
		data, _ := json.Marshal(slipway.Result{Outcome: outcome})
		ce, err := bus.Encode(slipway.Event{ID: "e", Type: slipway.ResultRecorded, Subject: "change/1", Data: data}, "/slipway")
		if err != nil {
			t.Fatal(err)
		}
		var cd struct {
			Subject struct {
				Content struct {
					Outcome string `json:"outcome"`
				} `json:"content"`
			} `json:"subject"`
		}
		if err := json.Unmarshal(ce.Data, &cd); err != nil || cd.Subject.Content.Outcome != want {
			t.Errorf("%s became %q, %v", outcome, cd.Subject.Content.Outcome, err)
		}
	}
}

func TestNodeSubjects(t *testing.T) {
	for subject, want := range map[string]string{"slipway.node.edge-1.sync": "edge-1", "slipway.node.Edge.sync": "", "slipway.node..sync": "", "slipway.node.x": "", "other.x.sync": ""} {
		if got, ok := bus.NodeOf(subject); ok != (want != "") || ok && got != want {
			t.Errorf("%s: %q %v", subject, got, ok)
		}
	}
	for reply, want := range map[string]bool{"_INBOX.node.a.xyz": true, "_INBOX.node.ab.xyz": false, "_INBOX.node.a": false, "slipway.events.x": false, "_INBOX.node.a.>": false, "": false} {
		if got := bus.OwnsInbox("a", reply); got != want {
			t.Errorf("%q: %v", reply, got)
		}
	}
}
