package githttp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"time"

	"slipway.dev/slipway/internal/platform/git"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/change"
)

// answer serves one hook.
func (s *Server) answer(conn net.Conn) {
	var q question
	if err := json.NewDecoder(io.LimitReader(conn, 64<<20)).Decode(&q); err != nil {
		s.log.Warn("a git hook sent no question", "error", err)
		return
	}
	s.mu.Lock()
	p := s.pushes[q.Push]
	s.mu.Unlock()
	v := verdict{Refused: true, Messages: []string{"error: this push is not known to the server; push again"}}
	if p != nil {
		switch q.Hook {
		case "pre-receive":
			v = s.preReceive(p, q)
		case "proc-receive":
			v = s.procReceive(p, q)
		}
	}
	if err := json.NewEncoder(conn).Encode(v); err != nil {
		s.log.Warn("a git hook went away", "repo", p.repo.Name, "error", err)
	}
}

// preReceive decides about a push and, when it is accepted, records what is about to move.
func (s *Server) preReceive(p *push, q question) verdict {
	var problems []error
	g, err := s.quarantined(p, q)
	if err == nil {
		problems, err = s.inspect(p, g, q.Refs)
	}
	if err == nil && len(problems) == 0 {
		var moves []slipway.RefUpdate
		for _, m := range q.Refs {
			if !strings.HasPrefix(m.Ref, proposals) {
				moves = append(moves, slipway.RefUpdate{Repo: p.repo.Name, Ref: m.Ref, Old: m.Old, New: m.New})
			}
		}
		ctx, cancel := context.WithTimeout(p.ctx, time.Minute) // the repository may be busy with another push
		defer cancel()
		err = s.src.Prepare(ctx, p.id, p.repo.Name, p.user.Name, moves)
	}
	if err != nil {
		s.log.Error("a push could not be judged", "repo", p.repo.Name, "user", p.user.Name, "error", err)
		return verdict{Refused: true, Messages: []string{"error: " + err.Error()}}
	}
	if len(problems) == 0 {
		return verdict{}
	}
	return verdict{Refused: true, Messages: s.refuse(p, problems)}
}

// refuse writes the ledger's line about a refused push and returns what its pusher reads.
func (s *Server) refuse(p *push, problems []error) []string {
	var lines []string
	for _, err := range problems {
		for line := range strings.SplitSeq(strings.TrimSpace(err.Error()), "\n") {
			lines = append(lines, "error: "+line)
		}
	}
	if err := s.src.Rejected(p.ctx, p.repo.Name, p.user.Name, errors.Join(problems...).Error()); err != nil {
		s.log.Error("a refused push could not be recorded", "repo", p.repo.Name, "error", err)
	}
	return lines
}

// quarantined is the repository with the pushed objects, which are not part of it yet.
func (s *Server) quarantined(p *push, q question) (git.Repo, error) {
	g, err := s.src.Git(p.repo.Name)
	if err != nil {
		return g, err
	}
	objects := filepath.Join(g.Dir(), "objects")
	for _, name := range quarantine[:2] {
		v := q.Env[name]
		if v == "" {
			continue
		}
		for path := range strings.SplitSeq(v, ":") {
			if !filepath.IsAbs(path) {
				path = filepath.Join(g.Dir(), path)
			}
			if path = filepath.Clean(path); path != objects && filepath.Dir(path) != objects {
				return g, slipway.Errorf(slipway.Forbidden, "%s is outside of the repository", path)
			}
		}
		g = g.WithEnv(name + "=" + v)
	}
	return g, nil
}

// inspect returns everything that is wrong with a push.
func (s *Server) inspect(p *push, g git.Repo, refs []move) (problems []error, err error) {
	ctx := p.ctx
	branches, err := branchesOf(ctx, g)
	if err != nil {
		return nil, err
	}
	for _, m := range refs {
		if err := git.CheckRef(m.Ref); err != nil {
			problems = append(problems, err)
			continue
		}
		r := request{
			Repo: p.repo.Name, Mirror: p.repo.State == "mirror", Empty: len(branches) == 0,
			Ref: m.Ref, Old: m.Old, New: m.New, User: p.user,
		}
		branch, _, isTarget := target(m.Ref, branches)
		r.Target = isTarget
		if s.check != nil {
			if r.Queue, err = s.check.HasQueue(ctx, p.repo.Name, m.Ref); err != nil && !slipway.Is(err, slipway.Invalid) { // that is said below
				return nil, err
			}
		}
		if strings.HasPrefix(m.Ref, "refs/heads/") && m.Old != git.Zero && m.New != git.Zero {
			ahead, err := g.IsAncestor(ctx, m.Old, m.New)
			if err != nil {
				return nil, err
			}
			r.Forced = !ahead
		}
		if err := judge(r); err != nil {
			problems = append(problems, err)
			continue
		}
		if m.New == git.Zero || strings.HasPrefix(m.Ref, "refs/tags/") {
			continue
		}
		if _, err := g.Commit(ctx, m.New); err != nil {
			problems = append(problems, slipway.Errorf(slipway.Invalid, "a branch points at a commit, and %s is none", m.New).At(m.Ref))
			continue
		}
		ref := m.Ref
		if isTarget {
			ref = "refs/heads/" + branch
		}
		if err := s.validate(ctx, g, p.repo.Name, ref, m.New); err != nil {
			problems = append(problems, err)
		}
	}
	return problems, nil
}

// validate runs the validator on a pushed commit as if ref pointed at it.
func (s *Server) validate(ctx context.Context, g git.Repo, repo, ref, commit string) error {
	if s.check == nil {
		return nil
	}
	return s.check.Check(ctx, repo, ref, func(path string) ([]byte, error) { return g.File(ctx, commit, path) })
}

// procReceive turns pushes to refs/for/BRANCH into changes.
func (s *Server) procReceive(p *push, q question) (v verdict) {
	topic := ""
	for _, o := range q.Options {
		if t, ok := strings.CutPrefix(o, "topic="); ok {
			topic = t
		}
	}
	branches, err := s.branches(p)
	if err != nil {
		s.log.Error("a push could not be judged", "repo", p.repo.Name, "user", p.user.Name, "error", err)
		return verdict{Messages: []string{"error: " + err.Error()}}
	}
	for _, m := range q.Refs {
		branch, own, ok := target(m.Ref, branches)
		if !ok {
			v.Reports = append(v.Reports, report{Ref: m.Ref, Error: "not a ref for changes"})
			continue
		}
		if own == "" {
			own = topic
		}
		got, err := s.changes.Propose(p.ctx, change.Proposal{
			Repo: p.repo.Name, Branch: branch, Commit: m.New, Topic: own, Actor: p.user.Name,
		})
		if err != nil {
			v.Messages = append(v.Messages, s.refuse(p, []error{err})...)
			v.Reports = append(v.Reports, report{Ref: m.Ref, Error: oneLine(err)})
			continue
		}
		v.Messages = append(v.Messages, "", fmt.Sprintf("%s: %s", got.Said(), got.Title), "  "+s.cfg.URL+"/changes/"+got.ID(), "")
		v.Reports = append(v.Reports, report{Ref: m.Ref, Became: got.Ref, New: m.New})
	}
	return v
}

// branches are the names of the repository's branches.
func (s *Server) branches(p *push) (map[string]bool, error) {
	g, err := s.src.Git(p.repo.Name)
	if err != nil {
		return nil, err
	}
	return branchesOf(p.ctx, g)
}

func branchesOf(ctx context.Context, g git.Repo) (map[string]bool, error) {
	heads, err := g.Refs(ctx, "refs/heads/")
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, h := range heads {
		names[strings.TrimPrefix(h.Name, "refs/heads/")] = true
	}
	return names, nil
}

// target reads refs/for/BRANCH or refs/for/BRANCH/TOPIC. Branches have slashes too: the longest that exists counts.
func target(ref string, branches map[string]bool) (branch, topic string, ok bool) {
	rest, ok := strings.CutPrefix(ref, proposals)
	if !ok {
		return "", "", false
	}
	for b := rest; b != ""; {
		if branches[b] {
			return b, strings.TrimPrefix(rest[len(b):], "/"), true
		}
		i := strings.LastIndexByte(b, '/')
		if i < 0 {
			break
		}
		b = b[:i]
	}
	return rest, "", false
}

// oneLine is an error as it fits into git's report.
func oneLine(err error) string {
	var e *slipway.Error
	text := err.Error()
	if errors.As(err, &e) {
		text = e.Message
	}
	text, _, _ = strings.Cut(text, "\n")
	if len(text) > 200 {
		text = text[:200]
	}
	return text
}
