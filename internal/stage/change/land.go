package change

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"slipway.dev/slipway/internal/platform/git"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/change/plan"
)

// actor is who moves the refs of a landing, in branch history.
const actor = "slipway-change"

// maxTries is how often a landing begins anew, in one run, because its branch was moved by somebody else.
const maxTries = 10

// land puts an approved change on its branch. It reports whether there may be more to do.
func (s *Service) land(ctx context.Context, c Change) (again bool, err error) {
	g, err := s.src.Git(c.Repo)
	if err != nil {
		return false, err
	}
	for range maxTries {
		head, err := g.Ref(ctx, "refs/heads/"+c.Branch)
		if err != nil {
			return false, err
		}
		if l := c.Landing; l != nil && l.Outcome != nil {
			there, err := contains(ctx, g, head, l.Outcome.Commit)
			if err != nil {
				return false, err
			}
			if there { // killed between the move and its record
				return true, s.record(ctx, c)
			}
			if head == l.Base {
				err := s.src.Move(ctx, actor, fmt.Sprintf("landing of change %d: %s", c.Number, c.Title), l.Moves...)
				s.fault("moved")
				if err == nil {
					return true, s.record(ctx, c)
				}
				if !slipway.Is(err, slipway.Conflict) {
					return false, err
				}
				s.log.Info("refs moved while a change landed", "change", c.Number, "branch", c.Branch, "error", err)
			}
		}
		l := Landing{Base: head}
		var ok bool
		if c, ok, err = s.keep(ctx, c, l); err != nil || !ok {
			return ok, err
		}
		s.fault("begun")
		l, why, err := s.assemble(ctx, g, c)
		if err != nil {
			return false, err
		}
		if why != nil {
			return true, s.halt(ctx, c, *why)
		}
		s.fault("assembled")
		if c, ok, err = s.keep(ctx, c, l); err != nil || !ok {
			return ok, err
		}
		s.fault("kept")
	}
	return false, slipway.Errorf(slipway.Conflict, "refs moved %d times while change %d landed", maxTries, c.Number).At(c.Repo)
}

func contains(ctx context.Context, g git.Repo, head, commit string) (bool, error) {
	if head == git.Zero {
		return false, nil
	}
	return g.IsAncestor(ctx, commit, head)
}

// keep writes down how far the landing is. It reports false when the change moved on meanwhile.
func (s *Service) keep(ctx context.Context, c Change, l Landing) (now Change, ok bool, err error) {
	err = s.st.Update(ctx, func(tx Tx) error {
		ok = false
		if now, err = tx.Changes().Get(ctx, c.ID()); err != nil {
			return err
		}
		if now.State != c.State || now.Current() != c.Current() || !slices.Equal(now.Votes, c.Votes) {
			return nil // that woke this reconciler again
		}
		ok = true
		l := l
		if l.Outcome == nil {
			l.Time, l.Tries = tx.Now().UTC().Truncate(time.Second), 1
			if now.Landing != nil {
				l.Tries = now.Landing.Tries + 1
			}
		}
		now.Landing = &l
		now.State, now.Reason = plan.Landing, "it is being put on "+now.Branch
		now.Updated = tx.Now().UTC()
		return tx.Changes().Put(ctx, now)
	})
	return now, ok, err
}

// halt ends a landing that cannot be.
func (s *Service) halt(ctx context.Context, c Change, why stop) error {
	return s.st.Update(ctx, func(tx Tx) error {
		now, err := tx.Changes().Get(ctx, c.ID())
		if err != nil || now.State != plan.Landing {
			return err
		}
		now.State, now.Reason, now.Landing, now.Updated = why.state, why.reason, nil, tx.Now().UTC()
		if err := tx.Changes().Put(ctx, now); err != nil {
			return err
		}
		what := slipway.ChangeRejected
		if why.state == plan.Abandoned {
			what = slipway.ChangeAbandoned
		}
		return s.emit(ctx, tx, now, what, "slipway", why.reason)
	})
}

// record writes that the change has landed, once.
func (s *Service) record(ctx context.Context, c Change) error {
	return s.st.Update(ctx, func(tx Tx) error {
		now, err := tx.Changes().Get(ctx, c.ID())
		if err != nil || now.State != plan.Landing {
			return err
		}
		now.Landed, now.State, now.Updated = now.Landing.Outcome, plan.Landed, tx.Now().UTC()
		now.Landing.Outcome, now.Landing.Moves = nil, nil
		now.Reason = fmt.Sprintf("on %s at %.10s by %s", now.Branch, now.Landed.Commit, now.Landed.Method)
		if v := versions(now.Landed.Pins); v != "" {
			now.Reason += ", as " + v
		}
		if err := tx.Changes().Put(ctx, now); err != nil {
			return err
		}
		for _, e := range s.landedEvents(now) {
			if err := tx.Emit(ctx, e); err != nil {
				return err
			}
		}
		return nil
	})
}

func versions(pins []Pinned) string {
	var names []string
	for _, p := range pins {
		if p.Tag != "" {
			names = append(names, p.Component+" "+p.Version)
		}
	}
	return strings.Join(names, ", ")
}

// landedEvents is one event for each new pin and product, or a single one without a pin.
func (s *Service) landedEvents(c Change) []slipway.Event {
	var all []slipway.Event
	add := func(product, component string, data json.RawMessage) {
		e := s.event(c, slipway.ChangeLanded, actor, c.Reason)
		e.ID = fmt.Sprintf("change-%d-landed-%s-%s", c.Number, product, component)
		e.Product, e.Data = product, data
		e.Links = []string{slipway.Ref("commit", c.Landed.Commit), slipway.Ref("repo", c.Repo)}
		if component != "" {
			e.Links = append(e.Links, slipway.Ref("component", component))
		}
		all = append(all, e)
	}
	for _, p := range c.Landed.Pins {
		data, err := json.Marshal(p.Pin)
		if err != nil {
			panic(err) // strings only
		}
		for _, product := range p.Products {
			add(product, p.Component, data)
		}
	}
	if len(all) == 0 {
		add(slipway.ProductAt(c.Repo, c.Branch), "", nil)
	}
	return all
}

// stop is why a landing cannot be.
type stop struct {
	state  plan.State
	reason string
}

// assemble writes the objects of a landing. No ref moves: what comes back says which shall.
func (s *Service) assemble(ctx context.Context, g git.Repo, c Change) (l Landing, why *stop, err error) {
	l = *c.Landing
	uses, err := s.usesOf(ctx, c.Repo, c.Branch, []string{"."})
	if err != nil {
		return l, nil, err
	}
	method, bump, err := s.policy(ctx, append(uses, c.Uses...))
	if err != nil {
		return l, nil, err
	}
	tip, how, why, err := s.join(ctx, g, c, method)
	if err != nil || why != nil {
		return l, why, err
	}
	if tip == l.Base {
		return l, &stop{plan.Abandoned, fmt.Sprintf("%s has the same content already", c.Branch)}, nil
	}
	files, err := g.Changed(ctx, l.Base, tip)
	if err != nil {
		return l, nil, err
	}
	touched, err := s.usesOf(ctx, c.Repo, c.Branch, files)
	if err != nil {
		return l, nil, err
	}
	v := versioning{repo: g, change: c, tip: tip, bump: bump}
	pins, err := v.decide(ctx, touched)
	if slipway.Is(err, slipway.Invalid) {
		return l, &stop{plan.Conflict, "its version cannot be told: " + err.Error()}, nil
	}
	if err != nil {
		return l, nil, err
	}
	l.Outcome = &Outcome{Commit: v.tip, Method: how, Pins: pins, Time: l.Time}
	l.Moves = []slipway.RefUpdate{{Repo: c.Repo, Ref: "refs/heads/" + c.Branch, Old: l.Base, New: v.tip}}
	for i := range pins {
		p := &pins[i]
		p.Commit = v.tip
		if p.Tag == "" {
			continue
		}
		tag, err := g.WriteTag(ctx, git.NewTag{
			Name: p.Tag, Commit: v.tip, Tagger: git.Self(l.Time),
			Message: fmt.Sprintf("%s %s\n\nChange %d by %s: %s\nVersion: %s.\n", p.Component, p.Version, c.Number, c.Author, c.Title, p.Reason),
		})
		if err != nil {
			return l, nil, err
		}
		l.Moves = append(l.Moves, slipway.RefUpdate{Repo: c.Repo, Ref: "refs/tags/" + p.Tag, Old: slipway.ZeroCommit, New: tag})
	}
	return l, nil, nil
}

// policy returns how the products concerned merge and bump: "merge" if one of them merges; the first one's bump.
func (s *Service) policy(ctx context.Context, uses []Use) (method, bump string, err error) {
	method, bump = "rebase", "conventional-commits"
	for i, product := range products(uses) {
		r, err := s.catalog.Review(ctx, product)
		if slipway.Is(err, slipway.NotFound) {
			continue // the product is gone since the change was proposed
		}
		if err != nil {
			return "", "", err
		}
		if r.Merge == "merge" {
			method = "merge"
		}
		if i == 0 && r.Bump != "" {
			bump = r.Bump
		}
	}
	return method, bump, nil
}

// join puts the patchset's commits on the base and returns the new tip, which is the base itself when it holds everything.
func (s *Service) join(ctx context.Context, g git.Repo, c Change, method string) (tip, how string, why *stop, err error) {
	base, ps := c.Landing.Base, c.Current()
	ahead, err := g.IsAncestor(ctx, base, ps.Commit)
	if err != nil {
		return "", "", nil, err
	}
	if ahead && method == "rebase" {
		return ps.Commit, "fast-forward", nil, nil
	}
	commits, err := g.Log(ctx, base, ps.Commit, "", 0)
	if err != nil {
		return "", "", nil, err
	}
	if len(commits) == 0 {
		return base, method, nil, nil
	}
	linear := !slices.ContainsFunc(commits, func(c git.Commit) bool { return len(c.Parents) != 1 })
	if method == "merge" || !linear { // merges among the commits cannot be picked one by one
		tip, why, err = s.merge(ctx, g, c, ahead)
		return tip, "merge", why, err
	}
	tip = base
	for _, commit := range slices.Backward(commits) { // oldest first
		m, err := g.Pick(ctx, tip, commit)
		if err != nil {
			return "", "", nil, err
		}
		if len(m.Conflicts) > 0 {
			return "", "", clash(c, m.Conflicts, fmt.Sprintf("commit %.10s (%s)", commit.ID, commit.Subject())), nil
		}
		onto, err := g.Commit(ctx, tip)
		if err != nil {
			return "", "", nil, err
		}
		if m.Tree == onto.Tree {
			continue // the branch has this already
		}
		tip, err = g.WriteCommit(ctx, git.NewCommit{
			Tree: m.Tree, Parents: []string{tip}, Author: commit.Author, Committer: git.Self(c.Landing.Time), Message: commit.Message,
		})
		if err != nil {
			return "", "", nil, err
		}
	}
	return tip, "rebase", nil, nil
}

func (s *Service) merge(ctx context.Context, g git.Repo, c Change, ahead bool) (string, *stop, error) {
	base, ps := c.Landing.Base, c.Current()
	commit, err := g.Commit(ctx, ps.Commit)
	if err != nil {
		return "", nil, err
	}
	tree := commit.Tree
	if !ahead {
		m, err := g.MergeTree(ctx, base, ps.Commit)
		if err != nil {
			return "", nil, err
		}
		if len(m.Conflicts) > 0 {
			return "", clash(c, m.Conflicts, "it"), nil
		}
		tree = m.Tree
	}
	onto, err := g.Commit(ctx, base)
	if err != nil || tree == onto.Tree {
		return base, nil, err // the branch has everything already
	}
	id, err := g.WriteCommit(ctx, git.NewCommit{
		Tree: tree, Parents: []string{base, ps.Commit}, Author: git.Self(c.Landing.Time), Committer: git.Self(c.Landing.Time),
		Message: fmt.Sprintf("Merge change %d: %s\n", c.Number, c.Title),
	})
	return id, nil, err
}

func clash(c Change, files []string, what string) *stop {
	shown := files
	more := ""
	if len(shown) > 5 {
		more = fmt.Sprintf(" and %d more files", len(shown)-5)
		shown = shown[:5]
	}
	return &stop{plan.Conflict, fmt.Sprintf("%s conflicts with %s in %s%s; rebase on %s and push a new patchset",
		what, c.Branch, strings.Join(shown, ", "), more, c.Branch)}
}
