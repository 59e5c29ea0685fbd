package httpapi

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"slipway.dev/slipway/internal/edge/githttp"
	"slipway.dev/slipway/internal/edge/httpapi/wire"
	"slipway.dev/slipway/internal/platform/auth"
	"slipway.dev/slipway/internal/platform/git"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/source"
)

// RepoPath names a repository; it is embedded in inputs, which is why it is exported.
type RepoPath struct {
	Namespace string `path:"namespace"`
	Name      string `path:"name"`
}

func (p RepoPath) repo() string { return p.Namespace + "/" + p.Name }

const repoRoute = "/api/v1/repos/{namespace}/{name}"

func (a *API) sources() {
	a.repos()
	a.branchHistory()
	a.mirrors()
}

func (a *API) repos() {
	register(a, op{Method: http.MethodGet, Path: "/api/v1/repos", Role: auth.Viewer, Summary: "List repositories, oldest first"},
		func(ctx context.Context, in *struct {
			Page
			Namespace string `query:"namespace" enum:"components,modules,products" doc:"Only these"`
		}) (*List[source.Repo], error) {
			repos, err := a.Source.Repos(ctx, in.Namespace, in.After, in.more())
			if err != nil {
				return nil, err
			}
			return list(ctx, in.Page, repos, func(r source.Repo) string { return r.Name }), nil
		})
	register(a, op{Method: http.MethodPost, Path: "/api/v1/repos", Role: auth.Developer, Status: http.StatusCreated, Summary: "Create an empty repository",
		About: "Its first push, of a developer or above, makes its branches; after that branches are protected."},
		func(ctx context.Context, in *struct{ Body wire.NewRepo }) (*One[wire.RepoView], error) {
			r, err := a.Source.Create(ctx, auth.Actor(ctx), in.Body.Name, in.Body.Summary, in.Body.Branch)
			return one(wire.RepoView{Repo: r, Path: githttp.Prefix + r.Name + ".git"}, err)
		})
	register(a, op{Method: http.MethodGet, Path: repoRoute, Role: auth.Viewer, Summary: "Show a repository"},
		func(ctx context.Context, in *RepoPath) (*One[wire.RepoView], error) {
			r, err := a.Source.Repo(ctx, in.repo())
			v := wire.RepoView{Repo: r, Path: githttp.Prefix + r.Name + ".git"}
			if err == nil && r.State == source.Mirrored {
				m, merr := a.Source.Mirror(ctx, r.Name)
				m = m.Shown()
				v.Mirror, err = &m, merr
			}
			return one(v, err)
		})
	register(a, op{Method: http.MethodGet, Path: repoRoute + "/refs", Role: auth.Viewer, Summary: "List branches and tags"},
		func(ctx context.Context, in *RepoPath) (*One[[]wire.RefView], error) {
			refs, err := a.Source.Refs(ctx, in.repo())
			views := make([]wire.RefView, len(refs))
			for i, r := range refs {
				views[i] = wire.RefView(r)
			}
			return one(views, err)
		})
	register(a, op{Method: http.MethodGet, Path: repoRoute + "/log", Role: auth.Viewer, Summary: "List commits, newest first"},
		func(ctx context.Context, in *struct {
			RepoPath
			Rev   string `query:"rev" default:"HEAD" doc:"Where to begin"`
			Path  string `query:"path" doc:"Only commits that touch this"`
			Limit int    `query:"limit" default:"50" minimum:"1" maximum:"1000"`
		}) (*One[[]wire.CommitView], error) {
			log, err := a.Source.LogN(ctx, in.repo(), "", in.Rev, in.Path, in.Limit)
			views := make([]wire.CommitView, len(log))
			for i, c := range log {
				views[i] = commitView(c)
			}
			return one(views, err)
		})
}

func commitView(c git.Commit) wire.CommitView {
	parents := c.Parents
	if parents == nil {
		parents = []string{}
	}
	return wire.CommitView{ID: c.ID, Parents: parents, Author: c.Author.Name, Time: c.Author.Time.UTC().Format(time.RFC3339), Subject: c.Subject()}
}

func (a *API) branchHistory() {
	register(a, op{Method: http.MethodGet, Path: repoRoute + "/history", Role: auth.Viewer, Summary: "List the moves of branches and tags, newest first"},
		func(ctx context.Context, in *struct {
			Page
			RepoPath
			Ref string `query:"ref" doc:"Only of this one" example:"refs/heads/main"`
		}) (*List[source.Recorded], error) {
			if _, err := a.Source.Repo(ctx, in.repo()); err != nil {
				return nil, err
			}
			q := source.HistoryQuery{Repo: in.repo(), Ref: in.Ref, Limit: in.more()}
			if in.After != "" {
				seq, err := strconv.ParseInt(in.After, 10, 64)
				if err != nil || seq < 1 {
					return nil, slipway.Errorf(slipway.Invalid, "%q is not a position in branch history", in.After).At("after")
				}
				q.Before = seq
			}
			lines, err := a.Source.History(ctx, q)
			if err != nil {
				return nil, err
			}
			return list(ctx, in.Page, lines, func(r source.Recorded) string { return strconv.FormatInt(r.Seq, 10) }), nil
		})
	register(a, op{Method: http.MethodGet, Path: repoRoute + "/at", Role: auth.Viewer, Summary: "Tell where a ref pointed at a time"},
		func(ctx context.Context, in *struct {
			RepoPath
			Ref  string    `query:"ref" default:"refs/heads/main"`
			Time time.Time `query:"time" required:"true" doc:"RFC 3339"`
		}) (*One[source.Recorded], error) {
			return one(a.Source.At(ctx, in.repo(), in.Ref, in.Time))
		})
	register(a, op{Method: http.MethodGet, Path: "/api/v1/commits/{commit}/refs", Role: auth.Viewer, Summary: "Tell which refs have pointed at a commit, and when"},
		func(ctx context.Context, in *struct {
			Commit string `path:"commit" pattern:"^[0-9a-f]{40}$"`
		}) (*One[[]source.Pointed], error) {
			found, err := a.Source.PointedAt(ctx, in.Commit)
			if found == nil {
				found = []source.Pointed{}
			}
			return one(found, err)
		})
}

func (a *API) mirrors() {
	register(a, op{Method: http.MethodGet, Path: "/api/v1/mirrors", Role: auth.Viewer, Summary: "List the repositories that follow a remote"},
		func(ctx context.Context, _ *struct{}) (*One[[]source.Mirror], error) {
			all, err := a.Source.Mirrors(ctx)
			for i := range all {
				all[i] = all[i].Shown()
			}
			return one(all, err)
		})
	register(a, op{Method: http.MethodPut, Path: repoRoute + "/mirror", Role: auth.Admin, Summary: "Have a repository follow a remote",
		About: "The repository is made if it does not exist; one with branches of its own is refused. The answer holds the secret of the webhook, this once."},
		func(ctx context.Context, in *struct {
			RepoPath
			Body wire.SetMirror
		}) (*One[wire.NewMirror], error) {
			m, err := a.Source.SetMirror(ctx, auth.Actor(ctx), in.repo(), in.Body.URL, time.Duration(in.Body.Every)*time.Second)
			secret := m.Secret
			m = m.Shown()
			m.Secret = secret
			return one(wire.NewMirror{Mirror: m, Webhook: githttp.WebhookPrefix + in.repo()}, err)
		})
	register(a, op{Method: http.MethodDelete, Path: repoRoute + "/mirror", Role: auth.Admin, Summary: "Stop following a remote",
		About: "The repository stays, and takes pushes."},
		func(ctx context.Context, in *RepoPath) (*None, error) {
			return nil, a.Source.EndMirror(ctx, auth.Actor(ctx), in.repo())
		})
	register(a, op{Method: http.MethodPost, Path: repoRoute + "/mirror/sync", Role: auth.Developer, Summary: "Poll the remote now"},
		func(ctx context.Context, in *RepoPath) (*None, error) {
			return nil, a.Source.Poke(ctx, in.repo())
		})
}
