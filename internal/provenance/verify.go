package provenance

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	slsa "github.com/in-toto/attestation/go/predicates/provenance/v1"
	intoto "github.com/in-toto/attestation/go/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"slipway.dev/slipway/internal/platform/signing"
	"slipway.dev/slipway/internal/slipway"
)

// Verdict is what a verified statement says, for people.
type Verdict struct {
	Name       string    `json:"name"`    // of the artifact
	Subject    string    `json:"subject"` // its digest
	KeyID      string    `json:"key_id"`  // of the key that signed
	Builder    string    `json:"builder"`
	BuildType  string    `json:"build_type"`
	Component  string    `json:"component"`
	Version    string    `json:"version"`
	Repository string    `json:"repository"`
	Commit     string    `json:"commit"`
	Invocation string    `json:"invocation"`
	Unconfined bool      `json:"unconfined"` // it was built without a sandbox
	Finished   time.Time `json:"finished,omitzero"`
	Materials  []string  `json:"materials"` // "deps/libwire sha256:..."
}

// Verify checks that one of the keys signed the envelope, and that the statement in it is a provenance of the artifact with the digest. An
// error is of kind Invalid for a bad signature or statement, and Conflict for a sound one about something else.
func Verify(ctx context.Context, envelope []byte, digest string, keys ...signing.Public) (Verdict, error) {
	text, id, err := signing.Verify(ctx, envelope, keys...)
	if err != nil {
		return Verdict{}, err
	}
	bad := func(cause error) (Verdict, error) {
		return Verdict{}, slipway.Errorf(slipway.Invalid, "the signed statement is no provenance: %w", cause)
	}
	st := &intoto.Statement{}
	if err := protojson.Unmarshal(text, st); err != nil {
		return bad(err)
	}
	if err := st.Validate(); err != nil {
		return bad(err)
	}
	if st.PredicateType != PredicateType {
		return bad(slipway.Errorf(slipway.Invalid, "it is a %s", st.PredicateType))
	}
	predicate, err := json.Marshal(st.Predicate.AsMap())
	if err != nil {
		return bad(err)
	}
	p := &slsa.Provenance{}
	if err := protojson.Unmarshal(predicate, p); err != nil {
		return bad(err)
	}
	if err := p.Validate(); err != nil {
		return bad(err)
	}
	v := Verdict{KeyID: id, Subject: digest, Builder: p.RunDetails.Builder.Id, BuildType: p.BuildDefinition.BuildType,
		Invocation: p.RunDetails.GetMetadata().GetInvocationId(), Materials: []string{}}
	for _, s := range st.Subject {
		if s.Digest["sha256"] == strings.TrimPrefix(digest, "sha256:") {
			v.Name = s.Name
		}
	}
	if v.Name == "" {
		return v, slipway.Errorf(slipway.Conflict, "the statement is about %s sha256:%s, not about %s", st.Subject[0].Name, st.Subject[0].Digest["sha256"], digest)
	}
	external := p.BuildDefinition.ExternalParameters.AsMap()
	str := func(name string) string { s, _ := external[name].(string); return s }
	v.Component, v.Version, v.Repository, v.Commit = str("component"), str("version"), str("repository"), str("commit")
	v.Unconfined, _ = p.BuildDefinition.InternalParameters.AsMap()["unconfined"].(bool)
	if t := p.RunDetails.GetMetadata().GetFinishedOn(); t != nil {
		v.Finished = t.AsTime()
	}
	for _, d := range p.BuildDefinition.ResolvedDependencies {
		line := d.Name
		switch {
		case d.Digest["sha256"] != "":
			line += " sha256:" + d.Digest["sha256"]
		case d.Digest["gitCommit"] != "":
			line += " git:" + d.Digest["gitCommit"]
		default:
			line += " " + d.Uri
		}
		v.Materials = append(v.Materials, line)
	}
	return v, nil
}
