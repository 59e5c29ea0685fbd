package integration

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/integration/speculate"
)

const (
	// trust is how long a base that passed a check is taken to pass it still: rigs rot. After that a failure is blamed on nobody before the base
	// itself has passed again. (LUCI reuses results for a day, too.)
	trust = 24 * time.Hour
	// tryAgain is how long a check that fails on the base keeps its lane frozen before the base is tried again.
	tryAgain = time.Hour
)

// checkInfo is a check with what the planner needs to know of it.
type checkInfo struct {
	Check
	tier   int
	label  string
	roles  []spec.Role
	inputs []string // components that it builds, or puts on nodes, or asks the version of; what those need is implied
}

// Compare orders open entries as they stand in the queue.
func Compare(a, b Entry) int { return byRank(a, b) }

func byRank(a, b Entry) int {
	return cmp.Or(cmp.Compare(a.rank(), b.rank()), cmp.Compare(a.Number, b.Number))
}

// survey reads the base and the entries in it: what there is to check, and what each entry affects. It takes out entries that
// have nothing to move or may not any more, and trials whose tuple can no longer come true.
func (s *Service) survey(ctx context.Context, p *pass) (bool, error) {
	var err error
	if p.base, err = s.baseOf(ctx, p.product); err != nil {
		return false, err
	}
	p.root, p.broken = s.compose(ctx, p.product, p.base)
	if p.broken != nil && !slipway.Is(p.broken, slipway.Invalid) {
		return false, p.broken
	}
	p.rules = p.root.product.Queue
	for _, e := range p.entries {
		t, err := s.compose(ctx, p.product, p.base, e)
		if err != nil && !slipway.Is(err, slipway.Invalid) {
			return false, fmt.Errorf("entry %d: %w", e.Number, err)
		}
		p.alone[e.Number] = composed{t, err}
	}
	if p.deps, err = s.depends(ctx, p.product, p.entries); err != nil {
		return false, err
	}
	p.catalogue()
	return s.tidy(ctx, p)
}

// catalogue lists the checks of the base and of all entries, and which of them each entry affects. Who needs whom is what the files of
// any of them say: a check that any open entry would make depend on another component is affected by that component already.
func (p *pass) catalogue() {
	needs := map[string][]string{}
	add := func(c checkInfo) {
		if _, known := p.index[c.key()]; !known {
			p.index[c.key()] = len(p.checks)
			p.checks = append(p.checks, c)
		}
	}
	take := func(t tuple) {
		for name, on := range t.Needs {
			for _, need := range on {
				if !slices.Contains(needs[name], need) {
					needs[name] = append(needs[name], need)
				}
			}
		}
		for _, name := range t.components() {
			add(checkInfo{Check: Check{Kind: kindBuild, Item: name}, label: kindBuild, inputs: []string{name}})
		}
		for _, cc := range t.Configurations {
			for _, x := range cc.Experiments {
				check := Check{Kind: kindExperiment, Item: x.Name, Configuration: cc.Name}
				if !t.asksFor(check) {
					continue
				}
				parsed, err := spec.ParseExperiment([]byte(x.Text), x.File)
				if err != nil {
					continue // compose has parsed it already
				}
				info := checkInfo{Check: check, tier: parsed.Tier, inputs: union(x.Uses, x.asks(cc.Components))}
				for _, role := range sorted(parsed.Roles) {
					info.roles = append(info.roles, parsed.Roles[role])
				}
				info.label = rigs(info.roles)
				add(info)
			}
		}
	}
	if p.broken == nil {
		take(p.root)
	}
	for _, e := range p.entries {
		if a := p.alone[e.Number]; a.err == nil {
			take(a.tuple)
		}
	}
	slices.SortStableFunc(p.checks, func(a, b checkInfo) int { return cmp.Or(cmp.Compare(a.tier, b.tier), cmp.Compare(a.key(), b.key())) })
	inputs := make([][]string, len(p.checks))
	for i, c := range p.checks {
		p.index[c.key()] = i
		inputs[i] = c.inputs
	}
	for _, e := range p.entries {
		if e.File != "" || !p.released() { // it changes what is tested, or nothing has been tested before
			for i := range p.checks {
				p.hits[e.Number] = append(p.hits[e.Number], i)
			}
			continue
		}
		var moved []string
		for _, pin := range e.Pins {
			moved = append(moved, pin.Component)
		}
		p.hits[e.Number] = speculate.Affected(inputs, needs, moved...)
	}
}

func union(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

// rigs names the pool of nodes that an experiment runs on.
func rigs(roles []spec.Role) string {
	var parts []string
	for _, r := range roles {
		var labels []string
		for _, k := range sorted(r.Labels) {
			labels = append(labels, k+"="+r.Labels[k])
		}
		parts = append(parts, fmt.Sprintf("%d x %s", r.Nodes, cmp.Or(strings.Join(labels, ","), "any node")))
	}
	return strings.Join(parts, " + ")
}

// contentOf names exactly what a check depends on in a candidate.
func contentOf(c Candidate, check checkInfo) (string, error) {
	in := map[string]bool{}
	names := slices.Clone(check.inputs)
	for len(names) > 0 {
		name := names[len(names)-1]
		names = names[:len(names)-1]
		if !in[name] {
			in[name] = true
			names = append(names, c.Needs[name]...)
		}
	}
	what := struct {
		Check  Check
		Rules  string
		Pins   []slipway.Pin
		Params map[string]string
		Text   string
	}{Check: check.Check, Rules: c.Rules}
	for _, p := range c.Pins {
		if in[p.Component] {
			what.Pins = append(what.Pins, p)
		}
	}
	if cc, x, ok := c.find(check.Check); ok {
		what.Text = x.Text
		if len(cc.Params) > 0 { // a stored candidate has none instead of an empty one
			what.Params = cc.Params
		}
	}
	return digest(what)
}

// unreleased is what every check depends on before the first release: nothing, which passes everything.
const unreleased = "nothing has been released"

func (p *pass) released() bool { return p.queue.Released != "" }

// contents names what each check depends on at the base.
func (p *pass) contents() ([]string, error) {
	all := make([]string, len(p.checks))
	for i, check := range p.checks {
		if !p.released() {
			all[i] = unreleased
			continue
		}
		if p.broken != nil {
			all[i] = "broken at " + p.base
			continue
		}
		var err error
		if all[i], err = contentOf(p.root.Candidate, check); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// tidy brings the rows in line with the repositories: the states of the base, where somebody else than the queue moved it; entries that have
// nothing to move any more; trials that are spent.
func (s *Service) tidy(ctx context.Context, p *pass) (bool, error) {
	contents, err := p.contents()
	if err != nil {
		return false, err
	}
	states := map[string]BaseState{}
	moved := make([]bool, len(p.checks))
	for i, check := range p.checks {
		was, known := p.queue.States[check.key()]
		if !known || was.Content != contents[i] {
			moved[i] = known
			was = BaseState{State: speculate.Digest(check.key() + " " + contents[i]), Content: contents[i]}
		}
		states[check.key()] = was
	}
	current, err := s.pinsAt(ctx, p.product, p.base)
	if err != nil && !slipway.Is(err, slipway.Invalid) { // a broken manifest makes nothing moot; candidates on it will say what is wrong
		return false, err
	}
	moot, err := s.withdrawn(ctx, p.entries)
	if err != nil {
		return false, err
	}
	for _, e := range p.entries {
		if e.Phase == Landing {
			delete(moot, e.Number) // decided
			continue
		}
		if moot[e.Number] != "" {
			continue
		}
		why, err := s.moot(ctx, e, current, p.queue.Released)
		if err != nil {
			return false, fmt.Errorf("entry %d: %w", e.Number, err)
		}
		if why != "" {
			moot[e.Number] = why
		}
	}
	spent, err := s.spent(ctx, p, states)
	if err != nil {
		return false, err
	}
	if len(moot) == 0 && len(spent) == 0 && p.queue.Main == p.base && reflect.DeepEqual(states, p.queue.States) {
		return false, nil
	}
	changed := false
	err = s.store.Update(ctx, func(tx Tx) error {
		changed = false
		q, err := queueOf(ctx, tx, p.product)
		if err != nil {
			return err
		}
		before := q.Main
		q.Main, q.States = p.base, states
		for _, e := range p.entries {
			e, err := tx.Entries().Get(ctx, e.ID())
			if err != nil {
				return err
			}
			if !e.Phase.Open() || e.Phase == Landing {
				continue
			}
			again := before != "" && before != p.base && e.Phase != Queued && slices.ContainsFunc(p.hits[e.Number], func(i int) bool { return moved[i] })
			switch why := moot[e.Number]; {
			case why != "":
				e.enter(Dequeued, why, tx.Now())
				if err := tx.Emit(ctx, event(slipway.EntryDequeued, e, why)); err != nil {
					return err
				}
			case again:
				e.enter(Queued, fmt.Sprintf("main moved from %s to %s while it was tested; tested again on that", short(before), short(p.base)), tx.Now())
				if err := tx.Emit(ctx, event(slipway.EntryQueued, e, e.Reason)); err != nil {
					return err
				}
			default:
				continue
			}
			if err := tx.Entries().Put(ctx, e); err != nil {
				return err
			}
			changed = true
		}
		for _, t := range spent {
			if err := spend(ctx, tx, t, p.trials); err != nil {
				return err
			}
			changed = true
		}
		return tx.Queues().Put(ctx, q)
	})
	p.queue.Main, p.queue.States = p.base, states
	return changed, err
}

// spend makes a verdict not count any more. With one that said that the base fails a check go the failures of that check on others.
func spend(ctx context.Context, tx Tx, t Trial, all []Trial) error {
	t.State = TrialSpent
	if err := tx.Trials().Put(ctx, t); err != nil || !t.Control || t.Outcome != slipway.Fail {
		return err
	}
	for _, o := range all {
		if o.doubtful(t.Check) {
			now, err := tx.Trials().Get(ctx, o.ID())
			if err != nil {
				return err
			}
			if !now.doubtful(t.Check) {
				continue
			}
			now.doubt()
			if err := tx.Trials().Put(ctx, now); err != nil {
				return err
			}
		}
	}
	return nil
}

// spent lists the ended trials whose verdict can be of no use any more.
func (s *Service) spent(ctx context.Context, p *pass, states map[string]BaseState) ([]Trial, error) {
	var spent []Trial
	for _, t := range p.trials {
		if t.State != TrialEnded {
			continue
		}
		live, err := s.live(ctx, p, t, states)
		if err != nil {
			return nil, err
		}
		if !live {
			spent = append(spent, t)
		}
	}
	return spent, nil
}

func (s *Service) live(ctx context.Context, p *pass, t Trial, states map[string]BaseState) (bool, error) {
	at := states[t.Check.key()].State
	if t.Control {
		if t.Outcome != slipway.Pass && slices.ContainsFunc(p.trials, func(o Trial) bool { return o.mends(t) }) {
			return false, nil
		}
		age := p.now.Sub(t.Ended)
		return t.To == at && (t.Outcome == slipway.Pass && age < trust || t.Outcome != slipway.Pass && age < tryAgain), nil
	}
	some := false
	for _, number := range t.Set {
		e, open := p.entry(number)
		if open {
			some = true
			at = at.Plus(e.state())
			continue
		}
		phase, known := p.phases[number]
		if !known {
			e, err := s.Entry(ctx, number)
			if err != nil {
				return false, err
			}
			phase = e.Phase
			p.phases[number] = phase
		}
		if phase != Landed {
			return false, nil
		}
	}
	return some && t.To == at && !t.Advisory, nil
}

// nodesFor counts how many runs of an experiment the nodes that are online could take at once.
func nodesFor(roles []spec.Role, nodes []slipway.Node) int {
	most := len(nodes)
	for _, r := range roles {
		fit := 0
		for _, n := range nodes {
			if n.Online && !slices.ContainsFunc(slices.Collect(maps.Keys(r.Labels)), func(k string) bool { return n.Labels[k] != r.Labels[k] }) {
				fit++
			}
		}
		wanted := 0 // by all roles with the same labels
		for _, o := range roles {
			if maps.Equal(o.Labels, r.Labels) {
				wanted += max(o.Nodes, 1)
			}
		}
		most = min(most, fit/max(wanted, 1))
	}
	return max(most, 1) // without nodes the lab says what it waits for
}
