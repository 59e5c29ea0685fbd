package deploy

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/deploy/plan"
)

// node wakes what a node's coming or going concerns: the models, which may see it or its facts, and the products on it.
func (s *Service) node(ctx context.Context, node string) error {
	return s.store.Update(ctx, func(tx Tx) error {
		states, err := tx.NodeStates().Find(ctx, slipway.Query{Key: node})
		if err != nil {
			return err
		}
		for _, st := range states {
			if err := tx.Wake(ctx, kindRoll, st.Product, tx.Now()); err != nil {
				return err
			}
		}
		all, err := tx.Deployments().Find(ctx, slipway.Query{})
		if err != nil {
			return err
		}
		for _, d := range all {
			if err := tx.Wake(ctx, kindCompile, d.Product, tx.Now()); err != nil {
				return err
			}
		}
		return nil
	})
}

// roll judges the version in force from what the nodes reported, and pokes the nodes that have something to do.
func (s *Service) roll(ctx context.Context, product string) error {
	online, err := s.online(ctx)
	if err != nil {
		return err
	}
	var poke []string
	err = s.store.Update(ctx, func(tx Tx) error {
		poke = nil
		d, err := deploymentIn(ctx, tx, product)
		if err != nil || d.Current == "" {
			return err
		}
		v, err := tx.Versions().Get(ctx, d.Current)
		if err != nil {
			return err
		}
		states, err := tx.NodeStates().Find(ctx, slipway.Query{Product: product})
		if err != nil {
			return err
		}
		var standings []plan.Standing
		for _, st := range states {
			if st.Version != v.ID {
				continue // it has let go of everything
			}
			standing := st.Standing
			if !online[st.Node] {
				standing = plan.Offline(standing)
			}
			if standing.State != plan.Deployed && online[st.Node] {
				poke = append(poke, st.Node)
			}
			standings = append(standings, standing)
		}
		slices.SortFunc(standings, func(a, b plan.Standing) int { return strings.Compare(a.Node, b.Node) })
		verdict, reason := plan.Judge(standings)
		return s.judge(ctx, tx, v, verdict, reason)
	})
	for _, node := range poke {
		s.deps.Agents.Poke(node)
	}
	return err
}

// judge moves a version to where its nodes are.
func (s *Service) judge(ctx context.Context, tx Tx, v Version, verdict plan.State, reason string) error {
	was := v.State
	switch verdict {
	case plan.Deployed:
		v.State = Deployed
	case plan.Failed:
		v.State = Failed
	case plan.Deploying:
		v.State = Deploying
	default:
		if v.State != Released { // waiting, but begun: for a node to come back
			v.State = Deploying
		}
	}
	if v.State == was && v.Reason == reason {
		return nil
	}
	v.Reason = reason
	var news slipway.EventType
	switch {
	case v.State == Deployed && v.Finished.IsZero():
		v.Finished = tx.Now()
		news = slipway.VersionDeployed
	case v.State == Failed && was != Failed:
		news = VersionFailed
	}
	if err := tx.Versions().Put(ctx, v); err != nil {
		return err
	}
	if news == "" {
		return nil
	}
	if news == slipway.VersionDeployed {
		reason = fmt.Sprintf("%s, %s after it was released", reason, v.Finished.Sub(v.Released).Round(100_000_000))
	}
	return tx.Emit(ctx, slipway.Event{Type: news, Subject: slipway.Ref("version", v.ID), Product: v.Product, Actor: "deploy",
		Reason: reason, Links: []string{slipway.Ref("release", v.Release)}})
}
