package bus

import (
	"encoding/json"
	"strings"
	"time"

	"slipway.dev/slipway/internal/slipway"
)

// CloudEvent is an event in the structured JSON form of CloudEvents 1.0
// (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md).
//
// Its type is dev.slipway.TYPE with the ledger's event as data; or, where CDEvents 0.4.1 has a word for what
// happened, that type with a CDEvents document as data
// (https://github.com/cdevents/spec/blob/v0.4.1/cloudevents-binding.md), whose customData is the ledger's event.
type CloudEvent struct {
	SpecVersion     string          `json:"specversion"`
	ID              string          `json:"id"`
	Source          string          `json:"source"`
	Type            string          `json:"type"`
	Subject         string          `json:"subject,omitempty"`
	Time            time.Time       `json:"time"`
	DataContentType string          `json:"datacontenttype"`
	Data            json.RawMessage `json:"data"`
}

// ContentType is the media type of a CloudEvent in structured JSON form.
const ContentType = "application/cloudevents+json"

const cdVersion = "0.4.1"

// cdEvent is how one event type is told in CDEvents.
type cdEvent struct {
	Type    string // with its own version
	Subject string // the subject's type
	Content func(e slipway.Event) map[string]any
}

// cdEvents is the mapping. The versions are those of CDEvents 0.4.1:
// https://github.com/cdevents/spec/blob/v0.4.1/source-code-version-control.md (repository, change),
// .../continuous-integration.md (build, artifact), .../testing-events.md (testCaseRun, testSuiteRun),
// .../continuous-deployment.md (service).
var cdEvents = map[slipway.EventType]cdEvent{
	slipway.RepoCreated:        {"dev.cdevents.repository.created.0.2.0", "repository", repository},
	slipway.ChangeCreated:      {"dev.cdevents.change.created.0.3.0", "change", change},
	slipway.PatchsetAdded:      {"dev.cdevents.change.updated.0.2.0", "change", change},
	slipway.ChangeVoted:        {"dev.cdevents.change.reviewed.0.2.0", "change", change},
	slipway.ChangeLanded:       {"dev.cdevents.change.merged.0.2.0", "change", change},
	slipway.ChangeAbandoned:    {"dev.cdevents.change.abandoned.0.2.0", "change", change},
	slipway.BuildQueued:        {"dev.cdevents.build.queued.0.2.0", "build", nothing},
	slipway.BuildStarted:       {"dev.cdevents.build.started.0.2.0", "build", nothing},
	slipway.BuildFinished:      {"dev.cdevents.build.finished.0.2.0", "build", nothing},
	slipway.ExperimentQueued:   {"dev.cdevents.testsuiterun.queued.0.2.0", "testSuiteRun", testRun},
	slipway.ExperimentStarted:  {"dev.cdevents.testsuiterun.started.0.2.0", "testSuiteRun", testRun},
	slipway.ExperimentFinished: {"dev.cdevents.testsuiterun.finished.0.2.0", "testSuiteRun", testOutcome},
	slipway.ResultRecorded:     {"dev.cdevents.testcaserun.finished.0.2.0", "testCaseRun", testOutcome},
	slipway.ComposeFinished:    {"dev.cdevents.artifact.published.0.2.0", "artifact", nothing},
	slipway.VersionDeployed:    {"dev.cdevents.service.deployed.0.2.0", "service", deployed},
}

// Encode makes the CloudEvent of e. Source is the server's URI, or a path that names it.
func Encode(e slipway.Event, source string) (CloudEvent, error) {
	body, err := json.Marshal(e)
	if err != nil {
		return CloudEvent{}, slipway.Errorf(slipway.Internal, "encode event %s: %w", e.ID, err)
	}
	ce := CloudEvent{
		SpecVersion: "1.0", ID: e.ID, Source: source, Type: "dev.slipway." + string(e.Type),
		Subject: e.Subject, Time: e.Time.UTC(), DataContentType: "application/json", Data: body,
	}
	cd, ok := cdEvents[e.Type]
	if !ok {
		return ce, nil
	}
	subject := e.Subject
	if cd.Subject == "artifact" { // CDEvents wants a package URL here
		_, id, _ := slipway.SplitRef(e.Subject)
		subject = "pkg:generic/" + id
	}
	ce.Type = cd.Type
	ce.Data, err = json.Marshal(map[string]any{
		"context": map[string]any{"version": cdVersion, "id": e.ID, "source": source, "type": cd.Type, "timestamp": e.Time.UTC()},
		"subject": map[string]any{"id": subject, "source": source, "type": cd.Subject, "content": cd.Content(e)},

		"customData": json.RawMessage(body), "customDataContentType": "application/json",
	})
	if err != nil {
		return CloudEvent{}, slipway.Errorf(slipway.Internal, "encode event %s: %w", e.ID, err)
	}
	return ce, nil
}

func nothing(slipway.Event) map[string]any { return map[string]any{} }

func repository(e slipway.Event) map[string]any {
	_, id, _ := slipway.SplitRef(e.Subject)
	owner, name, ok := strings.Cut(id, "/")
	if !ok {
		owner, name = "", id
	}
	return map[string]any{"name": name, "owner": owner, "url": "/git/" + id + ".git"}
}

func change(e slipway.Event) map[string]any {
	for _, link := range e.Links {
		if id, ok := strings.CutPrefix(link, "repo/"); ok {
			return map[string]any{"repository": map[string]any{"id": id}}
		}
	}
	return map[string]any{}
}

func testRun(e slipway.Event) map[string]any {
	return map[string]any{"environment": map[string]any{"id": e.Product}}
}

// testOutcome tells outcomes in the words of CDEvents: pass, fail, cancel, error.
func testOutcome(e slipway.Event) map[string]any {
	var data struct {
		Outcome slipway.Outcome `json:"outcome"`
		Reason  string          `json:"reason"`
	}
	if json.Unmarshal(e.Data, &data) != nil || data.Reason == "" {
		data.Reason = e.Reason
	}
	word := "error"
	switch data.Outcome {
	case slipway.Pass:
		word = "pass"
	case slipway.Fail:
		word = "fail"
	case slipway.Cancelled:
		word = "cancel"
	}
	return map[string]any{"environment": map[string]any{"id": e.Product}, "outcome": word, "reason": data.Reason}
}

func deployed(e slipway.Event) map[string]any {
	_, id, _ := slipway.SplitRef(e.Subject)
	return map[string]any{"environment": map[string]any{"id": e.Product}, "artifactId": "pkg:generic/" + id}
}
