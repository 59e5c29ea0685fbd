package deploy

import (
	"context"
	"fmt"
	"slices"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/deploy/plan"
)

// Release puts a compiled version in force. A version older than the one in force is a Conflict: the way back is
// [Service.Rollback].
func (s *Service) Release(ctx context.Context, id, actor string) (v Version, err error) {
	err = s.store.Update(ctx, func(tx Tx) error {
		if err := putInForce(ctx, tx, id, actor, "released by "+actor); err != nil {
			return err
		}
		v, err = tx.Versions().Get(ctx, id)
		return err
	})
	return v, err
}

// putInForce makes a version the one that the nodes are to have.
func putInForce(ctx context.Context, tx Tx, id, actor, reason string) error {
	v, err := tx.Versions().Get(ctx, id)
	if err != nil {
		return err
	}
	d, err := deploymentIn(ctx, tx, v.Product)
	if err != nil {
		return err
	}
	if d.Current == v.ID {
		return nil // again is harmless
	}
	if v.State != Compiled {
		return slipway.Errorf(slipway.Conflict, "version %s is %s", v.ID, v.State).
			Try("to go back to it: slipway deploy rollback " + v.Product + " --to " + v.ID)
	}
	err = unclaimed(ctx, tx, v.Product, v.Nodes, func(node string) ([]plan.Resource, error) {
		slice, err := tx.Slices().Get(ctx, v.ID+"/"+node)
		return slice.Resources, err
	})
	if err != nil {
		return err
	}
	if err := supersede(ctx, tx, d, v); err != nil {
		return err
	}
	v.State, v.Reason, v.Released, v.By = Released, reason+"; no node has taken it up yet", tx.Now(), actor
	states, err := tx.NodeStates().Find(ctx, slipway.Query{Product: v.Product})
	if err != nil {
		return err
	}
	known := map[string]NodeState{}
	v.Leaving = nil
	for _, st := range states {
		known[st.Node] = st
		if slices.Contains(v.Nodes, st.Node) {
			continue
		}
		if st.Standing.State == plan.Deployed && len(st.Statuses) == 0 { // it has let go of everything
			continue
		}
		v.Leaving = append(v.Leaving, st.Node)
		if err := tx.Slices().Put(ctx, newSlice(v, st.Node, nil)); err != nil {
			return err
		}
	}
	for _, node := range slices.Concat(v.Nodes, v.Leaving) {
		slice, err := tx.Slices().Get(ctx, v.ID+"/"+node)
		if err != nil {
			return err
		}
		st := known[node]
		st.Product, st.Node, st.Version, st.Epoch, st.Digest = v.Product, node, v.ID, v.Number, slice.Digest
		st.External = external(slice)
		st.Standing = plan.Stand(plan.Node{Name: node, Online: true, Desired: slice.Resources})
		if err := tx.NodeStates().Put(ctx, st); err != nil {
			return err
		}
	}
	d.Previous, d.Current = d.Current, v.ID
	if err := tx.Deployments().Put(ctx, d); err != nil {
		return err
	}
	if err := tx.Versions().Put(ctx, v); err != nil {
		return err
	}
	return tx.Emit(ctx, slipway.Event{Type: slipway.VersionReleased, Subject: slipway.Ref("version", v.ID), Product: v.Product, Actor: actor,
		Reason: reason, Links: []string{slipway.Ref("release", v.Release)}})
}

// supersede ends the version in force and those that will never be.
func supersede(ctx context.Context, tx Tx, d Deployment, by Version) error {
	old, err := tx.Versions().Find(ctx, slipway.Query{Product: by.Product, States: []string{string(Compiled), string(Released), string(Deploying), string(Deployed), string(Failed)}})
	if err != nil {
		return err
	}
	for _, v := range old {
		if v.ID == by.ID {
			continue
		}
		if v.Number > by.Number {
			if v.ID == d.Current {
				return slipway.Errorf(slipway.Conflict, "version %s is older than %s, which is in force", by.ID, v.ID).
					Try("to go back to it: slipway deploy rollback " + v.Product + " --to " + by.ID)
			}
			continue // compiled, and may be released later
		}
		v.Reason = fmt.Sprintf("was %s; %s is in force", v.State, by.ID)
		v.State = Superseded
		if err := tx.Versions().Put(ctx, v); err != nil {
			return err
		}
	}
	return nil
}

// external reports whether a slice requires something of another node.
func external(s Slice) bool {
	for _, r := range s.Resources {
		for _, id := range r.Requires {
			if plan.NodeOf(id) != s.Node {
				return true
			}
		}
	}
	return false
}

// Rollback puts an older version's resources in force again, as a new version. An empty to means the newest older one
// that had been deployed everywhere and asked for something else. Nodes that the old version did not know keep what they have until the old
// release's model is compiled for them, which follows at once. The product is held at that release until a newer one arrives.
func (s *Service) Rollback(ctx context.Context, product, to, actor, reason string) (v Version, err error) {
	latest, err := s.deps.Releases.Latest(ctx, product)
	if err != nil {
		return v, err
	}
	err = s.store.Update(ctx, func(tx Tx) error {
		d, err := tx.Deployments().Get(ctx, product)
		if err != nil {
			return err
		}
		if d.Current == "" {
			return slipway.Errorf(slipway.Conflict, "product %s has no version in force", product)
		}
		current, err := tx.Versions().Get(ctx, d.Current)
		if err != nil {
			return err
		}
		old, err := rollbackTarget(ctx, tx, current, to)
		if err != nil {
			return err
		}
		v = old
		v.Copy, v.State, v.Compiled, v.Finished = old.ID, Compiled, tx.Now(), time.Time{}
		if old.Copy != "" {
			v.Copy = old.Copy
		}
		if v.Number, err = nextNumber(ctx, tx, d); err != nil {
			return err
		}
		v.ID, v.Leaving, v.Output = versionID(product, v.Number), nil, nil
		if err := copySlices(ctx, tx, &v, old, current); err != nil {
			return err
		}
		d.Newest, d.Held, d.HeldOver = v.ID, old.Release, latest.ID
		if err := tx.Versions().Put(ctx, v); err != nil {
			return err
		}
		if err := tx.Deployments().Put(ctx, d); err != nil {
			return err
		}
		why := fmt.Sprintf("rolled back from %s to %s by %s", current.ID, old.ID, actor)
		if reason != "" {
			why += ": " + reason
		}
		if err := putInForce(ctx, tx, v.ID, actor, why); err != nil {
			return err
		}
		if v, err = tx.Versions().Get(ctx, v.ID); err != nil {
			return err
		}
		return tx.Wake(ctx, kindCompile, product, tx.Now())
	})
	return v, err
}

// rollbackTarget finds the version to go back to.
func rollbackTarget(ctx context.Context, tx Tx, current Version, to string) (Version, error) {
	if to != "" {
		old, err := tx.Versions().Get(ctx, to)
		switch {
		case err != nil:
			return old, err
		case old.Product != current.Product:
			return old, slipway.Errorf(slipway.Invalid, "version %s is of product %s", to, old.Product)
		case old.ID == current.ID:
			return old, slipway.Errorf(slipway.Conflict, "version %s is in force already", to)
		}
		return old, nil
	}
	all, err := tx.Versions().Find(ctx, slipway.Query{Product: current.Product, States: []string{string(Superseded)}, Newest: true})
	if err != nil {
		return Version{}, err
	}
	for _, old := range all {
		if old.Number < current.Number && !old.Finished.IsZero() && old.Digest != current.Digest && old.ID != current.Copy {
			return old, nil
		}
	}
	return Version{}, slipway.Errorf(slipway.Conflict, "no version before %s had been deployed everywhere", current.ID).
		Try("name one with --to; slipway deploy list " + current.Product + " shows them")
}

// copySlices gives v the resources of old, and to nodes that old did not know those that they have now.
func copySlices(ctx context.Context, tx Tx, v *Version, old, current Version) error {
	for _, node := range old.Nodes {
		slice, err := tx.Slices().Get(ctx, old.ID+"/"+node)
		if err != nil {
			return err
		}
		if err := tx.Slices().Put(ctx, newSlice(*v, node, slice.Resources)); err != nil {
			return err
		}
	}
	for _, node := range current.Nodes {
		if slices.Contains(old.Nodes, node) {
			continue
		}
		slice, err := tx.Slices().Get(ctx, current.ID+"/"+node)
		if err != nil {
			return err
		}
		if err := tx.Slices().Put(ctx, newSlice(*v, node, slice.Resources)); err != nil {
			return err
		}
		v.Nodes = append(slices.Clone(v.Nodes), node)
		v.Resources += len(slice.Resources)
		v.Digest = "" // a mixture: the recompile makes it whole
	}
	slices.Sort(v.Nodes)
	return nil
}
