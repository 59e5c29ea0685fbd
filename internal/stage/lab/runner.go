package lab

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"slipway.dev/slipway/internal/platform/jobs"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/lab/plan"
)

const (
	kindSchedule   = "lab.schedule" // one key: gives waiting experiments their nodes
	kindExperiment = "lab.experiment"
	kindNode       = "lab.node"

	scheduleKey = "all"
)

// Handlers are the lab's reconcilers.
func (s *Service) Handlers() []jobs.Handler {
	return []jobs.Handler{
		{Kind: kindSchedule, Do: func(ctx context.Context, _ string) error { return s.schedule(ctx) }},
		{Kind: kindExperiment, Slots: 2, Do: s.reconcile},
		{Kind: kindNode, Slots: 2, Do: s.watch},
	}
}

// schedule gives waiting experiments their nodes, in one transaction: nobody else can give a node away meanwhile.
func (s *Service) schedule(ctx context.Context) error {
	var pokes []string
	err := s.store.Update(ctx, func(tx Tx) error {
		pokes = nil
		waiting, err := tx.Experiments().Find(ctx, slipway.Query{States: []string{Queued}})
		if err != nil || len(waiting) == 0 {
			return err
		}
		active, err := tx.Experiments().Find(ctx, slipway.Query{States: []string{Reserved, Running, Cleaning}})
		if err != nil {
			return err
		}
		nodes, err := tx.Nodes().Find(ctx, slipway.Query{})
		if err != nil {
			return err
		}
		leases, err := tx.Leases().Find(ctx, slipway.Query{})
		if err != nil {
			return err
		}
		p := plan.Place(s.snapshot(nodes, leases, waiting, active, tx.Now()))
		byRef := map[string]Experiment{}
		for _, e := range waiting {
			byRef[e.Ref()] = e
		}
		for _, a := range p.Assign {
			e, err := s.reserve(ctx, tx, byRef[a.ID], a.Roles, nodes)
			if err != nil {
				return err
			}
			pokes = append(pokes, e.Status().Nodes...)
		}
		for _, w := range p.Waits {
			e := byRef[w.ID]
			reason := w.Reason
			if n := len(e.Past); n > 0 {
				reason += fmt.Sprintf(" (attempt %d: %s)", e.Past[n-1].Number, e.Past[n-1].Reason)
			}
			if e.Reason == reason {
				continue
			}
			e.Reason = reason
			if err := tx.Experiments().Put(ctx, e); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		s.poke(pokes)
	}
	return err
}

func (s *Service) snapshot(nodes []Node, leases []Lease, waiting, active []Experiment, now time.Time) plan.Snapshot {
	var snap plan.Snapshot
	running := map[string]Experiment{}
	for _, e := range active {
		running[e.Request.ID] = e
	}
	held := map[string]string{}
	for _, l := range leases {
		held[l.Node] = l.Experiment
	}
	for _, n := range nodes {
		p := plan.Node{Name: n.Name, Labels: n.Labels, Suspect: n.Suspect != ""}
		switch {
		case n.Drained != "":
			p.Out = "drained: " + n.Drained
		case n.State != NodeOnline:
			p.Out = "offline: " + n.Reason
		}
		if id := held[n.Name]; id != "" {
			p.Holder, p.Busy = running[id].Ref(), s.cfg.remaining(running[id], now)
		}
		snap.Nodes = append(snap.Nodes, p)
	}
	for _, e := range waiting {
		snap.Requests = append(snap.Requests, request(e, s.cfg))
	}
	return snap
}

// reserve leases the nodes to the next attempt of e.
func (s *Service) reserve(ctx context.Context, tx Tx, e Experiment, roles map[string][]string, nodes []Node) (Experiment, error) {
	e.Attempt++
	e.State, e.Since, e.Members = Reserved, tx.Now(), nil
	for role, names := range roles {
		for _, name := range names {
			l, err := lease(ctx, tx, name)
			if err != nil {
				return e, err
			}
			if l.Experiment != "" {
				return e, slipway.Errorf(slipway.Internal, "node %s was planned for %s while leased to %s", name, e.Ref(), l.Experiment)
			}
			l.Epoch++
			l.Experiment, l.Assignment, l.Until = e.Request.ID, AssignmentID(e.Number, e.Attempt, name), tx.Now().Add(s.cfg.LeaseTTL)
			if err := tx.Leases().Put(ctx, l); err != nil {
				return e, err
			}
			i := slices.IndexFunc(nodes, func(n Node) bool { return n.Name == name })
			e.Members = append(e.Members, Member{Node: name, Role: role, Address: nodes[i].Facts["address"], Epoch: l.Epoch, Assignment: l.Assignment, State: MemberPreparing})
			ev := slipway.Event{Type: slipway.LeaseGranted, Subject: slipway.Ref("node", name), Product: e.Request.Product, Links: []string{e.Ref()},
				Reason: fmt.Sprintf("role %s of %s, epoch %d", role, e.Ref(), l.Epoch)}
			if err := tx.Emit(ctx, ev); err != nil {
				return e, err
			}
		}
	}
	e.Members = byRole(e.Members)
	e.Reason = "artifacts go to " + strings.Join(e.Status().Nodes, ", ")
	if err := tx.Experiments().Put(ctx, e); err != nil {
		return e, err
	}
	return e, tx.Wake(ctx, kindExperiment, e.Request.ID, tx.Now().Add(min(s.cfg.ReserveTimeout, s.cfg.LeaseTTL)))
}

// reconcile looks at one experiment's deadlines and leases.
func (s *Service) reconcile(ctx context.Context, id string) error {
	var pokes []string
	err := s.store.Update(ctx, func(tx Tx) error {
		e, err := tx.Experiments().Get(ctx, id)
		if slipway.Is(err, slipway.NotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		pokes, err = s.advance(ctx, tx, e)
		return err
	})
	if err == nil {
		s.poke(pokes)
	}
	return err
}

// advance decides about e, which may already differ from what is stored, and writes everything that follows. It
// returns the nodes whose orders may have changed.
func (s *Service) advance(ctx context.Context, tx Tx, e Experiment) ([]string, error) {
	stored, err := tx.Experiments().Get(ctx, e.Request.ID)
	if err != nil {
		return nil, err
	}
	sit, err := s.situation(ctx, tx, e)
	if err != nil {
		return nil, err
	}
	next, look := decide(e, sit)
	if !look.IsZero() {
		if err := tx.Wake(ctx, kindExperiment, e.Request.ID, later(look, tx.Now())); err != nil {
			return nil, err
		}
	}
	if reflect.DeepEqual(stored, next) {
		return nil, nil
	}
	if err := tx.Experiments().Put(ctx, next); err != nil {
		return nil, err
	}
	if next.Started != stored.Started {
		if err := tx.Emit(ctx, next.event(slipway.ExperimentStarted, "")); err != nil {
			return nil, err
		}
	}
	// A lease ends as soon as its own node is clean or given up, though others may still clean.
	members := next.Members
	if next.State == Queued && len(next.Past) > len(stored.Past) {
		members = next.Past[len(next.Past)-1].Members
	}
	for _, m := range members {
		if m.State != MemberClean && m.State != MemberLost && next.State != Done {
			continue
		}
		if err := s.release(ctx, tx, next, m); err != nil {
			return nil, err
		}
	}
	if next.State != stored.State && (next.State == Queued || next.State == Done) {
		if err := tx.Wake(ctx, kindSchedule, scheduleKey, time.Time{}); err != nil {
			return nil, err
		}
	}
	if next.State == Done && stored.State != Done {
		if err := tx.Emit(ctx, next.event(slipway.ExperimentFinished, "")); err != nil {
			return nil, err
		}
	}
	if next.State == Queued && stored.State != Queued {
		if err := tx.Wake(ctx, kindExperiment, e.Request.ID, tx.Now().Add(s.cfg.QueueTimeout)); err != nil {
			return nil, err
		}
	}
	var pokes []string
	for _, m := range members {
		if m.State != MemberLost {
			pokes = append(pokes, m.Node)
		}
	}
	return pokes, nil
}

// release ends a member's lease, if it is still its.
func (s *Service) release(ctx context.Context, tx Tx, e Experiment, m Member) error {
	l, err := lease(ctx, tx, m.Node)
	if err != nil || l.Assignment != m.Assignment || l.Epoch != m.Epoch || l.Experiment == "" {
		return err
	}
	l.Experiment, l.Assignment = "", ""
	if err := tx.Leases().Put(ctx, l); err != nil {
		return err
	}
	reason := "clean again after " + e.Ref()
	if m.State == MemberLost {
		reason = m.Reason
	}
	n, err := tx.Nodes().Get(ctx, m.Node)
	if err == nil && n.Suspect != unsound(e, m) {
		n.Suspect = unsound(e, m)
		err = tx.Nodes().Put(ctx, n)
	}
	if err != nil && !slipway.Is(err, slipway.NotFound) {
		return err
	}
	if err := tx.Wake(ctx, kindSchedule, scheduleKey, time.Time{}); err != nil {
		return err
	}
	return tx.Emit(ctx, slipway.Event{Type: slipway.LeaseEnded, Subject: slipway.Ref("node", m.Node), Product: e.Request.Product, Links: []string{e.Ref()}, Reason: reason})
}

func (s *Service) situation(ctx context.Context, tx Tx, e Experiment) (situation, error) {
	sit := situation{Now: tx.Now(), Listening: s.since(), Leases: map[string]Lease{}, LastSeen: map[string]time.Time{}, Config: s.cfg}
	for _, m := range e.Members {
		l, err := lease(ctx, tx, m.Node)
		if err != nil {
			return sit, err
		}
		sit.Leases[m.Node] = l
		n, err := tx.Nodes().Get(ctx, m.Node)
		if err != nil && !slipway.Is(err, slipway.NotFound) {
			return sit, err
		}
		sit.LastSeen[m.Node] = n.LastSeen
	}
	return sit, nil
}

// watch sees whether a node is still heard.
func (s *Service) watch(ctx context.Context, name string) error {
	return s.store.Update(ctx, func(tx Tx) error {
		n, err := tx.Nodes().Get(ctx, name)
		if slipway.Is(err, slipway.NotFound) || err == nil && n.State != NodeOnline {
			return nil
		}
		if err != nil {
			return err
		}
		silentAt := later(n.LastSeen, s.since()).Add(s.cfg.OfflineAfter)
		if tx.Now().Before(silentAt) {
			return tx.Wake(ctx, kindNode, name, silentAt)
		}
		n.State, n.Reason = NodeOffline, "not heard since "+clockTime(n.LastSeen)
		if err := tx.Nodes().Put(ctx, n); err != nil {
			return err
		}
		return tx.Emit(ctx, slipway.Event{Type: slipway.NodeOffline, Subject: slipway.Ref("node", name), Reason: n.Reason})
	})
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
