package server

import (
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/build"
	"slipway.dev/slipway/internal/stage/source"
)

// buildProducts is what the build stage knows of products. The services are looked up when they are used: catalog and release come up
// beside it.
type buildProducts struct{ *services }

func (b buildProducts) Product(ctx context.Context, name string) (spec.Product, string, error) {
	return b.catalog.Product(ctx, name)
}

func (b buildProducts) Heads(ctx context.Context, product string) ([]slipway.Pin, error) {
	return b.catalog.Heads(ctx, product)
}

// Locked puts the manifests of all configurations together; where they differ the first by name counts.
func (b buildProducts) Locked(ctx context.Context, product string) (map[string]slipway.Locked, string, error) {
	r, err := b.release.Latest(ctx, product)
	if err != nil {
		return nil, "", err
	}
	all := map[string]slipway.Locked{}
	for _, configuration := range sortedKeys(r.Manifests) {
		for name, locked := range r.Manifests[configuration].Components {
			if _, ok := all[name]; !ok {
				all[name] = locked
			}
		}
	}
	return all, r.ID, nil
}

// backThen is a ref at a time or some moves ago: "main@{1}", "main@{2026-11-21T06:00:00Z}".
var backThen = regexp.MustCompile(`^(.+)@\{(.+)\}$`)

func (b buildProducts) CommitsOf(ctx context.Context, product, repo, ref string) ([]string, error) {
	commit, err := b.named(ctx, repo, ref)
	if err != nil {
		return nil, err
	}
	uses, err := b.catalog.ProductsOf(ctx, repo)
	if err != nil {
		return nil, err
	}
	commits := []string{commit}
	for _, use := range uses {
		if product != "" && use.Product != product {
			continue
		}
		c, err := b.catalog.Component(ctx, use.Product, use.Component)
		if err != nil {
			return nil, err
		}
		pin, err := b.catalog.PinAt(ctx, use.Component, c.Source, commit)
		if slipway.Is(err, slipway.NotFound) {
			continue // it was not there then
		}
		if err != nil {
			return nil, err
		}
		if !slices.Contains(commits, pin.Commit) {
			commits = append(commits, pin.Commit)
		}
	}
	return commits, nil
}

// named returns the commit that a ref names, now or back then.
func (b buildProducts) named(ctx context.Context, repo, ref string) (string, error) {
	m := backThen.FindStringSubmatch(ref)
	if m == nil {
		commit, err := b.source.Resolve(ctx, repo, ref)
		if slipway.Is(err, slipway.NotFound) {
			commit, err = b.source.Resolve(ctx, repo, "refs/heads/"+ref)
		}
		return commit, err
	}
	name := m[1]
	if !strings.HasPrefix(name, "refs/") {
		name = "refs/heads/" + name
	}
	if at, err := time.Parse(time.RFC3339, m[2]); err == nil {
		line, err := b.source.At(ctx, repo, name, at)
		return line.New, err
	}
	moves, err := strconv.Atoi(m[2])
	if m[2] == "old" {
		moves, err = 1, nil
	}
	if err != nil || moves < 0 {
		return "", slipway.Errorf(slipway.Invalid, "%q is neither a time nor a number of moves", m[2]).At(ref).
			Try("write main@{1} for what it was one move ago, or main@{2026-11-21T06:00:00Z}")
	}
	lines, err := b.source.History(ctx, source.HistoryQuery{Repo: repo, Ref: name, Limit: moves + 1})
	if err != nil {
		return "", err
	}
	if len(lines) <= moves || lines[moves].New == slipway.ZeroCommit {
		return "", slipway.Errorf(slipway.NotFound, "%s of %s has no commit %d moves ago", name, repo, moves).
			Try("see slipway repo history " + repo + " " + name)
	}
	return lines[moves].New, nil
}

var _ build.Products = buildProducts{}
