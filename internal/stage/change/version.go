package change

import (
	"context"
	"path"
	"slices"
	"strings"

	"slipway.dev/slipway/internal/platform/git"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
	"slipway.dev/slipway/internal/stage/change/plan"
)

// versioning decides the versions of one landing. Version files that have to be rewritten become one more commit on tip.
type versioning struct {
	repo   git.Repo
	change Change
	tip    string
	bump   string // the product's policy
}

// decide returns the components among uses, each once, with their new versions. Their Commit is for the caller to set.
func (v *versioning) decide(ctx context.Context, uses []Use) ([]Pinned, error) {
	refs, err := v.repo.Refs(ctx, "refs/tags/")
	if err != nil {
		return nil, err
	}
	tags := make([]string, len(refs))
	for i, r := range refs {
		tags[i] = strings.TrimPrefix(r.Name, "refs/tags/")
	}

	pins := []Pinned{}
	rewrite := map[string][]byte{}
	var said []string
	for _, u := range uses {
		if i := slices.IndexFunc(pins, func(p Pinned) bool { return p.Component == u.Component && p.Path == u.Path }); i >= 0 {
			pins[i].Products = append(pins[i].Products, u.Product)
			continue
		}
		p := Pinned{Pin: slipway.Pin{Component: u.Component, Repo: v.change.Repo, Path: u.Path}, Products: []string{u.Product}}
		policy, err := v.policyOf(ctx, u)
		if err != nil {
			return nil, err
		}
		latest, found := plan.Latest(tags, u.Path)
		switch policy.From {
		case "none":
			p.Version, p.Reason = latest.String(), "its policy makes no versions"
		case "file":
			file := path.Join(u.Path, policy.File)
			text, err := v.repo.File(ctx, v.tip, file)
			if slipway.Is(err, slipway.NotFound) {
				err = slipway.Errorf(slipway.Invalid, "there is no %s", file).At(u.Component).Try("add it, or take versions from conventional commits")
			}
			if err != nil {
				return nil, err
			}
			next, write, reason, err := plan.FromFile(string(text), latest, found)
			if err != nil {
				return nil, slipway.Errorf(slipway.Invalid, "%w", err).At(file)
			}
			if write {
				rewrite[file] = []byte(next.String() + "\n")
				said = append(said, u.Component+" "+next.String())
			}
			p.Version, p.Reason, p.Tag = next.String(), reason, plan.TagPrefix(u.Path)+next.String()
		default:
			messages, err := v.messages(ctx, u)
			if err != nil {
				return nil, err
			}
			next, reason := plan.Bump(latest, found, messages)
			p.Version, p.Reason, p.Tag = next.String(), reason, plan.TagPrefix(u.Path)+next.String()
		}
		pins = append(pins, p)
	}
	if len(rewrite) > 0 {
		v.tip, err = v.repo.CommitFiles(ctx, git.CommitSpec{
			Parent: v.tip, Files: rewrite, Time: v.change.Landing.Time,
			Message: "chore: raise the version to " + strings.Join(said, ", ") + "\n",
		})
	}
	return pins, err
}

// policyOf is the component's own policy at the new tip, else the product's.
func (v *versioning) policyOf(ctx context.Context, u Use) (spec.VersionPolicy, error) {
	policy := spec.VersionPolicy{From: v.bump}
	file := path.Join(u.Path, spec.ComponentFile)
	data, err := v.repo.File(ctx, v.tip, file)
	if err != nil && !slipway.Is(err, slipway.NotFound) {
		return policy, err
	}
	if err == nil {
		c, err := spec.ParseComponent(data, file)
		if err != nil {
			return policy, err
		}
		if c.Version.From != "" {
			policy = c.Version
		}
	}
	if policy.File == "" {
		policy.File = "VERSION"
	}
	return policy, nil
}

// messages are those of the landing's commits that touch the component, newest first.
func (v *versioning) messages(ctx context.Context, u Use) ([]string, error) {
	log, err := v.repo.Log(ctx, v.change.Landing.Base, v.tip, u.Path, 0, u.Paths...)
	if err != nil {
		return nil, err
	}
	var messages []string
	for _, c := range log {
		if len(c.Parents) < 2 {
			messages = append(messages, c.Message)
		}
	}
	if len(messages) == 0 {
		messages = []string{v.change.Current().Message}
	}
	return messages, nil
}
