package source

import (
	"context"

	"slipway.dev/slipway/internal/platform/git"
	"slipway.dev/slipway/internal/slipway"
)

// Resolve returns the id of the commit that rev names (a branch, a tag, an id); NotFound if there is none.
func (s *Service) Resolve(ctx context.Context, repo, rev string) (string, error) {
	g, err := s.Git(repo)
	if err != nil {
		return "", err
	}
	id, err := g.Resolve(ctx, rev)
	return id, in(repo, err)
}

// Object returns the id of what a full ref name points at: a commit, or an annotated tag's own object. NotFound if there is
// no such ref.
func (s *Service) Object(ctx context.Context, repo, ref string) (string, error) {
	g, err := s.Git(repo)
	if err != nil {
		return "", err
	}
	id, err := g.Ref(ctx, ref)
	if err == nil && id == slipway.ZeroCommit {
		err = slipway.Errorf(slipway.NotFound, "there is no ref %s", ref).At(repo)
	}
	return id, in(repo, err)
}

// File returns the bytes of the file at path in rev; NotFound says whether the revision or the file is missing.
func (s *Service) File(ctx context.Context, repo, rev, path string) ([]byte, error) {
	g, err := s.Git(repo)
	if err != nil {
		return nil, err
	}
	data, err := g.File(ctx, rev, path)
	return data, in(repo, err)
}

// Commit returns the commit that rev names.
func (s *Service) Commit(ctx context.Context, repo, rev string) (git.Commit, error) {
	g, err := s.Git(repo)
	if err != nil {
		return git.Commit{}, err
	}
	c, err := g.Commit(ctx, rev)
	return c, in(repo, err)
}

// Log returns the commits that to reaches and from (empty: nothing) does not, newest first, only those that touch path
// if it is not empty.
func (s *Service) Log(ctx context.Context, repo, from, to, path string) ([]git.Commit, error) {
	return s.LogN(ctx, repo, from, to, path, 0)
}

// LogN is [Service.Log] of at most limit commits, which touch path or one of the others.
func (s *Service) LogN(ctx context.Context, repo, from, to, path string, limit int, others ...string) ([]git.Commit, error) {
	g, err := s.Git(repo)
	if err != nil {
		return nil, err
	}
	log, err := g.Log(ctx, from, to, path, limit, others...)
	return log, in(repo, err)
}

// Export writes the folder at path (empty: all) of a commit into dir and returns the id of its tree: equal ids,
// equal folders. Attributes inside the repository do not change what is written.
func (s *Service) Export(ctx context.Context, repo, commit, path, dir string) (string, error) {
	g, err := s.Git(repo)
	if err != nil {
		return "", err
	}
	tree, err := g.Export(ctx, commit, path, dir)
	return tree, in(repo, err)
}

// Tree returns the id of the folder at path (empty: all) of a commit.
func (s *Service) Tree(ctx context.Context, repo, commit, path string) (string, error) {
	g, err := s.Git(repo)
	if err != nil {
		return "", err
	}
	tree, err := g.Tree(ctx, commit, path)
	return tree, in(repo, err)
}

// Refs returns the refs below the given prefixes, branches and tags without one.
func (s *Service) Refs(ctx context.Context, repo string, prefixes ...string) ([]git.Ref, error) {
	g, err := s.Git(repo)
	if err != nil {
		return nil, err
	}
	if len(prefixes) == 0 {
		prefixes = []string{"refs/heads/", "refs/tags/"}
	}
	refs, err := g.Refs(ctx, prefixes...)
	return refs, in(repo, err)
}

// CommitFiles makes a commit object without moving a ref. Equal specs give equal ids.
func (s *Service) CommitFiles(ctx context.Context, repo string, spec git.CommitSpec) (string, error) {
	g, err := s.Git(repo)
	if err != nil {
		return "", err
	}
	id, err := g.CommitFiles(ctx, spec)
	return id, in(repo, err)
}

// Tag makes an annotated tag object without moving a ref. Equal tags give equal ids.
func (s *Service) Tag(ctx context.Context, repo string, tag git.NewTag) (string, error) {
	g, err := s.Git(repo)
	if err != nil {
		return "", err
	}
	id, err := g.WriteTag(ctx, tag)
	return id, in(repo, err)
}

// in replaces a folder by the repository's name in an error's place.
func in(repo string, err error) error {
	if e, ok := err.(*slipway.Error); ok && e.Where != "" {
		return e.At(repo)
	}
	return err
}
