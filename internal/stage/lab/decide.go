package lab

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/lab/plan"
)

// situation is everything that the decision about one experiment rests on.
type situation struct {
	Now       time.Time
	Listening time.Time            // since when agents could be heard
	Leases    map[string]Lease     // of the members' nodes
	LastSeen  map[string]time.Time // of the members' nodes
	Config    Config
}

// decide moves e on as far as it can, and says when to look again if nothing happens before; the zero time: never.
func decide(e Experiment, s situation) (Experiment, time.Time) {
	e.Members = slices.Clone(e.Members)
	loseSilent(&e, s)
	for {
		next, deadline := step(e, s)
		if next.State == e.State && next.Outcome == e.Outcome {
			return next, earliest(deadline, leaseEnd(next, s))
		}
		e = next
	}
}

// loseSilent marks the members whose lease has ended without them.
func loseSilent(e *Experiment, s situation) {
	for i := range e.Members {
		m := &e.Members[i]
		if m.State == MemberClean || m.State == MemberLost {
			continue
		}
		l := s.Leases[m.Node]
		switch {
		case l.Assignment != m.Assignment || l.Epoch != m.Epoch:
			m.State, m.Reason = MemberLost, "its lease was taken away"
		case !s.Now.Before(until(l, s)):
			m.State, m.Reason = MemberLost, "not heard since "+clockTime(s.LastSeen[m.Node])
		default:
			continue
		}
		m.Outcome = slipway.Infra
	}
}

// until is when a lease ends: not before its node had the chance to be heard.
func until(l Lease, s situation) time.Time { return later(l.Until, s.Listening.Add(s.Config.LeaseTTL)) }

func leaseEnd(e Experiment, s situation) time.Time {
	var at time.Time
	for _, m := range e.Members {
		if m.State != MemberClean && m.State != MemberLost && e.State != Done {
			at = earliest(at, until(s.Leases[m.Node], s))
		}
	}
	return at
}

// step makes at most one move.
func step(e Experiment, s situation) (Experiment, time.Time) {
	switch e.State {
	case Queued:
		deadline := e.Since.Add(s.Config.QueueTimeout)
		switch {
		case e.Cancel != "":
			return ended(e, slipway.Cancelled, e.Cancel, s), time.Time{}
		case !s.Now.Before(deadline):
			return ended(e, slipway.Infra, fmt.Sprintf("got no nodes in %s: %s", s.Config.QueueTimeout, e.Reason), s), time.Time{}
		}
		return e, deadline

	case Reserved, Running:
		deadline := e.Since.Add(s.Config.ReserveTimeout)
		waitFor, late, lateReason := MemberReady, slipway.Infra, "%s not ready in "+s.Config.ReserveTimeout.String()
		if e.State == Running {
			deadline = e.Since.Add(e.Spec.Timeout + s.Config.Grace)
			waitFor, late, lateReason = MemberFinished, slipway.Timeout, "%s not finished in "+e.Spec.Timeout.String()
		}
		deadline = later(deadline, s.Listening.Add(s.Config.LeaseTTL))
		if outcome, reason := verdict(e.Members); outcome != "" {
			return cleaning(e, outcome, reason, s), time.Time{}
		}
		switch missing := behind(e.Members, waitFor); {
		case e.Cancel != "":
			return cleaning(e, slipway.Cancelled, e.Cancel, s), time.Time{}
		case len(missing) == 0 && e.State == Reserved:
			e.State, e.Since, e.Started = Running, s.Now, s.Now
			e.Reason = fmt.Sprintf("attempt %d on %s", e.Attempt, strings.Join(e.Status().Nodes, ", "))
			return e, time.Time{}
		case len(missing) == 0:
			return cleaning(e, slipway.Pass, "all steps passed", s), time.Time{}
		case !s.Now.Before(deadline):
			return cleaning(e, late, fmt.Sprintf(lateReason, strings.Join(missing, ", ")), s), time.Time{}
		}
		return e, deadline

	case Cleaning:
		if e.Outcome == slipway.Fail || e.Outcome == slipway.Timeout {
			if why := diedBefore(e.Members, s); why != "" {
				e.Outcome, e.Reason = slipway.Infra, why+"; before that: "+e.Reason
			}
		}
		deadline := later(e.Since.Add(s.Config.CleanTimeout), s.Listening.Add(s.Config.LeaseTTL))
		missing := behind(e.Members, MemberClean)
		if len(missing) > 0 && s.Now.Before(deadline) {
			return e, deadline
		}
		for i := range e.Members {
			if m := &e.Members[i]; slices.Contains(missing, m.Node) {
				m.State, m.Reason = MemberLost, "not clean in "+s.Config.CleanTimeout.String()
			}
		}
		if e.Outcome == slipway.Infra && e.Cancel == "" && e.Attempt <= s.Config.Retries {
			return again(e, s), time.Time{}
		}
		return ended(e, e.Outcome, e.Reason, s), time.Time{}
	}
	return e, time.Time{}
}

// verdict is the outcome that the members' ends force, and ""  while none does. What the platform did wrong outweighs what
// the steps did wrong, because it may be the cause.
func verdict(members []Member) (slipway.Outcome, string) {
	for _, outcome := range []slipway.Outcome{slipway.Infra, slipway.Fail, slipway.Timeout, slipway.Cancelled} {
		for _, m := range byRole(members) {
			if m.Outcome == outcome {
				return outcome, m.Node + ": " + m.Reason
			}
		}
	}
	return "", ""
}

// behind returns the nodes of the members that have not come as far as state.
func behind(members []Member, state string) []string {
	order := []string{MemberPreparing, MemberReady, MemberRunning, MemberFinished, MemberClean, MemberLost}
	var out []string
	for _, m := range members {
		if slices.Index(order, m.State) < slices.Index(order, state) {
			out = append(out, m.Node)
		}
	}
	slices.Sort(out)
	return out
}

// diedBefore looks for a member that the platform failed before the first bad end of another: then that end proves nothing.
func diedBefore(members []Member, s situation) string {
	var first time.Time
	for _, m := range members {
		if m.Outcome == slipway.Fail || m.Outcome == slipway.Timeout {
			first = earliest(first, m.Ended)
		}
	}
	for _, m := range byRole(members) {
		if m.Outcome != slipway.Infra {
			continue
		}
		if m.State != MemberLost || s.LastSeen[m.Node].Before(first) {
			return m.Node + ": " + m.Reason
		}
	}
	return ""
}

func cleaning(e Experiment, outcome slipway.Outcome, reason string, s situation) Experiment {
	e.State, e.Outcome, e.Reason, e.Since = Cleaning, outcome, reason, s.Now
	return e
}

func ended(e Experiment, outcome slipway.Outcome, reason string, s situation) Experiment {
	e.State, e.Outcome, e.Reason, e.Since, e.Finished = Done, outcome, reason, s.Now, s.Now
	return e
}

// again gives the attempt up and queues the next.
func again(e Experiment, s situation) Experiment {
	e.Past = append(slices.Clone(e.Past), Attempt{e.Attempt, e.Outcome, e.Reason, e.Members})
	for _, m := range e.Members {
		if m.Outcome == slipway.Infra && !slices.Contains(e.Avoid, m.Node) {
			e.Avoid = append(slices.Clone(e.Avoid), m.Node)
		}
	}
	e.State, e.Since, e.Outcome, e.Members = Queued, s.Now, "", nil
	e.Reason = fmt.Sprintf("tried again after attempt %d: %s", e.Attempt, e.Reason)
	return e
}

// order is what a member of e has to do now; nil: nothing any more.
func order(e Experiment, node string, has bool) *Order {
	i := slices.IndexFunc(e.Members, func(m Member) bool { return m.Node == node })
	if i < 0 || e.State == Done || e.State == Queued {
		return nil
	}
	m := e.Members[i]
	o := &Order{ID: m.Assignment, Epoch: m.Epoch}
	switch e.State {
	case Reserved:
		o.Phase = PhasePrepare
	case Running:
		o.Phase = PhaseRun
		o.Open, o.Missing = barriers(e)
		o.Passed = passed(e)
	case Cleaning:
		o.Phase, o.Reason = PhaseClean, e.Reason
	}
	if !has {
		o.Work = &Work{
			Experiment: e.Ref(), Name: e.Spec.Name, Role: m.Role, Node: m.Node, Steps: e.Spec.Steps, Cleanup: e.Spec.Cleanup,
			Timeout: e.Spec.Timeout, Env: map[string]string{}, Artifacts: map[string]string{},
		}
		for _, env := range []map[string]string{e.Request.Env, e.Spec.Env} {
			for k, v := range env {
				o.Work.Env[k] = v
			}
		}
		for _, c := range e.Spec.Roles[m.Role].Artifacts {
			o.Work.Artifacts[c] = e.Request.Artifacts[c]
		}
		for _, other := range byRole(e.Members) {
			o.Work.Members = append(o.Work.Members, Member{Node: other.Node, Role: other.Role, Address: other.Address})
		}
	}
	return o
}

// barriers returns the names of the barriers at which all have arrived, and for the others at which somebody waits, who
// is missing.
func barriers(e Experiment) (open []string, missing map[string][]string) {
	for _, st := range e.Spec.Steps {
		if st.Barrier == "" || slices.Contains(open, st.Barrier) || missing[st.Barrier] != nil {
			continue
		}
		var absent []string
		arrived := 0
		for _, m := range byRole(e.Members) {
			for _, other := range e.Spec.Steps {
				if other.Barrier != st.Barrier || !Takes(other, m.Role) {
					continue
				}
				if slices.Contains(m.Arrived, other.ID) {
					arrived++
				} else {
					absent = append(absent, m.Node)
				}
			}
		}
		switch {
		case len(absent) == 0 && arrived > 0:
			open = append(open, st.Barrier)
		case arrived > 0:
			if missing == nil {
				missing = map[string][]string{}
			}
			missing[st.Barrier] = absent
		}
	}
	return open, missing
}

// passed returns the steps that have passed on every node that has them. A background step counts once it runs.
func passed(e Experiment) []string {
	var out []string
	for _, st := range e.Spec.Steps {
		all, any := true, false
		for _, m := range e.Members {
			if !Takes(st, m.Role) {
				continue
			}
			i := slices.IndexFunc(m.Steps, func(r StepResult) bool { return r.Step == st.ID })
			ok := i >= 0 && (m.Steps[i].Outcome == slipway.Pass || st.Background && m.Steps[i].State == "running")
			all, any = all && ok, true
		}
		if all && any {
			out = append(out, st.ID)
		}
	}
	return out
}

// take applies the records of a report to a member, each number once and in order.
func take(e Experiment, node string, records []Record, now time.Time) Experiment {
	e.Members = slices.Clone(e.Members)
	i := slices.IndexFunc(e.Members, func(m Member) bool { return m.Node == node })
	if i < 0 {
		return e
	}
	m := &e.Members[i]
	m.Steps, m.Arrived = slices.Clone(m.Steps), slices.Clone(m.Arrived)
	for _, r := range records {
		if r.Seq != m.Taken+1 {
			continue
		}
		m.Taken = r.Seq
		switch r.Kind {
		case RecordReady:
			m.State = MemberReady
		case RecordRunning:
			m.State = MemberRunning
		case RecordArrived:
			if r.Step != nil && known(e, r.Step.Step) && !slices.Contains(m.Arrived, r.Step.Step) {
				m.Arrived = append(m.Arrived, r.Step.Step)
			}
		case RecordStep:
			if r.Step != nil && known(e, r.Step.Step) {
				*m.step(r.Step.Step) = *r.Step
			}
		case RecordFinished:
			m.State, m.Ended = MemberFinished, now
			if r.Result != nil && r.Result.Outcome != slipway.Pass {
				m.Outcome, m.Reason = r.Result.Outcome, r.Result.Reason
			}
		case RecordClean:
			m.State = MemberClean
			if r.Result != nil && r.Result.Outcome != slipway.Pass && m.Reason == "" {
				m.Reason = r.Result.Reason
			}
		}
	}
	return e
}

// unsound says why a node should be given to experiments last, after what e saw of it; "" clears an older doubt.
func unsound(e Experiment, m Member) string {
	if m.State == MemberLost {
		return e.Ref() + ": " + m.Reason
	}
	for _, st := range m.Steps {
		if st.Cleanup && st.Outcome != slipway.Pass {
			return e.Ref() + ": cleanup step " + st.Step + ": " + st.Reason
		}
	}
	if m.Outcome == slipway.Infra {
		return e.Ref() + ": " + m.Reason
	}
	return ""
}

// request is e as the planner sees it.
func request(e Experiment, c Config) plan.Request {
	r := plan.Request{ID: e.Ref(), Priority: e.Request.Priority, Age: e.Number, Length: c.longest(e), Avoid: e.Avoid}
	for name, role := range e.Spec.Roles {
		r.Roles = append(r.Roles, plan.Role{Name: name, Labels: role.Labels, Count: role.Nodes})
	}
	slices.SortFunc(r.Roles, func(a, b plan.Role) int { return cmp.Compare(a.Name, b.Name) })
	return r
}

// longest is how long an experiment can keep its nodes.
func (c Config) longest(e Experiment) time.Duration {
	return c.ReserveTimeout + e.Spec.Timeout + c.Grace + c.CleanTimeout
}

// remaining is how long e can still keep its nodes.
func (c Config) remaining(e Experiment, now time.Time) time.Duration {
	left := c.CleanTimeout
	switch e.State {
	case Reserved:
		left = c.longest(e)
	case Running:
		left += e.Spec.Timeout + c.Grace
	}
	return max(left-now.Sub(e.Since), 0)
}

func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func clockTime(t time.Time) string {
	if t.IsZero() {
		return "it joined"
	}
	return t.UTC().Format("15:04:05")
}
