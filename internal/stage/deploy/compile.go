package deploy

import (
	"context"
	"fmt"
	"strings"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/deploy/model"
	"slipway.dev/slipway/internal/stage/deploy/plan"
)

// compile brings a product's newest version up to its release, model and nodes.
func (s *Service) compile(ctx context.Context, product string) error {
	release, err := s.target(ctx, product)
	if slipway.Is(err, slipway.NotFound) {
		return nil // nothing was released yet
	}
	if err != nil {
		return err
	}
	compose, err := s.deps.Composes.ComposeOf(ctx, release.ID)
	if err != nil && !slipway.Is(err, slipway.NotFound) {
		return err
	}
	switch {
	case err != nil || compose.State != "finished" && compose.State != "failed":
		return s.attempt(ctx, product, Attempt{Release: release.ID, State: AttemptWaiting, Reason: "the compose of " + release.Tag + " is not finished"})
	case compose.State == "failed":
		return s.attempt(ctx, product, Attempt{Release: release.ID, State: AttemptBlocked,
			Reason: fmt.Sprintf("the compose %s failed: %s", compose.ID, compose.Reason)})
	}
	repo, _ := slipway.Integration(product)
	read := func(path string) ([]byte, error) { return s.deps.Files.File(ctx, repo, release.Commit, path) }
	data, err := read(spec.ProductFile)
	var file spec.Product
	if err == nil {
		file, err = spec.ParseProduct(data, spec.ProductFile)
	}
	if err == nil && file.Deploy.Model == "" {
		return s.attempt(ctx, product, Attempt{Release: release.ID, State: AttemptNone, Reason: spec.ProductFile + " names no deploy.model"})
	}
	var result model.Result
	if err == nil {
		nodes, nodesErr := s.deps.Nodes.Nodes(ctx)
		if nodesErr != nil {
			return fmt.Errorf("list nodes: %w", nodesErr)
		}
		result, err = model.Compile(model.Input{File: file.Deploy.Model, Read: read, Product: file, Release: release, Nodes: nodes,
			ComposeID: compose.ID, ComposeURL: strings.TrimSuffix(compose.URL, "/"), ComposeKey: compose.Key})
	}
	if err == nil {
		err = s.store.View(ctx, func(tx Tx) error {
			return unclaimed(ctx, tx, product, result.Nodes, func(node string) ([]plan.Resource, error) { return result.Resources[node], nil })
		})
	}
	if slipway.Is(err, slipway.Invalid) || slipway.Is(err, slipway.NotFound) { // it will fail again: people must mend it
		return s.attempt(ctx, product, Attempt{Release: release.ID, State: AttemptBroken, Reason: err.Error()})
	}
	if err != nil {
		return err
	}
	return s.keep(ctx, release, compose, file, result)
}

// unclaimed refuses resources that the version in force of another product, or of another branch of this one, has otherwise on the same node:
// the two would undo each other's work for ever.
func unclaimed(ctx context.Context, tx Tx, product string, nodes []string, resources func(node string) ([]plan.Resource, error)) error {
	others, err := tx.Deployments().Find(ctx, slipway.Query{})
	if err != nil {
		return err
	}
	for _, other := range others {
		if other.Product == product || other.Current == "" {
			continue
		}
		for _, node := range nodes {
			theirs, err := tx.Slices().Get(ctx, other.Current+"/"+node)
			if slipway.Is(err, slipway.NotFound) {
				continue
			}
			if err != nil {
				return err
			}
			ours, err := resources(node)
			if err != nil {
				return err
			}
			hashes := make(map[string]string, len(theirs.Resources))
			for _, r := range theirs.Resources {
				hashes[r.ID] = r.Hash
			}
			for _, r := range ours {
				if hash, there := hashes[r.ID]; there && hash != r.Hash {
					return slipway.Errorf(slipway.Invalid, "%s is there already, and otherwise: the version %s of %s asks for it", r.ID, other.Current, other.Product).
						At(r.Position).Try("give the two different nodes (nodes: of a configuration), or leave it to one of them")
				}
			}
		}
	}
	return nil
}

// target is the release to compile: the newest, or the one that a rollback holds the product at.
func (s *Service) target(ctx context.Context, product string) (slipway.Release, error) {
	latest, err := s.deps.Releases.Latest(ctx, product)
	if err != nil {
		return latest, err
	}
	d, err := s.deployment(ctx, product)
	if err == nil && d.Held != "" && d.HeldOver == latest.ID {
		return s.deps.Releases.Release(ctx, d.Held)
	}
	return latest, err
}

// deployment returns a product's deployment; an empty one when there is none yet.
func (s *Service) deployment(ctx context.Context, product string) (d Deployment, err error) {
	err = s.store.View(ctx, func(tx Tx) error {
		d, err = deploymentIn(ctx, tx, product)
		return err
	})
	return d, err
}

func deploymentIn(ctx context.Context, tx Tx, product string) (Deployment, error) {
	d, err := tx.Deployments().Get(ctx, product)
	if slipway.Is(err, slipway.NotFound) {
		return Deployment{Product: product}, nil
	}
	return d, err
}

// attempt records a try that made no version.
func (s *Service) attempt(ctx context.Context, product string, a Attempt) error {
	return s.store.Update(ctx, func(tx Tx) error {
		d, err := deploymentIn(ctx, tx, product)
		if err != nil {
			return err
		}
		if d.Attempt.Release == a.Release && d.Attempt.State == a.State && d.Attempt.Reason == a.Reason {
			return nil
		}
		a.Time = tx.Now()
		d.Attempt = a
		if err := tx.Deployments().Put(ctx, d); err != nil {
			return err
		}
		kind := map[AttemptState]slipway.EventType{AttemptBroken: slipway.ModelBroken, AttemptBlocked: ModelBlocked}[a.State]
		if kind == "" {
			return nil // waiting is not news, and a product without a model is none
		}
		reason := a.Reason
		if d.Current != "" {
			reason += "; " + d.Current + " stays in force"
		}
		return tx.Emit(ctx, slipway.Event{Type: kind, Subject: slipway.Ref("product", product), Product: product,
			Actor: "deploy", Reason: reason, Links: []string{slipway.Ref("release", a.Release)}})
	})
}

// keep stores a compiled model as a new version, unless the newest one asks for the same, and releases it by policy.
func (s *Service) keep(ctx context.Context, release slipway.Release, compose ComposeStatus, file spec.Product, result model.Result) error {
	return s.store.Update(ctx, func(tx Tx) error {
		d, err := deploymentIn(ctx, tx, release.Product)
		if err != nil {
			return err
		}
		d.Attempt = Attempt{Release: release.ID, State: AttemptDone, Time: tx.Now()}
		if d.Newest != "" {
			newest, err := tx.Versions().Get(ctx, d.Newest)
			if err != nil {
				return err
			}
			if newest.Digest == result.Digest && newest.Release == release.ID {
				d.Attempt.Reason = "as " + newest.ID
				return tx.Deployments().Put(ctx, d)
			}
		}
		v := Version{
			Product: release.Product, Release: release.ID, Tag: release.Tag, Commit: release.Commit, Model: file.Deploy.Model,
			Files: result.Files, Compose: compose.ID, State: Compiled, Reason: "waits for somebody to release it (slipway deploy release)",
			Nodes: result.Nodes, Resources: result.Total, Digest: result.Digest, Compiled: tx.Now(), Output: result.Output,
		}
		if v.Number, err = nextNumber(ctx, tx, d); err != nil {
			return err
		}
		v.ID = versionID(v.Product, v.Number)
		d.Newest, d.Attempt.Reason = v.ID, "as "+v.ID
		if d.HeldOver != "" && d.Held != release.ID {
			d.Held, d.HeldOver = "", "" // a newer release has arrived
		}
		for _, node := range v.Nodes {
			if err := tx.Slices().Put(ctx, newSlice(v, node, result.Resources[node])); err != nil {
				return err
			}
		}
		if err := tx.Versions().Put(ctx, v); err != nil {
			return err
		}
		if err := tx.Deployments().Put(ctx, d); err != nil {
			return err
		}
		err = tx.Emit(ctx, slipway.Event{Type: slipway.ModelCompiled, Subject: slipway.Ref("version", v.ID), Product: v.Product, Actor: "deploy",
			Reason: fmt.Sprintf("%s of %s asks for %d resources on %d nodes", v.Model, v.Tag, v.Resources, len(v.Nodes)),
			Links:  []string{slipway.Ref("release", v.Release), slipway.Ref("compose", v.Compose)}})
		if err != nil {
			return err
		}
		if file.Deploy.Automatic != nil && !*file.Deploy.Automatic {
			return nil
		}
		return putInForce(ctx, tx, v.ID, "deploy", "released by itself, as product.yaml says")
	})
}

// nextNumber takes a version's number: higher than any that an agent has been seen with, also after a database was
// restored from an older copy.
func nextNumber(ctx context.Context, tx Tx, d Deployment) (int64, error) {
	for {
		n, err := tx.Next(ctx, "version/"+d.Product)
		if err != nil || n > d.Highest {
			return n, err
		}
	}
}

func newSlice(v Version, node string, resources []plan.Resource) Slice {
	return Slice{ID: v.ID + "/" + node, Product: v.Product, Version: v.ID, Node: node, Digest: plan.Digest(resources), Resources: resources}
}
