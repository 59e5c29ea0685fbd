package source

import (
	"context"
	"crypto/rand"
	"net/url"
	"strings"
	"time"

	"slipway.dev/slipway/internal/platform/git"
	"slipway.dev/slipway/internal/platform/jobs"
	"slipway.dev/slipway/internal/slipway"
)

// mirrorKind is the reconciler that polls remotes; its keys are repositories.
const mirrorKind = "source.mirror"

// Shown returns the mirror without secrets, fit to be shown.
func (m Mirror) Shown() Mirror {
	m.Secret = ""
	if u, err := url.Parse(m.URL); err == nil && u.User != nil {
		u.User = url.User(u.User.Username())
		m.URL = u.String()
	}
	return m
}

// checkURL refuses remotes that git would take for something else than a repository elsewhere.
func (s *Service) checkURL(remote string) error {
	u, err := url.Parse(remote)
	bad := slipway.Errorf(slipway.Invalid, "%q is not the URL of a remote repository", remote).
		Try("use https://, http://, ssh:// or git://")
	if err != nil || strings.ContainsAny(remote, "\n\x00 ") {
		return bad
	}
	switch u.Scheme {
	case "https", "http", "git", "ssh":
		if u.Host == "" || strings.HasPrefix(u.Host, "-") {
			return bad
		}
		return nil
	case "file":
		if s.cfg.Local && u.Host == "" {
			return nil
		}
	}
	return bad
}

// SetMirror makes a repository, new or empty, follow a remote, or changes how it does. Every is the time between polls, one
// minute if zero. The result holds the secret that webhooks must know; it is shown this once.
func (s *Service) SetMirror(ctx context.Context, actor, repo, remote string, every time.Duration) (Mirror, error) {
	if err := s.checkURL(remote); err != nil {
		return Mirror{}, err
	}
	if every == 0 {
		every = time.Minute
	}
	if every < s.cfg.MinEvery {
		return Mirror{}, slipway.Errorf(slipway.Invalid, "every %s is too often", every).Try("use at least " + s.cfg.MinEvery.String() + ", and a webhook for speed")
	}
	if _, err := s.Repo(ctx, repo); slipway.Is(err, slipway.NotFound) {
		if _, err := s.Create(ctx, actor, repo, "mirror", ""); err != nil && !slipway.Is(err, slipway.Conflict) {
			return Mirror{}, err
		}
	} else if err != nil {
		return Mirror{}, err
	}
	refs, err := s.Refs(ctx, repo)
	if err != nil {
		return Mirror{}, err
	}
	var m Mirror
	err = s.st.Update(ctx, func(tx Tx) error {
		r, err := tx.Repos().Get(ctx, repo)
		if err != nil {
			return err
		}
		if r.State != Mirrored && len(refs) > 0 {
			return slipway.Errorf(slipway.Conflict, "repository %s has branches of its own", repo).
				Try("mirror into a new repository: following a remote would overwrite them")
		}
		m, err = tx.Mirrors().Get(ctx, repo)
		if slipway.Is(err, slipway.NotFound) {
			m, err = Mirror{Repo: repo, Secret: rand.Text(), Creator: actor}, nil
		}
		if err != nil {
			return err
		}
		m.URL, m.Every, m.State, m.Reason = remote, every, MirrorNew, "set by "+actor+"; not polled yet"
		r.State, r.Reason = Mirrored, "follows "+m.Shown().URL
		if err := tx.Repos().Put(ctx, r); err != nil {
			return err
		}
		if err := tx.Mirrors().Put(ctx, m); err != nil {
			return err
		}
		if err := tx.Emit(ctx, mirrorEvent(slipway.MirrorSet, r, actor)); err != nil {
			return err
		}
		return tx.Wake(ctx, mirrorKind, repo, time.Time{})
	})
	return m, err
}

// EndMirror stops following; the repository stays and takes pushes.
func (s *Service) EndMirror(ctx context.Context, actor, repo string) error {
	return s.st.Update(ctx, func(tx Tx) error {
		if _, err := tx.Mirrors().Get(ctx, repo); err != nil {
			return err
		}
		r, err := tx.Repos().Get(ctx, repo)
		if err != nil {
			return err
		}
		r.State, r.Reason = Hosted, "takes pushes since "+actor+" ended the mirror"
		if err := tx.Repos().Put(ctx, r); err != nil {
			return err
		}
		if err := tx.Mirrors().Delete(ctx, repo); err != nil {
			return err
		}
		return tx.Emit(ctx, mirrorEvent(slipway.MirrorEnded, r, actor))
	})
}

// mirrorEvent tells that a repository follows a remote, or no longer does.
func mirrorEvent(what slipway.EventType, r Repo, actor string) slipway.Event {
	return slipway.Event{Type: what, Subject: slipway.Ref("repo", r.Name), Product: slipway.ProductAt(r.Name, "main"), Actor: actor, Reason: r.Reason}
}

// Mirror returns how a repository follows its remote; NotFound if it follows none.
func (s *Service) Mirror(ctx context.Context, repo string) (m Mirror, err error) {
	err = s.st.View(ctx, func(tx Tx) error {
		m, err = tx.Mirrors().Get(ctx, repo)
		return err
	})
	return m, err
}

// Mirrors lists all mirrors, oldest first.
func (s *Service) Mirrors(ctx context.Context) (ms []Mirror, err error) {
	err = s.st.View(ctx, func(tx Tx) error {
		ms, err = tx.Mirrors().Find(ctx, slipway.Query{})
		return err
	})
	return ms, err
}

// Poke has a mirror polled now.
func (s *Service) Poke(ctx context.Context, repo string) error {
	return s.st.Update(ctx, func(tx Tx) error {
		if _, err := tx.Mirrors().Get(ctx, repo); err != nil {
			return err
		}
		return tx.Wake(ctx, mirrorKind, repo, time.Time{})
	})
}

// Handlers returns the stage's reconcilers.
func (s *Service) Handlers() []jobs.Handler {
	return []jobs.Handler{{Kind: mirrorKind, Slots: 4, Do: s.poll}}
}

// poll fetches a remote and moves the refs after it. A remote that fails is a state of the mirror, not of the job: it
// is polled again at its time.
func (s *Service) poll(ctx context.Context, repo string) error {
	m, err := s.Mirror(ctx, repo)
	if slipway.Is(err, slipway.NotFound) {
		return nil // ended
	}
	if err != nil {
		return err
	}
	moved, refs, failure := s.follow(ctx, m)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return s.st.Update(ctx, func(tx Tx) error {
		was := m.State
		now, err := tx.Mirrors().Get(ctx, repo)
		if slipway.Is(err, slipway.NotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		now.Tried, now.Next = tx.Now().UTC(), tx.Now().UTC().Add(now.Every)
		if now.URL != m.URL { // set anew meanwhile: its own poll is due
			return tx.Wake(ctx, mirrorKind, repo, time.Time{})
		}
		if failure != nil {
			now.State, now.Reason = MirrorFailing, failure.Error()
		} else {
			now.State, now.Reason, now.Synced, now.Refs = MirrorOK, "as the remote was at the last poll", now.Tried, refs
		}
		if err := tx.Mirrors().Put(ctx, now); err != nil {
			return err
		}
		if moved > 0 || now.State != was {
			err := tx.Emit(ctx, slipway.Event{
				Type: slipway.MirrorSynced, Subject: slipway.Ref("repo", repo), Product: slipway.ProductAt(repo, "main"), Actor: "mirror",
				Reason: now.State + ": " + now.Reason,
			})
			if err != nil {
				return err
			}
		}
		return tx.Wake(ctx, mirrorKind, repo, now.Next)
	})
}

// follow fetches and moves; it returns how many refs moved and how many there are.
func (s *Service) follow(ctx context.Context, m Mirror) (moved, refs int, err error) {
	g, err := s.Git(m.Repo)
	if err != nil {
		return 0, 0, err
	}
	fetch := g
	if s.cfg.Local {
		fetch = g.WithEnv("GIT_ALLOW_PROTOCOL=http:https:git:ssh:file")
	}
	err = fetch.Fetch(ctx, m.URL, "+refs/heads/*:refs/mirror/heads/*", "+refs/tags/*:refs/mirror/tags/*")
	if err != nil {
		return 0, 0, in(m.Shown().URL, err)
	}
	unlock, err := s.lock(ctx, m.Repo)
	if err != nil {
		return 0, 0, err
	}
	defer unlock()
	want, err := g.Refs(ctx, "refs/mirror/")
	if err != nil {
		return 0, 0, err
	}
	have, err := g.Refs(ctx, "refs/heads/", "refs/tags/")
	if err != nil {
		return 0, 0, err
	}
	moves := following(m.Repo, have, want)
	if len(moves) == 0 {
		return 0, len(want), nil
	}
	return len(moves), len(want), s.move(ctx, m.Repo, moves, "mirror", "followed "+m.Shown().URL)
}

// following returns the moves that make the branches and tags equal to those below refs/mirror/.
func following(repo string, have, want []git.Ref) []slipway.RefUpdate {
	known := make([]Recorded, len(have))
	for i, h := range have {
		known[i].Ref, known[i].New = h.Name, h.ID
	}
	there := make([]git.Ref, len(want))
	for i, w := range want {
		there[i] = git.Ref{Name: "refs/" + strings.TrimPrefix(w.Name, "refs/mirror/"), ID: w.ID}
	}
	return difference(repo, known, there)
}
