package catalog

import (
	"context"
	"hash/fnv"
	"io"
	"strings"
	"sync"

	"slipway.dev/slipway/internal/platform/git"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
)

// heads are the branches and tags of a repository at one time.
type heads struct {
	branch map[string]string // "refs/heads/main" -> commit
	tags   []git.Ref
	tagsID uint64 // a number that another set of tags would not have
}

func (s *Service) heads(ctx context.Context, repo string) (heads, error) {
	refs, err := s.files.Refs(ctx, repo, "refs/heads/", "refs/tags/")
	if err != nil {
		return heads{}, err
	}
	h := heads{branch: map[string]string{}}
	tags := fnv.New64a()
	for _, r := range refs {
		if strings.HasPrefix(r.Name, "refs/heads/") {
			h.branch[r.Name] = r.Commit
			continue
		}
		h.tags = append(h.tags, r)
		_, _ = io.WriteString(tags, r.Name+" "+r.Commit+"\n")
	}
	h.tagsID = tags.Sum64()
	return h, nil
}

// pinKey is all that a pin follows from: the same commit under the same tags has the same version.
type pinKey struct {
	repo, path, commit string
	tags               uint64
}

// pins remembers pins, so that a product of many components is not asked of git anew each time.
type pins struct {
	mu    sync.Mutex
	known map[pinKey]slipway.Pin
}

// maxPins bounds what is remembered; then it begins anew.
const maxPins = 20_000

// pinned is [Service.PinAt] that remembers, in a repository whose heads are known.
func (s *Service) pinned(ctx context.Context, name string, ref spec.ComponentRef, commit string, of heads) (slipway.Pin, error) {
	key := pinKey{ref.Repo, ref.Path, commit, of.tagsID}
	s.pins.mu.Lock()
	pin, ok := s.pins.known[key]
	s.pins.mu.Unlock()
	if ok {
		pin.Component = name
		return pin, nil
	}
	pin, err := s.pinAt(ctx, name, ref, commit, of)
	if err != nil {
		return slipway.Pin{}, err
	}
	s.pins.mu.Lock()
	defer s.pins.mu.Unlock()
	if s.pins.known == nil || len(s.pins.known) >= maxPins {
		s.pins.known = map[pinKey]slipway.Pin{}
	}
	s.pins.known[key] = pin
	return pin, nil
}
