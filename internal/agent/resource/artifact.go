package resource

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"slipway.dev/slipway/internal/platform/artifact"
	"slipway.dev/slipway/internal/slipway"
	"slipway.dev/slipway/internal/stage/deploy/plan"
)

// keptTrees is how many trees stay beside the one that is linked.
const keptTrees = 2

// artifactHandler lays trees out beside the path that shows them:
//
//	/opt/edged                               -> .edged.slipway/000002-HEX[/SUBPATH]
//	/opt/.edged.slipway/000002-HEX/          the tree
//	/opt/.edged.slipway/000002-HEX.list      what is in it; there only when it is complete
//
// Switching is the rename of a symbolic link. A tree that is still there is linked again without fetching.
type artifactHandler struct {
	root *Root
	from artifact.Opener
}

// entry is one line of a list: how a file looked when it was laid out.
type entry struct {
	Path   string `json:"path"`
	Mode   uint32 `json:"mode"`
	Size   int64  `json:"size,omitempty"`
	Time   int64  `json:"time,omitempty"` // modification, ns
	Target string `json:"target,omitempty"`
}

func (h artifactHandler) Diff(_ context.Context, w Want) (Diff, error) {
	attrs, at, err := h.decode(w)
	if err != nil {
		return Diff{}, err
	}
	var d Diff
	d.fact("path", h.root.real(attrs.Path))
	target, err := h.root.os.Readlink(at.link)
	switch {
	case gone(err):
		d.Absent = true
		d.change("digest", "absent", attrs.Digest)
		return d, nil
	case err != nil:
		if info, statErr := h.root.os.Lstat(at.link); statErr == nil {
			d.change("kind", kind(info.Mode()), "artifact")
			return d, nil
		}
		return d, h.root.say(err, "look at artifact", attrs.Path)
	}
	tree, ok := at.linked(target)
	if !ok {
		d.change("digest", "a link to "+target, attrs.Digest)
		return d, nil
	}
	d.fact("digest", "sha256:"+hexOf(tree))
	if hexOf(tree) != at.hex {
		d.change("digest", "sha256:"+hexOf(tree), attrs.Digest)
		return d, nil
	}
	d.fact("component", attrs.Component)
	d.fact("version", attrs.Version)
	d.fact("commit", attrs.Commit)
	if want := at.target(tree); target != want {
		d.change("subpath", strings.TrimPrefix(target, at.base+"/"+tree), "/"+attrs.Subpath)
	}
	if what := h.damage(path.Join(at.store, tree)); what != "" {
		d.change("content", what, "as built")
	}
	return d, nil
}

func (h artifactHandler) Apply(ctx context.Context, w Want) error {
	attrs, at, err := h.decode(w)
	if err != nil {
		return err
	}
	if info, err := h.root.os.Lstat(at.link); err == nil && info.Mode()&fs.ModeSymlink == 0 {
		return slipway.Errorf(slipway.Conflict, "there is a %s where the artifact is to be", kind(info.Mode())).At(attrs.Path).
			Try("remove it, or deploy the artifact elsewhere")
	}
	if err := h.root.os.MkdirAll(at.store, 0o755); err != nil {
		return h.root.say(err, "make directory", attrs.Path)
	}
	trees, err := h.trees(at)
	if err != nil {
		return h.root.say(err, "look at artifact", attrs.Path)
	}
	tree, next := "", 1
	for _, t := range trees {
		next = numberOf(t) + 1
		if hexOf(t) == at.hex && h.damage(path.Join(at.store, t)) == "" {
			tree = t
		}
	}
	if tree == "" {
		tree = fmt.Sprintf("%06d-%s", next, at.hex)
		if err := h.fetch(ctx, attrs.Digest, path.Join(at.store, tree)); err != nil {
			return err
		}
	}
	if attrs.Subpath != "" {
		if _, err := h.root.os.Stat(path.Join(at.store, tree, attrs.Subpath)); err != nil {
			return slipway.Errorf(slipway.Invalid, "component %s %s has no %s in its output", attrs.Component, attrs.Version, attrs.Subpath).At(w.Position)
		}
	}
	// Old trees go before the switch: killed in between, the node has what it had and this begins again.
	if err := h.prune(at, tree); err != nil {
		return h.root.say(err, "remove old trees", attrs.Path)
	}
	return h.root.say(h.root.link(at.link, at.target(tree)), "switch artifact", attrs.Path)
}

// fetch lays a tree out under a temporary name, lists it, and gives it its name.
func (h artifactHandler) fetch(ctx context.Context, digest, tree string) error {
	if h.from == nil {
		return slipway.Errorf(slipway.Unavailable, "this agent has no source of artifacts")
	}
	partial := tree + ".partial"
	for _, stale := range []string{partial, tree, tree + ".list"} { // of an agent that was killed
		if err := h.root.os.RemoveAll(stale); err != nil {
			return h.root.say(err, "remove", "/"+stale)
		}
	}
	if err := h.root.os.Mkdir(partial, 0o755); err != nil {
		return h.root.say(err, "make directory", "/"+partial)
	}
	dir, err := h.root.os.OpenRoot(partial) // from here on no name leads elsewhere
	if err != nil {
		return h.root.say(err, "open directory", "/"+partial)
	}
	defer dir.Close()
	if err := artifact.CopyTreeIn(ctx, h.from, digest, dir); err != nil {
		h.root.os.RemoveAll(partial) // the copy failed already
		return fmt.Errorf("fetch artifact %s: %w", short(digest), err)
	}
	list, err := h.list(dir)
	if err != nil {
		return h.root.say(err, "list artifact", "/"+partial)
	}
	if err := h.root.os.Rename(partial, tree); err != nil {
		return h.root.say(err, "name artifact", "/"+tree)
	}
	doc, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return h.root.say(h.root.write(tree+".list", doc, 0o644, -1, -1), "list artifact", "/"+tree)
}

// list syncs a tree to disk and says what is in it.
func (h artifactHandler) list(dir *os.Root) ([]entry, error) {
	var all []entry
	err := fs.WalkDir(dir.FS(), ".", func(p string, item fs.DirEntry, err error) error {
		if err != nil || p == "." {
			return err
		}
		info, err := item.Info()
		if err != nil {
			return err
		}
		e := entry{Path: p, Mode: uint32(info.Mode())}
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			if e.Target, err = dir.Readlink(p); err != nil {
				return err
			}
		case info.Mode().IsRegular():
			e.Size, e.Time = info.Size(), info.ModTime().UnixNano()
			f, err := dir.Open(p)
			if err != nil {
				return err
			}
			err = f.Sync()
			if err2 := f.Close(); err == nil {
				err = err2
			}
			if err != nil {
				return err
			}
		}
		all = append(all, e)
		return nil
	})
	return all, err
}

// damage says what of a tree is not as it was laid out; "" when all is. Files that a program added are not looked at.
func (h artifactHandler) damage(tree string) string {
	doc, err := h.root.os.ReadFile(tree + ".list")
	var all []entry
	if err != nil || json.Unmarshal(doc, &all) != nil {
		return "incomplete"
	}
	for _, e := range all {
		info, err := h.root.os.Lstat(path.Join(tree, e.Path))
		switch {
		case err != nil:
			return e.Path + " is missing"
		case uint32(info.Mode()) != e.Mode:
			return e.Path + " has another mode"
		case info.Mode().IsRegular() && (info.Size() != e.Size || info.ModTime().UnixNano() != e.Time):
			return e.Path + " was changed"
		case e.Target != "":
			if target, err := h.root.os.Readlink(path.Join(tree, e.Path)); err != nil || target != e.Target {
				return e.Path + " was changed"
			}
		}
	}
	return ""
}

// trees lists the complete trees, oldest first.
func (h artifactHandler) trees(at place) ([]string, error) {
	d, err := h.root.os.Open(at.store)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var trees []string
	for _, n := range names {
		if number, hex, ok := strings.Cut(n, "-"); ok && len(hex) == 64 && len(number) >= 6 {
			trees = append(trees, n)
		}
	}
	slices.SortFunc(trees, func(a, b string) int { return numberOf(a) - numberOf(b) })
	return trees, nil
}

// prune removes all but the tree that is about to be linked, the one that is, and the newest others.
func (h artifactHandler) prune(at place, next string) error {
	trees, err := h.trees(at)
	if err != nil {
		return err
	}
	kept, linked := keptTrees, ""
	if target, err := h.root.os.Readlink(at.link); err == nil {
		if linked, _ = at.linked(target); linked != next {
			kept--
		}
	}
	trees = slices.DeleteFunc(trees, func(t string) bool { return t == next || t == linked })
	for _, t := range trees[:max(len(trees)-kept, 0)] {
		if err := h.root.os.RemoveAll(path.Join(at.store, t+".list")); err != nil {
			return err
		}
		if err := h.root.os.RemoveAll(path.Join(at.store, t)); err != nil {
			return err
		}
	}
	return nil
}

func (h artifactHandler) Purge(_ context.Context, w Want) error {
	attrs, at, err := h.decode(w)
	if err != nil {
		return err
	}
	if target, err := h.root.os.Readlink(at.link); err == nil {
		if _, ours := at.linked(target); ours {
			if err := h.root.os.Remove(at.link); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return h.root.say(err, "remove artifact", attrs.Path)
			}
		}
	}
	return h.root.say(h.root.os.RemoveAll(at.store), "remove artifact", attrs.Path)
}

// place is where an artifact is, relative to the root.
type place struct {
	link    string // "opt/edged"
	store   string // "opt/.edged.slipway"
	base    string // ".edged.slipway"
	hex     string // of the wanted digest
	subpath string
}

func (h artifactHandler) decode(w Want) (plan.Artifact, place, error) {
	attrs, err := decode[plan.Artifact](w)
	if err != nil {
		return attrs, place{}, err
	}
	hex, err := artifact.ParseDigest(attrs.Digest)
	if err != nil {
		return attrs, place{}, err
	}
	link, err := h.root.rel(attrs.Path)
	if err != nil {
		return attrs, place{}, err
	}
	base := "." + path.Base(link) + ".slipway"
	return attrs, place{link: link, base: base, store: path.Join(path.Dir(link), base), hex: hex, subpath: attrs.Subpath}, nil
}

// target is what the link to a tree says.
func (p place) target(tree string) string { return path.Join(p.base, tree, p.subpath) }

// linked takes a link's target apart.
func (p place) linked(target string) (tree string, ok bool) {
	rest, ok := strings.CutPrefix(target, p.base+"/")
	tree, _, _ = strings.Cut(rest, "/")
	return tree, ok && strings.Contains(tree, "-")
}

func hexOf(tree string) string { _, hex, _ := strings.Cut(tree, "-"); return hex }

func numberOf(tree string) int {
	number, _, _ := strings.Cut(tree, "-")
	n, err := strconv.Atoi(number)
	if err != nil {
		return 0 // not one of ours; trees lists only names with a number
	}
	return n
}
