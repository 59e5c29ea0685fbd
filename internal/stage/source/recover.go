package source

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"slipway.dev/slipway/internal/platform/git"
	"slipway.dev/slipway/internal/slipway"
)

// Start takes the folder, waits until no git process of an earlier server is left that could move a ref, and
// brings history up to date with the refs. Errors: Unavailable when the folder stays in use.
func (s *Service) Start(ctx context.Context) error {
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(s.dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := s.takeLock(ctx, f); err != nil {
		f.Close()
		return err
	}
	s.held = f
	if err := s.recover(ctx); err != nil {
		s.held = nil
		f.Close()
		return err
	}
	// Shared from now on, so that the git processes started by us can hold it too.
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH); err != nil {
		s.held = nil
		f.Close()
		return err
	}
	return nil
}

// Stop gives the folder back. Pushes must have ended.
func (s *Service) Stop(context.Context) error {
	s.readers.Close()
	if s.held == nil {
		return nil
	}
	err := s.held.Close()
	s.held = nil
	return err
}

// takeLock tries for the exclusive lock until cfg.Wait has passed.
func (s *Service) takeLock(ctx context.Context, f *os.File) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Wait)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for told := false; ; told = true {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil || !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		if !told {
			s.log.Info("waiting for git processes of an earlier server", "folder", s.dir)
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return slipway.Errorf(slipway.Unavailable, "another server, or a git process of one, uses the repositories").
				At(s.dir).Try("stop it; one folder has one server")
		}
	}
}

// recover settles what was under way when the last server ended. It runs under the exclusive lock: no ref moves meanwhile.
func (s *Service) recover(ctx context.Context) error {
	var open []Intent
	var repos []Repo
	err := s.st.View(ctx, func(tx Tx) (err error) {
		if open, err = tx.RefIntents().Find(ctx, slipway.Query{}); err != nil {
			return err
		}
		repos, err = tx.Repos().Find(ctx, slipway.Query{})
		return err
	})
	if err != nil {
		return err
	}
	for _, r := range repos {
		g, err := s.Git(r.Name)
		if err != nil {
			if slipway.Is(err, slipway.NotFound) {
				return slipway.Errorf(slipway.Internal, "the folder of repository %s is gone", r.Name).At(s.path(r.Name)).
					Try("restore it from a backup")
			}
			return err
		}
		stale, err := g.RemoveStaleLocks()
		if err != nil {
			return err
		}
		for _, path := range stale {
			s.log.Warn("removed what a killed git process left", "path", path)
		}
	}
	for _, i := range open {
		if err := s.finish(ctx, i); err != nil {
			return err
		}
	}
	for _, r := range repos {
		if err := s.audit(ctx, r.Name); err != nil {
			return err
		}
	}
	return nil
}

// finish completes an intent of the last server: a whole one that can still be, is done; then it is settled.
func (s *Service) finish(ctx context.Context, i Intent) error {
	g, err := s.Git(i.Repo)
	if err != nil {
		return err
	}
	if i.Whole {
		rest, possible := i.Refs[:0:0], true
		for _, u := range i.Refs {
			at, err := g.Ref(ctx, u.Ref)
			if err != nil {
				return err
			}
			switch at {
			case u.New:
			case u.Old:
				rest = append(rest, u)
			default:
				possible = false
			}
		}
		if possible && len(rest) > 0 {
			s.log.Info("finishing an interrupted move", "repo", i.Repo, "refs", len(rest))
			if err := g.UpdateRefs(ctx, changes(rest)); err != nil {
				return err
			}
		}
	}
	return s.settle(ctx, i)
}

// audit records refs that differ from their history: moved by hand in the folder, or restored from a backup.
func (s *Service) audit(ctx context.Context, repo string) error {
	g, err := s.Git(repo)
	if err != nil {
		return err
	}
	refs, err := g.Refs(ctx, "refs/heads/", "refs/tags/")
	if err != nil {
		return err
	}
	return s.st.Update(ctx, func(tx Tx) error {
		known, err := tx.RefHistory().Current(ctx, repo)
		if err != nil {
			return err
		}
		for _, u := range difference(repo, known, refs) {
			u.Actor, u.Time = "unknown", tx.Now().UTC()
			s.log.Warn("a ref was moved while no server watched", "repo", repo, "ref", u.Ref, "old", u.Old, "new", u.New)
			if err := record(ctx, tx, u, "found so at start", ""); err != nil {
				return err
			}
		}
		return nil
	})
}

// difference returns the moves that lead from what history knows to what is there.
func difference(repo string, known []Recorded, there []git.Ref) (moves []slipway.RefUpdate) {
	was := map[string]string{}
	for _, k := range known {
		was[k.Ref] = k.New
	}
	for _, r := range there {
		old := was[r.Name]
		delete(was, r.Name)
		if old == "" {
			old = slipway.ZeroCommit
		}
		if old != r.ID {
			moves = append(moves, slipway.RefUpdate{Repo: repo, Ref: r.Name, Old: old, New: r.ID})
		}
	}
	for _, k := range known {
		if old, gone := was[k.Ref]; gone {
			moves = append(moves, slipway.RefUpdate{Repo: repo, Ref: k.Ref, Old: old, New: slipway.ZeroCommit})
		}
	}
	return moves
}
