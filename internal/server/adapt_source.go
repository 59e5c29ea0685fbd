package server

import (
	"context"
	"slices"
	"time"

	"slipway.dev/slipway/internal/catalog"
	"slipway.dev/slipway/internal/platform/git"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/integration"
	"slipway.dev/slipway/internal/stage/release"
	"slipway.dev/slipway/internal/stage/source"
)

// identity signs the commits and tags that Slipway makes itself.
func identity(at time.Time) git.Signature {
	return git.Signature{Name: "Slipway", Email: "slipway@localhost", Time: at.UTC()}
}

// releaseRepository is a repository as the release stage writes it.
type releaseRepository struct {
	*source.Service
	catalog *catalog.Service
}

func (r releaseRepository) Commit(ctx context.Context, repo string, c release.Commit) (string, error) {
	return r.CommitFiles(ctx, repo, git.CommitSpec{Parent: c.Parent, Files: c.Files, Message: c.Message, Author: identity(c.Time)})
}

func (r releaseRepository) Tag(ctx context.Context, repo, name, commit, message string, at time.Time) (string, error) {
	return r.Service.Tag(ctx, repo, git.NewTag{Name: name, Commit: commit, Tagger: identity(at), Message: message})
}

// subjectsShown is how many commits of a component release notes name.
const subjectsShown = 20

func (r releaseRepository) Subjects(ctx context.Context, repo, path, after, upTo string) ([]string, error) {
	recipe, err := r.catalog.Recipe(ctx, slipway.Pin{Repo: repo, Path: path, Commit: upTo})
	if err != nil {
		return nil, err
	}
	commits, err := r.LogN(ctx, repo, after, upTo, path, subjectsShown, recipe.Paths...)
	if err != nil {
		return nil, err
	}
	var subjects []string
	for _, c := range commits {
		subjects = append(subjects, c.Subject())
	}
	return subjects, nil
}

// integrationSource is branch history as the integration queue reads it.
type integrationSource struct{ *source.Service }

// updatesPage is how many lines of branch history are read at once.
const updatesPage = 100

func (s integrationSource) Updates(ctx context.Context, repo, ref string, after int64) ([]integration.Update, error) {
	var updates []integration.Update
	for before := int64(0); ; {
		page, err := s.History(ctx, source.HistoryQuery{Repo: repo, Ref: ref, Before: before, Limit: updatesPage}) // newest first
		if err != nil {
			return nil, err
		}
		for _, line := range page {
			if line.Seq > after {
				updates = append(updates, integration.Update{Seq: line.Seq, RefUpdate: line.RefUpdate})
			}
			before = line.Seq
		}
		if len(page) < updatesPage || before <= after {
			slices.Reverse(updates)
			return updates, nil
		}
	}
}

func (s integrationSource) IsAncestor(ctx context.Context, repo, ancestor, commit string) (bool, error) {
	g, err := s.Git(repo)
	if err != nil {
		return false, err
	}
	return g.IsAncestor(ctx, ancestor, commit)
}

func (s integrationSource) Messages(ctx context.Context, repo, after, upTo string, limit int) ([]string, error) {
	commits, err := s.LogN(ctx, repo, after, upTo, "", limit)
	if err != nil {
		return nil, err
	}
	var messages []string
	for _, c := range commits {
		messages = append(messages, c.Message)
	}
	return messages, nil
}

var (
	_ release.Repository = releaseRepository{}
	_ integration.Source = integrationSource{}
)
