package catalog

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
)

// PinAt returns the pin of a component when its repository is at commit: for a component in a monorepo the last commit
// that touched its path, or one of the paths that its file there declares. NotFound when the component is not there at that commit.
//
// The version is that of the nearest tag vX.Y.Z (in a monorepo PATH/vX.Y.Z) among the commits up to the pinned one; a
// commit that has no tag of its own has the number of commits since the tag and its id appended: "1.4.0+3.g1f2e3d4". Before
// the first tag it counts from 0.0.0.
func (s *Service) PinAt(ctx context.Context, name string, ref spec.ComponentRef, commit string) (slipway.Pin, error) {
	of, err := s.heads(ctx, ref.Repo)
	if err != nil {
		return slipway.Pin{}, err
	}
	return s.pinAt(ctx, name, ref, commit, of)
}

func (s *Service) pinAt(ctx context.Context, name string, ref spec.ComponentRef, commit string, of heads) (slipway.Pin, error) {
	text, err := s.files.File(ctx, ref.Repo, commit, recipePath(ref.Path))
	if err != nil {
		if slipway.Is(err, slipway.NotFound) {
			err = slipway.Errorf(slipway.NotFound, "the component %s is not there at %.12s: it has no %s", name, commit, recipePath(ref.Path)).
				At(ref.Repo).Try("push a commit that has the file")
		}
		return slipway.Pin{}, err
	}
	id, err := s.files.Resolve(ctx, ref.Repo, commit)
	if err != nil {
		return slipway.Pin{}, err
	}
	version, id, err := s.version(ctx, ref, id, declared(text), of)
	if err != nil {
		return slipway.Pin{}, err
	}
	return slipway.Pin{Component: name, Repo: ref.Repo, Path: ref.Path, Version: version, Commit: id}, nil
}

// declared are the paths that a component's file names beside its own folder; a broken file declares nothing.
func declared(text []byte) []string {
	if recipe, err := spec.ParseComponent(text, spec.ComponentFile); err == nil {
		return recipe.Paths
	}
	return nil
}

// Recipe reads a component's file at its pin.
func (s *Service) Recipe(ctx context.Context, pin slipway.Pin) (spec.Component, error) {
	path := recipePath(pin.Path)
	data, err := s.files.File(ctx, pin.Repo, pin.Commit, path)
	if err != nil {
		return spec.Component{}, err
	}
	return spec.ParseComponent(data, pin.Repo+"/"+path)
}

func recipePath(path string) string {
	if path == "" {
		return spec.ComponentFile
	}
	return path + "/" + spec.ComponentFile
}

// version walks back from commit to the nearest version tag. It returns the last commit that touched path, or one of the others, beside.
func (s *Service) version(ctx context.Context, ref spec.ComponentRef, commit string, others []string, of heads) (version, id string, err error) {
	repo, path := ref.Repo, ref.Path
	tags := of.versions(path)
	for limit := 64; ; limit *= 8 {
		log, err := s.files.LogN(ctx, repo, "", commit, path, limit, others...)
		if err != nil {
			return "", "", err
		}
		if len(log) == 0 {
			return "", "", slipway.Errorf(slipway.NotFound, "no commit touches %s up to %.12s", path, commit).At(repo)
		}
		id = log[0].ID
		for i, c := range log {
			v, tagged := tags[c.ID]
			switch {
			case tagged && i == 0:
				return v, id, nil
			case tagged:
				return describe(v, i, id), id, nil
			}
		}
		if len(log) < limit {
			return describe("0.0.0", len(log), id), id, nil
		}
	}
}

func describe(version string, commits int, id string) string {
	return fmt.Sprintf("%s+%d.g%.7s", version, commits, id)
}

// versions returns the version of a component at each tagged commit; the highest where there are several.
func (h heads) versions(path string) map[string]string {
	prefix := "refs/tags/"
	if path != "" {
		prefix += path + "/"
	}
	tags := map[string]string{}
	for _, r := range h.tags {
		v, ok := strings.CutPrefix(r.Name, prefix+"v")
		if !ok || numbers(v) == nil {
			continue
		}
		if old, dup := tags[r.Commit]; !dup || older(old, v) {
			tags[r.Commit] = v
		}
	}
	return tags
}

// numbers takes "1.4.0" or "1.4.0-rc.1" apart; nil if it is no version of three numbers.
func numbers(version string) []int {
	core, _, _ := strings.Cut(version, "-")
	core, _, _ = strings.Cut(core, "+")
	parts := strings.Split(core, ".")
	if len(parts) != 3 {
		return nil
	}
	out := make([]int, 3)
	for i, p := range parts {
		n, err := strconv.Atoi(p)
		if err != nil || n < 0 {
			return nil
		}
		out[i] = n
	}
	return out
}

// older compares by semantic versioning: a version with a suffix is older than the one without.
func older(a, b string) bool {
	x, y := numbers(a), numbers(b)
	for i := range x {
		if c := cmp.Compare(x[i], y[i]); c != 0 {
			return c < 0
		}
	}
	preA, preB := strings.Contains(a, "-"), strings.Contains(b, "-")
	if preA != preB {
		return preA
	}
	return a < b
}
