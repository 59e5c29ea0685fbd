package deploy

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/deploy/plan"
)

// Sync takes a node's report, a [plan.Report], and answers with what is to be so there, a [plan.Desired]. It is the
// handler of the agents' "deploy" module. A report that says nothing new writes nothing.
func (s *Service) Sync(ctx context.Context, node string, doc json.RawMessage) (json.RawMessage, error) {
	var report plan.Report
	if len(doc) > 0 {
		if err := json.Unmarshal(doc, &report); err != nil {
			return nil, slipway.Errorf(slipway.Invalid, "the report is broken: %w", err).At("node " + node)
		}
	}
	news := len(report.DryRuns) > 0
	var states []NodeState
	err := s.store.View(ctx, func(tx Tx) (err error) {
		states, err = tx.NodeStates().Find(ctx, slipway.Query{Key: node})
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, st := range states {
		if r, ok := report.Products[st.Product]; ok {
			news = news || isNews(st, r)
		}
	}
	if news {
		err := s.store.Update(ctx, func(tx Tx) error {
			states, err = tx.NodeStates().Find(ctx, slipway.Query{Key: node})
			if err != nil {
				return err
			}
			for i, st := range states {
				if r, ok := report.Products[st.Product]; ok && isNews(st, r) {
					if states[i], err = take(ctx, tx, st, r); err != nil {
						return err
					}
				}
			}
			return takeDryRuns(ctx, tx, node, report.DryRuns)
		})
		if err != nil {
			return nil, err
		}
	}
	desired := plan.Desired{Products: map[string]plan.Slice{}}
	err = s.store.View(ctx, func(tx Tx) error {
		for _, st := range states {
			slice, err := answer(ctx, tx, st, report.Products[st.Product])
			if err != nil {
				return err
			}
			desired.Products[st.Product] = slice
		}
		desired.DryRuns, err = askedDryRuns(ctx, tx, node)
		return err
	})
	if err != nil {
		return nil, err
	}
	return json.Marshal(desired)
}

// isNews reports whether a report says something that is to be recorded. What an agent says about an older version than the
// one in force is not: it will hear of the newer one and report again.
func isNews(st NodeState, r plan.ProductReport) bool {
	switch {
	case len(r.Drifts) > 0 && r.Drifts[len(r.Drifts)-1].Seq > st.DriftSeq:
		return true
	case r.Epoch > st.Epoch:
		return !strings.HasPrefix(st.Standing.Reason, refusal(st, r))
	case r.Refused != "" && r.RefusedEpoch == st.Epoch:
		return st.Standing.Reason != r.Refused
	case r.Epoch < st.Epoch || r.Digest != st.Digest:
		return false
	}
	return r.Statuses != nil && (r.StatusDigest != st.StatusDigest || st.ReportedEpoch != st.Epoch) ||
		st.ReportedEpoch != st.Epoch && r.StatusDigest == st.StatusDigest
}

// refusal says that a node holds a newer version than is in force.
func refusal(st NodeState, r plan.ProductReport) string {
	return fmt.Sprintf("the node holds version %s, newer than %s", r.Version, st.Version)
}

// take records a report.
func take(ctx context.Context, tx Tx, st NodeState, r plan.ProductReport) (NodeState, error) {
	for _, d := range r.Drifts {
		if d.Seq <= st.DriftSeq {
			continue
		}
		st.DriftSeq = d.Seq
		st.Repaired++
		data, err := json.Marshal(d)
		if err != nil {
			return st, err
		}
		err = tx.Emit(ctx, slipway.Event{ID: fmt.Sprintf("drift-%s-%s-%d-%d", st.Product, st.Node, d.Seq, d.Time.UnixNano()),
			Type: slipway.DriftRepaired, Subject: slipway.Ref("node", st.Node), Product: st.Product, Actor: st.Node,
			Reason: d.ID + " " + d.Reason, Links: []string{slipway.Ref("version", st.Version)}, Data: data})
		if err != nil {
			return st, err
		}
	}
	before := st
	switch {
	case r.Epoch > st.Epoch:
		st.Standing = plan.Standing{Node: st.Node, State: plan.Failed, Counts: map[plan.State]int{},
			Reason: refusal(st, r) + ", and will not go back (the next version will be newer than both)"}
		if err := raise(ctx, tx, st.Product, r.Epoch); err != nil {
			return st, err
		}
	case r.Refused != "" && r.RefusedEpoch == st.Epoch:
		st.Standing = plan.Standing{Node: st.Node, State: plan.Failed, Counts: map[plan.State]int{}, Reason: r.Refused}
	case r.Epoch == st.Epoch && r.Digest == st.Digest:
		if r.Statuses != nil {
			st.Statuses, st.StatusDigest = r.Statuses, r.StatusDigest
		}
		st.ReportedEpoch = r.Epoch
		slice, err := tx.Slices().Get(ctx, st.Version+"/"+st.Node)
		if err != nil {
			return st, err
		}
		st.Standing = plan.Stand(plan.Node{Name: st.Node, Online: true, Desired: slice.Resources, Reported: st.Statuses, Heard: true})
	}
	st.Reported = tx.Now()
	if err := tx.NodeStates().Put(ctx, st); err != nil {
		return st, err
	}
	changed := changes(before, st)
	if len(changed) == 0 && before.Standing.State == st.Standing.State && before.Standing.Reason == st.Standing.Reason && before.ReportedEpoch == st.ReportedEpoch {
		return st, nil
	}
	data, err := json.Marshal(struct {
		Standing plan.Standing `json:"standing"`
		Changed  []plan.Status `json:"changed"`
	}{st.Standing, changed})
	if err != nil {
		return st, err
	}
	return st, tx.Emit(ctx, slipway.Event{Type: slipway.NodeReported, Subject: slipway.Ref("node", st.Node), Product: st.Product, Actor: st.Node,
		Reason: fmt.Sprintf("%s of %s: %s", st.Standing.State, st.Version, st.Standing.Reason),
		Links:  []string{slipway.Ref("version", st.Version)}, Data: data})
}

// changes lists the resources whose state, hash or reason is another than before.
func changes(before, after NodeState) []plan.Status {
	was := map[string]plan.Status{}
	for _, s := range before.Statuses {
		was[s.ID] = s
	}
	changed := []plan.Status{}
	for _, s := range after.Statuses {
		old := was[s.ID]
		if old.State != s.State || old.Hash != s.Hash || old.Reason != s.Reason {
			s.Actual = nil
			changed = append(changed, s)
		}
		delete(was, s.ID)
	}
	for _, id := range slices.Sorted(maps.Keys(was)) {
		changed = append(changed, plan.Status{ID: id, Reason: "taken away"})
	}
	return changed
}

// raise remembers that an agent was seen with an epoch, so that the next version is newer.
func raise(ctx context.Context, tx Tx, product string, epoch int64) error {
	d, err := deploymentIn(ctx, tx, product)
	if err != nil || d.Highest >= epoch {
		return err
	}
	d.Highest = epoch
	return tx.Deployments().Put(ctx, d)
}

// answer says what is to be so, as briefly as the node's report allows.
func answer(ctx context.Context, tx Tx, st NodeState, r plan.ProductReport) (plan.Slice, error) {
	out := plan.Slice{Product: st.Product, Version: st.Version, Epoch: st.Epoch, Digest: st.Digest, AckedSeq: st.DriftSeq}
	if st.ReportedEpoch == r.Epoch && r.Epoch == st.Epoch {
		out.Acked = st.StatusDigest
	}
	if r.Digest == st.Digest && !r.Full && !st.External {
		return out, nil
	}
	slice, err := tx.Slices().Get(ctx, st.Version+"/"+st.Node)
	if err != nil {
		return out, err
	}
	if st.External {
		if out.Held, err = held(ctx, tx, slice); err != nil {
			return out, err
		}
	}
	if r.Digest == st.Digest && !r.Full {
		return out, nil
	}
	out.Complete = true
	out.Resources = slice.Resources
	if !r.Full {
		known := r.Statuses
		if known == nil && r.StatusDigest == st.StatusDigest {
			known = st.Statuses
		}
		out.Resources = plan.Increment(slice.Resources, known)
	}
	return out, nil
}

// held names the resources of a slice that must wait for other nodes, with the reason.
func held(ctx context.Context, tx Tx, slice Slice) (map[string]string, error) {
	type other struct {
		state    NodeState
		statuses map[string]plan.Status
		hashes   map[string]string
	}
	nodes := map[string]*other{}
	out := map[string]string{}
	for _, r := range slice.Resources {
		for _, id := range r.Requires {
			name := plan.NodeOf(id)
			if name == slice.Node || out[r.ID] != "" {
				continue
			}
			o := nodes[name]
			if o == nil {
				o = &other{statuses: map[string]plan.Status{}, hashes: map[string]string{}}
				nodes[name] = o
				var err error
				if o.state, err = tx.NodeStates().Get(ctx, nodeStateID(slice.Product, name)); err != nil {
					return nil, err
				}
				theirs, err := tx.Slices().Get(ctx, slice.Version+"/"+name)
				if err != nil {
					return nil, err
				}
				for _, t := range theirs.Resources {
					o.hashes[t.ID] = t.Hash
				}
				for _, s := range o.state.Statuses {
					o.statuses[s.ID] = s
				}
			}
			status, ok := o.statuses[id]
			if !ok || status.Hash != o.hashes[id] || o.state.ReportedEpoch != o.state.Epoch {
				status = plan.Status{State: plan.Waiting, Reason: "node " + name + " has not reported it"}
			}
			if status.State != plan.Deployed {
				out[r.ID] = plan.Because(id, status.State, status.Reason)
			}
		}
	}
	return out, nil
}
