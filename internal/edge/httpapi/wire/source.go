package wire

import (
	"slipway.dev/slipway/internal/stage/source"
)

// NewRepo asks for a repository.
type NewRepo struct {
	Name    string `json:"name" minLength:"1" maxLength:"120" doc:"NAMESPACE/NAME, in components/, modules/ or products/" example:"components/libwire"`
	Summary string `json:"summary,omitempty" maxLength:"500"`
	Branch  string `json:"branch,omitempty" maxLength:"100" doc:"The default branch; main if absent"`
}

// RepoView is a repository with where to clone it and what it follows.
type RepoView struct {
	source.Repo
	Path   string         `json:"path" doc:"Below the server's URL: what git clones" example:"/git/components/libwire.git"`
	Mirror *source.Mirror `json:"mirror,omitempty" doc:"The remote that it follows, if it does"`
}

// RefView is a branch or tag.
type RefView struct {
	Name   string `json:"name"`
	ID     string `json:"id" doc:"What it points at; for an annotated tag the tag's own object"`
	Commit string `json:"commit"`
}

// CommitView is one commit of a log.
type CommitView struct {
	ID      string   `json:"id"`
	Parents []string `json:"parents"`
	Author  string   `json:"author"`
	Time    string   `json:"time" format:"date-time"`
	Subject string   `json:"subject"`
}

// SetMirror says which remote a repository follows.
type SetMirror struct {
	URL   string `json:"url" minLength:"1" maxLength:"2000" example:"https://example.org/libwire.git"`
	Every int64  `json:"every_seconds,omitempty" minimum:"0" doc:"Between two polls; 60 if absent"`
}

// NewMirror is a mirror with the secret that its webhook signs with, which is told only this once.
type NewMirror struct {
	source.Mirror
	Webhook string `json:"webhook" doc:"Path below the server's URL for push webhooks of GitHub, Gitea, Forgejo and GitLab"`
}

// NewVote is an opinion on a change.
type NewVote struct {
	Value    int    `json:"value" minimum:"-2" maximum:"2" doc:"+2 approves and -2 holds back; both need a gatekeeper"`
	Patchset int    `json:"patchset,omitempty" minimum:"0" doc:"The patchset that was looked at; absent: the current one"`
	Message  string `json:"message,omitempty" maxLength:"10000"`
}
