package provenance

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	slsa "github.com/in-toto/attestation/go/predicates/provenance/v1"
	intoto "github.com/in-toto/attestation/go/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"slipway.dev/slipway/internal/slipway"
)

// What statements say. docs/guides/provenance.md explains the parameters of each type.
const (
	BuildType     = "https://slipway.dev/provenance/build/v1"
	PackageType   = "https://slipway.dev/provenance/package/v1"
	PredicateType = "https://slsa.dev/provenance/v1"
)

// Builder is who vouches for a statement.
type Builder struct {
	ID      string // URI of the instance
	Version string // of Slipway
}

// OfBuild is the statement about a build's output tree. It is a function of its arguments, to the byte.
func OfBuild(b Build, by Builder) ([]byte, error) {
	external := map[string]any{"component": b.Component, "repository": b.Repo, "commit": b.Commit, "path": b.Path, "version": b.Version}
	executor := map[string]any{"kind": b.Executor, "worker": b.Worker}
	internal := map[string]any{
		"action": b.Key, "command": anys(b.Command), "environment": anyMap(b.Environment), "timeout": b.Timeout.String(), "executor": executor,
	}
	if len(b.Outputs) > 0 {
		internal["outputs"] = anys(b.Outputs)
	}
	if len(b.Tools) > 0 {
		internal["tools"] = anys(b.Tools)
	}
	if len(b.Limits) > 0 {
		limits := map[string]any{}
		for name, n := range b.Limits {
			limits[name] = float64(n)
		}
		internal["limits"] = limits
	}
	if b.Unconfined {
		internal["unconfined"] = true
		by.ID += "#unconfined" // another level of trust is another builder
	}
	deps := []*intoto.ResourceDescriptor{
		{Name: "source", Uri: sourceURI(b.Repo, b.Commit, b.Path), Digest: map[string]string{"gitCommit": b.Commit}},
		{Name: "src", Digest: sha256Of(b.Source), MediaType: treeType},
	}
	for _, in := range b.Inputs {
		d := &intoto.ResourceDescriptor{Name: "deps/" + in.Component, Digest: sha256Of(in.Digest), MediaType: treeType}
		about := map[string]any{"component": in.Component}
		for name, v := range map[string]string{"version": in.Version, "commit": in.Commit, "action": in.Key, "build": in.Build} {
			if v != "" {
				about[name] = v
			}
		}
		if in.Build != "" {
			d.Uri = invocation(in.Build)
		}
		var err error
		if d.Annotations, err = structpb.NewStruct(about); err != nil {
			return nil, encodeError(err)
		}
		deps = append(deps, d)
	}
	if b.Extra != "" {
		deps = append(deps, &intoto.ResourceDescriptor{Name: "repo", Digest: sha256Of(b.Extra), MediaType: treeType})
	}
	if b.Root != "" {
		deps = append(deps, &intoto.ResourceDescriptor{Name: "root", Digest: sha256Of(b.Root), MediaType: treeType},
			&intoto.ResourceDescriptor{Name: "buildroot.lock", Digest: sha256Of(b.Lock), MediaType: "application/json"})
	}
	for _, it := range b.Buildroot {
		d := &intoto.ResourceDescriptor{Name: "root/" + it.Name, Uri: it.URI, Digest: sha256Of(it.Digest)}
		about := map[string]any{"kind": it.Kind}
		for name, v := range map[string]string{"version": it.Version, "arch": it.Arch, "at": it.At} {
			if v != "" {
				about[name] = v
			}
		}
		var err error
		if d.Annotations, err = structpb.NewStruct(about); err != nil {
			return nil, encodeError(err)
		}
		deps = append(deps, d)
	}
	if b.Host != "" {
		deps = append(deps, &intoto.ResourceDescriptor{Name: "host", Uri: "slipway:host/" + b.Host})
	}
	run := &slsa.RunDetails{
		Builder:  &slsa.Builder{Id: by.ID, Version: map[string]string{"slipway": by.Version}},
		Metadata: &slsa.BuildMetadata{InvocationId: invocation(b.ID), StartedOn: stamp(b.Started), FinishedOn: stamp(b.Finished)},
	}
	if b.Log != "" {
		run.Byproducts = []*intoto.ResourceDescriptor{{Name: "log", Digest: sha256Of(b.Log), MediaType: "text/plain"}}
	}
	subject := &intoto.ResourceDescriptor{Name: b.Component, Digest: sha256Of(b.Output), MediaType: treeType}
	return statement(subject, BuildType, external, internal, deps, run)
}

// OfPackage is the statement about a package file, made from the output tree of a build.
func OfPackage(p Package, by Builder) ([]byte, error) {
	external := map[string]any{"package": p.Name, "format": p.Format, "component": p.Component, "version": p.Version, "release": float64(p.Release),
		"repository": p.Repo, "commit": p.Commit, "path": p.Path}
	internal := map[string]any{"key": p.Key, "time": p.Time.UTC().Format(time.RFC3339)}
	if p.Signer != "" {
		internal["signer"] = p.Signer
	}
	about, err := structpb.NewStruct(map[string]any{"component": p.Component, "action": p.Build})
	if err != nil {
		return nil, encodeError(err)
	}
	deps := []*intoto.ResourceDescriptor{
		{Name: "out", Digest: sha256Of(p.Artifact), MediaType: treeType, Annotations: about},
		{Name: "source", Uri: sourceURI(p.Repo, p.Commit, p.Path), Digest: map[string]string{"gitCommit": p.Commit}},
	}
	run := &slsa.RunDetails{
		Builder:  &slsa.Builder{Id: by.ID, Version: map[string]string{"slipway": by.Version}},
		Metadata: &slsa.BuildMetadata{InvocationId: "slipway:compose/" + p.Compose},
	}
	return statement(&intoto.ResourceDescriptor{Name: p.File, Digest: sha256Of(p.Digest)}, PackageType, external, internal, deps, run)
}

// treeType is the media type of a tree's name: the digest is of a Directory message of the Remote Execution API.
const treeType = "application/vnd.slipway.tree.v1"

func statement(subject *intoto.ResourceDescriptor, kind string, external, internal map[string]any, deps []*intoto.ResourceDescriptor, run *slsa.RunDetails) ([]byte, error) {
	def := &slsa.BuildDefinition{BuildType: kind, ResolvedDependencies: deps}
	var err error
	if def.ExternalParameters, err = structpb.NewStruct(external); err != nil {
		return nil, encodeError(err)
	}
	if def.InternalParameters, err = structpb.NewStruct(internal); err != nil {
		return nil, encodeError(err)
	}
	text, err := protojson.Marshal(&slsa.Provenance{BuildDefinition: def, RunDetails: run})
	if err != nil {
		return nil, encodeError(err)
	}
	predicate := &structpb.Struct{}
	if err := protojson.Unmarshal(text, predicate); err != nil {
		return nil, encodeError(err)
	}
	st := &intoto.Statement{Type: intoto.StatementTypeUri, Subject: []*intoto.ResourceDescriptor{subject}, PredicateType: PredicateType, Predicate: predicate}
	if err := st.Validate(); err != nil {
		return nil, encodeError(err)
	}
	if text, err = protojson.Marshal(st); err != nil {
		return nil, encodeError(err)
	}
	// protojson varies its spaces on purpose; the standard library sorts keys and has none.
	var tree any
	if err := json.Unmarshal(text, &tree); err != nil {
		return nil, encodeError(err)
	}
	return json.Marshal(tree)
}

func encodeError(err error) error {
	return slipway.Errorf(slipway.Internal, "write a statement: %w", err)
}

func invocation(build string) string { return "slipway:build/" + build }

func sourceURI(repo, commit, path string) string {
	uri := "git+slipway:" + repo + "@" + commit
	if path != "" {
		uri += "#" + path
	}
	return uri
}

func sha256Of(digest string) map[string]string {
	if digest == "" {
		return nil
	}
	return map[string]string{"sha256": strings.TrimPrefix(digest, "sha256:")}
}

func stamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func anys(list []string) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = strings.ToValidUTF8(s, "\uFFFD")
	}
	return out
}

func anyMap(m map[string]string) map[string]any {
	out := map[string]any{}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out[k] = strings.ToValidUTF8(m[k], "\uFFFD")
	}
	return out
}
