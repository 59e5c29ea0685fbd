package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"slipway.dev/slipway/internal/slipway"
)

// seenEvery is how often a node's LastSeen is written: often enough against OfflineAfter, rarely enough for the disk.
const seenEvery = 3 * time.Second

// Heard notes that a node's agent is there, with what it says of its node.
func (s *Service) Heard(ctx context.Context, name string, labels, facts map[string]string) error {
	current := func(tx Tx) (Node, bool, error) {
		n, err := tx.Nodes().Get(ctx, name)
		if err != nil {
			return n, false, err
		}
		want := merged(labels, n.Fixed)
		same := n.State == NodeOnline && tx.Now().Sub(n.LastSeen) < seenEvery && maps.Equal(n.Labels, want) && maps.Equal(n.Facts, facts)
		n.Labels, n.Facts = want, merged(facts)
		return n, same, nil
	}
	var same bool
	if err := s.store.View(ctx, func(tx Tx) (err error) {
		_, same, err = current(tx)
		return err
	}); err != nil || same {
		return err
	}
	return s.store.Update(ctx, func(tx Tx) error {
		n, same, err := current(tx)
		if err != nil || same {
			return err
		}
		n.LastSeen = tx.Now()
		if n.State != NodeOnline {
			n.State, n.Reason = NodeOnline, "heard at "+clockTime(tx.Now())
			if err := tx.Emit(ctx, slipway.Event{Type: slipway.NodeOnline, Subject: slipway.Ref("node", name), Actor: "node/" + name, Reason: n.Reason}); err != nil {
				return err
			}
			if err := tx.Wake(ctx, kindNode, name, tx.Now().Add(s.cfg.OfflineAfter)); err != nil {
				return err
			}
			if err := tx.Wake(ctx, kindSchedule, scheduleKey, time.Time{}); err != nil {
				return err
			}
		}
		return tx.Nodes().Put(ctx, n)
	})
}

// Sync takes a report of the named node's executor and answers with its orders. It is the "lab" module of the agents'
// protocol; both sides of the JSON are in wire.go.
func (s *Service) Sync(ctx context.Context, node string, raw json.RawMessage) (json.RawMessage, error) {
	var report Report
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &report); err != nil {
			return nil, slipway.Errorf(slipway.Invalid, "the report cannot be read: %w", err).At("node " + node)
		}
	}
	reply, err := s.sync(ctx, node, report)
	if err != nil {
		return nil, err
	}
	return json.Marshal(reply)
}

func (s *Service) sync(ctx context.Context, node string, report Report) (Reply, error) {
	if len(report.Assignments) == 0 {
		var idle bool
		if err := s.store.View(ctx, func(tx Tx) error {
			l, err := lease(ctx, tx, node)
			idle = l.Experiment == ""
			return err
		}); err != nil || idle {
			return Reply{}, err
		}
	}
	var reply Reply
	var pokes []string
	err := s.store.Update(ctx, func(tx Tx) error {
		reply, pokes = Reply{Acks: map[string]Ack{}}, nil
		l, err := lease(ctx, tx, node)
		if err != nil {
			return err
		}
		has := false
		for _, a := range report.Assignments {
			if l.Experiment == "" || a.ID != l.Assignment || a.Epoch != l.Epoch {
				reply.Forget = append(reply.Forget, ForgetMessage{a.ID, stale(l, a)})
				continue
			}
			has = true
			woken, err := s.receive(ctx, tx, node, a)
			if err != nil {
				return err
			}
			pokes = append(pokes, woken...)
		}
		// The report may have ended the lease.
		if l, err = lease(ctx, tx, node); err != nil {
			return err
		}
		if l.Experiment == "" {
			for _, a := range report.Assignments {
				if !slices.ContainsFunc(reply.Forget, func(f ForgetMessage) bool { return f.ID == a.ID }) {
					reply.Forget = append(reply.Forget, ForgetMessage{a.ID, "the experiment has ended here"})
				}
			}
			return nil
		}
		if l.Until.Sub(tx.Now()) < s.cfg.LeaseTTL*4/5 {
			l.Until = tx.Now().Add(s.cfg.LeaseTTL)
			if err := tx.Leases().Put(ctx, l); err != nil {
				return err
			}
		}
		e, err := tx.Experiments().Get(ctx, l.Experiment)
		if err != nil {
			return err
		}
		reply.Order = order(e, node, has)
		if i := slices.IndexFunc(e.Members, func(m Member) bool { return m.Node == node }); has && i >= 0 {
			reply.Acks[l.Assignment] = Ack{e.Members[i].Taken, e.Members[i].Logged}
		}
		return nil
	})
	if err == nil {
		pokes = slices.DeleteFunc(pokes, func(n string) bool { return n == node })
		s.poke(pokes)
	}
	return reply, err
}

func stale(l Lease, a AssignmentReport) string {
	if a.ID == l.Assignment {
		return "its lease, epoch " + itoa(a.Epoch) + ", is over: the node is at epoch " + itoa(l.Epoch)
	}
	return "the node is not leased to it any more"
}

// receive takes one assignment's records and logs, and moves the experiment on.
func (s *Service) receive(ctx context.Context, tx Tx, node string, a AssignmentReport) ([]string, error) {
	l, err := lease(ctx, tx, node)
	if err != nil {
		return nil, err
	}
	e, err := tx.Experiments().Get(ctx, l.Experiment)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(e.Members, func(m Member) bool { return m.Node == node })
	if i < 0 {
		return nil, slipway.Errorf(slipway.Internal, "node %s is leased to %s, which does not know it", node, e.Ref())
	}
	before := e.Members[i].Taken
	e = take(e, node, a.Records, tx.Now())
	changed := e.Members[i].Taken != before
	e.Members[i].Logged = maps.Clone(e.Members[i].Logged)
	for _, log := range a.Logs {
		m := &e.Members[i]
		have := m.Logged[log.Step]
		if !known(e, log.Step) || log.Offset < 0 || log.Offset > have || log.Offset+int64(len(log.Data)) <= have || have >= MaxLog {
			continue // a gap, nothing new, or too much: the answer tells where to go on
		}
		piece := log.Data[have-log.Offset:]
		piece = piece[:min(int64(len(piece)), MaxLog-have)]
		chunk := LogChunk{Experiment: e.Request.ID, Assignment: a.ID, Step: log.Step, Offset: have, Data: bytes.Clone(piece)}
		if err := tx.ExperimentLogs().Put(ctx, chunk); err != nil {
			return nil, err
		}
		if m.Logged == nil {
			m.Logged = map[string]int64{}
		}
		m.Logged[log.Step] = have + int64(len(piece))
		changed = true
	}
	if !changed {
		return nil, nil
	}
	return s.advance(ctx, tx, e)
}

func known(e Experiment, step string) bool {
	for _, st := range slices.Concat(e.Spec.Steps, e.Spec.Cleanup) {
		if st.ID == step {
			return true
		}
	}
	return false
}

func lease(ctx context.Context, tx Tx, node string) (Lease, error) {
	l, err := tx.Leases().Get(ctx, node)
	if slipway.Is(err, slipway.NotFound) {
		return Lease{Node: node}, nil
	}
	return l, err
}

func (s *Service) poke(nodes []string) {
	if s.poker == nil {
		return
	}
	slices.Sort(nodes)
	for _, n := range slices.Compact(nodes) {
		s.poker.Poke(n)
	}
}
