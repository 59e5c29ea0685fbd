package server

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"slipway.dev/slipway/internal/overview"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/deploy/plan"
)

func (s *services) aboutVersion(ctx context.Context, id string) (overview.Item, error) {
	v, err := s.deploy.Version(ctx, id)
	if err != nil {
		return overview.Item{}, err
	}
	item := overview.Item{
		Kind: "version", Name: id, Product: v.Product, Title: "of " + v.Tag, Stage: "deploy", State: string(v.State), Reason: v.Reason, Since: v.Compiled,
		Facts:   facts("model", fmt.Sprintf("%s at %s", v.Model, short(v.Commit)), "nodes", strings.Join(v.Nodes, ", "), "took", took(v.Released, v.Finished)),
		Because: []string{slipway.Ref("release", v.Release)},
	}
	if v.Copy != "" {
		item.Because = append(item.Because, slipway.Ref("version", v.Copy))
	}
	return item, nil
}

func (s *services) aboutNode(ctx context.Context, name string) (overview.Item, error) {
	n, err := s.lab.Node(ctx, name)
	if err != nil {
		return overview.Item{}, err
	}
	item := overview.Item{
		Kind: "node", Name: name, Title: pairs(n.Labels), Stage: "lab", State: n.State, Reason: n.Reason, Since: n.JoinedAt,
		Facts: facts("last heard", n.LastSeen.UTC().Format(time.RFC3339), "leased to", n.Lease, "drained", n.Drained),
	}
	if n.Lease != "" {
		item.Links = append(item.Links, n.Lease)
	}
	products, err := s.deploy.Node(ctx, name)
	if err != nil {
		return item, err
	}
	if len(products) == 0 {
		item.Next = "no model asks anything of it; the labels of a configuration's nodes say which nodes it runs on"
	}
	for _, p := range products {
		item.Stage, item.Product = "deploy", p.State.Product
		item.Facts = append(item.Facts, facts("runs", p.State.Version+" "+string(p.State.Standing.State)+" "+p.State.Standing.Reason)...)
		for _, r := range p.Resources {
			item.Because = append(item.Because, slipway.Ref("resource", r.ID))
		}
		item.Because = append(item.Because, slipway.Ref("version", p.State.Version))
	}
	return item, nil
}

// aboutResource is one thing that is to be so on a node: NODE/TYPE[NAME].
func (s *services) aboutResource(ctx context.Context, id string) (overview.Item, error) {
	products, err := s.deploy.Node(ctx, plan.NodeOf(id))
	if err != nil {
		return overview.Item{}, err
	}
	for _, p := range products {
		for _, r := range p.Resources {
			if r.ID != id {
				continue
			}
			item := overview.Item{
				Kind: "resource", Name: id, Product: p.State.Product, Stage: "deploy", State: string(plan.Waiting), Reason: "nothing was reported yet",
				Facts: facts("model line", r.Position),
			}
			if r.Status != nil {
				item.State, item.Since = string(r.Status.State), r.Status.Finished
				item.Reason = cmp.Or(r.Status.Reason, "as the model wants it")
				for _, key := range sortedKeys(r.Status.Actual) {
					item.Facts = append(item.Facts, facts(key, r.Status.Actual[key])...)
				}
			}
			for _, need := range r.Requires {
				item.Because = append(item.Because, slipway.Ref("resource", need))
			}
			if r.Type == plan.TypeArtifact {
				attrs, err := plan.Attributes[plan.Artifact](r.Resource)
				if err != nil {
					return item, err
				}
				item.Title = attrs.Component + " " + attrs.Version
				configuration, err := s.configurationOf(ctx, p.Version.Release, attrs)
				if err != nil {
					return item, err
				}
				item.Because = append(item.Because, slipway.Ref("locked", p.Version.Release+"/"+configuration+"/"+attrs.Component))
			}
			item.Because = append(item.Because, slipway.Ref("version", p.State.Version))
			return item, nil
		}
	}
	return overview.Item{}, slipway.Errorf(slipway.NotFound, "no resource %q", id)
}

// configurationOf finds the manifest of a release that locks exactly these bytes.
func (s *services) configurationOf(ctx context.Context, release string, a plan.Artifact) (string, error) {
	r, err := s.release.Release(ctx, release)
	if err != nil {
		return "", err
	}
	for _, name := range sortedKeys(r.Manifests) {
		if r.Manifests[name].Components[a.Component].Artifact == a.Digest {
			return name, nil
		}
	}
	return "", nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func sortedValues(m map[string]string) []string { return slices.Sorted(maps.Values(m)) }

func pairs(m map[string]string) string {
	var out []string
	for _, k := range sortedKeys(m) {
		out = append(out, k+"="+m[k])
	}
	return strings.Join(out, " ")
}
