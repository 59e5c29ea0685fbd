package source

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"

	"slipway.dev/slipway/internal/platform/git"
	"slipway.dev/slipway/internal/slipway"
)

// prepared is a push that holds its repository's lock.
type prepared struct{ repo string }

// Move moves one or several refs of one repository by compare-and-swap: all of them or none. Only Repo, Ref, Old and New
// of the updates count; [slipway.ZeroCommit] stands for "does not exist". A ref that is at New already counts as moved and
// is not recorded again, so a caller that was killed may ask again. A ref that is elsewhere gives Conflict.
func (s *Service) Move(ctx context.Context, actor, reason string, updates ...slipway.RefUpdate) error {
	if len(updates) == 0 {
		return nil
	}
	repo := updates[0].Repo
	for _, u := range updates {
		if u.Repo != repo {
			return slipway.Errorf(slipway.Invalid, "one move is of one repository, not of %s and %s", repo, u.Repo)
		}
	}
	unlock, err := s.lock(ctx, repo)
	if err != nil {
		return err
	}
	defer unlock()
	return s.move(ctx, repo, updates, actor, reason)
}

// move is Move under the repository's lock.
func (s *Service) move(ctx context.Context, repo string, updates []slipway.RefUpdate, actor, reason string) error {
	g, err := s.Git(repo)
	if err != nil {
		return err
	}
	var open []slipway.RefUpdate // those that are not where they shall be
	for _, u := range updates {
		at, err := g.Ref(ctx, u.Ref)
		switch {
		case err != nil:
			return in(repo, err)
		case at == u.New:
		case at == u.Old:
			open = append(open, u)
		default:
			return slipway.Errorf(slipway.Conflict, "%s is at %s, not at %s", u.Ref, short(at), short(u.Old)).At(repo).
				Try("look at what moved it and try again from there")
		}
	}
	if len(open) == 0 {
		return nil
	}
	i, err := s.intend(ctx, Intent{ID: ulid.Make().String(), Repo: repo, Whole: true, Refs: open, Actor: actor, Reason: reason})
	if err != nil {
		return err
	}
	s.fault("intended")
	// From here on the outcome is recorded whatever happens to the caller.
	ctx = context.WithoutCancel(ctx)
	moveErr := g.Holding(s.held).UpdateRefs(ctx, changes(i.Refs))
	s.fault("moved")
	if err := s.settle(ctx, i); err != nil {
		s.doubt(repo)
		return err
	}
	return in(repo, moveErr)
}

func changes(refs []slipway.RefUpdate) []git.RefChange {
	out := make([]git.RefChange, len(refs))
	for i, u := range refs {
		out[i] = git.RefChange{Ref: u.Ref, Old: u.Old, New: u.New}
	}
	return out
}

// Prepare is called before a push moves refs: it waits for the repository, records what is about to happen and keeps the
// repository to the push until [Service.Conclude]. A ref that is no longer at Old is left to git, which refuses it: were it
// in the intent, a push of what another push has just brought would be recorded a second time.
func (s *Service) Prepare(ctx context.Context, push, repo, actor string, updates []slipway.RefUpdate) error {
	if len(updates) == 0 {
		return nil
	}
	unlock, err := s.lock(ctx, repo)
	if err != nil {
		return err
	}
	open, err := s.atOld(ctx, repo, updates)
	if err == nil {
		_, err = s.intend(ctx, Intent{ID: push, Repo: repo, Refs: open, Actor: actor, Reason: "pushed by " + actor})
	}
	if err != nil {
		unlock()
		return err
	}
	s.mu.Lock()
	s.pushes[push] = &prepared{repo: repo}
	s.mu.Unlock()
	s.fault("prepared")
	return nil
}

// atOld returns the updates whose refs are where they start from. The caller holds the repository's lock.
func (s *Service) atOld(ctx context.Context, repo string, updates []slipway.RefUpdate) ([]slipway.RefUpdate, error) {
	g, err := s.Git(repo)
	if err != nil {
		return nil, err
	}
	var open []slipway.RefUpdate
	for _, u := range updates {
		at, err := g.Ref(ctx, u.Ref)
		if err != nil {
			return nil, in(repo, err)
		}
		if at == u.Old {
			open = append(open, u)
		}
	}
	return open, nil
}

// Conclude is called when the push has ended, however it ended: what moved is recorded, and the repository is free again.
// A push that prepared nothing concludes without effect.
func (s *Service) Conclude(ctx context.Context, push string) error {
	s.mu.Lock()
	p := s.pushes[push]
	delete(s.pushes, push)
	s.mu.Unlock()
	if p == nil {
		return nil
	}
	defer s.unlock(p.repo)
	s.fault("pushed")
	if err := s.settleAll(context.WithoutCancel(ctx), p.repo); err != nil {
		s.doubt(p.repo)
		return err
	}
	return nil
}

// Rejected records that a push was turned away.
func (s *Service) Rejected(ctx context.Context, repo, actor, reason string) error {
	return s.st.Update(ctx, func(tx Tx) error {
		return tx.Emit(ctx, slipway.Event{
			Type: slipway.RefRejected, Subject: slipway.Ref("repo", repo), Product: slipway.ProductAt(repo, "main"), Actor: actor, Reason: reason,
		})
	})
}

// Keep makes sure that a ref outside of branch history (refs/changes/12/1) exists and points at commit, so that git keeps
// it and people can fetch it. It may be repeated.
func (s *Service) Keep(ctx context.Context, repo, ref, commit string) error {
	g, err := s.Git(repo)
	if err != nil {
		return err
	}
	at, err := g.Ref(ctx, ref)
	if err != nil || at == commit {
		return in(repo, err)
	}
	err = g.Holding(s.held).UpdateRefs(ctx, []git.RefChange{{Ref: ref, Old: at, New: commit}})
	if slipway.Is(err, slipway.Conflict) {
		if at, aerr := g.Ref(ctx, ref); aerr == nil && at == commit {
			return nil // another call did the same
		}
	}
	return in(repo, err)
}

// intend writes the intent. Times and actors of its refs are those that history will show.
func (s *Service) intend(ctx context.Context, i Intent) (Intent, error) {
	err := s.st.Update(ctx, func(tx Tx) error {
		i.Time = tx.Now().UTC()
		for n := range i.Refs {
			i.Refs[n].Repo, i.Refs[n].Actor, i.Refs[n].Time = i.Repo, i.Actor, i.Time
		}
		return tx.RefIntents().Put(ctx, i)
	})
	return i, err
}

// settle looks at where the refs of an intent are, records those that moved, and deletes the intent. It may be repeated.
func (s *Service) settle(ctx context.Context, i Intent) error {
	g, err := s.Git(i.Repo)
	if err != nil {
		return err
	}
	moved, err := where(ctx, g, i)
	if err != nil {
		return err
	}
	return s.st.Update(ctx, func(tx Tx) error {
		if _, err := tx.RefIntents().Get(ctx, i.ID); slipway.Is(err, slipway.NotFound) {
			return nil // settled before
		} else if err != nil {
			return err
		}
		for _, u := range moved {
			if err := record(ctx, tx, u, i.Reason, i.ID); err != nil {
				return err
			}
		}
		return tx.RefIntents().Delete(ctx, i.ID)
	})
}

// where returns those refs of an intent that are at their new place.
func where(ctx context.Context, g git.Repo, i Intent) (moved []slipway.RefUpdate, err error) {
	for _, u := range i.Refs {
		if u.Old == u.New {
			continue
		}
		at, err := g.Ref(ctx, u.Ref)
		if err != nil {
			return nil, err
		}
		if at == u.New {
			moved = append(moved, u)
		}
	}
	return moved, nil
}

// settleAll settles every open intent of a repository. The caller holds its lock.
func (s *Service) settleAll(ctx context.Context, repo string) error {
	var open []Intent
	err := s.st.View(ctx, func(tx Tx) (err error) {
		open, err = tx.RefIntents().Find(ctx, slipway.Query{Key: repo})
		return err
	})
	for _, i := range open {
		if err == nil {
			err = s.settle(ctx, i)
		}
	}
	return err
}

// record appends one move to history and ledger. The event's id follows from the intent, so it is told once.
func record(ctx context.Context, tx Tx, u slipway.RefUpdate, reason, intent string) error {
	if err := tx.RefHistory().Append(ctx, u); err != nil {
		return err
	}
	data, err := json.Marshal(u)
	if err != nil {
		return err
	}
	e := slipway.Event{
		Type: slipway.RefUpdated, Subject: slipway.Ref("repo", u.Repo), Product: slipway.ProductAt(u.Repo, "main"), Actor: u.Actor, Data: data,
		Reason: fmt.Sprintf("%s %s", u.Ref, sentence(u)),
	}
	if reason != "" {
		e.Reason += ": " + reason
	}
	if intent != "" {
		e.ID = "ref-" + intent + "-" + u.Ref
	}
	if u.New != slipway.ZeroCommit {
		e.Links = append(e.Links, slipway.Ref("commit", u.New))
	}
	return tx.Emit(ctx, e)
}

func sentence(u slipway.RefUpdate) string {
	switch {
	case u.Old == slipway.ZeroCommit:
		return "created at " + short(u.New)
	case u.New == slipway.ZeroCommit:
		return "deleted, was at " + short(u.Old)
	}
	return "moved from " + short(u.Old) + " to " + short(u.New)
}

func short(id string) string {
	switch {
	case id == slipway.ZeroCommit:
		return "nothing"
	case len(id) > 10:
		return id[:10]
	}
	return id
}

// lock waits for a repository. Before it hands it out it settles what an earlier failure left open.
func (s *Service) lock(ctx context.Context, repo string) (unlock func(), err error) {
	if s.held == nil {
		return nil, slipway.Errorf(slipway.Unavailable, "the source stage is not running")
	}
	s.mu.Lock()
	l := s.locks[repo]
	if l == nil {
		l = make(chan struct{}, 1)
		s.locks[repo] = l
	}
	s.mu.Unlock()
	select {
	case l <- struct{}{}:
	case <-ctx.Done():
		return nil, slipway.Errorf(slipway.Unavailable, "repository %s is busy: %w", repo, ctx.Err()).Try("try again")
	}
	s.mu.Lock()
	unsure := s.unsure[repo]
	s.mu.Unlock()
	if unsure {
		whole, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if err := s.settleAll(whole, repo); err != nil {
			s.unlock(repo)
			return nil, err
		}
		s.mu.Lock()
		delete(s.unsure, repo)
		s.mu.Unlock()
	}
	return func() { s.unlock(repo) }, nil
}

func (s *Service) unlock(repo string) {
	s.mu.Lock()
	l := s.locks[repo]
	s.mu.Unlock()
	<-l
}

// doubt remembers that a repository has an intent whose outcome could not be recorded.
func (s *Service) doubt(repo string) {
	s.mu.Lock()
	s.unsure[repo] = true
	s.mu.Unlock()
}
