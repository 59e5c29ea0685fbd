package change

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"

	"slipway.dev/slipway/internal/platform/git"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/change/plan"
)

// Source is what the stage needs of repositories.
type Source interface {
	// Git is the repository, for everything that moves no branch or tag.
	Git(repo string) (git.Repo, error)
	// Keep makes a ref outside of branch history point at commit.
	Keep(ctx context.Context, repo, ref, commit string) error
	// Move moves all of the refs by compare-and-swap, or none and returns a Conflict. Done already is a success.
	Move(ctx context.Context, actor, reason string, updates ...slipway.RefUpdate) error
}

// Catalog knows the products.
type Catalog interface {
	// UsesOf returns the components that products take from a repository, in a stable order.
	UsesOf(ctx context.Context, repo string) ([]Use, error)
	// Review returns how a product reviews changes.
	Review(ctx context.Context, product string) (spec.Review, error)
	// Pins returns what a product consists of now: its manifest, or the heads of branches before its first release.
	Pins(ctx context.Context, product string) ([]slipway.Pin, error)
}

// Builder runs unit tests.
type Builder interface {
	StartWave(ctx context.Context, r slipway.WaveRequest) (slipway.WaveStatus, error)
	Wave(ctx context.Context, id string) (slipway.WaveStatus, error)
	CancelWave(ctx context.Context, id, reason string) error
}

// Gate keeps results and decides over them.
type Gate interface {
	Record(ctx context.Context, r slipway.Result) error
	// Decide says whether the subject satisfies the product's gate for changes, given the checks that ran, and what is
	// missing, in words for people.
	Decide(ctx context.Context, product, subject string, ran []slipway.Requirement) (ok bool, missing []string, err error)
}

// Service knows the changes. It is safe for concurrent use.
type Service struct {
	st      slipway.Store[Tx]
	src     Source
	catalog Catalog
	builder Builder
	gate    Gate
	log     *slog.Logger
	fault   func(point string) // called between the steps of a landing; tests die there
}

// New makes the service. A nil log is slog.Default().
func New(st slipway.Store[Tx], src Source, catalog Catalog, builder Builder, gate Gate, log *slog.Logger) *Service {
	if log == nil {
		log = slog.Default()
	}
	return &Service{st: st, src: src, catalog: catalog, builder: builder, gate: gate, log: log, fault: func(string) {}}
}

// Change returns one change; NotFound if there is none.
func (s *Service) Change(ctx context.Context, number int64) (c Change, err error) {
	err = s.st.View(ctx, func(tx Tx) error {
		c, err = tx.Changes().Get(ctx, strconv.FormatInt(number, 10))
		return err
	})
	if slipway.Is(err, slipway.NotFound) {
		err = slipway.Errorf(slipway.NotFound, "there is no change %d", number).Try("list them with: slipway change list")
	}
	return c, err
}

// Filter selects changes by what is set.
type Filter struct {
	Product string
	States  []string // none: all
	Repo    string
	After   string // the id after which to go on
	Limit   int    // 0: no limit
}

// Changes lists changes, newest first.
func (s *Service) Changes(ctx context.Context, f Filter) (found []Change, err error) {
	err = s.st.View(ctx, func(tx Tx) error {
		q := slipway.Query{Product: f.Product, States: f.States, Newest: true, After: f.After, Limit: f.Limit}
		if f.Repo == "" {
			found, err = tx.Changes().Find(ctx, q)
			return err
		}
		q.Limit = 0
		all, err := tx.Changes().Find(ctx, q)
		found = slices.DeleteFunc(all, func(c Change) bool { return c.Repo != f.Repo })
		if f.Limit > 0 && len(found) > f.Limit {
			found = found[:f.Limit]
		}
		return err
	})
	return found, err
}

// Identified returns the newest change with a Change-Id; NotFound if there is none.
func (s *Service) Identified(ctx context.Context, id string) (Change, error) {
	all, err := s.Changes(ctx, Filter{})
	if err != nil {
		return Change{}, err
	}
	for _, c := range all {
		if c.Identity == id {
			return c, nil
		}
	}
	return Change{}, slipway.Errorf(slipway.NotFound, "there is no change with the Change-Id %s", id).Try("list them with: slipway change list")
}

// LandedAs returns the change whose landing put a commit on its branch; ok is false when none did. It is known from the
// moment that the branch can move.
func (s *Service) LandedAs(ctx context.Context, repo, commit string) (c Change, ok bool, err error) {
	found, err := s.Changes(ctx, Filter{Repo: repo, States: []string{string(plan.Landed), string(plan.Landing)}})
	for _, c := range found {
		if c.Landed != nil && c.Landed.Commit == commit || c.Landing != nil && c.Landing.Outcome != nil && c.Landing.Outcome.Commit == commit {
			return c, true, nil
		}
	}
	return Change{}, false, err
}

// Voter is who votes.
type Voter struct {
	Name       string
	Gatekeeper bool
}

// Vote records an opinion on the current patchset, replacing the voter's earlier one on it. Only gatekeepers vote -2, which
// holds the change back, and +2, which approves it. Patchset is the one that was looked at, 0 for the current one; another
// one has come meanwhile: Conflict. On a change that has landed only gatekeepers vote: what takes its approval
// away keeps it from being released.
func (s *Service) Vote(ctx context.Context, number int64, by Voter, value, patchset int, message string) (Change, error) {
	switch {
	case value < -2 || value > 2:
		return Change{}, slipway.Errorf(slipway.Invalid, "a vote is -2, -1, 0, +1 or +2, not %d", value)
	case (value == 2 || value == -2) && !by.Gatekeeper:
		return Change{}, slipway.Errorf(slipway.Forbidden, "%s may not vote %+d", by.Name, value).Try("vote +1 or -1, or ask for the role gatekeeper")
	}
	return s.edit(ctx, number, func(tx Tx, c *Change) error {
		if (c.State.Done() || c.State == plan.Landing) && (c.State != plan.Landed || !by.Gatekeeper) {
			return slipway.Errorf(slipway.Conflict, "change %d is %s", number, c.State)
		}
		now := c.Current().Number
		if patchset != 0 && patchset != now {
			return slipway.Errorf(slipway.Conflict, "change %d has patchset %d now, the vote is on %d", number, now, patchset).Try("look at the new patchset")
		}
		c.Votes = slices.DeleteFunc(c.Votes, func(v Vote) bool { return v.By == by.Name && v.Patchset == now })
		c.Votes = append(c.Votes, Vote{By: by.Name, Value: value, Gatekeeper: by.Gatekeeper, Patchset: now, Message: message, Time: tx.Now().UTC()})
		reason := fmt.Sprintf("%s votes %+d on patchset %d", by.Name, value, now)
		if message != "" {
			reason += ": " + message
		}
		return s.tellProducts(ctx, tx, *c, slipway.ChangeVoted, by.Name, reason)
	})
}

// Unapproved returns the gatekeeper's vote that took a change's approval from it after it landed: a -2, or one in the place of the last +2 where
// a product asks for one.
func (s *Service) Unapproved(ctx context.Context, c Change) (by Vote, ok bool, err error) {
	if c.Landed == nil {
		return by, false, nil
	}
	approved := false
	for _, v := range c.Votes {
		if !v.Gatekeeper || v.Patchset != c.Current().Number {
			continue
		}
		approved = approved || v.Value == 2
		if v.Value == -2 {
			return v, true, nil
		}
		if v.Time.After(c.Landed.Time) {
			by = v
		}
	}
	if approved || by.By == "" {
		return by, false, nil
	}
	automatic, err := s.automatic(ctx, c)
	return by, !automatic, err
}

// Abandon gives a change up. Its author may, and gatekeepers.
func (s *Service) Abandon(ctx context.Context, number int64, by Voter, reason string) (Change, error) {
	return s.edit(ctx, number, func(tx Tx, c *Change) error {
		switch {
		case c.State.Done() || c.State == plan.Landing:
			return slipway.Errorf(slipway.Conflict, "change %d is %s", number, c.State)
		case by.Name != c.Author && !by.Gatekeeper:
			return slipway.Errorf(slipway.Forbidden, "%s may not abandon a change of %s", by.Name, c.Author).Try("ask its author or a gatekeeper")
		}
		c.State, c.Reason = plan.Abandoned, "abandoned by "+by.Name
		if reason != "" {
			c.Reason += ": " + reason
		}
		c.dropTests()
		return s.emit(ctx, tx, *c, slipway.ChangeAbandoned, by.Name, c.Reason)
	})
}

// Retest runs the tests of the current patchset again, for when they failed through no fault of its own.
func (s *Service) Retest(ctx context.Context, number int64, by string) (Change, error) {
	return s.edit(ctx, number, func(tx Tx, c *Change) error {
		if c.State != plan.Failed && c.State != plan.Tested {
			return slipway.Errorf(slipway.Conflict, "change %d is %s", number, c.State).Try("tests run again once they have ended")
		}
		c.Patchsets[len(c.Patchsets)-1].Attempt++
		c.State, c.Reason, c.Tests = plan.Open, by+" asked for its tests again", nil
		return s.emit(ctx, tx, *c, slipway.PatchsetAdded, by, c.Reason)
	})
}

// edit changes one change in a transaction and wakes its reconciler.
func (s *Service) edit(ctx context.Context, number int64, f func(tx Tx, c *Change) error) (c Change, err error) {
	err = s.st.Update(ctx, func(tx Tx) error {
		c, err = tx.Changes().Get(ctx, strconv.FormatInt(number, 10))
		if slipway.Is(err, slipway.NotFound) {
			return slipway.Errorf(slipway.NotFound, "there is no change %d", number).Try("list them with: slipway change list")
		}
		if err != nil {
			return err
		}
		if err := f(tx, &c); err != nil {
			return err
		}
		return s.put(ctx, tx, &c)
	})
	return c, err
}

// put writes a change and wakes its reconciler.
func (s *Service) put(ctx context.Context, tx Tx, c *Change) error {
	c.Updated = tx.Now().UTC()
	if err := tx.Changes().Put(ctx, *c); err != nil {
		return err
	}
	return tx.Wake(ctx, kind, c.ID(), c.Updated)
}

// emit tells about a change.
func (s *Service) emit(ctx context.Context, tx Tx, c Change, what slipway.EventType, actor, reason string) error {
	return tx.Emit(ctx, s.event(c, what, actor, reason))
}

// tellProducts tells about a change once for each product that uses what it touches: their queues listen.
func (s *Service) tellProducts(ctx context.Context, tx Tx, c Change, what slipway.EventType, actor, reason string) error {
	names := products(c.Uses)
	if len(names) == 0 {
		return s.emit(ctx, tx, c, what, actor, reason)
	}
	for _, product := range names {
		e := s.event(c, what, actor, reason)
		e.Product = product
		if err := tx.Emit(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) event(c Change, what slipway.EventType, actor, reason string) slipway.Event {
	return slipway.Event{
		Type: what, Subject: slipway.Ref("change", c.ID()), Product: c.Product(), Actor: actor, Reason: reason,
		Links: []string{slipway.Ref("commit", c.Current().Commit), slipway.Ref("repo", c.Repo)},
	}
}
