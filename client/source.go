package client

import (
	"context"
	"iter"
	"net/http"
	"strconv"
	"strings"
	"time"

	"slipway.dev/slipway/internal/edge/httpapi/wire"
	"slipway.dev/slipway/internal/stage/source"
)

// Repo is a repository; RepoView adds where to clone it and what it follows.
type (
	Repo     = source.Repo
	RepoView = wire.RepoView
)

// Ref is a branch or tag; RefMove is one line of branch history; Pointed says when a ref pointed at a commit.
type (
	Ref     = wire.RefView
	RefMove = source.Recorded
	Pointed = source.Pointed
)

// Commit is one commit of a log.
type Commit = wire.CommitView

// Mirror says which remote a repository follows, and how well; NewMirror has the webhook's secret.
type (
	Mirror    = source.Mirror
	NewMirror = wire.NewMirror
)

// Repos lists repositories, of one namespace if it is not empty, oldest first; limit 0 is all.
func (c *Client) Repos(ctx context.Context, namespace string, limit int) iter.Seq2[Repo, error] {
	return list[Repo](ctx, c, "/api/v1/repos", values("namespace", namespace), limit)
}

// CreateRepo makes an empty repository. An empty branch is main.
func (c *Client) CreateRepo(ctx context.Context, name, summary, branch string) (RepoView, error) {
	return do[RepoView](ctx, c, http.MethodPost, "/api/v1/repos", nil, wire.NewRepo{Name: name, Summary: summary, Branch: branch})
}

// Repo shows a repository.
func (c *Client) Repo(ctx context.Context, name string) (RepoView, error) {
	return get[RepoView](ctx, c, repoPath(name, ""), nil)
}

// Refs lists the branches and tags of a repository.
func (c *Client) Refs(ctx context.Context, repo string) ([]Ref, error) {
	return get[[]Ref](ctx, c, repoPath(repo, "/refs"), nil)
}

// Log lists the commits that rev (empty: the default branch) reaches, newest first, those that touch path if it is not empty.
func (c *Client) Log(ctx context.Context, repo, rev, path string, limit int) ([]Commit, error) {
	q := values("rev", rev, "path", path)
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	return get[[]Commit](ctx, c, repoPath(repo, "/log"), q)
}

// RefHistory lists the moves of a repository's refs, of one if ref is not empty, newest first; limit 0 is all.
func (c *Client) RefHistory(ctx context.Context, repo, ref string, limit int) iter.Seq2[RefMove, error] {
	return list[RefMove](ctx, c, repoPath(repo, "/history"), values("ref", ref), limit)
}

// RefAt returns the move that put ref (empty: main) where it was at the given time.
func (c *Client) RefAt(ctx context.Context, repo, ref string, at time.Time) (RefMove, error) {
	return get[RefMove](ctx, c, repoPath(repo, "/at"), values("ref", ref, "time", at.UTC().Format(time.RFC3339Nano)))
}

// PointedAt lists which refs have pointed at a commit, newest first.
func (c *Client) PointedAt(ctx context.Context, commit string) ([]Pointed, error) {
	return get[[]Pointed](ctx, c, "/api/v1/commits/"+segment(commit)+"/refs", nil)
}

// Mirrors lists the repositories that follow a remote.
func (c *Client) Mirrors(ctx context.Context) ([]Mirror, error) {
	return get[[]Mirror](ctx, c, "/api/v1/mirrors", nil)
}

// SetMirror has a repository, new or empty, follow a remote.
func (c *Client) SetMirror(ctx context.Context, repo, url string, every time.Duration) (NewMirror, error) {
	return do[NewMirror](ctx, c, http.MethodPut, repoPath(repo, "/mirror"), nil, wire.SetMirror{URL: url, Every: int64(every / time.Second)})
}

// EndMirror has a repository follow its remote no longer.
func (c *Client) EndMirror(ctx context.Context, repo string) error {
	_, err := do[none](ctx, c, http.MethodDelete, repoPath(repo, "/mirror"), nil, nil)
	return err
}

// SyncMirror polls the remote of a repository now.
func (c *Client) SyncMirror(ctx context.Context, repo string) error {
	_, err := do[none](ctx, c, http.MethodPost, repoPath(repo, "/mirror/sync"), nil, nil)
	return err
}

func repoPath(repo, what string) string {
	namespace, name, _ := strings.Cut(repo, "/")
	return "/api/v1/repos/" + segment(namespace) + "/" + segment(name) + what
}
