package build

import (
	"context"
	"maps"
	"slices"
	"strings"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/build/inspect"
	"slipway.dev/slipway/internal/stage/build/plan"
)

// Gate says which checks that have not passed a rebuild may go on without; gating's waivers decide.
type Gate interface {
	Decide(ctx context.Context, product, subject string, required []slipway.Requirement) (slipway.Decision, error)
}

// excuses answers, for checks that have failed in a rebuild, why each is waived; "" when it is not. What was not asked has no answer.
type excuses map[plan.Action]string

// excusable reports whether failures of the action can be waived: those of a check in a rebuild. A build that failed has given
// nothing to go on with.
func (s *Service) excusable(r slipway.WaveRequest, a plan.Action) bool {
	kind, _, _ := slipway.SplitRef(r.For)
	return s.cfg.Gate != nil && s.cfg.Results != nil && kind == "rebuild" && !a.Builds()
}

// heard are the actions that news is of, with what their builds have come to; inspections record what they find themselves.
func heard(l *live, news []News, builds map[string]Build) map[plan.Action]Build {
	ended := map[plan.Action]Build{}
	for id, b := range builds {
		for _, a := range l.builds[id] {
			if b.State == Done {
				ended[a] = b
			}
		}
	}
	for _, n := range news {
		if n.Action != "" {
			ended[plan.ParseAction(n.Action)] = Build{Outcome: n.Outcome}
		}
	}
	return ended
}

// known are the actions of a step whose keys have ended before.
func known(ready []prepared) map[plan.Action]Build {
	ended := map[plan.Action]Build{}
	for _, one := range ready {
		if one.known.State == Done {
			ended[one.action] = one.known
		}
	}
	return ended
}

// excuse asks the gate about those that have failed.
func (s *Service) excuse(ctx context.Context, l *live, ended map[plan.Action]Build) (excuses, error) {
	maps.DeleteFunc(ended, func(a plan.Action, b Build) bool {
		return b.Outcome == slipway.Pass || !s.excusable(l.head.Request, a)
	})
	return s.ask(ctx, l.head.Request, ended)
}

// ask records what the checks came to and asks the gate about them.
func (s *Service) ask(ctx context.Context, r slipway.WaveRequest, failing map[plan.Action]Build) (excuses, error) {
	if len(failing) == 0 {
		return nil, nil
	}
	var required []slipway.Requirement
	for a, b := range failing {
		if a.Check == inspection {
			for _, check := range inspect.Checks {
				required = append(required, slipway.Requirement{Check: check, Item: a.Component})
			}
			continue
		}
		required = append(required, slipway.Requirement{Check: a.Check, Item: a.Component})
		one := slipway.Result{Product: r.Product, Subject: r.For, Check: a.Check, Item: a.Component, Outcome: b.Outcome, Reason: b.Reason, Link: slipway.Ref("build", b.ID)}
		if err := s.cfg.Results.Record(ctx, one); err != nil {
			return nil, err
		}
	}
	d, err := s.cfg.Gate.Decide(ctx, r.Product, r.For, required)
	if err != nil {
		return nil, err
	}
	answers := excuses{}
	for a := range failing {
		answers[a] = why(d, a)
	}
	return answers, nil
}

// why reads from a decision why a check counts as waived: none of what it consists of stands otherwise than passed or waived.
func why(d slipway.Decision, a plan.Action) string {
	var reasons []string
	for _, v := range d.Verdicts {
		if v.Item != a.Component || v.Check != a.Check && !(a.Check == inspection && slices.Contains(inspect.Checks, v.Check)) {
			continue
		}
		switch v.State {
		case slipway.CheckPassed:
		case slipway.CheckWaived:
			reasons = append(reasons, v.Requirement.Check+": "+v.Reason)
		default:
			return ""
		}
	}
	return strings.Join(reasons, "; ")
}

// waive lets a failed check count as passed when its failure is excused.
func (i *Item) waive(answers excuses) {
	if reason := answers[i.action()]; i.State == failed && reason != "" {
		i.State, i.Reason = waived, reason
	}
}

// lifted names the failed checks of a stuck rebuild's last attempt that a waiver has come to cover since.
func (s *Service) lifted(ctx context.Context, r Rebuild) (names []string, err error) {
	wave := slipway.WaveRequest{Product: r.Product, For: r.subject()}
	failing := map[plan.Action]Build{}
	err = s.store.View(ctx, func(tx Tx) error {
		clear(failing)
		items, err := tx.Items().Find(ctx, slipway.Query{Key: r.Attempts[len(r.Attempts)-1].Wave})
		if err != nil {
			return err
		}
		for _, i := range items {
			a := i.action()
			if i.State != failed || !s.excusable(wave, a) {
				continue
			}
			failing[a] = Build{}
			if a.Check != inspection {
				if failing[a], err = tx.Builds().Get(ctx, i.Build); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	answers, err := s.ask(ctx, wave, failing)
	for a, reason := range answers {
		if reason != "" {
			names = append(names, a.String())
		}
	}
	slices.Sort(names)
	return names, err
}
