package build

import (
	"context"
	"fmt"
	"path"
	"strings"
	"sync"
	"time"

	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/spec"
)

// recipe is what a component's file says at one commit, and where.
type recipe struct {
	spec.Component
	file  string            // "components/app/slipway.yaml"
	lines map[string]string // by needed component, "FILE:LINE"
	epoch time.Time         // author time of the last commit that touched the path
	tree  string            // git's id of the component's folder
	extra string            // names the contents of its paths; "" without any

	rootLine string // where it names its buildroot, "FILE:LINE:COLUMN"
}

// recipes reads recipes and keeps them: what a commit says never changes.
type recipes struct {
	source Source
	mu     sync.Mutex
	known  map[string]recipe
}

// maxRecipes bounds what is kept in memory; a recipe is a few kilobytes.
const maxRecipes = 4096

func (r *recipes) read(ctx context.Context, pin slipway.Pin) (recipe, error) {
	id := pin.Repo + "\x00" + pin.Path + "\x00" + pin.Commit
	r.mu.Lock()
	rec, ok := r.known[id]
	r.mu.Unlock()
	if ok {
		return rec, nil
	}
	rec, err := r.load(ctx, pin)
	if err != nil {
		return recipe{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known == nil || len(r.known) >= maxRecipes {
		r.known = map[string]recipe{}
	}
	r.known[id] = rec
	return rec, nil
}

func (r *recipes) load(ctx context.Context, pin slipway.Pin) (recipe, error) {
	repo, err := r.source.Git(pin.Repo)
	if err != nil {
		return recipe{}, err
	}
	name := path.Join(pin.Path, spec.ComponentFile)
	rec := recipe{file: path.Join(pin.Repo, name), lines: map[string]string{}}
	text, err := repo.File(ctx, pin.Commit, name)
	if slipway.Is(err, slipway.NotFound) {
		return recipe{}, slipway.Errorf(slipway.Invalid, "%s has no recipe at commit %.12s: %w", pin.Component, pin.Commit, err).
			At(rec.file).Try("add a " + spec.ComponentFile + " to the component")
	}
	if err != nil {
		return recipe{}, err
	}
	if rec.Component, err = spec.ParseComponent(text, rec.file); err != nil {
		return recipe{}, err
	}
	if rec.Name != pin.Component {
		return recipe{}, slipway.Errorf(slipway.Invalid, "the product calls this component %q, its own file %q", pin.Component, rec.Name).
			At(rec.file).Try("use one name in both files")
	}
	for _, need := range rec.Needs {
		rec.lines[need] = lineOf(rec.file, text, need)
	}
	if rec.tree, err = repo.Tree(ctx, pin.Commit, pin.Path); err != nil {
		return recipe{}, err
	}
	rec.rootLine = spec.Place(text, rec.file, "buildroot")
	if rec.extra, err = extraID(ctx, repo, pin, rec, text); err != nil {
		return recipe{}, err
	}
	for _, p := range append([]string{pin.Path}, rec.Paths...) {
		log, err := repo.Log(ctx, "", pin.Commit, p, 1)
		if err != nil {
			return recipe{}, err
		}
		if len(log) > 0 && log[0].Author.Time.After(rec.epoch) {
			rec.epoch = log[0].Author.Time
		}
	}
	return rec, nil
}

// lineOf finds the line that names a need: the first after "needs:" with the name as a word.
func lineOf(file string, text []byte, need string) string {
	inside := false
	for i, l := range strings.Split(string(text), "\n") {
		l, _, _ = strings.Cut(l, "#")
		if strings.HasPrefix(l, "needs:") {
			inside = true
		} else if inside && l != "" && !strings.ContainsAny(l[:1], " -]\t\r") {
			inside = false
		}
		if !inside {
			continue
		}
		words := strings.FieldsFunc(l, func(r rune) bool { return strings.ContainsRune(" \t\r[],'\"", r) })
		for _, w := range words {
			if w == need {
				return fmt.Sprintf("%s:%d", file, i+1)
			}
		}
	}
	return file
}
