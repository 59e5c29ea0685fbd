package change

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"slipway.dev/slipway/internal/platform/git"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/change/plan"
)

// maxCommits is how many commits one change may hold.
const maxCommits = 250

// Proposal is a push to refs/for/BRANCH whose objects are in the repository.
type Proposal struct {
	Repo   string
	Branch string // without refs/heads/
	Commit string
	Topic  string // may be empty
	Actor  string
}

// Receipt tells the pusher what became of a proposal.
type Receipt struct {
	Number    int64
	Patchset  int
	Created   bool // it is a new change
	Unchanged bool // the patchset was there already
	Title     string
	Ref       string // where the patchset can be fetched
}

// ID is the change's number in decimal.
func (r Receipt) ID() string { return strconv.FormatInt(r.Number, 10) }

// Said is the receipt in words: "change 12 opened".
func (r Receipt) Said() string {
	switch {
	case r.Created:
		return fmt.Sprintf("change %d opened", r.Number)
	case r.Unchanged:
		return fmt.Sprintf("change %d, patchset %d (the same commit as before)", r.Number, r.Patchset)
	}
	return fmt.Sprintf("change %d, patchset %d", r.Number, r.Patchset)
}

// Propose opens a change or adds a patchset to the one with the same identity. The same proposal again gives the same
// answer. Errors: Invalid when there is nothing to propose, Conflict while the change is landing.
func (s *Service) Propose(ctx context.Context, p Proposal) (Receipt, error) {
	g, err := s.src.Git(p.Repo)
	if err != nil {
		return Receipt{}, err
	}
	ps, err := s.examine(ctx, g, p)
	if err != nil {
		return Receipt{}, err
	}
	uses, err := s.touched(ctx, g, p, ps)
	if err != nil {
		return Receipt{}, err
	}
	identity := identify(p, ps)
	var c Change
	var r Receipt
	err = s.st.Update(ctx, func(tx Tx) error {
		r = Receipt{}
		same, err := tx.Changes().Find(ctx, slipway.Query{Key: key(p.Repo, p.Branch, identity), Newest: true})
		if err != nil {
			return err
		}
		same = slices.DeleteFunc(same, func(c Change) bool { return c.State.Done() })
		ps := ps
		ps.Time = tx.Now().UTC()
		what := slipway.PatchsetAdded
		if len(same) == 0 {
			n, err := tx.Next(ctx, "change")
			if err != nil {
				return err
			}
			c = Change{Number: n, Repo: p.Repo, Branch: p.Branch, Identity: identity, Author: p.Actor, Created: ps.Time}
			r.Created, what = true, slipway.ChangeCreated
		} else {
			c = same[0]
			switch {
			case c.State == plan.Landing:
				return slipway.Errorf(slipway.Conflict, "change %d is landing right now", c.Number).Try("push a new change on top of it")
			case c.Current().Commit == ps.Commit && c.State != plan.Conflict:
				r.Unchanged = true
				return nil
			}
			c.dropTests()
		}
		ps.Number = len(c.Patchsets) + 1
		c.Patchsets = append(c.Patchsets, ps)
		c.Title, c.Topic, c.Uses = title(ps.Message), p.Topic, uses
		c.Tests, c.Landing = nil, nil
		c.State, c.Reason = plan.Open, fmt.Sprintf("%s pushed patchset %d", p.Actor, ps.Number)
		if err := s.put(ctx, tx, &c); err != nil {
			return err
		}
		return s.emit(ctx, tx, c, what, p.Actor, fmt.Sprintf("%s: %s", c.Reason, c.Title))
	})
	if err != nil {
		return Receipt{}, err
	}
	now := c.Current()
	r.Number, r.Patchset, r.Title, r.Ref = c.Number, now.Number, c.Title, c.PatchsetRef(now)
	// Killed before this, the reconciler does it.
	return r, s.src.Keep(ctx, c.Repo, r.Ref, now.Commit)
}

// examine looks at the pushed commits.
func (s *Service) examine(ctx context.Context, g git.Repo, p Proposal) (ps Patchset, err error) {
	tip, err := g.Commit(ctx, p.Commit)
	if err != nil {
		return ps, err
	}
	head, err := g.Ref(ctx, "refs/heads/"+p.Branch)
	if err != nil {
		return ps, err
	}
	if head == git.Zero {
		return ps, slipway.Errorf(slipway.Invalid, "there is no branch %s in %s", p.Branch, p.Repo)
	}
	base, err := g.MergeBase(ctx, head, tip.ID)
	if err != nil {
		return ps, err
	}
	switch base {
	case "":
		return ps, slipway.Errorf(slipway.Invalid, "the commit has no history in common with %s", p.Branch).
			Try("fetch the branch and commit on top of it")
	case tip.ID:
		return ps, slipway.Errorf(slipway.Invalid, "%s holds this commit already: there is nothing to propose", p.Branch).
			Try("commit your work first")
	}
	log, err := g.Log(ctx, head, tip.ID, "", maxCommits+1)
	if err != nil {
		return ps, err
	}
	if len(log) > maxCommits {
		return ps, slipway.Errorf(slipway.TooLarge, "more than %d commits in one change", maxCommits).Try("squash them, or propose them in parts")
	}
	if title(tip.Message) == "" {
		return ps, slipway.Errorf(slipway.Invalid, "commit %.10s has no message", tip.ID).Try("say in its first line what it does")
	}
	return Patchset{Commit: tip.ID, Base: base, Message: tip.Message, Pusher: p.Actor}, nil
}

// touched returns those uses of the branch whose files the patchset changes.
func (s *Service) touched(ctx context.Context, g git.Repo, p Proposal, ps Patchset) ([]Use, error) {
	files, err := g.Changed(ctx, ps.Base, ps.Commit)
	if err != nil {
		return nil, err
	}
	return s.usesOf(ctx, p.Repo, p.Branch, files)
}

func (s *Service) usesOf(ctx context.Context, repo, branch string, files []string) ([]Use, error) {
	all, err := s.catalog.UsesOf(ctx, repo)
	if err != nil {
		return nil, err
	}
	var uses []Use
	for _, u := range all {
		if u.Branch == "" {
			u.Branch = "main"
		}
		if u.Branch == branch && u.touched(files) {
			uses = append(uses, u)
		}
	}
	return uses, nil
}

func identify(p Proposal, ps Patchset) string {
	if id := plan.ChangeID(ps.Message); id != "" {
		return id
	}
	if p.Topic != "" {
		return "topic " + p.Topic
	}
	return "by " + p.Actor + ": " + title(ps.Message)
}

// title is the first line of a message that holds something, in at most 200 bytes.
func title(message string) string {
	for l := range strings.Lines(message) {
		if l = strings.TrimSpace(l); l != "" {
			if len(l) > 200 {
				l = strings.ToValidUTF8(l[:200], "") + "..."
			}
			return strings.ToValidUTF8(l, "?")
		}
	}
	return ""
}
