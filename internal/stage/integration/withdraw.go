package integration

import (
	"context"
	"fmt"
)

// withdrawn says which of some entries may not land any more, and why: what they move to has left its branch, or a gatekeeper has vetoed a
// change after it landed in its repository. What stands on a vetoed change and was pushed before the veto goes with it; what was pushed
// later is taken to know of it, and may be what undoes it. Those that depend on what leaves are for the planner.
func (s *Service) withdrawn(ctx context.Context, entries []Entry) (map[int64]string, error) {
	gone := map[int64]string{}
	for _, e := range entries {
		if e.Withdrawn != "" {
			gone[e.Number] = e.Withdrawn
		}
		for _, ref := range e.Changes {
			c, ok, err := s.changes.Named(ctx, ref)
			if err != nil {
				return nil, err
			}
			if !ok || c.Vetoed == "" {
				continue
			}
			gone[e.Number] = fmt.Sprintf("%s has lost its approval: %s", ref, c.Vetoed)
			for _, o := range entries {
				if gone[o.Number] != "" || o.Exact || !o.arrived().Before(c.Since) {
					continue
				}
				upon, err := s.upon(ctx, o, e)
				if err != nil {
					return nil, err
				}
				if upon {
					gone[o.Number] = fmt.Sprintf("it stands on entry %d, and %s has lost its approval: %s", e.Number, ref, c.Vetoed)
				}
			}
		}
	}
	return gone, nil
}

// upon reports whether an entry moves to a commit that has another's in its history.
func (s *Service) upon(ctx context.Context, e, other Entry) (bool, error) {
	for _, mine := range e.Pins {
		for _, theirs := range other.Pins {
			if mine.Repo != theirs.Repo || mine.Commit == theirs.Commit {
				continue
			}
			if is, err := s.ancestor(ctx, mine.Repo, theirs.Commit, mine.Commit); err != nil || is {
				return is, err
			}
		}
	}
	return false, nil
}
