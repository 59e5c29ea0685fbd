package server

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"slices"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/provenance"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build"
	"slipway.dev/slipway/internal/stage/build/buildroot"
	"slipway.dev/slipway/internal/stage/compose"
	"slipway.dev/slipway/internal/stage/release"
)

// attested tells provenance what builds and composes know.
type attested struct {
	builds   *build.Service
	composes *compose.Service
	releases *release.Service

	artifacts artifact.Opener
	executor  string // "local", or the address of a Remote Execution cluster
}

// Attestable implements provenance.Builds.
func (a attested) Attestable(ctx context.Context, id string) (provenance.Build, bool, error) {
	b, err := a.builds.Build(ctx, id)
	if slipway.Is(err, slipway.NotFound) {
		return provenance.Build{}, false, nil
	}
	if err != nil || b.State != build.Done || b.Outcome != slipway.Pass || b.Check != "" || b.Output == "" {
		return provenance.Build{}, false, err
	}
	out := provenance.Build{
		ID: b.ID, Key: b.Key, Product: b.Product, Component: b.Component, Repo: b.Repo, Path: b.Path, Version: b.Version, Commit: b.Commit,
		Output: b.Output, Source: b.Source, Log: b.Log,
		Command: []string{"sh", "-eu", "-c", b.Run.Script}, Environment: b.Run.Env, Timeout: b.Run.Timeout, Outputs: b.Run.Outputs, Tools: b.Run.Tools,
		Host: b.Host, Executor: a.executor, Worker: b.Worker, Unconfined: b.Unconfined, Extra: b.Extra, Root: b.Root, Lock: b.Lock,
		Started: b.Started, Finished: b.Finished,
	}
	if out.Buildroot, err = a.buildroot(ctx, b.Lock); err != nil {
		return provenance.Build{}, false, err
	}
	for _, need := range slices.Sorted(maps.Keys(b.Inputs)) {
		in := provenance.Input{Component: need, Digest: b.Inputs[need]}
		maker, ok, err := a.maker(ctx, b, need)
		if err != nil {
			return provenance.Build{}, false, err
		}
		if ok {
			in.Build, in.Key, in.Version, in.Commit = maker.ID, maker.Key, maker.Version, maker.Commit
		}
		out.Inputs = append(out.Inputs, in)
	}
	return out, true, nil
}

// maker finds the build that made what b took for a need: the waves that b belongs to name it.
func (a attested) maker(ctx context.Context, b build.Build, need string) (build.Build, bool, error) {
	for _, id := range b.Waves {
		c, err := a.builds.Part(ctx, id, need)
		if slipway.Is(err, slipway.NotFound) {
			continue
		}
		if err != nil {
			return build.Build{}, false, err
		}
		if c.Build == "" || c.Artifact != b.Inputs[need] {
			continue
		}
		maker, err := a.builds.Build(ctx, c.Build)
		if slipway.Is(err, slipway.NotFound) {
			continue
		}
		return maker, err == nil, err
	}
	return build.Build{}, false, nil
}

// maxLock bounds a buildroot's lock, in bytes.
const maxLock = 64 << 20

// buildroot reads what a buildroot was made of. A lock that is no longer in the store tells nothing.
func (a attested) buildroot(ctx context.Context, lock string) ([]provenance.Item, error) {
	if lock == "" {
		return nil, nil
	}
	r, err := a.artifacts.Open(ctx, lock)
	if slipway.Is(err, slipway.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var l buildroot.Lock
	if err := json.NewDecoder(io.LimitReader(r, maxLock)).Decode(&l); err != nil {
		return nil, slipway.Errorf(slipway.Internal, "the lock %s cannot be read: %w", lock, err)
	}
	var items []provenance.Item
	for _, it := range l.Items {
		items = append(items, provenance.Item{Name: it.Name, Version: it.Version, Kind: it.Kind, Digest: it.Digest, At: it.At, URI: it.From})
	}
	return items, nil
}

// ComposePackages implements provenance.Composes.
func (a attested) ComposePackages(ctx context.Context, id string) ([]provenance.Package, error) {
	c, packages, err := a.composes.Packages(ctx, id)
	if err != nil {
		return nil, err
	}
	rel, err := a.releases.Release(ctx, id)
	if err != nil {
		return nil, err
	}
	var out []provenance.Package
	for _, p := range packages {
		var from slipway.Locked
		for _, conf := range slices.Sorted(maps.Keys(rel.Manifests)) {
			if l := rel.Manifests[conf].Components[p.Component]; l.Artifact == p.Artifact {
				from = l
				break
			}
		}
		for _, format := range slices.Sorted(maps.Keys(p.Files)) {
			f := p.Files[format]
			out = append(out, provenance.Package{
				Key: p.Key, Product: p.Product, Name: p.Name, Version: p.Version, Release: p.Release, Format: format, File: f.Name, Digest: f.Digest,
				Component: p.Component, Artifact: p.Artifact, Repo: from.Repo, Commit: from.Commit, Path: from.Path, Build: from.Build,
				Compose: p.First, Signer: c.Signed, Time: p.Time,
			})
		}
	}
	return out, nil
}
