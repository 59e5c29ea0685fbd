package source

import (
	"context"
	"time"

	"slipway.dev/slipway/internal/slipway"
)

// History returns the moves that match, newest first.
func (s *Service) History(ctx context.Context, q HistoryQuery) (lines []Recorded, err error) {
	err = s.st.View(ctx, func(tx Tx) error {
		lines, err = tx.RefHistory().Find(ctx, q)
		return err
	})
	return lines, err
}

// At returns the move that put ref where it was at the given time. NotFound if the ref did not exist then; the error says
// when it came to be, or that it was deleted.
func (s *Service) At(ctx context.Context, repo, ref string, at time.Time) (Recorded, error) {
	if _, err := s.Repo(ctx, repo); err != nil {
		return Recorded{}, err
	}
	lines, err := s.History(ctx, HistoryQuery{Repo: repo, Ref: ref, Until: at, Limit: 1})
	if err != nil {
		return Recorded{}, err
	}
	missing := slipway.Errorf(slipway.NotFound, "%s did not exist at %s", ref, at.UTC().Format(time.RFC3339)).At(repo)
	switch {
	case len(lines) == 0:
		return Recorded{}, missing.Try("see when it came to be with: slipway repo history " + repo + " " + ref)
	case lines[0].New == slipway.ZeroCommit:
		return Recorded{}, missing.Try("it was deleted by " + lines[0].Actor + " at " + lines[0].Time.Format(time.RFC3339))
	}
	return lines[0], nil
}

// Pointed is a time during which a ref pointed at a commit.
type Pointed struct {
	Repo  string    `json:"repo"`
	Ref   string    `json:"ref"`
	Actor string    `json:"actor"` // who put it there
	From  time.Time `json:"from"`
	Until time.Time `json:"until,omitzero"` // zero: it still does
}

// PointedAt returns which refs have pointed at an object (a commit, or an annotated tag's own id), newest first.
func (s *Service) PointedAt(ctx context.Context, id string) (found []Pointed, err error) {
	err = s.st.View(ctx, func(tx Tx) error {
		found = nil
		lines, err := tx.RefHistory().Find(ctx, HistoryQuery{New: id})
		if err != nil {
			return err
		}
		for _, l := range lines {
			p := Pointed{Repo: l.Repo, Ref: l.Ref, Actor: l.Actor, From: l.Time}
			all, err := tx.RefHistory().Find(ctx, HistoryQuery{Repo: l.Repo, Ref: l.Ref})
			if err != nil {
				return err
			}
			for _, next := range all { // newest first: the last one after l is the one that moved it on
				if next.Seq <= l.Seq {
					break
				}
				p.Until = next.Time
			}
			found = append(found, p)
		}
		return nil
	})
	return found, err
}
